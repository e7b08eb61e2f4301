//! BIDS: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, with masks from `derivatives/`.
//!
//! One folder may hold several data sets, one per site (`<site>/sub-01/...`). Of several runs the first is used. Of
//! derivatives only masks and label maps are used, and only those in the space of the raw images; where the folder
//! itself is a derivative, its images are used.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_volume::{Modality, Role};

use super::{Candidate, Draft, Explained, IndexOptions, Layout, Listing, file_name, name_of};
use crate::Result;
use crate::identity::{self, Acquisition, Finding};

/// A BIDS data set, raw or derivative.
pub(super) struct Bids;

/// Folders of images below a subject or session.
const IMAGE_FOLDERS: [&str; 8] = ["anat", "dwi", "perf", "func", "fmap", "swi", "seg", "pet"];

/// Names for the space of the raw images.
const OWN_SPACES: [&str; 5] = ["orig", "individual", "native", "scanner", "T1w"];

/// Data set, subject and session.
type Key = (String, String, Option<String>);

/// What is known about a file from its name.
#[derive(Debug)]
struct Named {
    /// The folder of the raw data set, below the root.
    data_set: String,
    /// `sub-01`, and `ses-1`.
    subject: String,
    session: Option<String>,
    /// The derivative that it belongs to.
    pipeline: Option<String>,
    entities: Vec<(String, String)>,
    suffix: String,
    /// A folder of another subject or session that it lies in.
    elsewhere: Option<String>,
}

impl Layout for Bids {
    fn name(&self) -> &'static str {
        "bids"
    }

    fn describe(&self) -> &'static str {
        "BIDS, raw or derivative: sub-01[/ses-1]/anat/sub-01_T1w.nii.gz; masks from derivatives/; participants.tsv"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let (files, _) = if path.is_dir() { file_name::volume_files(path) } else { return None };
        let in_place = |file: &&PathBuf| {
            let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            folder.is_some_and(|folder| IMAGE_FOLDERS.contains(&folder)) && Named::of(path, file).is_some()
        };
        let count = files.iter().filter(in_place).count();
        let described = path.join("dataset_description.json").is_file();
        (count > 0 && (described || 2 * count > files.len()))
            .then(|| format!("{count} of {} files are named and placed as in BIDS", files.len()))
    }

    fn list(&self, root: &Path, options: &IndexOptions) -> Result<Listing> {
        let (files, warnings) = file_name::volume_files(root);
        let mut sorted = Sorted { listing: Listing { warnings, ..Listing::default() }, ..Sorted::default() };
        for path in files {
            sorted.take(root, path, options);
        }
        sorted.warn(root);
        let Sorted { mut listing, cases, .. } = sorted;
        let prefixes = prefixes(cases.keys());
        let name = options.data_set.clone().unwrap_or_else(|| name_of(root));
        let drafts = cases.into_iter().zip(prefixes);
        listing.drafts = drafts.map(|((key, files), prefix)| draft(&name, key, files, &prefix)).collect();
        Ok(listing)
    }
}

/// The files of a folder, sorted into cases.
#[derive(Default)]
struct Sorted {
    /// Without its cases.
    listing: Listing,
    cases: BTreeMap<Key, Vec<(Named, Candidate)>>,
    /// How many files are derived or in another space.
    elsewhere: usize,
    /// How many files are 4-D diffusion series.
    series: usize,
    misplaced: Vec<PathBuf>,
}

impl Sorted {
    /// Puts a file into its case, or to those that are not used.
    fn take(&mut self, root: &Path, path: PathBuf, options: &IndexOptions) {
        let Some(named) = Named::of(root, &path) else {
            let reason = "the name does not begin with its subject".to_owned();
            return self.listing.unknown.push((path, Some(reason)));
        };
        let finding = named.finding(Acquisition::beside(&path).as_ref(), options);
        let role = finding.role();
        if role == Some(Role::Image(Modality::Dwi)) && has_b_values(&path) {
            self.series += 1;
            return self.pass_over(path, finding, "it is a 4-D diffusion series");
        }
        if named.pipeline.is_some() && (matches!(role, Some(Role::Image(_))) || !named.in_own_space()) {
            self.elsewhere += 1;
            return self.pass_over(path, finding, "it is derived, or in another space");
        }
        if role.is_some_and(|role| is_misplaced(&path, role)) {
            self.misplaced.push(path.clone());
        }
        let variant: Vec<String> =
            named.entities.iter().map(|(key, value)| format!("{key}-{value}")).collect();
        // A mask that names a structure, unlike a bare `mask`, which might be that of the brain.
        let word =
            [variant.as_slice(), std::slice::from_ref(&named.suffix)].concat().join("_").to_lowercase();
        let candidate = Candidate::found(path, finding, &word, variant);
        let key = (named.data_set.clone(), named.subject.clone(), named.session.clone());
        self.cases.entry(key).or_default().push((named, candidate));
    }

    fn pass_over(&mut self, path: PathBuf, finding: Finding, reason: &str) {
        self.listing.passed_over.push(Explained { path, finding, unused: Some(reason.to_owned()) });
    }

    /// Says what is not used, and what is believed.
    fn warn(&mut self, root: &Path) {
        let Self { listing, elsewhere, series, misplaced, .. } = self;
        if *elsewhere > 0 {
            listing
                .warnings
                .push(format!("{elsewhere} derived images, or masks in other spaces, are not used"));
        }
        if let Some(first) = misplaced.first() {
            listing.warnings.push(format!(
                "{} images lie in a folder for other kinds of images; their names are believed, e.g. {}",
                misplaced.len(),
                first.strip_prefix(root).unwrap_or(first).display()
            ));
        }
        if *series > 0 {
            listing.warnings.push(format!(
                "{series} 4-D diffusion series (with .bval) are not used; give their trace and ADC images"
            ));
        }
    }
}

/// A case of the data set `name` with its files. Its subject begins with `prefix`.
fn draft(
    name: &str,
    (data_set, subject, session): Key,
    files: Vec<(Named, Candidate)>,
    prefix: &str,
) -> Draft {
    let subject = format!("{prefix}{subject}");
    let id = session.map_or_else(|| subject.clone(), |session| format!("{subject}_{session}"));
    let site = data_set.rsplit('/').next().filter(|site| !site.is_empty()).map(str::to_owned);
    let mut draft = Draft { subject, site, ..Draft::new(id, name) };
    let ranks: BTreeMap<PathBuf, _> =
        files.iter().map(|(named, file)| (file.path.clone(), named.rank(file.role))).collect();
    draft.files = files.into_iter().map(|(_, file)| file).collect();
    draft.prefer(|file| ranks.get(&file.path).cloned());
    draft
}

/// Whether an image lies in a folder of BIDS that is for others, such as a `T1w` in `dwi/`.
fn is_misplaced(path: &Path, role: Role) -> bool {
    let Role::Image(modality) = role else { return false };
    let diffusion = matches!(modality, Modality::Dwi | Modality::Adc);
    match path.parent().and_then(Path::file_name).and_then(|name| name.to_str()) {
        Some("anat") => diffusion,
        Some("dwi") => !diffusion,
        Some("perf" | "func" | "fmap" | "swi" | "seg" | "pet") => true,
        _ => false,
    }
}

/// Whether a diffusion series has its table of b-values.
fn has_b_values(path: &Path) -> bool {
    file_name::stem(path).is_some_and(|stem| path.with_file_name(format!("{stem}.bval")).is_file())
}

/// The prefix of subjects: the name of the data set if another one has a subject of that name.
fn prefixes<'a>(cases: impl Iterator<Item = &'a Key>) -> Vec<String> {
    let cases: Vec<&Key> = cases.collect();
    let mut data_sets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (data_set, subject, _) in &cases {
        data_sets.entry(subject).or_default().insert(data_set);
    }
    let prefix = |(data_set, subject, _): &&Key| {
        let shared = data_sets.get(subject.as_str()).is_some_and(|sets| sets.len() > 1);
        if shared && !data_set.is_empty() {
            format!("{}-", data_set.replace('/', "-"))
        } else {
            String::new()
        }
    };
    cases.iter().map(prefix).collect()
}

impl Named {
    fn of(root: &Path, path: &Path) -> Option<Self> {
        let stem = file_name::stem(path)?;
        let mut words: Vec<&str> = stem.split('_').collect();
        let suffix = words.pop()?.to_owned();
        let entities: Vec<(String, String)> = words
            .into_iter()
            .map(|word| word.split_once('-').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect::<Option<_>>()?;
        let (first, subject) = entities.first()?;
        if first != "sub" {
            return None;
        }
        let subject = format!("sub-{subject}");
        let session = entities.iter().find(|(key, _)| key == "ses").map(|(_, value)| format!("ses-{value}"));
        let below = path.strip_prefix(root).unwrap_or(path);
        let folders: Vec<&str> = below.parent()?.iter().filter_map(|part| part.to_str()).collect();
        let end = folders.iter().position(|folder| *folder == subject).unwrap_or(0);
        // `<data set>/derivatives/<pipeline>/sub-01`, or without a pipeline's folder.
        let above = &folders[..end];
        let derived = above.iter().position(|folder| *folder == "derivatives");
        let raw = match derived {
            // ISLES22 has `rawdata` beside `derivatives`.
            None if above.last() == Some(&"rawdata") => &above[..above.len() - 1],
            None => above,
            Some(at) => &above[..at],
        };
        let entities = entities.into_iter().filter(|(key, _)| key != "sub" && key != "ses").collect();
        let pipeline = derived.map(|at| above[at + 1..].join("/"));
        let other = |folder: &&&str, prefix: &str, own: Option<&str>| {
            folder.starts_with(prefix) && own.is_some_and(|own| own != **folder)
        };
        let elsewhere = folders.iter().find(|folder| {
            other(folder, "sub-", Some(&subject)) || other(folder, "ses-", session.as_deref())
        });
        let elsewhere = elsewhere.map(|folder| (*folder).to_owned());
        Some(Self { data_set: raw.join("/"), subject, session, pipeline, entities, suffix, elsewhere })
    }

    fn entity(&self, key: &str) -> Option<&str> {
        self.entities.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn in_own_space(&self) -> bool {
        self.entity("space").is_none_or(|space| OWN_SPACES.contains(&space))
    }

    fn finding(&self, acquisition: Option<&Acquisition>, options: &IndexOptions) -> Finding {
        let finding = identity::of_entities(&self.entities, &self.suffix, acquisition, &options.aliases);
        match &self.elsewhere {
            Some(folder) => finding.doubted(format!("it lies in {folder}, which its name contradicts")),
            None => finding,
        }
    }

    /// Lower is better: masks that name a lesion before other label maps; then the first run, and the fewest
    /// entities.
    fn rank(&self, role: Role) -> (bool, u64, usize, Vec<(String, String)>, Option<String>) {
        let what = [self.entity("label"), self.entity("desc")].into_iter().flatten().any(|word| {
            let word = word.to_lowercase();
            ["lesion", "tumor", "tumour", "stroke", "manual", "prediction"]
                .iter()
                .any(|known| word.contains(known))
        });
        let run = self.entity("run").and_then(|run| run.parse().ok()).unwrap_or(0);
        let named = role == Role::Label && !what && !["msk", "roi"].contains(&self.suffix.as_str());
        (named, run, self.entities.len(), self.entities.clone(), self.pipeline.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(path: &str) -> Option<Role> {
        let named = Named::of(Path::new("/d"), &Path::new("/d").join(path))?;
        Some(named.finding(None, &IndexOptions::default()).role().unwrap_or(Role::Ignored))
    }

    #[test]
    fn suffixes_and_entities_tell_the_modality() {
        use Modality::{Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};
        for (name, expected) in [
            ("T1w", Role::Image(T1)),
            ("ce-gadolinium_T1w", Role::Image(T1c)),
            ("ce-x_run-2_T1w", Role::Image(T1c)),
            ("acq-postcontrast_T1w", Role::Image(T1c)),
            ("acq-iso_T1w", Role::Image(T1)),
            ("ce-none_T1w", Role::Image(T1)),
            ("acq-mp2rage_T1w", Role::Image(T1)),
            ("UNIT1", Role::Image(T1)),
            ("inv-1_MP2RAGE", Role::Ignored),
            ("part-phase_T1w", Role::Ignored),
            ("T2w", Role::Image(T2)),
            ("FLAIR", Role::Image(Flair)),
            ("flair", Role::Image(Flair)),
            ("PDw", Role::Image(Pd)),
            ("angio", Role::Image(Mra)),
            ("trace", Role::Image(Dwi)),
            ("dwi", Role::Image(Dwi)),
            ("ADC", Role::Image(Adc)),
            ("desc-adc_dwi", Role::Image(Adc)),
            ("desc-brain_mask", Role::BrainMask),
            ("label-lesion_roi", Role::Label),
            ("msk", Role::Label),
            ("dseg", Role::Label),
            ("T2starw", Role::Ignored),
            ("T1map", Role::Ignored),
            ("bold", Role::Ignored),
        ] {
            assert_eq!(role(&format!("sub-01/anat/sub-01_{name}.nii.gz")), Some(expected), "{name}");
        }
        assert_eq!(role("sub-01/anat/T1w.nii.gz"), None);
    }

    #[test]
    fn derivatives_belong_to_the_raw_data_set() {
        let named = |path: &str| {
            let named = Named::of(Path::new("/d"), &Path::new("/d").join(path)).unwrap();
            (named.data_set, named.session, named.pipeline)
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(named("sub-1/ses-2/anat/sub-1_ses-2_T1w.nii"), (String::new(), own("ses-2"), None));
        assert_eq!(named("A/sub-1/anat/sub-1_T1w.nii"), ("A".to_owned(), None, None));
        assert_eq!(named("derivatives/p/sub-1/anat/sub-1_dseg.nii"), (String::new(), None, own("p")));
        assert_eq!(named("A/derivatives/sub-1/sub-1_msk.nii"), ("A".to_owned(), None, own("")));
        assert_eq!(named("rawdata/sub-1/sub-1_dwi.nii"), (String::new(), None, None));
    }
}
