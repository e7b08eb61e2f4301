//! Which case each file of a folder belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use brainmvp_volume::Role;
use regex::Regex;

use super::super::{Candidate, file_name, literal};
use super::agents::AgentFolders;
use super::folders::{FolderName, NamedImage, stage_rank};
use crate::identity::{Aliases, Open, Says};

/// All files of a folder.
pub(super) struct Tree {
    /// Those with a role.
    pub(super) files: Vec<TreeFile>,
    /// Those without.
    pub(super) unknown: Vec<PathBuf>,
}

/// A file and its case.
#[derive(Debug, Clone)]
pub(super) struct TreeFile {
    /// The path of its case: folders that are subjects, sessions or groups, and what names in one folder have before the
    /// modality if they differ there. Empty for the indexed folder itself.
    pub(super) case: Vec<String>,
    /// The folders of processing that it lies in, joined by `/`; empty for none.
    pub(super) stage: String,
    /// Lower is nearer to the original.
    pub(super) rank: usize,
    /// The file.
    pub(super) candidate: Candidate,
}

/// A file with what its name and its folders say.
pub(super) struct Entry {
    /// The names of its folders, below the indexed one.
    pub(super) folders: Vec<String>,
    /// The folders of its case.
    case: Vec<String>,
    /// The folders of processing.
    stage: Vec<String>,
    /// What comes before the modality, without what its folders say too.
    identifier: String,
    pub(super) candidate: Candidate,
}

/// Names of files that say nothing.
static SAYS_NOTHING: LazyLock<Regex> =
    LazyLock::new(|| literal(r"(?i)^(?:image|img|im|volume|vol|scan|data|series|s|se)?[-_ ]?[\d._-]*$"));

impl Tree {
    /// Reads the names of all `files` below `root`.
    pub(super) fn of(root: &Path, files: &[PathBuf], aliases: &Aliases) -> Self {
        let folders_of = |path: &Path| -> Vec<String> {
            let below = path.strip_prefix(root).unwrap_or(path).parent();
            let names = below.into_iter().flat_map(Path::iter);
            names.map(|name| name.to_string_lossy().trim_end_matches("_nifti").to_owned()).collect()
        };
        let (mut entries, mut unknown) = (Vec::new(), Vec::new());
        let study = first_word_of_all(files);
        for path in files {
            match Entry::of(path, folders_of(path), study, aliases) {
                Some(entry) => entries.push(entry),
                None => unknown.push(path.clone()),
            }
        }
        let agents = AgentFolders::of(&entries, aliases);
        agents.tell(&mut entries);
        let roles = roles_by_folder(&entries);
        for entry in &mut entries {
            entry.find_case(&roles, &agents, aliases);
        }
        nest(&mut entries);
        Self { files: with_identifiers(entries), unknown }
    }
}

impl Entry {
    /// A file whose name says what it is or, where the name says nothing, whose folder does.
    /// `study` is the word that all names of the tree begin with: where a name leaves open whether such a word is a person or
    /// an image, it is neither.
    fn of(path: &Path, folders: Vec<String>, study: &str, aliases: &Aliases) -> Option<Self> {
        let deepest = folders.last().map_or("", String::as_str);
        let of_folder = NamedImage::of(deepest, aliases);
        // The folder of a subject is part of many names; `T1w/T1w_brain` needs both.
        let own = if of_folder.is_some() { "" } else { deepest };
        let mut named = file_name::parse(path, own, aliases)?;
        let doubt = Says::Open(Open::Patient);
        if named.candidate.finding.evidence.iter().any(|e| e.says == doubt) && !study.is_empty() {
            named = file_name::parse(path, study, aliases)?;
        }
        let says_nothing = named.identifier.is_empty()
            || named.candidate.word.is_empty() && SAYS_NOTHING.is_match(named.identifier);
        let identifier = match of_folder {
            Some(of_folder) if says_nothing => of_folder.identifier,
            _ => named.identifier,
        };
        let identifier = without_folders(identifier, &folders);
        let candidate = named.candidate;
        Some(Self { case: Vec::new(), folders, stage: Vec::new(), identifier, candidate })
    }

    /// Takes the folders that say nothing of the case from its path: those of images, of the contrast agent, of processing,
    /// and containers.
    fn find_case(
        &mut self,
        roles: &BTreeMap<Vec<String>, BTreeSet<Role>>,
        agents: &AgentFolders,
        aliases: &Aliases,
    ) {
        let mut case = Vec::new();
        for (depth, folder) in self.folders.iter().enumerate() {
            let inside = roles.get(&self.folders[..=depth]);
            match FolderName::of(folder, aliases) {
                _ if agents.holds(&self.folders[..=depth]) => {}
                FolderName::Container => {}
                FolderName::Stage => self.stage.push(folder.clone()),
                FolderName::Image(role) if is_image(folder, role, inside, aliases) => {}
                _ => case.push(folder.clone()),
            }
        }
        self.case = case;
    }
}

/// The word that the names of all files begin with, if they are several; empty if there is none.
fn first_word_of_all(files: &[PathBuf]) -> &str {
    let Some(word) = files.first().and_then(|path| first_word(path)) else { return "" };
    let all = files.len() > 2 && files.iter().all(|path| first_word(path) == Some(word));
    if all { word } else { "" }
}

fn first_word(path: &Path) -> Option<&str> {
    let stem = file_name::stem(path)?;
    stem.find(['-', '_', '.', ' ']).map(|end| &stem[..end])
}

/// Whether a folder that is named after an image holds it: a whole name needs one such file or only folders, the end of a
/// name nothing but such files.
fn is_image(folder: &str, role: Role, inside: Option<&BTreeSet<Role>>, aliases: &Aliases) -> bool {
    let is_whole = NamedImage::of(folder, aliases).is_some_and(|named| named.is_whole());
    match (inside, is_whole) {
        (Some(roles), true) => roles.contains(&role),
        (Some(roles), false) => roles.len() == 1 && roles.contains(&role),
        (None, whole) => whole,
    }
}

/// An identifier without what the folders say too: nothing is left of `P01_baseline` in `P01/baseline`.
fn without_folders(identifier: &str, folders: &[String]) -> String {
    const SEPARATORS: [char; 4] = ['-', '_', '.', ' '];
    let mut rest = identifier;
    'again: while !rest.is_empty() {
        for folder in folders.iter().filter(|folder| !folder.is_empty()) {
            let Some(start) = rest.get(..folder.len()) else { continue };
            let after = &rest[folder.len()..];
            if start.eq_ignore_ascii_case(folder) && (after.is_empty() || after.starts_with(SEPARATORS)) {
                rest = after.trim_start_matches(SEPARATORS);
                continue 'again;
            }
        }
        break;
    }
    rest.to_owned()
}

/// The roles of the files directly in each folder.
fn roles_by_folder(entries: &[Entry]) -> BTreeMap<Vec<String>, BTreeSet<Role>> {
    let mut roles: BTreeMap<Vec<String>, BTreeSet<Role>> = BTreeMap::new();
    for entry in entries {
        roles.entry(entry.folders.clone()).or_default().insert(entry.candidate.role);
    }
    roles
}

/// Folders within the folder of a case that has images itself are its stages of processing, if it has several modalities or
/// the folders come again in other cases.
fn nest(entries: &mut [Entry]) {
    let mut images: BTreeMap<Vec<String>, BTreeSet<Role>> = BTreeMap::new();
    let mut holders: BTreeMap<String, BTreeSet<Vec<String>>> = BTreeMap::new();
    for entry in entries.iter() {
        if matches!(entry.candidate.role, Role::Image(_)) && entry.stage.is_empty() {
            images.entry(entry.case.clone()).or_default().insert(entry.candidate.role);
        }
        for depth in 0..entry.case.len() {
            let holder = entry.case[..depth].to_vec();
            holders.entry(entry.case[depth].to_lowercase()).or_default().insert(holder);
        }
    }
    for entry in entries {
        let outer = (1..entry.case.len()).find(|depth| {
            let again = holders.get(&entry.case[*depth].to_lowercase()).is_some_and(|above| above.len() > 1);
            images.get(&entry.case[..*depth]).is_some_and(|roles| roles.len() > 1 || again)
        });
        if let Some(depth) = outer {
            let inner = entry.case.split_off(depth);
            entry.stage.splice(0..0, inner);
        }
    }
}

/// Cases by folder and, where several cases share one, by what their names have before the modality.
fn with_identifiers(entries: Vec<Entry>) -> Vec<TreeFile> {
    let mut folders: BTreeMap<Vec<String>, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        folders.entry(entry.case.clone()).or_default().push(entry);
    }
    let strictly = folders.values().any(|entries| Series::of(entries).is_some_and(|series| !series.repeats));
    let mut files = Vec::new();
    for (folder, entries) in folders {
        let series = Series::of(&entries).filter(|series| !series.repeats || strictly);
        let identifiers: BTreeSet<String> =
            images(&entries).map(|entry| base_of(&entry.identifier, series.as_ref())).collect();
        let one_case =
            if folder.is_empty() { identifiers.iter().all(String::is_empty) } else { identifiers.len() <= 1 };
        for entry in entries {
            let identifier = base_of(&entry.identifier, series.as_ref());
            let identifier = owner(&identifier, &identifiers).unwrap_or(identifier);
            let mut case = folder.clone();
            case.extend(Some(identifier).filter(|identifier| !one_case && !identifier.is_empty()));
            let rank = entry.stage.iter().filter_map(|stage| stage_rank(stage)).max();
            files.push(TreeFile {
                case,
                rank: rank.unwrap_or(usize::MAX),
                stage: entry.stage.join("/"),
                candidate: entry.candidate,
            });
        }
    }
    files
}

/// The case whose identifier an identifier begins with, if that is one case alone: labels often have more words in their names
/// than images (`Subj10_FL_DLWMLS` beside `Subj10_T1`).
fn owner(identifier: &str, cases: &BTreeSet<String>) -> Option<String> {
    let begins = |case: &&String| {
        let after = identifier.strip_prefix(case.as_str()).filter(|_| !case.is_empty());
        after.is_some_and(|after| after.starts_with(['-', '_', '.', ' ']))
    };
    let mut owners = cases.iter().filter(begins);
    let first = owners.next().filter(|_| !cases.contains(identifier))?;
    owners.next().is_none().then(|| first.clone())
}

/// The images that decide how a folder is divided: those outside all stages or, if there are none, all.
fn images(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let is_image = |entry: &&Entry| matches!(entry.candidate.role, Role::Image(_));
    let outside = entries.iter().filter(is_image).any(|entry| entry.stage.is_empty());
    let any_image = entries.iter().any(|entry| is_image(&entry));
    entries.iter().filter(move |entry| {
        let counts = if any_image { is_image(entry) } else { entry.candidate.role != Role::Ignored };
        counts && (!outside || entry.stage.is_empty())
    })
}

/// Names with the number of their series (`01-T1`, `P1_02_FLAIR`).
struct Series {
    /// Whether a modality comes twice: then it is not certain that the numbers are those of series.
    repeats: bool,
}

/// A number at the end of an identifier, with the text before it.
static NUMBERED: LazyLock<Regex> =
    LazyLock::new(|| literal(r"(?i)^(?:(.*[^-_. ])[-_. ]+)?(?:s|se|ser|series)?\d{1,5}$"));

impl Series {
    /// Series of a folder whose images all have a number, each another.
    fn of(entries: &[Entry]) -> Option<Self> {
        let mut numbers = BTreeSet::new();
        let mut roles: BTreeMap<&str, Vec<Role>> = BTreeMap::new();
        for entry in images(entries) {
            let base = NUMBERED.captures(&entry.identifier)?.get(1).map_or("", |base| base.as_str());
            if !numbers.insert(entry.identifier.to_lowercase()) {
                return None;
            }
            roles.entry(base).or_default().push(entry.candidate.role);
        }
        let several = !roles.is_empty() && roles.values().all(|roles| roles.len() > 1);
        let different = |roles: &Vec<Role>| roles.iter().collect::<BTreeSet<_>>().len();
        let repeats = roles.values().any(|roles| different(roles) < roles.len());
        // With one modality alone the numbers are those of subjects.
        let varied = roles.values().all(|roles| different(roles) > 1);
        (several && varied).then_some(Self { repeats })
    }
}

/// An identifier without the number of a series.
fn base_of(identifier: &str, series: Option<&Series>) -> String {
    let base = series.and_then(|_| NUMBERED.captures(identifier));
    base.map_or(identifier, |found| found.get(1).map_or("", |base| base.as_str())).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases with the names of their files, and the stage after `@`.
    fn cases(files: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> =
            files.iter().map(|file| Path::new("/d").join(format!("{file}.nii.gz"))).collect();
        let tree = Tree::of(Path::new("/d"), &paths, &Aliases::default());
        let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in tree.files {
            let role = match file.candidate.role {
                Role::Image(modality) => modality.name().to_owned(),
                other => format!("{other:?}").to_lowercase(),
            };
            let stage = if file.stage.is_empty() { String::new() } else { format!("@{}", file.stage) };
            cases.entry(file.case.join("/")).or_default().insert(format!("{role}{stage}"));
        }
        cases
            .into_iter()
            .map(|(case, files)| format!("{case}: {}", Vec::from_iter(files).join(" ")))
            .collect()
    }

    #[test]
    fn numbered_series_are_one_case() {
        for files in [
            &["P01/01-T1", "P01/02-T1ce", "P01/03-T2", "P01/04-FLAIR"][..],
            &["P01/01-T1/image", "P01/02-T1ce/image", "P01/03-T2/image", "P01/04-FLAIR/image"],
            &["P01/01-T1/01-T1", "P01/02-T1ce/02-T1ce", "P01/03-T2/03-T2", "P01/04-FLAIR/04-FLAIR"],
            &["P01/01-T1/P01", "P01/02-T1ce/P01", "P01/03-T2/P01", "P01/04-FLAIR/P01"],
            &["P01/P01_s1_T1", "P01/P01_s2_T1ce", "P01/P01_s3_T2", "P01/P01_s4_FLAIR"],
            &["P01_1_T1", "P01_2_T1ce", "P01_3_T2", "P01_4_FLAIR"],
            &["P01_T1/1", "P01_T1ce/1", "P01_T2/1", "P01_FLAIR/1"],
        ] {
            assert_eq!(cases(files), ["P01: flair t1 t1c t2"], "{files:?}");
        }
        assert_eq!(cases(&["1_T1", "1_T2", "2_T1"]), ["1: t1 t2", "2: t1"], "numbers of subjects");
        assert_eq!(cases(&["1_T1", "2_T1", "3_T1"]), ["1: t1", "2: t1", "3: t1"]);
        assert_eq!(cases(&["1_T1", "2_T2", "3_FLAIR"]), [": flair t1 t2"]);
    }

    #[test]
    fn folders_of_images_and_stages() {
        for (files, expected) in [
            (
                &["Utrecht/0/orig/T1", "Utrecht/0/pre/T1", "Utrecht/0/label"][..],
                &["Utrecht/0: label t1@orig t1@pre"][..],
            ),
            (
                &["raw/p1/p1_T1", "coregistered_resampled/p1/T1", "raw/p2/p2_T1"],
                &["p1: t1@coregistered_resampled t1@raw", "p2: t1@raw"],
            ),
            (&["100307/T1w/T1w_brain", "100307/T1w/T2w_brain"], &["100307: t1 t2"]),
            (&["images/p1_T1", "images/p2_T1", "labels/p1", "labels/p2"], &["p1: label t1", "p2: label t1"]),
            (&["T1/p1", "T1/p2", "T2/p1", "T2/p2"], &["p1: t1 t2", "p2: t1 t2"]),
            (
                &["t1/S1_T1", "t1/S10_T1", "labels/S1_FL_tool", "labels/S10_FL_tool", "labels/S2_x"],
                &["S1: label t1", "S10: label t1", "S2_x: label"],
            ),
            (
                &["P1/w1/T1", "P1/w1/T2", "P1/w1/tool-x/registered/T1", "P1/w1/tool-x/seg"],
                &["P1/w1: label@tool-x t1 t1@tool-x/registered t2"],
            ),
            (&["P1/w1/T1", "P1/w1/x/T1", "P1/w2/T1", "P1/w2/x/T1"], &["P1/w1: t1 t1@x", "P1/w2: t1 t1@x"]),
            (&["group/mean_T1", "group/a/T1", "group/b/T1"], &["group: t1", "group/a: t1", "group/b: t1"]),
            (&["P01/baseline/P01_baseline_T1", "P01/baseline/P01_baseline_seg"], &["P01/baseline: label t1"]),
            (&["PD/a/T1", "PD/b/T1", "control/c/T1"], &["a: t1", "b: t1", "control/c: t1"]),
        ] {
            assert_eq!(cases(files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_name_that_says_something_else_is_not_left_to_the_folder() {
        assert_eq!(cases(&["P1/T1/localizer", "P1/T1/T1"]), ["P1: ignored t1"]);
    }
}
