//! A table that is written in several languages.

use std::fmt::Write as _;

/// What is special about a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mark {
    #[default]
    None,
    /// The best of its column.
    Best,
    /// The second best.
    Second,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) mark: Mark,
}

impl From<String> for Entry {
    fn from(text: String) -> Self {
        Self { text, mark: Mark::None }
    }
}

impl From<&str> for Entry {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// A table with a caption: the first `words` columns are words, the others numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name in files.
    pub(crate) name: String,
    pub(crate) caption: String,
    pub(crate) words: usize,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<Entry>>,
}

impl Table {
    /// For people and the web; the best is bold, the second best underlined.
    pub(crate) fn markdown(&self) -> String {
        let plain = |text: &str| text.replace('|', "\\|");
        let entry = |entry: &Entry| {
            let text = plain(&entry.text);
            match entry.mark {
                Mark::None => text,
                Mark::Best => format!("**{text}**"),
                Mark::Second => format!("<u>{text}</u>"),
            }
        };
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("{}\n\n", self.caption);
        text += &line(self.head.iter().map(|cell| plain(cell)).collect());
        let rule = |column: usize| if column < self.words { "---" } else { "---:" }.to_owned();
        text += &line((0..self.head.len()).map(rule).collect());
        for row in &self.rows {
            text += &line(row.iter().map(entry).collect());
        }
        text
    }

    /// For papers: a `table` of the package `booktabs`.
    pub(crate) fn latex(&self) -> String {
        let entry = |entry: &Entry| {
            let text = escaped(&entry.text);
            match entry.mark {
                Mark::None => text,
                Mark::Best => format!("\\textbf{{{text}}}"),
                Mark::Second => format!("\\underline{{{text}}}"),
            }
        };
        let columns: String = (0..self.head.len()).map(|n| if n < self.words { 'l' } else { 'r' }).collect();
        let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
        let mut text = "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n".to_owned();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\\caption{{{}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n",
            escaped(&self.caption)
        );
        text += &line(self.head.iter().map(|cell| escaped(cell)).collect());
        text += "\\midrule\n";
        for row in &self.rows {
            text += &line(row.iter().map(entry).collect());
        }
        text + "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    }

    /// For programs: the texts alone.
    pub(crate) fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.head)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|entry| &entry.text))?;
        }
        let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A text in LaTeX.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', c]),
            '±' => escaped += "$\\pm$",
            '●' => escaped += "$\\bullet$",
            '○' => escaped += "$\\circ$",
            '✓' => escaped += "$\\checkmark$",
            '–' => escaped += "--",
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_marks_the_best() {
        let best = Entry { text: "0.91 ± 0.02".to_owned(), mark: Mark::Best };
        let second = Entry { text: "0.9".to_owned(), mark: Mark::Second };
        let table = Table {
            name: "t".to_owned(),
            caption: "A & B".to_owned(),
            words: 1,
            head: vec!["Method".to_owned(), "Dice".to_owned()],
            rows: vec![vec!["x_1".into(), best], vec!["y|z".into(), second]],
        };
        let markdown = table.markdown();
        assert!(markdown.contains("| --- | ---: |") && markdown.contains("| x_1 | **0.91 ± 0.02** |"));
        assert!(markdown.contains("| y\\|z | <u>0.9</u> |"));
        let latex = table.latex();
        assert!(latex.contains("A \\& B") && latex.contains("x\\_1 & \\textbf{0.91 $\\pm$ 0.02} \\\\"));
        assert!(latex.contains("\\begin{tabular}{lr}") && latex.contains("\\underline{0.9}"));
        assert_eq!(table.csv().unwrap(), "Method,Dice\nx_1,0.91 ± 0.02\ny|z,0.9\n");
    }
}
