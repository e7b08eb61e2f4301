//! The words that file names use for modalities, labels and masks.

use std::collections::BTreeMap;

use crate::{Modality, Role};

/// The words for each role. The tokens of a word are joined by `_`, which stands for any separator.
const WORDS: [(Role, &[&str]); 11] = [
    (
        Role::Image(Modality::Flair),
        &["flair", "t2f", "t2flair", "t2_flair", "t2w_flair", "fla", "dark_fluid", "flairw"],
    ),
    (
        Role::Image(Modality::T1),
        &[
            "t1",
            "t1n",
            "t1w",
            "t1_native",
            "t1_pre",
            "t1pre",
            "mprage",
            "mpr",
            "mp_rage",
            "t1_mprage",
            "spgr",
            "ir_fspgr",
            "fspgr",
            "tfl3d",
            "bravo",
            "anat",
        ],
    ),
    (
        Role::Image(Modality::T1c),
        &[
            "t1c",
            "t1ce",
            "t1gd",
            "t1_gd",
            "t1post",
            "t1_post",
            "t1pg",
            "t1km",
            "t1_km",
            "t1_ce",
            "t1_c",
            "t1+c",
            "t1cw",
            "t1wce",
            "t1w_ce",
            "t1w_gd",
            "t1w_post",
            "ce_t1",
            "cet1",
            "ce_t1w",
            "cet1w",
            "ct1",
            "post_t1",
            "t1_contrast",
            "gd",
        ],
    ),
    (Role::Image(Modality::T2), &["t2", "t2w", "hrt2", "tse", "t2_tse", "ciss", "t2_ci3d", "fiesta"]),
    (Role::Image(Modality::Mra), &["mra", "angio", "tof", "tof_mra", "mra_tof", "tof_angio"]),
    (Role::Image(Modality::Pd), &["pd", "pdw", "pd_w", "proton_density"]),
    (
        Role::Image(Modality::Dwi),
        &["dwi", "trace", "tracew", "trace_w", "b1000", "isodwi", "dwi_trace", "dwi_b1000"],
    ),
    (Role::Image(Modality::Adc), &["adc", "apparent_diffusion", "adcmap", "adc_map", "dwi_adc"]),
    (
        Role::Label,
        &[
            "seg",
            "msk",
            "segm",
            "automated_approx_segm",
            "mask",
            "dseg",
            "roi",
            "label",
            "labels",
            "segmentation",
            "labelsfortraining",
            "labelsfortesting",
            "tumor_segmentation",
            "tumour_segmentation",
            "tumor_mask",
            "lesion",
            "lesion_mask",
            "label_lesion_mask",
            "lesion_msk",
            "glistrboost",
            "glistrboost_manuallycorrected",
        ],
    ),
    (Role::BrainMask, &["brain_segmentation", "brainmask", "brain_mask", "desc_brain_mask", "bet_mask"]),
    (
        Role::Ignored,
        &[
            "swi",
            "asl",
            "dsc",
            "dti",
            "dti_trace",
            "fa",
            "md",
            "ad",
            "rd",
            "tr",
            "l1",
            "l2",
            "l3",
            "s0",
            "b0",
            "t2star",
            "t2starw",
            "t2*",
            "t2*w",
            "t2s",
            "unit1",
            "bold",
            "sbref",
            "snp",
            "bval",
            "bvec",
            "defacemask",
            "brain_parenchyma_segmentation",
        ],
    ),
];

/// Words that anything may follow: `DSC_ap-rCBV`, `DTI_eddy_noreg`.
const OPEN_WORDS: [&str; 2] = ["dsc", "dti"];

/// Words that name a version of an image and may follow the modality: `T1_bias`, `fla_bet_raw`, `T1_1mm`.
const VARIANTS: [&str; 28] = [
    "bias",
    "unstripped",
    "stripped",
    "skullstripped",
    "skull",
    "scaled",
    "ir",
    "1mm",
    "2mm",
    "bet",
    "raw",
    "brain",
    "norm",
    "normalized",
    "normalised",
    "n4",
    "preproc",
    "reg",
    "registered",
    "coreg",
    "resampled",
    "orig",
    "defaced",
    "2",
    "3",
    "4",
    "5",
    "6",
];

/// What separates the tokens of a file name.
const SEPARATORS: [char; 4] = ['-', '_', '.', ' '];

/// The case-insensitive table from the words in file names to [`Role`]s.
///
/// Only the end of a name is looked at, whole tokens at a time, so that `t1` is not found in `t1ce` nor `pd` in
/// `UCSF-PDGM-0004_FLAIR`.
#[derive(Debug, Clone)]
pub struct Aliases {
    /// Tokens in lower case joined by `_`.
    words: BTreeMap<String, Role>,
}

/// What the end of a file name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuffixMatch<'a> {
    /// What the file is.
    pub role: Role,
    /// Length in bytes of the matched words at the end of the name, with the variant but without the separator before
    /// them.
    pub length: usize,
    /// The words after the role that name a version of the image (`bias`, `1mm`). Of several files of one modality, one
    /// without such words is preferred.
    pub variant: Option<&'a str>,
}

impl Default for Aliases {
    /// The words of the public data sets.
    fn default() -> Self {
        let rows =
            WORDS.into_iter().flat_map(|(role, words)| words.iter().map(move |word| (joined(word), role)));
        Self { words: rows.collect() }
    }
}

impl Aliases {
    /// The default table with the user's words, which win: each maps to a modality's canonical name, or to
    /// `label`, `mask` (of the brain) or `ignore`.
    ///
    /// # Errors
    /// Where a word is empty, or maps to something else; the message names both.
    pub fn extended(user: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut aliases = Self::default();
        user.iter().try_for_each(|(word, target)| aliases.set(word, target))?;
        Ok(aliases)
    }

    /// Gives a word a meaning, replacing any earlier one, as in [`Aliases::extended`].
    ///
    /// # Errors
    /// As [`Aliases::extended`].
    pub fn set(&mut self, word: &str, target: &str) -> Result<(), String> {
        let role = match target.to_ascii_lowercase().as_str() {
            "label" => Role::Label,
            "mask" => Role::BrainMask,
            "ignore" => Role::Ignored,
            name => Role::Image(
                name.parse()
                    .map_err(|reason| format!("alias '{word}': {reason}; also allowed: label mask ignore"))?,
            ),
        };
        let key = joined(word);
        if key.is_empty() {
            return Err(format!("alias '{word}' for {target}: the word is empty"));
        }
        self.words.insert(key, role);
        Ok(())
    }

    /// The role of a word or phrase as a whole.
    pub fn role_of(&self, word: &str) -> Option<Role> {
        self.words.get(&joined(word)).copied()
    }

    /// What the end of a file's name (without folder and extension) says.
    ///
    /// The longest phrase wins; a match without variant words comes before one with them.
    pub fn match_suffix<'a>(&self, stem: &'a str) -> Option<SuffixMatch<'a>> {
        let tokens = tokens(stem);
        let longest_variant = tokens.iter().rev().take_while(|token| is_variant(token.word)).count();
        for variant_tokens in 0..=longest_variant {
            let (named, variant) = tokens.split_at(tokens.len() - variant_tokens);
            let variant = variant.first().map(|token| &stem[token.start..]);
            for first in 0..named.len() {
                if let Some(role) = self.words.get(&join(&named[first..])) {
                    let role =
                        if contrast_entity(stem, &named[..first]) { with_contrast(*role) } else { *role };
                    return Some(SuffixMatch { role, length: stem.len() - named[first].start, variant });
                }
            }
        }
        let open =
            tokens.iter().find(|token| OPEN_WORDS.contains(&token.word.to_ascii_lowercase().as_str()))?;
        Some(SuffixMatch { role: Role::Ignored, length: stem.len() - open.start, variant: None })
    }

    /// The known word that an unknown one most likely stands for, if any is close enough.
    pub fn nearest(&self, word: &str) -> Option<&str> {
        let word = joined(word);
        let distances = self.words.keys().map(|known| (edit_distance(&word, known), known));
        let (distance, known) = distances.min()?;
        (distance <= (word.chars().count() / 3).max(1)).then_some(known)
    }
}

#[derive(Clone, Copy)]
struct Token<'a> {
    start: usize,
    word: &'a str,
}

fn tokens(stem: &str) -> Vec<Token<'_>> {
    let mut start = 0;
    let mut found = Vec::new();
    for word in stem.split(SEPARATORS) {
        if !word.is_empty() {
            found.push(Token { start, word });
        }
        start += word.len() + 1; // every separator is one byte
    }
    found
}

fn join(tokens: &[Token<'_>]) -> String {
    tokens.iter().map(|token| token.word.to_ascii_lowercase()).collect::<Vec<_>>().join("_")
}

fn joined(word: &str) -> String {
    join(&tokens(word))
}

fn is_variant(word: &str) -> bool {
    VARIANTS.contains(&word.to_ascii_lowercase().as_str())
}

/// Whether a BIDS name has the entity `ce-<agent>` before its suffix.
fn contrast_entity(stem: &str, before: &[Token<'_>]) -> bool {
    stem.starts_with("sub-") && before.iter().any(|token| token.word == "ce")
}

fn with_contrast(role: Role) -> Role {
    if role == Role::Image(Modality::T1) { Role::Image(Modality::T1c) } else { role }
}

/// Insertions, deletions and replacements between two words (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use Modality::{Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};

    use super::*;

    const LABEL: Role = Role::Label;
    const MASK: Role = Role::BrainMask;
    const IGNORED: Role = Role::Ignored;

    /// Name, role, case identifier before it, variant.
    #[rustfmt::skip]
    const NAMES: &[(&str, Role, &str, Option<&str>)] = &[
        ("BraTS2021_00000_t1ce", Role::Image(T1c), "BraTS2021_00000", None),
        ("BraTS2021_00000_t1", Role::Image(T1), "BraTS2021_00000", None),
        ("BraTS-PED-00001-000-t2f", Role::Image(Flair), "BraTS-PED-00001-000", None),
        ("BraTS-MET-00001-000-seg", LABEL, "BraTS-MET-00001-000", None),
        ("UCSF-PDGM-0004_FLAIR", Role::Image(Flair), "UCSF-PDGM-0004", None),
        ("UCSF-PDGM-0004_T1_bias", Role::Image(T1), "UCSF-PDGM-0004", Some("bias")),
        ("UCSF-PDGM-0004_DTI_eddy_FA", IGNORED, "UCSF-PDGM-0004_DTI_eddy", None),
        ("UCSF-PDGM-0004_DTI_eddy_noreg", IGNORED, "UCSF-PDGM-0004", None),
        ("UCSF-PDGM-0004_brain_segmentation", MASK, "UCSF-PDGM-0004", None),
        ("UCSF-PDGM-0004_brain_parenchyma_segmentation", IGNORED, "UCSF-PDGM-0004", None),
        ("UCSF-PDGM-0004_tumor_segmentation", LABEL, "UCSF-PDGM-0004", None),
        ("UPENN-GBM-00001_11_T1GD_unstripped", Role::Image(T1c), "UPENN-GBM-00001_11", Some("unstripped")),
        ("UPENN-GBM-00001_11_DSC_ap-rCBV", IGNORED, "UPENN-GBM-00001_11", None),
        ("UPENN-GBM-00001_11_automated_approx_segm", LABEL, "UPENN-GBM-00001_11", None),
        ("Brats18_2013_0_1_T1GD", Role::Image(T1c), "Brats18_2013_0_1", None),
        ("IXI002-Guys-0828-MRA", Role::Image(Mra), "IXI002-Guys-0828", None),
        ("IXI002-Guys-0828-PD", Role::Image(Pd), "IXI002-Guys-0828", None),
        ("T1", Role::Image(T1), "", None),
        ("T1_IR", Role::Image(T1), "", Some("IR")),
        ("T1_1mm", Role::Image(T1), "", Some("1mm")),
        ("T2_FLAIR", Role::Image(Flair), "", None),
        ("LabelsForTraining", LABEL, "", None),
        ("sub-strokecase0009_ses-0001_dwi", Role::Image(Dwi), "sub-strokecase0009_ses-0001", None),
        ("sub-strokecase0009_ses-0001_adc", Role::Image(Adc), "sub-strokecase0009_ses-0001", None),
        ("sub-strokecase0009_ses-0001_msk", LABEL, "sub-strokecase0009_ses-0001", None),
        ("sub-01_ce-gadolinium_run-1_T1w", Role::Image(T1c), "sub-01_ce-gadolinium_run-1", None),
        ("sub-01_T1w", Role::Image(T1), "sub-01", None),
        ("sub-01_desc-brain_mask", MASK, "sub-01", None),
        ("sub-01_T2starw", IGNORED, "sub-01", None),
        ("CE-001_T1", Role::Image(T1), "CE-001", None),
        ("crossmoda_1_ceT1", Role::Image(T1c), "crossmoda_1", None),
        ("crossmoda_1_hrT2", Role::Image(T2), "crossmoda_1", None),
        ("crossmoda_1_Label", LABEL, "crossmoda_1", None),
        ("OtherEXampleFromTCIA_fla_bet_raw", Role::Image(Flair), "OtherEXampleFromTCIA", Some("bet_raw")),
        ("OtherEXampleFromTCIA_t1c_bet_raw", Role::Image(T1c), "OtherEXampleFromTCIA", Some("bet_raw")),
        ("MNI152_T1_1mm_brain_mask", MASK, "MNI152_T1_1mm", None),
        ("a.t1+c", Role::Image(T1c), "a", None),
        ("co__t1c__t2", Role::Image(T2), "co__t1c", None),
    ];

    #[test]
    fn names_of_the_public_data_sets() {
        let aliases = Aliases::default();
        for (stem, role, case, variant) in NAMES {
            for stem in
                [(*stem).to_owned(), stem.to_uppercase().replace("SUB-", "sub-").replace("_CE-G", "_ce-G")]
            {
                let found = aliases.match_suffix(&stem).unwrap_or_else(|| panic!("{stem}: nothing found"));
                assert_eq!(found.role, *role, "{stem}");
                let before = stem[..stem.len() - found.length].trim_end_matches(SEPARATORS);
                assert!(before.eq_ignore_ascii_case(case), "{stem}: case {before}");
                assert_eq!(found.variant.map(str::to_lowercase), variant.map(str::to_lowercase), "{stem}");
            }
        }
    }

    #[test]
    fn look_alikes_are_not_found() {
        let aliases = Aliases::default();
        for stem in [
            "",
            "___",
            "UCSF-PDGM-0004",
            "BraTS2021_00000",
            "seg-BraTS23_1",
            "patient_xt1",
            "t1cex",
            "bias",
            "é_ü",
        ] {
            assert_eq!(aliases.match_suffix(stem), None, "{stem}");
        }
    }

    #[test]
    fn the_users_words_win() {
        let user = |word: &str, target: &str| BTreeMap::from([(word.to_owned(), target.to_owned())]);
        let aliases = Aliases::extended(&user("T1", "T1C")).unwrap();
        let found = |stem| aliases.match_suffix(stem).map(|found| (found.role, found.length));
        assert_eq!(found("vs_gk_1_t1"), Some((Role::Image(T1c), 2)));
        let aliases = Aliases::extended(&user("brain-ROI", "mask")).unwrap();
        assert_eq!(
            aliases.match_suffix("x_Brain_roi").map(|found| (found.role, found.length)),
            Some((MASK, 9))
        );
        assert_eq!(aliases.role_of("t2 flair"), Some(Role::Image(Flair)));
        for (word, target) in [("foo", "t3"), ("--", "t1")] {
            let error = Aliases::extended(&user(word, target)).unwrap_err();
            assert!(error.contains(word) && error.contains(target), "{error}");
        }
    }

    #[test]
    fn an_unknown_word_gets_its_nearest_neighbour() {
        let aliases = Aliases::default();
        assert_eq!(aliases.nearest("FLAIRE"), Some("flair"));
        assert_eq!(aliases.nearest("t1gdd"), Some("t1gd"));
        assert_eq!(aliases.nearest("something"), None);
    }

    #[test]
    fn no_word_stands_for_two_roles() {
        let count: usize = WORDS.iter().map(|(_, words)| words.len()).sum();
        assert_eq!(Aliases::default().words.len(), count);
    }
}
