//! The user's table of classes, subjects, sites, splits and numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use brainmvp_volume::AtPath as _;
use csv::{ReaderBuilder, StringRecord};

use crate::{Case, Error, Result, Split};

/// The columns of texts that are read, in the order of [`Row::texts`], each with the titles that it has in published tables.
const COLUMNS: [&[&str]; 4] = [
    &["class", "group", "dx_group", "dx", "diagnosis", "grade"],
    &["subject", "ptid"],
    &["site", "site_id"],
    &["split"],
];

/// Titles of the id column.
const ID_TITLES: [&str; 6] = ["id", "participant_id", "image data id", "sub_id", "scandir id", "subject"];

/// Words for a missing value.
const NO_VALUE: [&str; 7] = ["n/a", "na", "nan", "pending", "-999", "-9999", "withheld"];

/// The table's entry for a case or subject; an empty cell says nothing.
#[derive(Default)]
struct Row {
    texts: [Option<String>; COLUMNS.len()],
    /// In the order of the columns that the user names.
    numbers: Vec<Option<f64>>,
}

/// Where the columns are that a table has.
struct Columns {
    id: usize,
    texts: [Option<usize>; COLUMNS.len()],
    numbers: Vec<Option<usize>>,
}

/// Applies the user's table, with `numbers`, the names of its columns of numbers; returns the ids of rows without a case, and
/// a warning about cases without a row.
///
/// A row belongs to the case with its id or, if there is none, to all cases of the subject with that name. Ids may
/// differ in upper and lower case, in a leading `sub-` and in leading zeros (`sub-0026001` and 26001).
///
/// # Errors
/// [`Error::Malformed`] for a table without ids, without a known column, with an unknown split, with a text where a
/// number is expected, or with two rows of one id that differ.
pub(super) fn apply(
    table: &Path,
    numbers: &[String],
    cases: &mut [Case],
) -> Result<(Vec<String>, Option<String>)> {
    let rows = read(table, numbers)?;
    let joined = join(table, numbers, &rows, cases)?;
    let warning = joined.unmatched.first().map(|first| {
        format!("{} cases are not in {}, e.g. {first}", joined.unmatched.len(), table.display())
    });
    Ok((joined.unused.into_iter().collect(), warning))
}

/// Applies a table found with the data (`participants.tsv`), which may have no known column and may list other cases.
pub(super) fn apply_own(table: &Path, numbers: &[String], cases: &mut [Case]) -> Vec<String> {
    match read(table, numbers).and_then(|rows| join(table, numbers, &rows, cases)) {
        Ok(_) => Vec::new(),
        Err(Error::Malformed { reason, .. }) if reason.starts_with(NO_COLUMN) => Vec::new(),
        Err(error) => vec![format!("not used: {error}")],
    }
}

/// The start of the reason why a table has nothing to say.
const NO_COLUMN: &str = "none of the columns";

/// Rows and cases without a match.
struct Joined {
    unused: BTreeSet<String>,
    unmatched: Vec<String>,
}

fn join(
    table: &Path,
    numbers: &[String],
    rows: &BTreeMap<String, Row>,
    cases: &mut [Case],
) -> Result<Joined> {
    let mut plain: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for id in rows.keys() {
        plain.entry(plain_id(id)).or_default().push(id);
    }
    let mut joined = Joined { unused: rows.keys().cloned().collect(), unmatched: Vec::new() };
    for case in cases {
        let image = case.id.as_str().rsplit('_').next().unwrap_or_default();
        let keys = [case.id.as_str(), image, &case.subject];
        let exact = || keys.into_iter().find_map(|key| rows.get_key_value(key));
        // Rows that differ only in leading zeros match nobody.
        let alike = || {
            keys.into_iter().find_map(|key| match plain.get(&plain_id(key))?.as_slice() {
                [only] => rows.get_key_value(*only),
                _ => None,
            })
        };
        let Some((key, row)) = exact().or_else(alike) else {
            joined.unmatched.push(case.id.to_string());
            continue;
        };
        joined.unused.remove(key);
        let [class, subject, site, split] = row.texts.clone();
        case.class = class.or(case.class.take());
        case.subject = subject.unwrap_or_else(|| case.subject.clone());
        case.site = site.or(case.site.take());
        let named = numbers.iter().zip(&row.numbers);
        case.numbers.extend(named.filter_map(|(name, number)| Some((name.clone(), (*number)?))));
        if let Some(split) = split {
            let split = split.parse::<Split>();
            case.split = Some(split.map_err(|reason| Error::malformed(table, format!("{key}: {reason}")))?);
        }
    }
    Ok(joined)
}

/// An id in lower case, without `sub-` and leading zeros.
fn plain_id(id: &str) -> String {
    let lower = id.to_lowercase();
    let mut plain = String::new();
    let mut in_number = false;
    for c in lower.strip_prefix("sub-").unwrap_or(&lower).chars() {
        if c != '0' || in_number || !c.is_ascii_digit() {
            plain.push(c);
        }
        in_number = c.is_ascii_digit() && (in_number || c != '0');
    }
    plain
}

/// What separates the columns: the character of these that the first line has most of, outside quotes. Programs of
/// countries with a decimal comma write semicolons.
fn delimiter_of(text: &str) -> u8 {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let outside: String = header.split('"').step_by(2).collect();
    let count = |delimiter: &u8| outside.bytes().filter(|byte| byte == delimiter).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(count).unwrap_or(b',')
}

/// A whole number that a program has written with one or two decimals, `2.0` or `2,00`, without them.
fn without_decimals(cell: &str) -> &str {
    let number = cell.split_once(['.', ',']).filter(|(whole, decimals)| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(whole) && ["0", "00"].contains(decimals)
    });
    number.map_or(cell, |(whole, _)| whole)
}

/// A finite number; with a decimal comma too, where commas do not separate columns.
fn number_of(cell: &str, delimiter: u8) -> Option<f64> {
    let with_point = (delimiter != b',').then(|| cell.replace(',', "."));
    let found = cell.parse().ok().or_else(|| with_point?.parse::<f64>().ok());
    found.filter(|number| number.is_finite())
}

impl Columns {
    fn of(header: &StringRecord, numbers: &[String]) -> std::result::Result<Self, String> {
        let column = |titles: &[&str]| {
            titles.iter().find_map(|name| header.iter().position(|title| title.eq_ignore_ascii_case(name)))
        };
        let id = column(&ID_TITLES)
            .ok_or_else(|| format!("no column 'id' (nor any of: {})", ID_TITLES[1..].join(", ")))?;
        let texts = COLUMNS.map(|titles| column(titles).filter(|at| *at != id));
        let numbers: Vec<_> = numbers.iter().map(|name| column(&[name]).filter(|at| *at != id)).collect();
        if texts.iter().chain(&numbers).all(Option::is_none) {
            let names: Vec<_> = COLUMNS.iter().map(|titles| titles[0]).collect();
            return Err(format!("{NO_COLUMN} {}", names.join(", ")));
        }
        Ok(Self { id, texts, numbers })
    }
}

impl Row {
    /// Adds what another row of the same id says; false if they contradict each other.
    fn join(&mut self, other: Self) -> bool {
        fn agree<T: PartialEq>(known: &mut Option<T>, new: Option<T>) -> bool {
            let same = known.is_none() || new.is_none() || *known == new;
            *known = known.take().or(new);
            same
        }
        self.numbers.resize(other.numbers.len(), None);
        let texts = self.texts.iter_mut().zip(other.texts).all(|(known, new)| agree(known, new));
        texts & self.numbers.iter_mut().zip(other.numbers).all(|(known, new)| agree(known, new))
    }
}

fn read(table: &Path, numbers: &[String]) -> Result<BTreeMap<String, Row>> {
    let refuse = |reason: String| Error::malformed(table, reason);
    let bytes = std::fs::read(table).at(table)?;
    // Tables of old data sets are Latin-1, whose bytes are the first 256 characters of Unicode.
    let text =
        String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
    let text = text.trim_start_matches('\u{feff}');
    let delimiter = delimiter_of(text);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .flexible(true)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| refuse(e.to_string()))?.clone();
    let columns = Columns::of(&header, numbers).map_err(refuse)?;
    let cell = |record: &StringRecord, at: usize| {
        let cell = record.get(at).filter(|cell| !cell.is_empty())?;
        let cell = without_decimals(cell);
        (!NO_VALUE.contains(&cell.to_lowercase().as_str())).then(|| cell.to_owned())
    };
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| refuse(e.to_string()))?;
        let Some(id) = cell(&record, columns.id) else { continue };
        let number = |(name, at): (&String, &Option<usize>)| {
            let Some(cell) = at.and_then(|at| cell(&record, at)) else { return Ok(None) };
            let wrong = || refuse(format!("'{id}': {name} is '{cell}', not a number"));
            number_of(&cell, delimiter).map(Some).ok_or_else(wrong)
        };
        let row = Row {
            texts: columns.texts.map(|at| cell(&record, at?)),
            numbers: numbers.iter().zip(&columns.numbers).map(number).collect::<Result<_>>()?,
        };
        if !rows.entry(id.clone()).or_default().join(row) {
            return Err(refuse(format!("'{id}' has two rows that differ")));
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CaseId;

    fn cases() -> Vec<Case> {
        ["a_1", "a_2", "b"].map(|id| Case::new(CaseId::new(id).unwrap(), &id[..1], "d")).into()
    }

    type Applied = (Vec<String>, Option<String>);

    fn apply_text(name: &str, text: &[u8], cases: &mut [Case]) -> Result<Applied> {
        apply_numbers(name, text, &[], cases)
    }

    fn apply_numbers(name: &str, text: &[u8], numbers: &[&str], cases: &mut [Case]) -> Result<Applied> {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        apply(&path, &numbers, cases)
    }

    #[test]
    fn columns_of_numbers_are_named_by_the_user() {
        for (name, text) in [
            ("t.csv", "id;Age;volume (ml)\na_1;63,5;-1,5e1\nb;n/a;2\n"),
            ("t.tsv", "id\tage\tvolume (ml)\na_1\t63.5\t-15.0\nb\t\t2\n"),
        ] {
            let mut cases = cases();
            apply_numbers(name, text.as_bytes(), &["age", "volume (ml)"], &mut cases).unwrap();
            let of = |case: usize, name: &str| cases[case].numbers.get(name).copied();
            assert_eq!((of(0, "age"), of(0, "volume (ml)")), (Some(63.5), Some(-15.0)), "{text}");
            assert_eq!((of(2, "age"), of(2, "volume (ml)")), (None, Some(2.0)), "{text}");
            assert!(cases[1].numbers.is_empty());
        }
        for text in ["id,age\na_1,old\n", "id,age\na_1,inf\n", "id,age\na_1,1\na_1,2\n", "id,size\na_1,1\n"] {
            assert!(apply_numbers("t.csv", text.as_bytes(), &["age"], &mut cases()).is_err(), "{text}");
        }
        let wrong = apply_numbers("t.csv", b"id,age\na_1,old\n", &["age"], &mut cases()).unwrap_err();
        assert!(wrong.to_string().contains("'a_1': age is 'old', not a number"), "{wrong}");
    }

    #[test]
    fn rows_join_by_case_then_subject() {
        let mut cases = cases();
        let text = b"ID,Class,site,split\na,HGG,\"Z\xfcrich, CH\",train\na_2,LGG,,\nc,LGG,,\n";
        let (unused, warning) = apply_text("t.csv", text, &mut cases).unwrap();
        assert_eq!(cases[0].class.as_deref(), Some("HGG"));
        assert_eq!(cases[0].site.as_deref(), Some("Zürich, CH"));
        assert_eq!(cases[0].split, Some(Split::Training));
        assert_eq!(cases[1].class.as_deref(), Some("LGG"));
        assert_eq!(cases[2].class, None);
        assert_eq!(unused, ["c"]);
        assert!(warning.is_some_and(|warning| warning.contains("e.g. b")));
    }

    #[test]
    fn tables_as_they_come_with_the_public_data_sets() {
        let case = |id: &str, subject: &str| Case::new(CaseId::new(id).unwrap(), subject, "d");
        let mut cases = [
            case("0050952", "0050952"),
            case("002_S_0295_I45108", "002_S_0295"),
            case("sub-0026001_ses-1", "sub-0026001"),
            case("UCSF-PDGM-0004", "UCSF-PDGM-0004"),
        ];
        let abide =
            b",Unnamed: 0,SUB_ID,SITE_ID,FILE_ID,DX_GROUP,NOTE\n0,1,50952,NYU,no_filename,2,\"a, b\"\n";
        apply_text("Phenotypic_V1_0b.csv", abide, &mut cases).unwrap();
        let adni = b"Image Data ID,Subject,Group,Sex\nI45108,002_S_0295,LMCI,M\n";
        apply_text("ADNI1.csv", adni, &mut cases).unwrap();
        let adhd = b"participant_id\tdx\n26001\tpending\n26001\tADHD-Combined\n";
        apply_text("participants.tsv", adhd, &mut cases).unwrap();
        apply_text("UCSF.csv", b"ID,Grade\nUCSF-PDGM-004,4\n", &mut cases).unwrap();
        let classes = cases.map(|case| case.class.unwrap_or_default());
        assert_eq!(classes, ["2", "LMCI", "ADHD-Combined", "4"]);
    }

    #[test]
    fn tables_with_semicolons_and_decimal_commas() {
        for (name, text) in [
            ("t.csv", "id;age;class;site\na_1;63,5;2,0;\"Bern; CH\"\nb;71,25;3,0;Ulm\n"),
            (
                "t.csv",
                "\"id\";\"volume (ml, total)\";\"class\";\"site\"\n\"a_1\";\"1,5\";\"2\";\"Bern; CH\"\nb;2,5;3;Ulm\n",
            ),
            ("t.tsv", "id\tage\tclass\tsite\na_1\t63,5\t2.0\tBern; CH\nb\t71,25\t3.0\tUlm\n"),
            ("t.txt", "id,class,site\na_1,2.0,Bern; CH\nb,3,Ulm\n"),
        ] {
            let mut cases = cases();
            apply_text(name, text.as_bytes(), &mut cases).unwrap();
            let told =
                |case: &Case| (case.class.clone().unwrap_or_default(), case.site.clone().unwrap_or_default());
            assert_eq!(told(&cases[0]), ("2".to_owned(), "Bern; CH".to_owned()), "{text}");
            assert_eq!(told(&cases[2]), ("3".to_owned(), "Ulm".to_owned()), "{text}");
        }
        assert_eq!(["2.5", "1,000", "10.0", "v1.0"].map(without_decimals), ["2.5", "1,000", "10", "v1.0"]);
    }

    #[test]
    fn zeros_before_numbers_do_not_count() {
        for (one, other) in [("sub-0050952", "50952"), ("UCSF-PDGM-0004", "UCSF-PDGM-004"), ("a0", "a")] {
            assert_eq!(plain_id(one), plain_id(other));
        }
        assert_ne!(plain_id("a10"), plain_id("a1"));
        assert_ne!(plain_id("a1"), plain_id("a2"));
    }

    #[test]
    fn repeated_rows_may_not_differ() {
        apply_text("t.tsv", b"id\tclass\na_1\tx\na_1\tx\n", &mut cases()).unwrap();
        for text in ["id,class\na_1,x\na_1,y\n", "class\nx\n", "id,foo\na,b\n", "id,split\nb,fold3\n"] {
            assert!(apply_text("t.csv", text.as_bytes(), &mut cases()).is_err(), "{text}");
        }
    }
}
