//! The subject key: the number given to each patient.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{AtPath as _, write_atomically};

use crate::{Error, Result};

/// The numbers of patients and of their studies, from 1 in the order in which they are found.
///
/// Once saved, it links the numbers to the patients: keep it private, unlike the converted data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectKey {
    /// Patient to number, and study to number within the patient.
    patients: BTreeMap<String, (usize, BTreeMap<String, usize>)>,
}

const HEADER: &str = "subject\tsession\tPatientID\tStudyInstanceUID";

/// The highest number that a key is read with: there is always a next one.
const MOST: usize = 999_999_999;

impl SubjectKey {
    /// The numbers of subject and session; new ones if the patient or study is new. Without a patient id each study is
    /// a subject.
    pub fn number(&mut self, patient: &str, study: &str) -> (usize, usize) {
        let patient = if patient.is_empty() { study } else { patient };
        let next = self.patients.values().map(|(number, _)| number + 1).max().unwrap_or(1);
        let (subject, studies) = self.patients.entry(patient.to_owned()).or_insert((next, BTreeMap::new()));
        let next = studies.values().map(|number| number + 1).max().unwrap_or(1);
        (*subject, *studies.entry(study.to_owned()).or_insert(next))
    }

    /// Reads a key that [`SubjectKey::save`] wrote.
    ///
    /// # Errors
    /// Where it cannot be read or is not a key.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Error::malformed(path, "not a subject key as `convert --key` writes it"));
        }
        let mut key = Self::default();
        for (i, line) in lines.enumerate() {
            let refuse =
                || Error::malformed(path, format!("line {}: expected number, number, id, study", i + 2));
            let [subject, session, patient, study] =
                line.split('\t').collect::<Vec<_>>().try_into().map_err(|_| refuse())?;
            let number = |cell: &str| {
                let number: Option<usize> = cell.parse().ok().filter(|number| *number <= MOST);
                number.ok_or_else(|| {
                    Error::malformed(path, format!("line {}: '{cell}' is no number up to {MOST}", i + 2))
                })
            };
            let (subject, session) = (number(subject)?, number(session)?);
            let (_, studies) = key.patients.entry(patient.to_owned()).or_insert((subject, BTreeMap::new()));
            studies.insert(study.to_owned(), session);
        }
        Ok(key)
    }

    /// Writes the key, completely or not at all.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let clean = |id: &str| id.replace(['\t', '\n', '\r'], " ");
        let mut lines = vec![HEADER.to_owned()];
        for (patient, (subject, studies)) in &self.patients {
            let line = |(study, session): (&String, &usize)| {
                format!("{subject}\t{session}\t{}\t{}", clean(patient), clean(study))
            };
            lines.extend(studies.iter().map(line));
        }
        let text = lines.join("\n") + "\n";
        let written = write_atomically(path, |file| file.write_all(text.as_bytes()));
        written.map_err(|error| Error::Cohort(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay() {
        let mut key = SubjectKey::default();
        let numbers = |key: &mut SubjectKey| {
            [("b", "1"), ("a", "2"), ("b", "3"), ("", "4"), ("b", "1")].map(|(p, s)| key.number(p, s))
        };
        let expected = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 1)];
        assert_eq!(numbers(&mut key), expected);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.tsv");
        key.save(&path).unwrap();
        let mut read = SubjectKey::load(&path).unwrap();
        assert_eq!(numbers(&mut read), expected);
        assert_eq!(read.number("c", "9"), (4, 1));
        std::fs::write(&path, "x\n").unwrap();
        assert!(SubjectKey::load(&path).is_err());
    }
}
