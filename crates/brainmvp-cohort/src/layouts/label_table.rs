//! The tables of labels in data lists (`dataset.json`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::{IGNORE, LabelScheme, OwnScheme};

/// What a table has under a key.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    /// nnU-Net: `{"oedema": 1}`.
    Value(u16),
    /// nnU-Net, a region: `{"whole tumour": [1, 2, 3]}`.
    Region(BTreeSet<u16>),
    /// The Decathlon, and nnU-Net's first version: `{"1": "oedema"}`.
    Name(String),
}

/// The scheme that a table declares; `None` if there is no table, or nothing but the background in it.
///
/// As in nnU-Net, a label named `ignore` marks voxels whose label is not known, and where there is a region, every other
/// label is one too.
///
/// # Errors
/// Which entry cannot be understood.
pub(super) fn label_scheme(table: Option<&Value>) -> Result<Option<LabelScheme>, String> {
    let Some(table) = table.and_then(Value::as_object) else { return Ok(None) };
    let (mut values, mut regions) = (BTreeMap::new(), Vec::new());
    for (key, entry) in table {
        let odd = || format!("\"labels\" has '{key}': {entry}, not a label value with its name");
        match Entry::deserialize(entry).map_err(|_| odd())? {
            Entry::Value(value) => drop(values.insert(value, key.clone())),
            Entry::Region(region) => match single(&region) {
                // Some write every label as a region.
                Some(value) if value == 0 || key.eq_ignore_ascii_case(IGNORE) => {
                    values.insert(value, key.clone());
                }
                _ => regions.push((key.clone(), region)),
            },
            Entry::Name(name) => drop(values.insert(key.parse().map_err(|_| odd())?, name)),
        }
    }
    values.remove(&0);
    if !regions.is_empty() {
        let alone = values.iter().filter(|(_, name)| !name.eq_ignore_ascii_case(IGNORE));
        regions.extend(alone.map(|(value, name)| (name.clone(), BTreeSet::from([*value]))));
    }
    if regions.is_empty() && values.is_empty() {
        return Ok(None);
    }
    OwnScheme::new(values, regions).map(|scheme| Some(LabelScheme::Own(scheme)))
}

fn single(region: &BTreeSet<u16>) -> Option<u16> {
    region.first().copied().filter(|_| region.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(table: &str) -> Result<Option<String>, String> {
        let table = serde_json::from_str(table).unwrap();
        label_scheme(Some(&table)).map(|scheme| scheme.map(|scheme| scheme.to_string()))
    }

    #[test]
    fn tables_of_either_direction() {
        for (table, scheme) in [
            (r#"{"background": 0, "core": 1, "oedema": 2}"#, "1=core,2=oedema"),
            (r#"{"0": "background", "1": "core"}"#, "1=core"),
            (r#"{"background": 0, "core": 1, "ignore": 2}"#, "1=core,2=ignore"),
            (
                r#"{"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3], "ET": 3, "ignore": 4}"#,
                "1=label 1,2=label 2,3=ET,4=ignore,whole tumor=1+2+3,core=2+3,ET=3",
            ),
            (r#"{"background": [0], "a": [1], "ignore": [2]}"#, "1=label 1,2=ignore,a=1"),
        ] {
            assert_eq!(read(table), Ok(Some(scheme.to_owned())), "{table}");
        }
        assert_eq!(read(r#"{"background": 0}"#), Ok(None));
        assert_eq!(label_scheme(None).unwrap(), None);
        for (table, word) in [
            (r#"{"core": 1.5}"#, "'core': 1.5"),
            (r#"{"core": "one"}"#, "'core'"),
            (r#"{"core": 70000}"#, "70000"),
            (r#"{"core": [1, 2], "ignore": 2}"#, "which is ignored"),
            (r#"{"core": []}"#, "'core'"),
        ] {
            let reason = read(table).unwrap_err();
            assert!(reason.contains(word), "{table}: {reason}");
        }
    }
}
