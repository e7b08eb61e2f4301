//! The choice of training and validation cases.

use std::collections::BTreeMap;

use brainmvp_cohort::Split;
use brainmvp_prep::cache::CaseFacts;

use crate::config::DataConfig;

/// The use of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// For training.
    Training,
    /// For validation.
    Validation,
    /// Not used: a test case, or beyond the share of labels that is used.
    Unused,
}

/// A person within a data set.
type Subject<'a> = (&'a str, &'a str);

/// A data set, and a class and a site in it.
type Stratum<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// The purposes of random draws, which are separate.
const PARTITION: &str = "partition";
const FOLD: &str = "fold";
const VALIDATION: &str = "validation";

/// The part of each case. All cases of a subject have the same part. Draws depend only on the names of subjects, and
/// the shares hold within each class of each site of each data set, so that adding cases changes little.
pub fn parts(cases: &[&CaseFacts], config: &DataConfig) -> Vec<Part> {
    let mut subjects: BTreeMap<Subject<'_>, Part> = BTreeMap::new();
    for case in cases {
        let part = match case.split {
            Some(Split::Test) => Part::Unused,
            Some(Split::Validation) if config.fold.is_none() => Part::Validation,
            _ => Part::Training,
        };
        // A subject with cases in several parts is in the one furthest from training.
        let known = subjects.entry(subject(case)).or_insert(part);
        if part == Part::Unused || *known == Part::Training {
            *known = part;
        }
    }
    let has_validation = subjects.values().any(|part| *part == Part::Validation);
    if let Some(fold) = config.fold {
        // Dealt out over all strata one after the other, so that folds are of one size also if strata are small.
        for (number, (_, subject)) in ranked(cases, &subjects, FOLD, 0).into_iter().enumerate() {
            if number % config.folds == fold {
                subjects.insert(subject, Part::Validation);
            }
        }
    } else if !has_validation {
        let drawn = chosen(&ranked(cases, &subjects, VALIDATION, 0), config.validation_share);
        subjects.extend(drawn.into_iter().map(|subject| (subject, Part::Validation)));
    }
    let order = ranked(cases, &subjects, PARTITION, config.partition);
    let kept = chosen(&order, config.labels_fraction);
    for (_, subject) in order {
        if !kept.contains(&subject) {
            subjects.insert(subject, Part::Unused);
        }
    }
    cases.iter().map(|case| subjects[&subject(case)]).collect()
}

fn subject(case: &CaseFacts) -> Subject<'_> {
    (&case.data_set, &case.subject)
}

/// The training subjects so far, stratum by stratum (a class at a site of a data set), in random order there. Each has a
/// place from 0 to 1: those of a stratum are evenly spaced, behind a random first one.
fn ranked<'a>(
    cases: &[&'a CaseFacts],
    parts: &BTreeMap<Subject<'a>, Part>,
    purpose: &str,
    number: u64,
) -> Vec<(f64, Subject<'a>)> {
    let mut strata: BTreeMap<Stratum<'_>, Vec<Subject<'a>>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for case in cases {
        let subject = subject(case);
        if parts.get(&subject) == Some(&Part::Training) && seen.insert(subject) {
            let stratum = (case.data_set.as_str(), case.class.as_deref(), case.site.as_deref());
            strata.entry(stratum).or_default().push(subject);
        }
    }
    let mut ranked = Vec::new();
    for mut subjects in strata.into_values() {
        subjects.sort_by_key(|subject| place_in_draw(purpose, number, *subject));
        let count = subjects.len() as f64;
        // Of many strata of one subject, a small share is to have some, and not always the same kind.
        let first = share_in_draw(purpose, number, subjects[0]);
        ranked.extend(
            subjects.into_iter().enumerate().map(|(rank, subject)| ((rank as f64 + first) / count, subject)),
        );
    }
    ranked
}

/// The subjects of a share, which holds in each stratum as far as their numbers allow, and over all: those of a smaller share
/// are among those of a larger one. At least one if the share is above 0.
fn chosen<'a>(ranked: &[(f64, Subject<'a>)], share: f64) -> Vec<Subject<'a>> {
    let mut order = ranked.to_vec();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let wanted = (share * order.len() as f64).round() as usize;
    let at_least = usize::from(share > 0.0);
    order.into_iter().take(wanted.max(at_least)).map(|(_, subject)| subject).collect()
}

/// A number from 0 to 1 that a subject draws.
fn share_in_draw(purpose: &str, number: u64, subject: Subject<'_>) -> f64 {
    let drawn = place_in_draw(purpose, number, subject);
    // The end of the hash: the beginning orders the subjects.
    let [.., a, b, c, d] = drawn;
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

fn place_in_draw(purpose: &str, number: u64, (data_set, subject): Subject<'_>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    for text in [purpose, data_set, subject] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use brainmvp_cohort::CaseId;

    /// Two cases of each subject; every third subject is of another class.
    fn cohort(subjects: usize) -> Vec<CaseFacts> {
        let case = |i: usize| CaseFacts {
            id: CaseId::new(format!("c{i}")).unwrap(),
            subject: format!("s{}", i / 2),
            data_set: "d".to_owned(),
            site: None,
            class: Some(if (i / 2).is_multiple_of(3) { "LGG" } else { "HGG" }.to_owned()),
            numbers: BTreeMap::new(),
            split: None,
        };
        (0..2 * subjects).map(case).collect()
    }

    fn of(cases: &[CaseFacts], config: &DataConfig) -> Vec<Part> {
        let parts = parts(&cases.iter().collect::<Vec<_>>(), config);
        for pair in parts.chunks(2) {
            assert_eq!(pair[0], pair[1], "cases of one subject");
        }
        parts
    }

    fn places(parts: &[Part], part: Part) -> Vec<usize> {
        (0..parts.len()).filter(|&i| parts[i] == part).collect()
    }

    #[test]
    fn smaller_shares_of_labels_are_part_of_larger_ones() {
        let cases = cohort(50);
        for partition in 0..5 {
            let mut before: Vec<usize> = Vec::new();
            for fifths in 1..=5 {
                let config =
                    DataConfig { labels_fraction: fifths as f64 / 5.0, partition, ..DataConfig::default() };
                let parts = of(&cases, &config);
                let training = places(&parts, Part::Training);
                assert!(before.iter().all(|case| training.contains(case)));
                assert_eq!(training.len(), 80 * fifths / 5, "share {fifths}/5");
                assert_eq!(places(&parts, Part::Validation).len(), 20);
                before = training;
            }
        }
        let [a, b] = [0, 1].map(|partition| {
            of(&cases, &DataConfig { labels_fraction: 0.2, partition, ..DataConfig::default() })
        });
        assert_ne!(a, b);
    }

    #[test]
    fn folds_share_out_the_subjects() {
        let cases = cohort(23);
        let mut validated = vec![0; cases.len()];
        for fold in 0..5 {
            let parts = of(&cases, &DataConfig { fold: Some(fold), ..DataConfig::default() });
            for case in places(&parts, Part::Validation) {
                validated[case] += 1;
            }
        }
        assert!(validated.iter().all(|&times| times == 1));
    }

    #[test]
    fn folds_are_of_one_size_over_many_small_sites() {
        let mut cases = cohort(24);
        for (place, case) in cases.iter_mut().enumerate() {
            case.site = Some(format!("site-{}", place / 2 % 8));
        }
        for fold in 0..4 {
            let parts = of(&cases, &DataConfig { folds: 4, fold: Some(fold), ..DataConfig::default() });
            assert_eq!(places(&parts, Part::Validation).len(), 2 * 24 / 4);
        }
        // Every site is in every fold as far as it has subjects.
        for case in &mut cases {
            case.class = None;
            case.site = case.site.take().filter(|site| site == "site-1");
        }
        let sites = (0..3).map(|fold| {
            let parts = of(&cases, &DataConfig { folds: 3, fold: Some(fold), ..DataConfig::default() });
            places(&parts, Part::Validation).iter().filter(|case| cases[**case].site.is_some()).count()
        });
        assert_eq!(sites.collect::<Vec<_>>(), [2, 2, 2]);
    }

    #[test]
    fn shares_hold_over_many_small_sites() {
        let mut cases = cohort(40);
        for (place, case) in cases.iter_mut().enumerate() {
            case.site = Some(format!("site-{}", place / 2));
        }
        for partition in 0..5 {
            let config = DataConfig {
                labels_fraction: 0.25,
                partition,
                validation_share: 0.0,
                ..DataConfig::default()
            };
            assert_eq!(places(&of(&cases, &config), Part::Training).len(), 2 * 10);
        }
    }

    #[test]
    fn the_cohorts_splits_are_kept() {
        let mut cases = cohort(10);
        cases[0].split = Some(Split::Test);
        cases[3].split = Some(Split::Validation);
        let parts = of(&cases, &DataConfig::default());
        assert_eq!(places(&parts, Part::Unused), [0, 1]);
        assert_eq!(places(&parts, Part::Validation), [2, 3]);
        let folded = of(&cases, &DataConfig { fold: Some(1), ..DataConfig::default() });
        assert_eq!(places(&folded, Part::Unused), [0, 1], "test cases stay out of folds");
    }

    #[test]
    fn a_single_subject_is_trained_on() {
        let parts = of(
            &cohort(1),
            &DataConfig { validation_share: 0.0, labels_fraction: 0.01, ..DataConfig::default() },
        );
        assert_eq!(parts, [Part::Training; 2]);
    }
}
