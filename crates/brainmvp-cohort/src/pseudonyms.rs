//! Pseudonyms: numbers in the place of the names of cases and subjects, and the table that links both.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{AtPath as _, write_atomically};

use crate::{Case, CaseId, Cohort, Error, Result};

/// The pseudonyms of subjects, `s0001`, and of their cases, `s0001` and `s0001-2`.
///
/// Once saved, the table links the numbers to people: keep it private.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pseudonyms {
    /// Data set and subject to number, and case to number within the subject.
    subjects: BTreeMap<(String, String), (usize, BTreeMap<String, usize>)>,
}

const HEADER: &str = "subject\tcase\tdata_set\toriginal_subject\toriginal_case";

impl Pseudonyms {
    /// Gives every subject and case of a cohort its pseudonym. Those of the table stay; new ones are numbered in an order that tells nothing
    /// of the names.
    ///
    /// # Errors
    /// [`Error::CaseId`] if a pseudonym were no id.
    pub fn apply(&mut self, cohort: &mut Cohort) -> Result<()> {
        let mut new: Vec<&Case> = cohort.cases.iter().collect();
        new.sort_by_cached_key(|case| {
            *blake3::hash(format!("{}\t{}", case.subject, case.id).as_bytes()).as_bytes()
        });
        for case in new {
            self.numbers(case);
        }
        for case in &mut cohort.cases {
            let (subject, number) = self.numbers(case);
            case.subject = format!("s{subject:04}");
            case.id = CaseId::new(case_name(&case.subject, number))?;
        }
        cohort.sort();
        Ok(())
    }

    fn numbers(&mut self, case: &Case) -> (usize, usize) {
        let next = self.subjects.values().map(|(number, _)| number + 1).max().unwrap_or(1);
        let key = (clean(&case.data_set), clean(&case.subject));
        let (subject, cases) = self.subjects.entry(key).or_insert((next, BTreeMap::new()));
        let next = cases.values().map(|number| number + 1).max().unwrap_or(1);
        (*subject, *cases.entry(case.id.to_string()).or_insert(next))
    }

    /// Reads a table that [`Pseudonyms::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is no such table.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Error::malformed(
                path,
                "not a table of pseudonyms as `index --pseudonyms` writes it",
            ));
        }
        let mut found = Self::default();
        for (place, line) in lines.enumerate() {
            let read = || {
                let [name, case, data_set, subject, id] =
                    line.split('\t').collect::<Vec<_>>().try_into().ok()?;
                let number: usize = name.strip_prefix('s')?.parse().ok()?;
                let within = case.strip_prefix(name)?;
                let within = if within.is_empty() { 1 } else { within.strip_prefix('-')?.parse().ok()? };
                Some((number, within, data_set.to_owned(), subject.to_owned(), id.to_owned()))
            };
            let (number, within, data_set, subject, id) = read()
                .ok_or_else(|| Error::malformed(path, format!("line {}: not of this table", place + 2)))?;
            let (_, cases) =
                found.subjects.entry((data_set, subject)).or_insert_with(|| (number, BTreeMap::new()));
            cases.insert(id, within);
        }
        Ok(found)
    }

    /// Writes the table, completely or not at all.
    ///
    /// # Errors
    /// Where the disk refuses or is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut rows = Vec::new();
        for ((data_set, subject), (number, cases)) in &self.subjects {
            let name = format!("s{number:04}");
            rows.extend(cases.iter().map(|(id, within)| {
                (
                    *number,
                    *within,
                    format!("{name}\t{}\t{data_set}\t{subject}\t{id}", case_name(&name, *within)),
                )
            }));
        }
        rows.sort();
        let lines = std::iter::once(HEADER.to_owned()).chain(rows.into_iter().map(|(.., row)| row));
        let text: String = lines.map(|line| line + "\n").collect();
        Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
    }
}

fn case_name(subject: &str, number: usize) -> String {
    if number == 1 { subject.to_owned() } else { format!("{subject}-{number}") }
}

/// A name as a cell of the table.
fn clean(name: &str) -> String {
    name.replace(['\t', '\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohort(names: &[(&str, &str)]) -> Cohort {
        let cases = names.iter().map(|(id, subject)| Case::new(CaseId::new(*id).unwrap(), *subject, "set"));
        Cohort { cases: cases.collect(), ..Cohort::default() }
    }

    #[test]
    fn numbers_stay_and_subjects_keep_their_cases() {
        let people = [("Doe_1", "Doe"), ("Doe_2", "Doe"), ("Roe_1", "Roe"), ("Abe_1", "Abe")];
        let mut first = cohort(&people);
        let mut pseudonyms = Pseudonyms::default();
        pseudonyms.apply(&mut first).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.tsv");
        pseudonyms.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let row = |case: &str| text.lines().find(|line| line.ends_with(case)).unwrap().to_owned();
        let cell = |case: &str, at: usize| row(case).split('\t').nth(at).unwrap().to_owned();
        assert_eq!(cell("Doe_1", 0), cell("Doe_2", 0));
        assert_ne!(cell("Doe_1", 1), cell("Doe_2", 1));
        assert!(first.cases.iter().all(|case| case.id.as_str().starts_with(&case.subject)));
        // Others come; those that were there keep their numbers.
        let mut read = Pseudonyms::load(&path).unwrap();
        assert_eq!(read, pseudonyms);
        let mut second = cohort(&[&people[..], &[("Doe_0", "Doe"), ("Aaron_1", "Aaron")]].concat());
        read.apply(&mut second).unwrap();
        let ids = |cohort: &Cohort| cohort.cases.iter().map(|case| case.id.to_string()).collect::<Vec<_>>();
        assert!(ids(&first).iter().all(|id| ids(&second).contains(id)));
        assert_eq!(ids(&second).len(), 6);
        assert!(ids(&second).contains(&format!("{}-3", cell("Doe_1", 0))));
        std::fs::write(&path, "x\n").unwrap();
        assert!(Pseudonyms::load(&path).is_err());
        std::fs::write(&path, format!("{HEADER}\n1\t2\t3\n")).unwrap();
        assert!(Pseudonyms::load(&path).unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn the_order_of_numbers_is_not_that_of_names() {
        let names: Vec<String> = (0..20).map(|i| format!("p{i:02}")).collect();
        let mut made = cohort(&names.iter().map(|name| (name.as_str(), name.as_str())).collect::<Vec<_>>());
        let mut pseudonyms = Pseudonyms::default();
        pseudonyms.apply(&mut made).unwrap();
        let numbers: Vec<usize> = pseudonyms.subjects.values().map(|(number, _)| *number).collect();
        assert!(!numbers.is_sorted(), "{numbers:?}");
    }
}
