//! Names of files.

use std::path::PathBuf;

use brainmvp_volume::{Modality, Role};

/// The parts of a file's name, in their order. Labels are letters and digits ([`label_of`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BidsName {
    /// The subject, without `sub-`.
    pub subject: String,
    /// The session, without `ses-`; `None` if there is only one.
    pub session: Option<String>,
    /// Which of several images of one kind, from 1.
    pub run: Option<usize>,
    /// The space of the voxels if it is not that of the scanner.
    pub space: Option<String>,
    /// In derivatives, what was done (`preproc`).
    pub description: Option<String>,
    /// The kind of file.
    pub role: Role,
}

impl BidsName {
    /// `sub-01_ses-1_ce-contrast_run-2_space-SRI24_desc-preproc_T1w`; `None` for [`Role::Ignored`].
    pub fn stem(&self) -> Option<String> {
        let (_, contrast, suffix) = kind(self.role)?;
        let entities = [
            ("ses", self.session.clone()),
            ("ce", contrast.then(|| "contrast".to_owned())),
            ("run", self.run.map(|run| run.to_string())),
            ("space", self.space.clone()),
            (
                "desc",
                if self.role == Role::BrainMask {
                    Some("brain".to_owned())
                } else {
                    self.description.clone()
                },
            ),
        ];
        let mut stem = format!("sub-{}", self.subject);
        for (key, value) in entities {
            if let Some(value) = value {
                stem = format!("{stem}_{key}-{value}");
            }
        }
        Some(format!("{stem}_{suffix}"))
    }

    /// The path below the data set's folder, without an ending; `None` for [`Role::Ignored`].
    pub fn path(&self) -> Option<PathBuf> {
        let (folder, ..) = kind(self.role)?;
        let mut path = PathBuf::from(format!("sub-{}", self.subject));
        if let Some(session) = &self.session {
            path.push(format!("ses-{session}"));
        }
        Some(path.join(folder).join(self.stem()?))
    }
}

/// The folder, whether a contrast agent is named, and the suffix.
fn kind(role: Role) -> Option<(&'static str, bool, &'static str)> {
    Some(match role {
        Role::Image(Modality::Flair) => ("anat", false, "FLAIR"),
        Role::Image(Modality::T1) => ("anat", false, "T1w"),
        Role::Image(Modality::T1c) => ("anat", true, "T1w"),
        Role::Image(Modality::T2) => ("anat", false, "T2w"),
        Role::Image(Modality::Mra) => ("anat", false, "angio"),
        Role::Image(Modality::Pd) => ("anat", false, "PDw"),
        Role::Image(Modality::Dwi) => ("dwi", false, "trace"),
        Role::Image(Modality::Adc) => ("dwi", false, "ADC"),
        Role::Label => ("anat", false, "dseg"),
        Role::BrainMask => ("anat", false, "mask"),
        Role::Ignored => return None,
    })
}

/// The letters and digits of a name, the only characters that a BIDS label may have; `x` where there are none.
pub fn label_of(name: &str) -> String {
    let label: String =
        name.strip_prefix("sub-").unwrap_or(name).chars().filter(char::is_ascii_alphanumeric).collect();
    if label.is_empty() { "x".to_owned() } else { label }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_parts_in_order() {
        let name = BidsName {
            subject: "007".to_owned(),
            session: Some("01".to_owned()),
            run: Some(2),
            space: Some("SRI24".to_owned()),
            description: Some("preproc".to_owned()),
            role: Role::Image(Modality::T1c),
        };
        let path = name.path().unwrap();
        let expected = "sub-007/ses-01/anat/sub-007_ses-01_ce-contrast_run-2_space-SRI24_desc-preproc_T1w";
        assert_eq!(path, PathBuf::from(expected));
        let mask = BidsName {
            session: None,
            run: None,
            space: None,
            description: None,
            role: Role::BrainMask,
            ..name
        };
        assert_eq!(mask.stem().unwrap(), "sub-007_desc-brain_mask");
        assert_eq!(label_of("sub-BraTS-GLI_00001"), "BraTSGLI00001");
    }
}
