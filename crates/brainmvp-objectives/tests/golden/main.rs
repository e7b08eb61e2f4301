//! Whole steps against the reference: pre-training and fine-tuning, with all gradients.

#![allow(clippy::unwrap_used)] // that is how a test fails

mod finetune;
mod pretrain;

fn assert_close(ours: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let difference = ours.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(difference <= tolerance * largest, "{what}: {difference:e} of {largest:e}");
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum()
}

/// The reference's norms of all gradients, each to be met once.
struct Norms<'a> {
    expected: &'a serde_json::Map<String, serde_json::Value>,
    largest: f64,
    seen: usize,
}

impl<'a> Norms<'a> {
    fn new(reference: &'a serde_json::Value) -> Self {
        let expected = reference["grad_norms"].as_object().unwrap();
        let largest = expected.values().filter_map(serde_json::Value::as_f64).fold(0.0, f64::max);
        Self { expected, largest, seen: 0 }
    }

    fn assert(&mut self, key: &str, squares: f64) {
        let (norm, expected) = (squares.sqrt(), self.expected[key].as_f64().unwrap());
        let tolerance = if expected < 1e-6 * self.largest { 1e-2 } else { 1e-3 };
        // A bias right before the closing batch norm has no gradient but rounding: 1e-10 of the largest in the reference.
        let rounding = 1e-9 * self.largest;
        assert!(
            (norm - expected).abs() <= (tolerance * expected).max(rounding),
            "{key}: {norm:e}, expected {expected:e}"
        );
        self.seen += 1;
    }

    fn assert_complete(&self) {
        assert_eq!(self.seen, self.expected.len(), "every parameter has a gradient");
    }
}
