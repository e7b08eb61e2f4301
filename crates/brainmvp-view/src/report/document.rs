//! What a report consists of, before it is a page.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::kinds::read_json;

/// A report.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) sections: Vec<Section>,
}

/// A part of a report about one thing.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

/// A piece of a section.
#[derive(Debug)]
pub(super) enum Part {
    /// A heading within the section.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Something that the reader must not miss.
    Warning(String),
    /// Names and values.
    Facts(Vec<(String, String)>),
    Table(Table),
    Figure(Figure),
    /// A long text that is shown when it is asked for: a heading, and lines as they are.
    Listing {
        title: String,
        text: String,
    },
}

/// A table; the first `words` columns are words, the others numbers.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) caption: String,
    pub(super) words: usize,
    /// The first is the heading.
    pub(super) rows: Vec<Vec<String>>,
}

/// A picture with a name, under which it is also written as a file.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) caption: String,
    pub(super) picture: Picture,
}

/// A picture, as the bytes of its file.
#[derive(Debug)]
pub(super) enum Picture {
    Svg(String),
    Png(Vec<u8>),
}

impl Section {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), parts: Vec::new() }
    }

    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(text.into()));
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Warning(text.into()));
    }

    /// What a JSON file says, if there is one; a damaged one is named in a warning.
    pub(super) fn read<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        if !path.is_file() {
            return None;
        }
        read_json(path).map_err(|error| self.warning(error.to_string())).ok()
    }

    /// Adds names and values; values that are empty are left out.
    pub(super) fn facts(&mut self, facts: impl IntoIterator<Item = (&'static str, String)>) {
        let facts = facts.into_iter().filter(|(_, value)| !value.is_empty());
        let facts: Vec<_> = facts.map(|(name, value)| (name.to_owned(), value)).collect();
        if !facts.is_empty() {
            self.parts.push(Part::Facts(facts));
        }
    }

    pub(super) fn table(&mut self, caption: impl Into<String>, words: usize, rows: Vec<Vec<String>>) {
        if rows.len() > 1 {
            self.parts.push(Part::Table(Table { caption: caption.into(), words, rows }));
        }
    }

    pub(super) fn listing(&mut self, title: impl Into<String>, text: String) {
        if !text.is_empty() {
            self.parts.push(Part::Listing { title: title.into(), text });
        }
    }

    pub(super) fn figure(&mut self, name: impl Into<String>, caption: impl Into<String>, picture: Picture) {
        self.parts.push(Part::Figure(Figure { name: name.into(), caption: caption.into(), picture }));
    }
}

impl Document {
    /// The figures with the names of their files: the name of the section before the figure's own.
    pub(super) fn figures(&self) -> impl Iterator<Item = (String, &Figure)> {
        self.sections.iter().flat_map(|section| {
            let title = file_name(&section.title);
            section.parts.iter().filter_map(move |part| match part {
                Part::Figure(figure) => Some((format!("{title}-{}", file_name(&figure.name)), figure)),
                _ => None,
            })
        })
    }
}

/// A text as part of a file's name.
fn file_name(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || c == '.' { c } else { '-' };
    let mut name: String = text.to_lowercase().chars().map(plain).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    name.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_have_no_signs() {
        assert_eq!(file_name("Predictions: ../a b/seg"), "predictions-..-a-b-seg");
        assert_eq!(file_name("..\\x"), "x");
    }

    #[test]
    fn tables_without_rows_and_facts_without_values_are_left_out() {
        let mut section = Section::new("s");
        section.table("t", 1, vec![vec!["head".to_owned()]]);
        section.facts([("name", String::new())]);
        assert!(section.parts.is_empty());
    }
}
