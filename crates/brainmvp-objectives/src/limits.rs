//! What is wrong with the numbers of a configuration, in a sentence that names the key.

/// Each from 1 to its limit.
pub fn counts(rows: &[(&str, u64, u64)]) -> Option<String> {
    let none = rows.iter().find(|(_, value, _)| *value == 0);
    none.map(|(key, ..)| format!("{key} must be at least 1")).or_else(|| at_most(rows))
}

/// Each up to its limit.
pub fn at_most(rows: &[(&str, u64, u64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value, limit)| value > limit);
    wrong.map(|(key, _, limit)| format!("{key} must be at most {limit}"))
}

/// Each a number above 0.
pub fn positive(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
    wrong.map(|(key, value)| format!("{key} must be a positive number, got {value}"))
}

/// Each a number from 0.
pub fn not_negative(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0));
    wrong.map(|(key, value)| format!("{key} must be 0 or a positive number, got {value}"))
}

/// Each a share from 0 to 1.
pub fn shares(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(0.0..=1.0).contains(value));
    wrong.map(|(key, value)| format!("{key} must lie in [0, 1], got {value}"))
}
