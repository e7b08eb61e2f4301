//! Metrics of classifications, from the probabilities of the classes and the true classes.
//!
//! A metric without a value (the AUC where all cases are of one class) is NaN as a [`Score`], never a number that looks
//! like a result. A class that is never true nor predicted is not part of any average.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Score};

/// The scores of a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationScores {
    /// Number of cases.
    pub cases: usize,
    /// The share of cases that are classified correctly.
    pub accuracy: Score,
    /// The mean over the classes of their sensitivities.
    pub balanced_accuracy: Score,
    /// The area under the ROC curve; with more than two classes the mean over the classes, each against the rest.
    /// NaN if a class has no cases, or all of them.
    pub auc: Score,
    /// F1 of class 1, if there are two classes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub f1_binary: Option<Score>,
    /// The mean over the classes of their F1.
    pub f1_macro: Score,
    /// Each class against the rest.
    pub classes: Vec<ClassScores>,
    /// Cases by true class (rows) and predicted class (columns).
    pub confusion: Vec<Vec<usize>>,
}

/// One class against the rest. With two classes, the sensitivity and specificity usually reported are those of class 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassScores {
    /// The number of cases of the class.
    pub cases: usize,
    /// The share of its cases that were found; NaN without cases.
    pub sensitivity: Score,
    /// The share of the other cases that were not predicted as this class; NaN without other cases.
    pub specificity: Score,
    /// The share of correct ones among the cases predicted as this class; NaN if there are none.
    pub precision: Score,
    /// 2 TP / (2 TP + FP + FN); NaN if it is neither true nor predicted.
    pub f1: Score,
    /// The area under the ROC curve of its probability.
    pub auc: Score,
}

/// Scores two classes. `probabilities` are those of class 1, one for each case; class 1 is predicted if its probability
/// is above `threshold`. `labels` are the true classes, 0 or 1.
///
/// # Errors
/// [`Error::Samples`] if there are no cases, lengths differ, a label is not a class, or a probability is NaN.
pub fn binary(probabilities: &[f64], labels: &[usize], threshold: f64) -> Result<ClassificationScores> {
    check(probabilities, labels, 2, 1)?;
    let predicted: Vec<usize> = probabilities.iter().map(|p| usize::from(*p > threshold)).collect();
    let of_class_1 = auc_of(probabilities, labels, 1);
    Ok(score(&predicted, labels, &[of_class_1, of_class_1]))
}

/// Scores any number of classes. `probabilities` is `[cases, classes]`, row-major; the class with the highest
/// probability is predicted, the first of equal ones. `labels` are the true classes from 0.
///
/// # Errors
/// [`Error::Samples`] if there are no cases or fewer than two classes, lengths differ, a label is not a class, or a
/// probability is NaN.
pub fn multiclass(probabilities: &[f64], labels: &[usize], classes: usize) -> Result<ClassificationScores> {
    check(probabilities, labels, classes, classes)?;
    let highest =
        |row: &[f64]| (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    let predicted: Vec<usize> = probabilities.chunks_exact(classes).map(highest).collect();
    let auc = |class: usize| {
        let column: Vec<f64> = probabilities.iter().skip(class).step_by(classes).copied().collect();
        auc_of(&column, labels, class)
    };
    Ok(score(&predicted, labels, &(0..classes).map(auc).collect::<Vec<_>>()))
}

/// The area under the ROC curve: the chance that a case of the class scores above one of another class, with equal
/// scores counted half (Mann-Whitney). NaN if either kind is absent. Scores must not be NaN.
pub fn auc(scores: &[f64], of_class: &[bool]) -> f64 {
    let mut order: Vec<usize> = (0..scores.len().min(of_class.len())).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    // The cases of the other class with lower scores so far, and the pairs won, ties counted half.
    let (mut below, mut won) = (0.0, 0.0);
    for equal in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let positive = equal.iter().filter(|case| of_class[**case]).count() as f64;
        let negative = equal.len() as f64 - positive;
        won += positive * (below + negative / 2.0);
        below += negative;
    }
    won / (below * (order.len() as f64 - below))
}

fn auc_of(scores: &[f64], labels: &[usize], class: usize) -> f64 {
    auc(scores, &labels.iter().map(|label| *label == class).collect::<Vec<_>>())
}

fn check(probabilities: &[f64], labels: &[usize], classes: usize, per_case: usize) -> Result<()> {
    let refuse = |reason: String| Err(Error::Samples(reason));
    if classes < 2 {
        return refuse(format!("{classes} classes: a classification needs two or more"));
    }
    if labels.is_empty() {
        return refuse("no cases to score".to_owned());
    }
    if probabilities.len() != labels.len() * per_case {
        let (found, expected) = (probabilities.len(), labels.len() * per_case);
        return refuse(format!("{found} probabilities for {} cases: expected {expected}", labels.len()));
    }
    if let Some(case) = labels.iter().position(|label| *label >= classes) {
        return refuse(format!(
            "case {case} has the class {}, of classes 0 to {}",
            labels[case],
            classes - 1
        ));
    }
    match probabilities.iter().position(|p| p.is_nan()) {
        Some(at) => refuse(format!("case {} has a probability that is NaN", at / per_case)),
        None => Ok(()),
    }
}

/// All scores of a decision, given the AUC of each class.
fn score(predicted: &[usize], labels: &[usize], auc: &[f64]) -> ClassificationScores {
    let mut confusion = vec![vec![0; auc.len()]; auc.len()];
    labels.iter().zip(predicted).for_each(|(label, predicted)| confusion[*label][*predicted] += 1);
    let of_class = |class: usize| {
        let hits = confusion[class][class] as f64;
        let cases: usize = confusion[class].iter().sum();
        let taken = confusion.iter().map(|row| row[class]).sum::<usize>() as f64;
        let (others, wrong) = ((labels.len() - cases) as f64, taken - hits);
        ClassScores {
            cases,
            sensitivity: Score::new(hits / cases as f64),
            specificity: Score::new((others - wrong) / others),
            precision: Score::new(hits / taken),
            f1: Score::new(2.0 * hits / (cases as f64 + taken)),
            auc: Score::new(auc[class]),
        }
    };
    let classes: Vec<ClassScores> = (0..auc.len()).map(of_class).collect();
    let right = (0..auc.len()).map(|class| confusion[class][class]).sum::<usize>();
    ClassificationScores {
        cases: labels.len(),
        accuracy: Score::new(right as f64 / labels.len() as f64),
        balanced_accuracy: mean_of_defined(classes.iter().map(|class| class.sensitivity)),
        auc: Score::new(auc.iter().sum::<f64>() / auc.len() as f64),
        f1_binary: (auc.len() == 2).then(|| classes[1].f1),
        f1_macro: mean_of_defined(classes.iter().map(|class| class.f1)),
        classes,
        confusion,
    }
}

/// The mean of the values that are not NaN.
fn mean_of_defined(scores: impl Iterator<Item = Score>) -> Score {
    let values: Vec<f64> = scores.filter_map(Score::value).filter(|value| !value.is_nan()).collect();
    Score::new(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_constant_score_has_an_auc_of_one_half() {
        assert_eq!(auc(&[0.3; 4], &[true, false, false, true]), 0.5);
        assert!(auc(&[0.3; 2], &[true, true]).is_nan());
    }

    #[test]
    fn a_majority_class_predictor_gets_what_the_paper_reports() {
        // 42 of 57: accuracy 0.7368, macro F1 0.4242.
        let labels: Vec<usize> = (0..57).map(|case| usize::from(case < 42)).collect();
        let found = binary(&[1.0; 57], &labels, 0.5).unwrap();
        assert!((found.accuracy.value().unwrap() - 0.7368).abs() < 5e-5);
        assert!((found.f1_macro.value().unwrap() - 0.4242).abs() < 5e-5);
        assert_eq!(found.balanced_accuracy, Score::new(0.5));
        assert_eq!(found.classes[1].specificity, Score::new(0.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(binary(&[], &[], 0.5).is_err());
        assert!(binary(&[0.1], &[0, 1], 0.5).is_err());
        assert!(binary(&[0.1], &[2], 0.5).unwrap_err().to_string().contains("case 0"));
        assert!(multiclass(&[0.1, f64::NAN], &[1], 2).unwrap_err().to_string().contains("NaN"));
    }

    fn cases() -> impl Strategy<Value = Vec<(f64, bool)>> {
        prop::collection::vec(((0_u8..8).prop_map(|s| f64::from(s) / 8.0), any::<bool>()), 1..40)
    }

    proptest! {
        #[test]
        fn auc_counts_pairs(cases in cases()) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = cases.iter().copied().unzip();
            let mut pairs = Vec::new();
            for (a, _) in cases.iter().filter(|case| case.1) {
                for (b, _) in cases.iter().filter(|case| !case.1) {
                    pairs.push(if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 });
                }
            }
            let expected = pairs.iter().sum::<f64>() / pairs.len() as f64;
            let found = auc(&scores, &labels);
            prop_assert!((found - expected).abs() < 1e-12 || (found.is_nan() && expected.is_nan()));
        }

        #[test]
        fn two_classes_are_scored_alike_by_both(cases in cases()) {
            let labels: Vec<usize> = cases.iter().map(|case| usize::from(case.1)).collect();
            let scores: Vec<f64> = cases.iter().map(|case| case.0).collect();
            let both: Vec<f64> = scores.iter().flat_map(|p| [1.0 - p, *p]).collect();
            prop_assert_eq!(binary(&scores, &labels, 0.5).unwrap(), multiclass(&both, &labels, 2).unwrap());
        }
    }
}
