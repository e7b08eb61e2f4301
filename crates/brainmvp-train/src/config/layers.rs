//! Makes a configuration from a TOML text and `key=value` settings, each overriding the one before.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::{Error, Result};

/// The user's settings: a TOML text, overridden by `key=value` settings.
pub(super) fn asked(text: &str, settings: &[String]) -> Result<Table> {
    let mut asked: Table = text.parse().map_err(|e| not_toml(text, &e))?;
    for setting in settings {
        set(&mut asked, setting)?;
    }
    Ok(asked)
}

/// Some of the keys that are set.
pub(super) fn part<T: DeserializeOwned>(asked: &Table) -> Result<T> {
    Value::Table(asked.clone()).try_into().map_err(|e| wrong(&e))
}

/// The settings, over `defaults`.
pub(super) fn over<T: Serialize + DeserializeOwned>(defaults: &T, asked: Table) -> Result<T> {
    let mut merged = Table::try_from(defaults).map_err(|e| wrong(&e))?;
    merge(&mut merged, asked);
    Value::Table(merged).try_into().map_err(|e| wrong(&e))
}

fn wrong(error: &dyn std::fmt::Display) -> Error {
    Error::Config(error.to_string().trim().replace('\n', " "))
}

/// Where a text is not valid TOML, and why.
fn not_toml(text: &str, error: &toml::de::Error) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Error::Config(format!("line {line}: {}", error.message().trim().replace('\n', " ")))
}

/// Applies `a.b.c=value`. A value that is not valid TOML is taken as a string.
fn set(table: &mut Table, setting: &str) -> Result<()> {
    let (key, value) = setting.split_once('=').ok_or_else(|| {
        Error::Config(format!("--set {setting}: expected key=value, such as train.max_steps=20"))
    })?;
    let (key, value) = (key.trim(), value.trim());
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut names: Vec<&str> = key.split('.').collect();
    let last = names.pop().filter(|last| !last.is_empty());
    let last = last.ok_or_else(|| Error::Config(format!("--set {setting}: the key is empty")))?;
    let mut place = table;
    for name in names {
        let next = place.entry(name).or_insert_with(|| Value::Table(Table::new()));
        place = next
            .as_table_mut()
            .ok_or_else(|| Error::Config(format!("--set {setting}: '{name}' is a value, not a section")))?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// Puts `from` over `into`, section by section.
pub fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
