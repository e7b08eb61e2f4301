//! A case as proposed by a layout, with every file that may belong to it.

use std::path::PathBuf;

use brainmvp_volume::Role;

use crate::identity::{self, Aliases, Evidence, Finding, Open, Says, Source};
use crate::{Case, CaseId, Split};

/// A file and what it seems to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// Its role: that of the finding, or [`Role::Ignored`] where that leaves it open.
    pub role: Role,
    /// What it is, with the evidence.
    pub finding: Finding,
    /// The word that gives the role, in lower case.
    pub word: String,
    /// The words after it, which name a version of the image (`bias`, `1mm`), in lower case.
    pub variant: Vec<String>,
}

impl Candidate {
    /// A file that something is known about, with the words of its name.
    pub fn found(path: PathBuf, finding: Finding, word: &str, variant: Vec<String>) -> Self {
        let role = finding.role().unwrap_or(Role::Ignored);
        Self { path, role, finding, word: word.to_lowercase(), variant }
    }

    /// The modality that the words of its name state against the role that a list gives it, in words.
    pub(super) fn contradiction(&self, aliases: &Aliases) -> Option<String> {
        let Role::Image(declared) = self.role else { return None };
        let name = brainmvp_volume::file::stem(&self.path)?;
        let found = identity::contradiction(declared, name, aliases)?;
        let path = self.path.display();
        Some(format!(
            "{path}: {declared} by the list, but its name says {} [{}]",
            found.decision(),
            found.reason()
        ))
    }

    /// A file whose role a list, a pattern or a data set states; `text` is what states it.
    pub fn stated(path: PathBuf, source: Source, text: &str, role: Role) -> Self {
        Self::found(path, Finding::stated(source, text, role), text, Vec::new())
    }
}

/// A proposed case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its id, not yet checked.
    pub id: String,
    /// The person.
    pub subject: String,
    /// The data set.
    pub data_set: String,
    /// The site.
    pub site: Option<String>,
    /// The class.
    pub class: Option<String>,
    /// The split.
    pub split: Option<Split>,
    /// All files of the case that were recognised.
    pub files: Vec<Candidate>,
}

impl Draft {
    /// A draft whose subject is the case itself.
    pub fn new(id: impl Into<String>, data_set: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            subject: id.clone(),
            id,
            data_set: data_set.into(),
            site: None,
            class: None,
            split: None,
            files: Vec::new(),
        }
    }

    /// Where several files have one role, makes the one with the lowest `rank` the plain one and the others versions of
    /// it. Files of the same rank stay as they are, and [`Draft::settle`] refuses them.
    pub(super) fn prefer<K: Ord>(&mut self, rank: impl Fn(&Candidate) -> K) {
        self.files.sort_by_key(|file| (file.role, rank(file)));
        for same in self.files.chunk_by_mut(|a, b| a.role == b.role) {
            let Some((first, others)) = same.split_first_mut() else { continue };
            let best = rank(first);
            if others.iter().any(|other| rank(other) == best) {
                continue;
            }
            first.variant.clear();
            for other in others.iter_mut().filter(|other| other.variant.is_empty()) {
                other.variant.push(other.word.clone());
            }
        }
    }

    /// Lets the images of the case settle what one of them leaves open ([`identity::settle`]), and the label maps what a
    /// mask is.
    pub(super) fn settle_session(&mut self) {
        self.tell_masks();
        let mut findings: Vec<&mut Finding> = self.files.iter_mut().map(|file| &mut file.finding).collect();
        identity::settle(&mut findings);
        for file in &mut self.files {
            match (file.role, file.finding.role()) {
                (Role::Ignored, Some(role)) | (Role::Image(_), Some(role @ Role::Image(_))) => {
                    file.role = role;
                }
                (_, None) => file.role = Role::Ignored,
                _ => {}
            }
        }
    }

    /// Chooses one file for each role: of several, the one without a variant, or more generally the one whose variant
    /// is a prefix of all others. The others go to `passed_over`, each with the reason as a clause.
    ///
    /// # Errors
    /// Why the case cannot be used: its id, two equal candidates (both named), no image.
    pub(super) fn settle(mut self, passed_over: &mut Vec<(PathBuf, String)>) -> Result<Case, String> {
        let id = CaseId::new(self.id).map_err(|e| e.to_string())?;
        let mut case = Case::new(id, self.subject, self.data_set);
        (case.site, case.class, case.split) = (self.site, self.class, self.split);
        self.files.retain(|file| file.role != Role::Ignored);
        self.files.sort_by(|a, b| (a.role, &a.variant, &a.path).cmp(&(b.role, &b.variant, &b.path)));
        for same in self.files.chunk_by(|a, b| a.role == b.role) {
            let Some((first, others)) = same.split_first() else { continue };
            if let Some(equal) =
                others.iter().find(|o| o.variant == first.variant || !o.variant.starts_with(&first.variant))
            {
                return Err(format!(
                    "two files for {}: {} and {}; rename one, or distinguish them with --pattern",
                    role_name(first.role),
                    first.path.display(),
                    equal.path.display()
                ));
            }
            match first.role {
                Role::Image(modality) => drop(case.images.insert(modality, first.path.clone())),
                Role::Label => case.label = Some(first.path.clone()),
                Role::BrainMask => case.brain_mask = Some(first.path.clone()),
                Role::Ignored => {}
            }
            let reason = format!("{} is plainer", first.path.display());
            passed_over.extend(others.iter().map(|other| (other.path.clone(), reason.clone())));
        }
        if case.images.is_empty() {
            let some =
                self.files.first().map_or(String::new(), |file| format!(" (only {})", file.path.display()));
            return Err(format!("no image of a known modality{some}"));
        }
        Ok(case)
    }

    /// A bare `mask` is a label map, but beside a `seg` it is the brain mask. One that is named after an image (`3DT1_mask`) is
    /// open then: it may be that of a removed face.
    fn tell_masks(&mut self) {
        let is_bare = |file: &Candidate| file.role == Role::Label && file.word == "mask";
        let has_brain_mask = self.files.iter().any(|file| file.role == Role::BrainMask);
        let has_label = self.files.iter().any(|file| file.role == Role::Label && file.word != "mask");
        if has_brain_mask || !has_label {
            return;
        }
        for file in self.files.iter_mut().filter(|file| is_bare(file)) {
            let named = file.finding.evidence.iter().any(|e| matches!(e.says, Says::Weighting(_)));
            let says = if named { Says::Open(Open::AnyMask) } else { Says::BrainMask };
            let evidence = Evidence::new(Source::Session, "a label map beside a mask", says, 5);
            file.finding.hear_of_mask(evidence);
            file.role = file.finding.role().unwrap_or(Role::Ignored);
        }
    }
}

fn role_name(role: Role) -> String {
    match role {
        Role::Image(modality) => modality.to_string(),
        Role::Label => "the label".to_owned(),
        Role::BrainMask => "the brain mask".to_owned(),
        Role::Ignored => "nothing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Modality;

    use super::*;

    fn file(path: &str, role: Role, variant: &[&str]) -> Candidate {
        let word = if path.contains("mask") { "mask" } else { "seg" }.to_owned();
        let variant = variant.iter().map(|v| (*v).to_owned()).collect();
        Candidate { variant, ..Candidate::stated(path.into(), Source::List, &word, role) }
    }

    fn settle(files: Vec<Candidate>) -> (Result<Case, String>, Vec<PathBuf>) {
        let mut passed_over = Vec::new();
        let mut draft = Draft { files, ..Draft::new("a", "d") };
        draft.settle_session();
        let case = draft.settle(&mut passed_over);
        (case, passed_over.into_iter().map(|(path, _)| path).collect())
    }

    const T1: Role = Role::Image(Modality::T1);

    #[test]
    fn the_plainest_file_wins() {
        let (case, passed_over) = settle(vec![file("t1_bias", T1, &["bias"]), file("t1", T1, &[])]);
        assert_eq!(case.unwrap().images[&Modality::T1], PathBuf::from("t1"));
        assert_eq!(passed_over, [PathBuf::from("t1_bias")]);
        let (case, _) = settle(vec![
            file("t1", T1, &[]),
            file("seg-x_mapped", Role::Label, &["x", "mapped"]),
            file("seg-x", Role::Label, &["x"]),
        ]);
        assert_eq!(case.unwrap().label, Some("seg-x".into()));
    }

    #[test]
    fn equal_files_are_refused_by_name() {
        for variants in [[&[][..], &[]], [&["1mm"], &["ir"]]] {
            let (case, _) = settle(vec![file("a_t1", T1, variants[0]), file("b_t1", T1, variants[1])]);
            let reason = case.unwrap_err();
            assert!(reason.contains("a_t1") && reason.contains("b_t1"), "{reason}");
        }
    }

    #[test]
    fn a_mask_beside_a_seg_is_of_the_brain() {
        let (case, _) = settle(vec![file("t1", T1, &[]), file("mask", Role::Label, &[])]);
        assert_eq!(case.unwrap().label, Some("mask".into()));
        let both = vec![file("t1", T1, &[]), file("mask", Role::Label, &[]), file("seg", Role::Label, &[])];
        let case = settle(both).0.unwrap();
        assert_eq!((case.label, case.brain_mask), (Some("seg".into()), Some("mask".into())));
    }

    #[test]
    fn a_label_alone_is_no_case() {
        assert!(settle(vec![file("seg", Role::Label, &[])]).0.unwrap_err().contains("no image"));
    }
}
