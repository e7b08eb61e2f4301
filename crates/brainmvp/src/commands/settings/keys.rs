//! The keys of a configuration, from the JSON Schema of its type.

use serde_json::{Map, Value};

/// A key, as `--set` takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    /// Its path: `method.mask.rate`, or `arms[].name` in each table of a list.
    pub(super) path: String,
    /// What kind of value it has.
    pub(super) kind: String,
    /// What it is.
    pub(super) about: String,
    /// The words that it can be, with their meaning.
    pub(super) words: Vec<(String, String)>,
    /// What it is if it is left out, if its type says so.
    pub(super) default: Option<Value>,
    /// Whether it cannot be left out.
    pub(super) is_required: bool,
}

/// All keys of a type, in its order.
pub(super) fn keys_of(schema: &Value) -> Vec<Key> {
    let mut found = Vec::new();
    Walk { root: schema }.section(schema, "", &mut found);
    found
}

struct Walk<'a> {
    root: &'a Value,
}

impl<'a> Walk<'a> {
    /// The definition that a schema refers to, or itself.
    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str);
        let found = name.and_then(|name| self.root.pointer(name.strip_prefix('#')?));
        found.map_or(schema, |found| self.resolved(found))
    }

    /// The fields of a table that has certain ones; an optional table is one too.
    fn fields(&self, schema: &'a Value) -> Option<&'a Map<String, Value>> {
        let resolved = self.resolved(schema);
        let own = resolved.get("properties").and_then(Value::as_object);
        own.or_else(|| match &self.alternatives(resolved)[..] {
            [only] => self.fields(only),
            _ => None,
        })
    }

    /// What a value can be besides being left out, if it can be several things.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let all = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
        all.map(|one| self.resolved(one)).filter(|one| one.get("type") != Some(&"null".into())).collect()
    }

    fn section(&self, schema: &'a Value, prefix: &str, found: &mut Vec<Key>) {
        let resolved = self.resolved(schema);
        let required = resolved.get("required").and_then(Value::as_array);
        for (name, field) in self.fields(resolved).into_iter().flatten() {
            let path = format!("{prefix}{name}");
            if self.fields(field).is_some() {
                self.section(field, &format!("{path}."), found);
                continue;
            }
            found.push(Key {
                path,
                kind: self.kind(field),
                about: description(field).or_else(|| description(self.resolved(field))).unwrap_or_default(),
                words: self.words(field),
                default: field.get("default").filter(|value| !value.is_null()).cloned(),
                is_required: required.is_some_and(|names| names.iter().any(|one| one == name)),
            });
            if let Some(items) =
                self.resolved(field).get("items").filter(|items| self.fields(items).is_some())
            {
                let path = format!("{prefix}{name}[].");
                self.section(items, &path, found);
            }
        }
    }

    /// What kind of value it is, in words.
    fn kind(&self, schema: &'a Value) -> String {
        let schema = self.resolved(schema);
        let alternatives = self.alternatives(schema);
        if !alternatives.is_empty() {
            return alternatives.iter().map(|one| self.kind(one)).collect::<Vec<_>>().join(" or ");
        }
        if plain_type(schema) == "array" {
            return self.list(schema);
        }
        if !self.words(schema).is_empty() {
            return "word".to_owned();
        }
        match plain_type(schema) {
            "boolean" => "`true`, `false`".to_owned(),
            "integer" => "whole number".to_owned(),
            "object" => "table".to_owned(),
            "string" => "text".to_owned(),
            other => other.to_owned(),
        }
    }

    fn list(&self, schema: &'a Value) -> String {
        let items = &schema["items"];
        let of = self.kind(items);
        let of = format!("{of}s");
        match schema.get("maxItems").and_then(Value::as_u64) {
            Some(count) => format!("{count} {of}"),
            None => format!("list of {of}"),
        }
    }

    /// The words that a value can be.
    fn words(&self, schema: &'a Value) -> Vec<(String, String)> {
        let schema = self.resolved(schema);
        let alternatives = self.alternatives(schema);
        if !alternatives.is_empty() {
            return alternatives.into_iter().flat_map(|one| self.words(one)).collect();
        }
        if plain_type(schema) == "array" {
            return self.words(&schema["items"]);
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if let Some(names) = schema.get("enum").and_then(Value::as_array) {
            return names.iter().filter_map(text).map(|word| (word, String::new())).collect();
        }
        let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let word = |variant: &Value| {
            let word = text(variant.get("const")?)?;
            Some((word, description(variant).unwrap_or_default()))
        };
        variants.chain([schema]).filter_map(word).collect()
    }
}

/// The type of a schema, whether or not it may be left out.
fn plain_type(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(several)) => {
            several.iter().filter_map(Value::as_str).find(|one| *one != "null").unwrap_or_default()
        }
        _ => "",
    }
}

/// The comment of a field or type, on one line, without the links of the source.
fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(words.replace("[`", "`").replace("`]", "`"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use schemars::{JsonSchema, schema_for};

    use super::*;

    /// One of two.
    #[derive(JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Word {
        /// The first.
        One,
        /// The other.
        Two,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Inner {
        /// A share.
        share: f64,
        /// Several.
        words: Vec<Word>,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Outer {
        /// Which
        /// of [`Word`].
        word: Word,
        inner: Inner,
        maybe: Option<Inner>,
        /// A file.
        file: Option<PathBuf>,
        sizes: [usize; 3],
        parts: Vec<Inner>,
        others: BTreeMap<String, bool>,
    }

    #[test]
    fn every_field_is_a_key() {
        let keys = keys_of(schema_for!(Outer).as_value());
        let rows: Vec<_> = keys.iter().map(|key| (&key.path[..], &key.kind[..], &key.about[..])).collect();
        assert_eq!(
            rows,
            [
                ("word", "word", "Which of `Word`."),
                ("inner.share", "number", "A share."),
                ("inner.words", "list of words", "Several."),
                ("maybe.share", "number", "A share."),
                ("maybe.words", "list of words", "Several."),
                ("file", "text", "A file."),
                ("sizes", "3 whole numbers", ""),
                ("parts", "list of tables", ""),
                ("parts[].share", "number", "A share."),
                ("parts[].words", "list of words", "Several."),
                ("others", "table", ""),
            ]
        );
        assert_eq!(keys[0].words, [("one".into(), "The first.".into()), ("two".into(), "The other.".into())]);
        assert_eq!(keys[2].words.len(), 2);
        assert!(keys[0].is_required && !keys[5].is_required);
    }
}
