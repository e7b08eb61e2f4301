//! Which cases are of one subject, judged over all folders of the tree.

use std::collections::{BTreeMap, BTreeSet};

use super::folders::{is_group, is_named_session, is_session_below, split_session};

/// Where subjects have more folders than this on average, the folders are subjects themselves.
const MOST_SESSIONS: usize = 8;

/// What the last part of the path of a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// A subject.
    Subject,
    /// An examination of the part above it.
    Session,
}

/// The place of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The path of its subject; empty for the indexed folder itself.
    pub(super) subject: Vec<String>,
    /// Its examination, and whether that was written in the subject's own part of the path (`P01_baseline`).
    pub(super) session: Option<(String, Written)>,
}

/// How the examination was told from the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// A part of the path below the subject.
    Below,
    /// At the end of the subject's name, which is this as a whole.
    AtTheEnd(String),
}

impl Place {
    /// The id of the case of a subject with this name.
    pub(super) fn id(&self, subject: &str) -> String {
        match &self.session {
            None => subject.to_owned(),
            Some((session, Written::Below)) => format!("{subject}_{session}"),
            // As it is written, with what was put before it to make it unique.
            Some((_, Written::AtTheEnd(whole))) => {
                let own = self.subject.last().map_or("", String::as_str);
                format!("{}{whole}", subject.strip_suffix(own).unwrap_or_default())
            }
        }
    }
}

/// What the last parts of the paths of all cases are.
pub(super) struct Sessions {
    /// By the path above the last part.
    levels: BTreeMap<Vec<String>, Level>,
    /// Whether all cases are examinations in the indexed folder, which is the subject.
    of_root: bool,
}

impl Sessions {
    /// Judges the paths of all cases.
    pub(super) fn of(cases: &[&[String]]) -> Self {
        let mut below: BTreeMap<&[String], BTreeSet<&str>> = BTreeMap::new();
        for case in cases {
            if let Some((last, above)) = case.split_last() {
                below.entry(above).or_default().insert(last);
            }
        }
        let of_root =
            cases.len() > 1 && cases.iter().all(|case| matches!(case, [only] if is_named_session(only)));
        // Only folders at one depth are compared with each other.
        let mut levels = BTreeMap::new();
        for depth in below.keys().map(|above| above.len()).collect::<BTreeSet<_>>() {
            let of_depth = || below.iter().filter(|(above, _)| above.len() == depth);
            let siblings: Vec<_> = of_depth().map(|(above, names)| (*above, names)).collect();
            levels.extend(siblings.iter().map(|(above, _)| (above.to_vec(), level(above, &siblings))));
        }
        Self { levels, of_root }
    }

    /// Where a case is.
    pub(super) fn place(&self, case: &[String]) -> Place {
        let Some((last, above)) = case.split_last() else {
            return Place { subject: Vec::new(), session: None };
        };
        if self.of_root || self.levels.get(above) == Some(&Level::Session) {
            return Place { subject: above.to_vec(), session: Some((last.clone(), Written::Below)) };
        }
        if let Some((subject, session)) = split_session(last) {
            let mut path = above.to_vec();
            path.push(subject.to_owned());
            let session = (session.to_owned(), Written::AtTheEnd(last.clone()));
            return Place { subject: path, session: Some(session) };
        }
        Place { subject: case.to_vec(), session: None }
    }
}

/// What the parts below `above` are, by their names and by those of the same depth.
fn level(above: &[String], siblings: &[(&[String], &BTreeSet<&str>)]) -> Level {
    let Some(parent) = above.last().filter(|parent| !is_group(parent)) else { return Level::Subject };
    let session = |holds: bool| if holds { Level::Session } else { Level::Subject };
    let Some((_, own)) = siblings.iter().find(|(other, _)| *other == above) else { return Level::Subject };
    if own.iter().all(|name| is_named_session(name)) {
        return Level::Session;
    }
    let few = siblings.iter().map(|(_, names)| names.len()).sum::<usize>() <= MOST_SESSIONS * siblings.len();
    if few && own.iter().all(|name| is_session_below(name)) {
        return Level::Session;
    }
    let parents: Vec<&String> = siblings.iter().filter_map(|(above, _)| above.last()).collect();
    if parents.len() < 2 || !few {
        return Level::Subject;
    }
    // `P01/x`, `P02/y`: folders with one word and different numbers are subjects.
    let numbered: Option<BTreeSet<&str>> = parents.iter().map(|parent| word_before_number(parent)).collect();
    if numbered.is_some_and(|words| words.len() == 1) {
        return Level::Session;
    }
    // `anna/a`, `anna/b`, `berta/a`, `berta/b`: names that come again below others. Numbers below names without a number are
    // the subjects of sites.
    let names: BTreeSet<&str> = siblings.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let again = |name: &&&str| siblings.iter().filter(|(_, names)| names.contains(**name)).count() > 1;
    let has_digit = |name: &str| name.contains(|c: char| c.is_ascii_digit());
    let is_numbered = names.iter().all(|name| has_digit(name)) && !has_digit(parent);
    session(
        !is_numbered && parents.len() >= names.len() && 2 * names.iter().filter(again).count() >= names.len(),
    )
}

/// `Patient-` of `Patient-001`, and nothing of `12`; `None` for names that do not end in a number after one word.
fn word_before_number(name: &str) -> Option<&str> {
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let letters = word.trim_end_matches(['-', '_', ' ']);
    (word.len() < name.len() && letters.bytes().all(|byte| byte.is_ascii_alphabetic())).then_some(word)
}

/// How the tree is read, in one line; `None` if every case is a subject of its own.
pub(super) fn reading(places: &[Place]) -> Option<String> {
    let example = places.iter().find(|place| place.session.is_some())?;
    let subjects: BTreeSet<&[String]> = places.iter().map(|place| place.subject.as_slice()).collect();
    let (session, written) = example.session.as_ref()?;
    let name = example.subject.last().map_or("the folder itself", String::as_str);
    let path = match written {
        Written::Below => [&example.subject[..], std::slice::from_ref(session)].concat().join("/"),
        Written::AtTheEnd(whole) => whole.clone(),
    };
    Some(format!(
        "{} cases of {} subjects: '{path}' is read as examination '{session}' of subject '{name}'; if that is wrong, see \
         --pattern or the column subject of --table",
        places.len(),
        subjects.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The subject of each case.
    fn subjects(cases: &[&str]) -> Vec<String> {
        let paths: Vec<Vec<String>> =
            cases.iter().map(|case| case.split('/').map(str::to_owned).collect()).collect();
        let sessions = Sessions::of(&paths.iter().map(Vec::as_slice).collect::<Vec<_>>());
        paths.iter().map(|path| sessions.place(path).subject.join("/")).collect()
    }

    #[test]
    fn examinations_of_one_subject() {
        for (cases, expected) in [
            (&["P01/baseline", "P01/followup", "P02/baseline"][..], &["P01", "P01", "P02"][..]),
            (
                &["Imaging/Patient-001/week-044", "Imaging/Patient-001/week-000-1"],
                &["Imaging/Patient-001"; 2],
            ),
            (&["P01/2019-03-04", "P01/20200506", "P02/20180101"], &["P01", "P01", "P02"]),
            (&["P01/MR1177", "P02/MR2044", "P03/MR5"], &["P01", "P02", "P03"]),
            (&["anna/a", "anna/b", "berta/a", "berta/b"], &["anna", "anna", "berta", "berta"]),
            (&["P01_baseline", "P01_followup", "P02_baseline"], &["P01", "P01", "P02"]),
            (
                &["longitudinal/patient01/study1", "longitudinal/patient01/study2"],
                &["longitudinal/patient01"; 2],
            ),
            (&["baseline", "followup"], &["", ""]),
            (
                &["train/P01/baseline", "train/P01/month-6", "test/P02/baseline"],
                &["train/P01", "train/P01", "test/P02"],
            ),
        ] {
            assert_eq!(subjects(cases), expected, "{cases:?}");
        }
    }

    #[test]
    fn subjects_of_groups() {
        for cases in [
            &["TrainingData/1", "TrainingData/2", "TestData/1"][..],
            &["Utrecht/0", "Utrecht/2", "Singapore/50", "Singapore/51"],
            &["Utrecht/1", "Utrecht/2", "Singapore/1", "Singapore/2"],
            &["site1/P01", "site1/P02", "site2/P01"],
            &["HGG/a", "LGG/b"],
            &["2019/P01", "2020/P02"],
            &["c1", "c2", "scan_001", "scan_002"],
            &["20190304", "20190305"],
        ] {
            assert_eq!(subjects(cases), *cases);
        }
        let many: Vec<String> = (0..40).map(|n| format!("A{}/p{n}", n % 2)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(subjects(&many), many, "nobody is examined so often");
    }

    #[test]
    fn the_guess_is_told() {
        let paths = [["P01", "baseline"], ["P01", "followup"]].map(|parts| parts.map(str::to_owned));
        let sessions = Sessions::of(&paths.iter().map(|path| &path[..]).collect::<Vec<_>>());
        let told = reading(&paths.map(|path| sessions.place(&path))).unwrap();
        assert!(
            told.contains("2 cases of 1 subjects: 'P01/baseline' is read as examination 'baseline'"),
            "{told}"
        );
        assert!(reading(&[Place { subject: vec!["a".to_owned()], session: None }]).is_none());
    }
}
