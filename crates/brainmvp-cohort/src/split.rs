//! Splits a cohort into training, validation and test cases.

use std::collections::BTreeMap;

use crate::{Case, CaseId, Cohort, Error, Result, Split};

/// How to split a cohort.
#[derive(Debug, Clone, PartialEq)]
pub struct SplitOptions {
    /// With the same seed, a subject has the same rank in the random order whatever other cases there are.
    pub seed: u64,
    /// Share of the subjects for validation, 0 to 1.
    pub validation: f64,
    /// Share of the subjects for testing, 0 to 1.
    pub test: f64,
    /// Pairs of cases that show one person under different subjects ([`crate::check::Report::same_heads`]): their subjects
    /// count as one. Cases that the cohort does not have are passed over.
    pub same_heads: Vec<[CaseId; 2]>,
}

/// A person within a data set: the same name in another data set is another person.
type Subject = (String, String);

impl Cohort {
    /// Gives every case a split. Cases of one subject stay together. Each class of each site of each data set is
    /// divided separately, so that the shares hold there as far as the number of subjects allows. A subject that already has a
    /// split keeps it and counts towards the shares.
    ///
    /// # Errors
    /// [`Error::Option`] if the shares are not in 0 to 1 or exceed 1 together, or where the cases of a subject
    /// are in different splits already; the cohort is then unchanged.
    pub fn split(&mut self, options: &SplitOptions) -> Result<()> {
        let SplitOptions { seed, validation, test, ref same_heads } = *options;
        if ![validation, test, validation + test].iter().all(|share| (0.0..=1.0).contains(share)) {
            let message =
                format!("shares of {validation} for validation and {test} for the test do not fit in 1");
            return Err(Error::Option(message));
        }
        let persons = Persons::of(&self.cases, same_heads);
        let mut drawn: BTreeMap<Subject, Split> = BTreeMap::new();
        // Shares are rounded over all strata so far: many small ones have theirs together.
        let mut places = [Places::new(Split::Test, test), Places::new(Split::Validation, validation)];
        for mut subjects in self.strata(&persons)?.into_values() {
            subjects.sort_by_key(|(subject, _)| place_in_draw(seed, subject));
            for places in &mut places {
                places.open_for(&subjects);
            }
            for (subject, given) in subjects {
                let split = given
                    .unwrap_or_else(|| places.iter_mut().find_map(Places::take).unwrap_or(Split::Training));
                drawn.insert(subject, split);
            }
        }
        for case in &mut self.cases {
            case.split = drawn.get(&persons.person(case)).copied();
        }
        Ok(())
    }

    /// The subjects of each data set, site and class (those of their first case), with the split that they already have.
    #[allow(clippy::type_complexity, reason = "a map of lists, named by the function")]
    fn strata(
        &self,
        persons: &Persons,
    ) -> Result<BTreeMap<(&str, Option<&str>, Option<&str>), Vec<(Subject, Option<Split>)>>> {
        let mut subjects: BTreeMap<Subject, (&Case, Option<Split>)> = BTreeMap::new();
        for case in &self.cases {
            let (first, given) = subjects.entry(persons.person(case)).or_insert((case, case.split));
            match (*given, case.split) {
                (Some(a), Some(b)) if a != b => {
                    let (subject, data_set) = (&case.subject, &case.data_set);
                    let message = if subject_of(first) == subject_of(case) {
                        format!("cases of subject '{subject}' of '{data_set}' are in two splits")
                    } else {
                        format!(
                            "subject '{subject}' of '{data_set}' and subject '{}' of '{}' have the same head and are in two \
                             splits",
                            first.subject, first.data_set
                        )
                    };
                    return Err(Error::Option(message));
                }
                (None, split) => *given = split,
                _ => {}
            }
        }
        let mut strata: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (subject, (case, given)) in subjects {
            let stratum = (case.data_set.as_str(), case.class.as_deref(), case.site.as_deref());
            strata.entry(stratum).or_default().push((subject, given));
        }
        Ok(strata)
    }
}

/// The places of a split, stratum by stratum.
struct Places {
    split: Split,
    share: f64,
    subjects: usize,
    taken: usize,
}

impl Places {
    fn new(split: Split, share: f64) -> Self {
        Self { split, share, subjects: 0, taken: 0 }
    }

    /// Begins with a stratum. Subjects that have this split already have taken their places.
    fn open_for(&mut self, subjects: &[(Subject, Option<Split>)]) {
        self.subjects += subjects.len();
        self.taken += subjects.iter().filter(|(_, given)| *given == Some(self.split)).count();
    }

    /// This split, if there is a place.
    fn take(&mut self) -> Option<Split> {
        let places = (self.share * self.subjects as f64).round() as usize;
        if self.taken >= places {
            return None;
        }
        self.taken += 1;
        Some(self.split)
    }
}

/// Subjects that are one person.
struct Persons {
    /// The first subject of each person, of those that have several.
    first: BTreeMap<Subject, Subject>,
}

impl Persons {
    fn of(cases: &[Case], same_heads: &[[CaseId; 2]]) -> Self {
        let by_id: BTreeMap<&CaseId, &Case> = cases.iter().map(|case| (&case.id, case)).collect();
        let mut persons = Self { first: BTreeMap::new() };
        for pair in same_heads {
            let [Some(one), Some(other)] = [&pair[0], &pair[1]].map(|id| by_id.get(id)) else { continue };
            let [one, other] = [one, other].map(|case| persons.person(case));
            let (first, second) = if one <= other { (one, other) } else { (other, one) };
            for person in persons.first.values_mut().filter(|person| **person == second) {
                person.clone_from(&first);
            }
            persons.first.insert(second, first);
        }
        persons
    }

    /// The subject that stands for the person of a case.
    fn person(&self, case: &Case) -> Subject {
        let subject = subject_of(case);
        self.first.get(&subject).cloned().unwrap_or(subject)
    }
}

fn subject_of(case: &Case) -> Subject {
    (case.data_set.clone(), case.subject.clone())
}

fn place_in_draw(seed: u64, (data_set, subject): &Subject) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for text in [data_set, subject] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CaseId, DataSet};

    /// `subjects` subjects of two cases each; every third is of the class LGG.
    fn cohort(subjects: usize) -> Cohort {
        let case = |i: usize| {
            let mut case = Case::new(CaseId::new(format!("c{i}")).unwrap(), format!("s{}", i / 2), "d");
            case.class = Some(if (i / 2).is_multiple_of(3) { "LGG" } else { "HGG" }.to_owned());
            case
        };
        let data_sets = [("d".to_owned(), DataSet::default())].into();
        Cohort { name: "x".into(), data_sets, cases: (0..2 * subjects).map(case).collect() }
    }

    fn count(cohort: &Cohort, class: &str, split: Split) -> usize {
        cohort.cases.iter().filter(|c| c.class.as_deref() == Some(class) && c.split == Some(split)).count()
    }

    const OPTIONS: SplitOptions =
        SplitOptions { seed: 1, validation: 0.1, test: 0.2, same_heads: Vec::new() };

    #[test]
    fn one_person_of_several_subjects_stays_together() {
        let id = |number: usize| CaseId::new(format!("c{number}")).unwrap();
        // s0 = s3, s3 = s7, s7 = s1, in any order; and a case that is not there.
        for pairs in [[[0, 6], [7, 15], [14, 2], [999, 3]], [[14, 2], [0, 6], [6, 14], [3, 999]]] {
            for seed in 0..20 {
                let mut cohort = cohort(12);
                let same_heads = pairs.map(|pair| pair.map(id)).to_vec();
                cohort.split(&SplitOptions { seed, validation: 0.3, test: 0.3, same_heads }).unwrap();
                let splits: std::collections::BTreeSet<_> =
                    [0, 1, 6, 7, 14, 15, 2, 3].iter().map(|at| cohort.cases[*at].split).collect();
                assert!(splits.len() == 1 && splits.first() != Some(&None), "{seed}: {splits:?}");
            }
        }
        let mut cohort = cohort(12);
        cohort.cases[0].split = Some(Split::Test);
        cohort.cases[6].split = Some(Split::Training);
        let options = SplitOptions { same_heads: vec![[id(0), id(6)]], ..OPTIONS };
        let message = cohort.split(&options).unwrap_err().to_string();
        assert!(message.contains("'s3' of 'd' and subject 's0'"), "{message}");
    }

    #[test]
    fn shares_hold_in_each_class() {
        let mut cohort = cohort(60);
        cohort.split(&OPTIONS).unwrap();
        for (class, cases) in [("LGG", 40), ("HGG", 80)] {
            assert_eq!(count(&cohort, class, Split::Test), cases / 5);
            assert_eq!(count(&cohort, class, Split::Validation), cases / 10);
            assert_eq!(count(&cohort, class, Split::Training), cases * 7 / 10);
        }
    }

    #[test]
    fn shares_hold_over_many_small_sites() {
        let mut cohort = cohort(60);
        for (place, case) in cohort.cases.iter_mut().enumerate() {
            case.site = Some(format!("site-{}", place / 4));
        }
        cohort.split(&OPTIONS).unwrap();
        for (class, cases) in [("LGG", 40), ("HGG", 80)] {
            assert_eq!(count(&cohort, class, Split::Test), cases / 5);
            assert_eq!(count(&cohort, class, Split::Validation), cases / 10);
        }
    }

    #[test]
    fn what_is_given_stays() {
        let mut cohort = cohort(30);
        cohort.cases[4].split = Some(Split::Test);
        cohort.split(&OPTIONS).unwrap();
        assert_eq!(cohort.cases[5].split, Some(Split::Test), "the same subject");
        assert_eq!(count(&cohort, "HGG", Split::Test) + count(&cohort, "LGG", Split::Test), 12);
        cohort.cases[0].split = Some(Split::Test);
        cohort.cases[1].split = Some(Split::Training);
        assert!(cohort.split(&OPTIONS).unwrap_err().to_string().contains("'s0'"));
        assert!(cohort.split(&SplitOptions { validation: 0.9, ..OPTIONS }).is_err());
        assert!(cohort.split(&SplitOptions { test: f64::NAN, ..OPTIONS }).is_err());
    }

    proptest! {
        #[test]
        fn subjects_stay_together_and_seeds_repeat(subjects in 1usize..40, seed: u64, test in 0.0..0.5, validation in 0.0..0.5) {
            let options = SplitOptions { seed, validation, test, same_heads: Vec::new() };
            let (mut a, mut b) = (cohort(subjects), cohort(subjects));
            b.cases.reverse();
            a.split(&options).unwrap();
            b.split(&options).unwrap();
            b.cases.reverse();
            prop_assert_eq!(&a, &b);
            for pair in a.cases.chunks(2) {
                prop_assert!(pair[0].split.is_some() && pair[0].split == pair[1].split);
            }
        }
    }
}
