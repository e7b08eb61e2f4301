//! A table for a terminal.

use std::fmt;

/// Rows of text under a heading, in columns: first words, aligned to the left, then numbers, aligned to the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTable {
    /// How many of the columns are words.
    words: usize,
    /// The first is the heading.
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these headings and no rows. The first `words` columns are words, the others numbers.
    pub fn new<T: Into<String>>(words: usize, headings: impl IntoIterator<Item = T>) -> Self {
        Self { words, rows: vec![headings.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row: a cell for each heading.
    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The headings, and then the rows.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// How many of the columns are words; the others are numbers.
    pub fn words(&self) -> usize {
        self.words
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let width = |column: usize| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let padded = |(column, (cell, width)): (usize, (&String, &usize))| {
                if column < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(padded).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "{}", rules.join("  "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = TextTable::new(1, ["Region", "Dice"]);
        table.push(["Ödem".to_owned(), "0.5".to_owned()]);
        table.push(["WT".to_owned(), "-12.25".to_owned()]);
        let expected = "Region    Dice\n------  ------\nÖdem       0.5\nWT      -12.25\n";
        assert_eq!(table.to_string(), expected);
    }
}
