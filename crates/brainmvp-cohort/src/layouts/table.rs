//! The user's table of classes, subjects, sites and splits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};

use crate::{Case, Error, Result, Split};

/// The columns that are read besides `id`, in the order of [`Row`].
const COLUMNS: [&str; 4] = ["class", "subject", "site", "split"];

/// What the table says of one case or subject; what is empty is not said.
type Row = [Option<String>; COLUMNS.len()];

/// Applies the table; returns warnings about rows and cases that found no partner.
///
/// A row belongs to the case of its id or, where there is none, to all cases of that subject.
///
/// # Errors
/// [`Error::Malformed`] for a table without `id`, without a known column, with an unknown split, or with two
/// rows of one id that differ.
pub(super) fn apply(table: &Path, cases: &mut [Case]) -> Result<Vec<String>> {
    let rows = read(table)?;
    let mut unused: BTreeSet<&str> = rows.keys().map(String::as_str).collect();
    let mut unmatched = Vec::new();
    for case in cases {
        let key = [case.id.as_str(), case.subject.as_str()].into_iter().find(|key| rows.contains_key(*key));
        let Some((key, row)) = key.and_then(|key| rows.get_key_value(key)) else {
            unmatched.push(case.id.to_string());
            continue;
        };
        unused.remove(key.as_str());
        let [class, subject, site, split] = row.clone();
        case.class = class.or(case.class.take());
        case.subject = subject.unwrap_or_else(|| case.subject.clone());
        case.site = site.or(case.site.take());
        if let Some(split) = split {
            case.split = Some(
                split
                    .parse::<Split>()
                    .map_err(|reason| Error::malformed(table, format!("{key}: {reason}")))?,
            );
        }
    }
    let mut warnings = Vec::new();
    if let Some(first) = unused.first() {
        warnings.push(format!("{} rows of {} match no case, e.g. {first}", unused.len(), table.display()));
    }
    if let Some(first) = unmatched.first() {
        warnings.push(format!("{} cases are not in {}, e.g. {first}", unmatched.len(), table.display()));
    }
    Ok(warnings)
}

fn read(table: &Path) -> Result<BTreeMap<String, Row>> {
    let refuse = |reason: String| Error::malformed(table, reason);
    let bytes = std::fs::read(table).map_err(|e| Error::io(table, e))?;
    // Tables of old data sets are Latin-1, whose bytes are the first 256 characters of Unicode.
    let text =
        String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
    let text = text.trim_start_matches('\u{feff}');
    let tabs = table.extension().is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
    let mut reader = ReaderBuilder::new()
        .delimiter(if tabs { b'\t' } else { b',' })
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| refuse(e.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|title| title.eq_ignore_ascii_case(name));
    let id = column("id").ok_or_else(|| refuse("no column 'id'".to_owned()))?;
    let columns = COLUMNS.map(column);
    if columns.iter().all(Option::is_none) {
        return Err(refuse(format!("none of the columns {}", COLUMNS.join(", "))));
    }
    let cell =
        |record: &StringRecord, at: usize| record.get(at).filter(|cell| !cell.is_empty()).map(str::to_owned);
    let mut rows = BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| refuse(e.to_string()))?;
        let Some(id) = cell(&record, id) else { continue };
        let row: Row = columns.map(|at| cell(&record, at?));
        if rows.insert(id.clone(), row.clone()).is_some_and(|earlier| earlier != row) {
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

    fn apply_text(name: &str, text: &[u8], cases: &mut [Case]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        apply(&path, cases)
    }

    #[test]
    fn rows_join_by_case_then_subject() {
        let mut cases = cases();
        let text = b"ID,Class,site,split\na,HGG,\"Z\xfcrich, CH\",train\na_2,LGG,,\nc,LGG,,\n";
        let warnings = apply_text("t.csv", text, &mut cases).unwrap();
        assert_eq!(cases[0].class.as_deref(), Some("HGG"));
        assert_eq!(cases[0].site.as_deref(), Some("Zürich, CH"));
        assert_eq!(cases[0].split, Some(Split::Training));
        assert_eq!(cases[1].class.as_deref(), Some("LGG"));
        assert_eq!(cases[2].class, None);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("e.g. c") && warnings[1].contains("e.g. b"), "{warnings:?}");
    }

    #[test]
    fn repeated_rows_may_not_differ() {
        apply_text("t.tsv", b"id\tclass\na_1\tx\na_1\tx\n", &mut cases()).unwrap();
        for text in ["id,class\na_1,x\na_1,y\n", "class\nx\n", "id,foo\na,b\n", "id,split\nb,fold3\n"] {
            assert!(apply_text("t.csv", text.as_bytes(), &mut cases()).is_err(), "{text}");
        }
    }
}
