//! A single score.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A value, or the statement that the rule for empty masks left it out.
///
/// In JSON: a number; `"NaN"`, `"Infinity"` or `"-Infinity"`, for which JSON has no numbers; `null` if it was left out.
/// Reading returns what was written, to the bit.
#[derive(Debug, Clone, Copy)]
pub struct Score(Option<f64>);

impl Score {
    /// Left out by the rule for empty masks.
    pub const EXCLUDED: Self = Self(None);

    /// A value that counts, finite or not.
    pub fn new(value: f64) -> Self {
        Self(Some(value))
    }

    /// The value, unless it was left out.
    pub fn value(self) -> Option<f64> {
        self.0
    }
}

impl PartialEq for Score {
    /// Equality as a reader sees it: NaN equals NaN.
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

/// The word for a value for which JSON has no number.
fn word(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

impl fmt::Display for Score {
    /// As in CSV: all digits; empty if it was left out. A precision rounds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = self.0 else {
            return Ok(());
        };
        match (word(value), f.precision()) {
            (Some(word), _) => f.write_str(word),
            (None, Some(digits)) => write!(f, "{value:.digits$}"),
            (None, None) => write!(f, "{value}"),
        }
    }
}

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(value) => match word(value) {
                Some(word) => serializer.serialize_str(word),
                None => serializer.serialize_f64(value),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScoreVisitor)
    }
}

struct ScoreVisitor;

impl Visitor<'_> for ScoreVisitor {
    type Value = Score;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"NaN\", \"Infinity\", \"-Infinity\" or null")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Score, E> {
        Ok(Score::new(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Score, E> {
        Ok(Score::new(value as f64))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Score, E> {
        Ok(Score::new(value as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Score, E> {
        let known = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|value| (word(value), value));
        let found = known.into_iter().find(|(word, _)| *word == Some(text));
        found
            .map(|(_, value)| Score::new(value))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Score, E> {
        Ok(Score::EXCLUDED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_json_has_no_numbers_for_is_words() {
        let scores = [Score::new(f64::NAN), Score::new(f64::NEG_INFINITY), Score::EXCLUDED, Score::new(2.0)];
        let json = serde_json::to_string(&scores).unwrap();
        assert_eq!(json, r#"["NaN","-Infinity",null,2.0]"#);
        assert_eq!(serde_json::from_str::<[Score; 4]>(&json).unwrap(), scores);
        assert_eq!(serde_json::from_str::<Score>("2").unwrap(), Score::new(2.0));
        assert!(serde_json::from_str::<Score>("\"many\"").is_err());
    }

    proptest! {
        #[test]
        fn every_value_survives_json(value in any::<f64>()) {
            let json = serde_json::to_string(&Score::new(value)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Score>(&json).unwrap(), Score::new(value));
        }
    }
}
