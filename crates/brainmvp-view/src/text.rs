//! Numbers for people: as reports, tables and lines of progress show them.

/// Four digits behind the point, or fewer in all where these would say nothing.
pub fn number(value: f64) -> String {
    let is_plain = !value.is_finite() || value == 0.0 || (1e-3..1e6).contains(&value.abs());
    if is_plain { format!("{value:.4}") } else { format!("{value:.3e}") }
}

/// `0.4 s`, `21 s`, `3 min 5 s`, `2 h 10 min`, `171 days 4 h`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} days {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// `812 B`, `3.4 kB`, `1.3 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" || value >= 99.5 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let rows = [(0.123_44, "0.1234"), (12.0, "12.0000"), (2.5e-5, "2.500e-5"), (0.0, "0.0000")];
        for (value, text) in rows {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn durations_are_short() {
        let rows = [
            (0.04, "0.0 s"),
            (9.4, "9.4 s"),
            (59.7, "1 min 0 s"),
            (21.2, "21 s"),
            (7860.0, "2 h 11 min"),
            (14_788_800.0, "171 days 4 h"),
        ];
        for (seconds, text) in rows {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn sizes_are_short() {
        let rows =
            [(0, "0 B"), (812, "812 B"), (3_449, "3.4 kB"), (412_000_000, "412 MB"), (999_600, "1.0 MB")];
        for (bytes, text) in rows {
            assert_eq!(size(bytes), text);
        }
    }
}
