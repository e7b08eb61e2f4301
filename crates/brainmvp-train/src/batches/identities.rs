//! Who is whom across data sets.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_volume::{AtPath as _, write_atomically};

use super::CaseSource;
use crate::{Error, Result};

/// A data set and a subject of it.
type Subject = (String, String);

/// A table that names persons who are in several data sets, or in one under several names. Subjects that it does not name are
/// persons of their own.
///
/// As a file it is CSV with the columns `data_set`, `subject` and `person`, the first two as the cohort has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identities {
    persons: BTreeMap<Subject, String>,
}

const COLUMNS: [&str; 3] = ["data_set", "subject", "person"];

impl Identities {
    /// Reads a table.
    ///
    /// # Errors
    /// If it cannot be read, lacks a column, or has a row that is empty somewhere or contradicts another: the line is named.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::table(path, reason);
        let file = std::fs::File::open(path).at(path)?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let header = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
        let column = |name: &str| {
            let found = header.iter().position(|title| title.trim_start_matches('\u{feff}') == name);
            found.ok_or_else(|| {
                wrong(format!("the column '{name}' is missing; it takes {}", COLUMNS.join(", ")))
            })
        };
        let columns = [column(COLUMNS[0])?, column(COLUMNS[1])?, column(COLUMNS[2])?];
        let mut persons = BTreeMap::new();
        for row in reader.records() {
            let row = row.map_err(|e| wrong(e.to_string()))?;
            let line = row.position().map_or(0, csv::Position::line);
            let [data_set, subject, person] = columns.map(|column| row.get(column).unwrap_or_default());
            for (name, value) in COLUMNS.iter().zip([data_set, subject, person]) {
                if value.is_empty() || value.contains(char::is_control) {
                    return Err(wrong(format!(
                        "line {line}: {name} is empty or contains control characters"
                    )));
                }
            }
            let key = (data_set.to_owned(), subject.to_owned());
            match persons.insert(key, person.to_owned()) {
                Some(before) if before != person => {
                    let who = format!("subject '{subject}' of {data_set}");
                    return Err(wrong(format!("line {line}: {who} is '{person}' here, '{before}' above")));
                }
                _ => {}
            }
        }
        Ok(Self { persons })
    }

    /// Tells each case its person. Returns the rows that are used, and `data set, subject` of those that name no case.
    pub fn apply(&self, cases: Vec<CaseSource>) -> (Vec<CaseSource>, Self, Vec<String>) {
        let mut used = Self::default();
        let cases = cases.into_iter().map(|case| {
            let key = (case.facts().data_set.clone(), case.facts().subject.clone());
            match self.persons.get(&key) {
                Some(person) => {
                    used.persons.insert(key, person.clone());
                    case.of_person(person)
                }
                None => case,
            }
        });
        let cases = cases.collect();
        let unused = self.persons.keys().filter(|key| !used.persons.contains_key(key));
        let unused = unused.map(|(data_set, subject)| format!("{data_set}, {subject}")).collect();
        (cases, used, unused)
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.persons.is_empty()
    }

    /// Writes the table, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            writer.write_record(COLUMNS)?;
            for ((data_set, subject), person) in &self.persons {
                writer.write_record([data_set, subject, person])?;
            }
            writer.flush()
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Identities> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.csv");
        std::fs::write(&path, text).unwrap();
        Identities::read(&path)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let table = "person, subject ,note,data_set\np1,\"7, a\",x,BraTS\np1,sub-7,,UPENN\np1,sub-7,,UPENN\n";
        let identities = read(table).unwrap();
        assert_eq!(identities.persons.len(), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identities.csv");
        identities.write(&path).unwrap();
        assert_eq!(Identities::read(&path).unwrap(), identities);
    }

    #[test]
    fn wrong_rows_are_named_by_line() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert!(message("data_set,subject\nA,1\n").contains("'person' is missing"));
        assert!(message("data_set,subject,person\nA,1,p\nA,2,\n").contains("line 3: person is empty"));
        let contradiction = message("data_set,subject,person\nA,1,p\nB,1,p\nA,1,q\n");
        assert!(contradiction.contains("line 4: subject '1' of A is 'q' here, 'p' above"), "{contradiction}");
        assert!(message("data_set,subject,person\nA,1\n").contains("people.csv"));
        assert!(Identities::read(Path::new("nowhere.csv")).unwrap_err().to_string().contains("nowhere.csv"));
    }
}
