//! Names of files and descriptions of series, each with what it is.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;

use brainmvp_cohort::identity::{Acquisition, Aliases, Finding, Verdict, of_file, of_series};
use brainmvp_golden::test_data;
use brainmvp_volume::Role;

/// A row of a table: kind, name, TE, TR, TI (ms), ScanningSequence, ImageType, other attributes, and what is right.
struct Row {
    kind: String,
    name: String,
    acquisition: Acquisition,
    right: String,
}

impl Row {
    fn of(line: &str) -> Self {
        let cells: Vec<&str> = line.split('\t').collect();
        assert_eq!(cells.len(), 9, "{line}");
        let words = |text: &str| -> Vec<String> {
            let words =
                text.split(['\\', ',', '[', ']', '\'']).map(str::trim).filter(|word| !word.is_empty());
            words.map(str::to_uppercase).collect()
        };
        let other = |key: &str| {
            let pairs = cells[7].split(';').filter_map(|pair| pair.split_once('='));
            let found = pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(known, _)| *known == key);
            found.map(|(_, value)| value.trim_matches('\'').to_owned())
        };
        let acquisition = Acquisition {
            device: Some("MR".to_owned()),
            description: Some(cells[1].to_owned()),
            echo_time_ms: cells[2].parse().ok(),
            repetition_time_ms: cells[3].parse().ok(),
            inversion_time_ms: cells[4].parse().ok(),
            scanning_sequence: words(cells[5]),
            image_type: words(cells[6]),
            agent: other("ContrastBolusAgent"),
            body_part: other("BodyPartExamined"),
            b_value: other("b").map(|b| b.parse().unwrap()),
            ..Acquisition::default()
        };
        Self { kind: cells[0].to_owned(), name: cells[1].to_owned(), acquisition, right: cells[8].to_owned() }
    }

    fn finding(&self) -> Finding {
        let aliases = Aliases::default();
        match self.kind.as_str() {
            "file" => of_file(&self.name, None, None, &aliases).finding,
            "dicom" => of_series(&self.acquisition, &aliases),
            kind => panic!("{kind}"),
        }
    }
}

/// `t1`, `label`, `mask`, `none` or `refused`.
fn answer(finding: &Finding) -> String {
    match &finding.verdict {
        Verdict::Is(Role::Image(modality)) => modality.to_string(),
        Verdict::Is(Role::Label) => "label".to_owned(),
        Verdict::Is(Role::BrainMask) => "mask".to_owned(),
        Verdict::Is(Role::Ignored) | Verdict::Not(_) => "none".to_owned(),
        Verdict::Open(_) | Verdict::Unknown => "refused".to_owned(),
    }
}

fn rows(table: &str) -> Vec<Row> {
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(Row::of).collect()
}

/// The wrong answers as text, each with its evidence.
fn wrong(rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let finding = row.finding();
        let found = answer(&finding);
        if !row.right.split(" or ").any(|right| right == found) {
            let (kind, name, right) = (&row.kind, &row.name, &row.right);
            wrong.push(format!("{kind} {name}: {right}, but {} [{}]", finding.decision(), finding.reason()));
        }
    }
    wrong
}

const OWN: &str = include_str!("data/names.tsv");

/// Names that were written down before the program was tried on them.
const MORE: &str = include_str!("data/more_names.tsv");

fn all_rows() -> Vec<Row> {
    rows(OWN).into_iter().chain(rows(MORE)).collect()
}

#[test]
fn names_say_what_they_say() {
    let rows = all_rows();
    assert!(rows.len() >= 2000, "{}", rows.len());
    let wrong = wrong(&rows);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Whatever the right answer is, it is explained.
#[test]
fn every_answer_has_its_evidence() {
    for row in all_rows() {
        let finding = row.finding();
        if finding.verdict != Verdict::Unknown {
            assert!(!finding.evidence.is_empty(), "{}: {:?}", row.name, finding.verdict);
            for evidence in &finding.evidence {
                assert!(!evidence.text.is_empty(), "{}: {evidence:?}", row.name);
            }
        }
    }
}

/// The table of names that lies beside the test data (`cases/names.tsv` beside `$BRAINMVP_TEST_DATA`).
#[test]
fn names_of_the_shared_table() {
    let Some(path) = test_data("../cases/names.tsv") else { return };
    let table = std::fs::read_to_string(&path).unwrap();
    let rows = rows(&table);
    let wrong = wrong(&rows);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Words that only differ in case, separators and a patient before them mean the same.
#[test]
fn case_separators_and_patients_do_not_matter() {
    // What is refused alone may be a patient, who has no patient before him.
    for row in all_rows().iter().filter(|row| row.kind == "file" && row.right != "refused") {
        let expected = answer(&row.finding());
        let mut names = vec![format!("P-0123_{}", row.name), format!("sub-17_{}", row.name)];
        let letters: Vec<char> = row.name.chars().collect();
        let by_capitals = letters.windows(2).any(|two| two[0].is_lowercase() && two[1].is_uppercase());
        if !by_capitals {
            names.push(row.name.to_uppercase());
            names.push(row.name.to_lowercase());
        }
        if !row.name.contains(['-', '+', '/']) {
            names.push(row.name.replace('_', "."));
            names.push(row.name.replace('_', " "));
        }
        for name in names {
            let finding = of_file(&name, None, None, &Aliases::default()).finding;
            assert_eq!(answer(&finding), expected, "{name}: {}", finding.reason());
        }
    }
}

/// How often each answer was given for each right one; printed with `--nocapture`.
#[test]
fn confusions_are_only_with_refusals() {
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    for row in all_rows() {
        let found = answer(&row.finding());
        let right = row.right.split(" or ").find(|right| *right == found).unwrap_or(&row.right).to_owned();
        *table.entry((right, found)).or_default() += 1;
    }
    for ((right, found), count) in &table {
        eprintln!("{right}\t{found}\t{count}");
        assert!(right == found || found == "refused", "{right} taken as {found}");
    }
}
