//! The choice of a model's setting, and the model with it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use rayon::prelude::*;

use crate::{Error, Features, Matrix, Result, Standardiser, Truth, squared_errors};

/// A model with one number that is to be chosen.
pub trait Model: Sized + Send {
    /// The number.
    type Setting: Copy + Debug + PartialEq + Send + Sync;

    /// What it may be for this number of training cases, the simplest model first.
    fn settings(cases: usize) -> Vec<Self::Setting>;

    /// The model of some cases.
    ///
    /// # Errors
    /// If they have no model.
    fn fit(rows: &Matrix, truth: &Truth, setting: Self::Setting) -> Result<Self>;

    /// Predicts cases: a row for each, with the probability of each class, or the number.
    fn predict(&self, rows: &Matrix) -> Matrix;
}

/// Cases whose truth is known.
pub struct Sample<'a> {
    /// Their features.
    pub features: Vec<&'a Features>,
    /// What is true of them.
    pub truth: Truth,
}

/// What a setting is chosen by: it is the one with the smallest mean squared error, of equal ones the simplest model.
pub enum Tuning<'a> {
    /// Other cases.
    Held(&'a Sample<'a>),
    /// The training cases themselves, in [`FOLDS`] parts: those of each part are predicted by a model of the others. The person of
    /// each case is given; all cases of one are in one part.
    Folds(&'a [usize]),
}

/// The most parts of a cross-validation.
pub const FOLDS: usize = 5;

/// A model with the chosen setting.
pub struct Fitted<M: Model> {
    standardiser: Standardiser,
    /// From features to coordinates.
    basis: Option<Matrix>,
    model: M,
    /// What was chosen.
    pub setting: M::Setting,
}

/// Fits a model of training cases, with the setting that predicts others best.
///
/// The models depend on products of cases alone, so that with more features than cases their coordinates in the space of the
/// training cases are enough. It is the same model in fewer numbers.
///
/// # Errors
/// If the cases do not fit together, there are none, or their features are not finite.
pub fn probe<M: Model>(training: &Sample<'_>, tuning: &Tuning<'_>) -> Result<Fitted<M>> {
    training.truth.check(training.features.len())?;
    let standardiser = Standardiser::fit(&training.features)?;
    let rows = standardiser.rows(&training.features)?;
    let basis = (rows.ncols() > rows.nrows()).then(|| rows.transpose().qr().q());
    let rows = reduced(rows, basis.as_ref());
    let settings = M::settings(rows.nrows());
    let truth = &training.truth;
    let errors: Vec<f64> = match tuning {
        Tuning::Held(held) => {
            held.truth.check(held.features.len())?;
            let others = reduced(standardiser.rows(&held.features)?, basis.as_ref());
            let error = |setting: &M::Setting| {
                let predicted = M::fit(&rows, truth, *setting)?.predict(&others);
                Ok(squared_errors(&predicted, &held.truth).iter().sum())
            };
            settings.par_iter().map(error).collect::<Result<_>>()?
        }
        Tuning::Folds(persons) => {
            let folds = folds(persons, truth)?;
            settings
                .par_iter()
                .map(|setting| crossed::<M>(&rows, truth, &folds, *setting))
                .collect::<Result<_>>()?
        }
    };
    let best =
        (0..settings.len()).fold(0, |best, place| if errors[place] < errors[best] { place } else { best });
    let setting = settings[best];
    Ok(Fitted { model: M::fit(&rows, truth, setting)?, standardiser, basis, setting })
}

impl<M: Model> Fitted<M> {
    /// How features are standardised.
    pub fn standardiser(&self) -> &Standardiser {
        &self.standardiser
    }

    /// Predicts cases: a row for each, with the probability of each class, or the number.
    ///
    /// # Errors
    /// If their features are not as those of the training cases.
    pub fn predict(&self, cases: &[&Features]) -> Result<Matrix> {
        Ok(self.model.predict(&reduced(self.standardiser.rows(cases)?, self.basis.as_ref())))
    }
}

/// Coordinates in a basis.
fn reduced(rows: Matrix, basis: Option<&Matrix>) -> Matrix {
    match basis {
        Some(basis) => rows * basis,
        None => rows,
    }
}

/// The squared errors of a cross-validation, summed.
fn crossed<M: Model>(rows: &Matrix, truth: &Truth, folds: &[usize], setting: M::Setting) -> Result<f64> {
    let mut sum = 0.0;
    for fold in 0..FOLDS {
        let (held, others): (Vec<usize>, Vec<usize>) =
            (0..folds.len()).partition(|case| folds[*case] == fold);
        if held.is_empty() {
            continue;
        }
        let model = M::fit(&rows.select_rows(&others), &truth.select(&others), setting)?;
        let predicted = model.predict(&rows.select_rows(&held));
        sum += squared_errors(&predicted, &truth.select(&held)).iter().sum::<f64>();
    }
    Ok(sum)
}

/// The part of each case: persons are dealt out in turn, those of one class after those of another.
fn folds(persons: &[usize], truth: &Truth) -> Result<Vec<usize>> {
    if persons.len() != truth.cases() {
        return Err(Error::Counts { cases: truth.cases(), what: "persons", others: persons.len() });
    }
    let class = |case: usize| match truth {
        Truth::Classes { of, .. } => of[case],
        Truth::Numbers(_) => 0,
    };
    let mut first: BTreeMap<usize, usize> = BTreeMap::new();
    for (case, person) in persons.iter().enumerate() {
        first.entry(*person).or_insert(case);
    }
    let mut order: Vec<(usize, usize)> =
        first.into_iter().map(|(person, case)| (class(case), person)).collect();
    order.sort_unstable();
    if order.len() < 2 {
        return Err(Error::OnePerson);
    }
    let parts: BTreeMap<usize, usize> =
        order.into_iter().enumerate().map(|(place, (_, person))| (person, place % FOLDS)).collect();
    Ok(persons.iter().map(|person| parts[person]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Linear, Neighbours};

    /// Cases with two blocks, the second of which some lack, and with numbers that depend on both.
    fn cases(count: usize, width: usize, seed: u64) -> (Vec<Features>, Vec<f64>) {
        let value = |case: usize, feature: usize, block: u64| {
            let mixed =
                (case as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (feature as u64 * 31 + block + seed);
            let mixed = mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93);
            ((mixed >> 40) as f32 / (1_u32 << 23) as f32) - 1.0
        };
        let vector = |case: usize, block: u64| {
            (0..width).map(|feature| value(case, feature, block)).collect::<Vec<_>>()
        };
        let features = |case: usize| {
            let mut features: Features = [("t1".to_owned(), vector(case, 0))].into();
            if !case.is_multiple_of(3) {
                features.insert("t2".to_owned(), vector(case, 1000));
            }
            features
        };
        let number =
            |case: usize| f64::from(value(case, 0, 0) + 0.5 * value(case, 1, 0)) + 0.1 * (case % 4) as f64;
        ((0..count).map(features).collect(), (0..count).map(number).collect())
    }

    /// What both models predict of the last cases, of the others.
    fn predictions(cases: &[Features], truth: &Truth) -> [Matrix; 2] {
        let known = truth.cases();
        let training = Sample { features: cases[..known].iter().collect(), truth: truth.clone() };
        let unknown: Vec<&Features> = cases[known..].iter().collect();
        let persons: Vec<usize> = (0..known).collect();
        let linear = probe::<Linear>(&training, &Tuning::Folds(&persons)).unwrap();
        let neighbours = probe::<Neighbours>(&training, &Tuning::Folds(&persons)).unwrap();
        [linear.predict(&unknown).unwrap(), neighbours.predict(&unknown).unwrap()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// The units of features do not matter, with fewer and with more features than cases.
        #[test]
        fn scales_do_not_matter(seed: u64, width in prop::sample::select(vec![2usize, 3, 40]), of_classes: bool) {
            let (cases, numbers) = cases(30, width, seed);
            let truth = if of_classes {
                Truth::Classes { of: numbers[..24].iter().map(|n| usize::from(*n > 0.1)).collect(), count: 2 }
            } else {
                Truth::Numbers(numbers[..24].to_vec())
            };
            let mut other = cases.clone();
            for case in &mut other {
                for (name, vector) in case {
                    for (feature, value) in vector.iter_mut().enumerate() {
                        *value *= 2.0_f32.powi(feature as i32 % 7 - 3) * if name == "t2" { 1024.0 } else { 1.0 };
                    }
                }
            }
            for (a, b) in predictions(&cases, &truth).iter().zip(predictions(&other, &truth)) {
                prop_assert!((a - b).amax() < 1e-6);
            }
        }
    }

    /// Coordinates in the space of the training cases instead of the features make no other model.
    #[test]
    fn more_features_than_cases_are_no_other_model() {
        let (cases, numbers) = cases(30, 40, 3);
        let known: Vec<&Features> = cases[..20].iter().collect();
        let unknown: Vec<&Features> = cases[20..].iter().collect();
        let truth = Truth::Numbers(numbers[..20].to_vec());
        let standardiser = Standardiser::fit(&known).unwrap();
        let [rows, others] = [&known, &unknown].map(|cases| standardiser.rows(cases).unwrap());
        let [linear, neighbours] = predictions(&cases, &truth);
        let settings = (
            probe::<Linear>(
                &Sample { features: known.clone(), truth: truth.clone() },
                &Tuning::Folds(&(0..20).collect::<Vec<_>>()),
            )
            .unwrap()
            .setting,
            probe::<Neighbours>(
                &Sample { features: known, truth: truth.clone() },
                &Tuning::Folds(&(0..20).collect::<Vec<_>>()),
            )
            .unwrap()
            .setting,
        );
        assert!((linear - Linear::fit(&rows, &truth, settings.0).unwrap().predict(&others)).amax() < 1e-9);
        assert!(
            (neighbours - Neighbours::fit(&rows, &truth, settings.1).unwrap().predict(&others)).amax() < 1e-9
        );
    }

    #[test]
    fn held_cases_choose_the_setting() {
        let (cases, numbers) = cases(40, 2, 1);
        let sample = |range: std::ops::Range<usize>, truth: Truth| Sample {
            features: cases[range].iter().collect(),
            truth,
        };
        let training = sample(0..20, Truth::Numbers(numbers[..20].to_vec()));
        // Where the held cases follow the same rule, the penalty is small; where they are all as the mean, it is large.
        let same = sample(20..40, Truth::Numbers(numbers[20..].to_vec()));
        let mean = training.truth.mean()[0];
        let flat = sample(20..40, Truth::Numbers(vec![mean; 20]));
        let setting = |held: &Sample<'_>| probe::<Linear>(&training, &Tuning::Held(held)).unwrap().setting;
        assert!(setting(&same) < 0.1, "{}", setting(&same));
        assert_eq!(setting(&flat), Linear::settings(20)[0]);
    }

    #[test]
    fn persons_stay_in_one_part_and_classes_are_dealt_out() {
        let persons: Vec<usize> = (0..40).map(|case| case / 2).collect();
        let of: Vec<usize> = (0..40).map(|case| usize::from(case >= 30)).collect();
        let parts = folds(&persons, &Truth::Classes { of: of.clone(), count: 2 }).unwrap();
        assert!(parts.chunks(2).all(|pair| pair[0] == pair[1]));
        for part in 0..FOLDS {
            let of_class =
                |class: usize| (0..40).filter(|case| parts[*case] == part && of[*case] == class).count();
            assert_eq!((of_class(0), of_class(1)), (6, 2));
        }
        let one = folds(&[7; 3], &Truth::Numbers(vec![1.0; 3]));
        assert_eq!(one.unwrap_err(), Error::OnePerson);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let (cases, numbers) = cases(4, 2, 1);
        let sample = |truth: Truth| Sample { features: cases.iter().collect(), truth };
        let probe =
            |sample: &Sample<'_>, persons: &[usize]| probe::<Linear>(sample, &Tuning::Folds(persons)).err();
        let good = sample(Truth::Numbers(numbers.clone()));
        assert!(probe(&good, &[0, 1, 2, 3]).is_none());
        assert!(matches!(probe(&good, &[0, 1]), Some(Error::Counts { .. })));
        assert!(matches!(probe(&sample(Truth::Numbers(vec![1.0])), &[0]), Some(Error::Counts { .. })));
        let odd = sample(Truth::Numbers(vec![f64::NAN; 4]));
        assert!(matches!(probe(&odd, &[0, 1, 2, 3]), Some(Error::NotFinite(_))));
        let third = sample(Truth::Classes { of: vec![0, 1, 2, 0], count: 2 });
        assert_eq!(probe(&third, &[0, 1, 2, 3]), Some(Error::Class { class: 2, count: 2 }));
        let nobody = Sample { features: Vec::new(), truth: Truth::Numbers(Vec::new()) };
        assert_eq!(probe(&nobody, &[]), Some(Error::NoCases));
    }
}
