//! From a folder of files to a cohort: one [`Layout`] per way that people lay out their data.
//!
//! A new layout is one new file here and one line in [`LAYOUTS`]. A layout only proposes [`Draft`]s: which file seems
//! to be what. Everything common to all (one file per modality, exclusions, the user's table) is done once, in
//! [`index`].

mod archives;
mod bids;
mod brats;
mod draft;
mod file_name;
mod label_table;
mod listed;
mod monai;
mod nnssl;
mod nnunet;
mod plain;
mod public;
mod table;
mod voxels;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, Modality, Role};
use regex::Regex;

pub use draft::{Candidate, Draft};

use crate::identity::{Aliases, Finding, Source, Verdict};
use crate::{Case, Cohort, DataSet, Error, LabelScheme, Result, Split};

/// All layouts, in the order in which `auto` tries them.
pub static LAYOUTS: &[&dyn Layout] = &[
    &nnunet::NnUnet,
    &nnssl::Nnssl,
    &monai::Monai,
    &brats::Brats,
    &public::Public,
    &bids::Bids,
    &plain::Plain,
];

/// What the user says about the data. Everything is optional, and takes precedence over what names suggest.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// The name of the cohort; by default that of the folder or list.
    pub name: Option<String>,
    /// The data set of every case; by default the layout's.
    pub data_set: Option<String>,
    /// The site of every case.
    pub site: Option<String>,
    /// The meaning of the label values in every data set found; by default the layout's, where it is certain.
    pub label_scheme: Option<LabelScheme>,
    /// The words that stand for modalities ([`Aliases::extended`]).
    pub aliases: Aliases,
    /// Layout `plain`: a pattern over the path below the folder, written with `/`. The groups `case` and `mod` are
    /// required; `subj`, `split`, `class` and `site` are optional.
    pub pattern: Option<Regex>,
    /// Layouts `monai` and `nnssl`: the folder that the paths in the list are relative to; by default that of the list.
    pub base_dir: Option<PathBuf>,
    /// Layout `nnssl`: the environment variables that paths may begin with.
    pub variables: BTreeMap<String, String>,
    /// Layouts `monai` and `nnunet`: the modalities of the images of a case, in the order of the list.
    pub channels: Vec<Modality>,
    /// A table (`.csv`, or `.tsv` with tabs) with the column `id` and any of `class`, `subject`, `site`, `split`.
    pub table: Option<PathBuf>,
    /// Further columns of that table, or of a `participants.tsv` found with the data, which hold numbers.
    pub numbers: Vec<String>,
    /// Ids of cases or subjects to leave out.
    pub exclude: Vec<String>,
}

/// A way to lay out data.
pub trait Layout: Sync {
    /// What the user types after `--layout`.
    fn name(&self) -> &'static str;

    /// One line of help.
    fn describe(&self) -> &'static str;

    /// Why `path` looks like this layout, or `None`.
    fn recognises(&self, path: &Path) -> Option<String>;

    /// Proposes cases.
    ///
    /// # Errors
    /// Only where the whole input cannot be read (no such folder, no such list); a bad case becomes a [`Rejected`].
    fn list(&self, path: &Path, options: &IndexOptions) -> Result<Listing>;
}

/// The findings of a layout.
#[derive(Debug, Default)]
pub struct Listing {
    /// The proposed cases.
    pub drafts: Vec<Draft>,
    /// Label schemes that the layout is certain of, by data set.
    pub label_schemes: BTreeMap<String, LabelScheme>,
    /// Cases that cannot be used.
    pub rejected: Vec<Rejected>,
    /// Volume files that the layout does not recognise, with a hint.
    pub unknown: Vec<(PathBuf, Option<String>)>,
    /// Known files that are in no draft, and why.
    pub passed_over: Vec<Explained>,
    /// How the layout reads the folders, where it had to guess.
    pub reading: Option<String>,
    /// Whatever else the user should know.
    pub warnings: Vec<String>,
}

/// A case that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejected {
    /// Its id.
    pub case: String,
    /// Why, with the files.
    pub reason: String,
}

/// A cohort with an account of how it was made.
#[derive(Debug)]
pub struct Indexed {
    /// The cases that can be used.
    pub cohort: Cohort,
    /// The layout used.
    pub layout: &'static str,
    /// Why this layout.
    pub why: String,
    /// How the layout reads the folders, where it had to guess.
    pub reading: Option<String>,
    /// Cases that were left out, and why.
    pub rejected: Vec<Rejected>,
    /// Files whose names leave open what they are. They are left out.
    pub refused: Vec<Explained>,
    /// Every file that was looked at, with the evidence.
    pub explained: Vec<Explained>,
    /// Ids of rows of the user's table that belong to no case here.
    pub unused_rows: Vec<String>,
    /// Ids to leave out that nothing here has.
    pub unused_exclusions: Vec<String>,
    /// Anything else that the user should know, one line each.
    pub warnings: Vec<String>,
}

/// A file with what it is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub finding: Finding,
    /// Why it is not used although it is known, as a clause: another file is.
    pub unused: Option<String>,
}

/// Makes a cohort from a folder (or from a list file, for `monai`). `layout` is `auto` or the name of one.
///
/// # Errors
/// [`Error::Option`] for an unknown layout or contradictory options; [`Error::NoCase`] if no case is
/// found; errors of the layout.
pub fn index(path: &Path, layout: &str, options: &IndexOptions) -> Result<Indexed> {
    let (layout, why) = choose(path, layout, options)?;
    let listing = layout.list(path, &with_own_words(options)?)?;
    let mut indexed = Indexed {
        cohort: Cohort { name: options.name.clone().unwrap_or_else(|| name_of(path)), ..Cohort::default() },
        layout: layout.name(),
        why,
        reading: listing.reading,
        rejected: listing.rejected,
        refused: Vec::new(),
        explained: listing.passed_over,
        unused_rows: Vec::new(),
        unused_exclusions: Vec::new(),
        warnings: listing.warnings,
    };
    if !path.is_file() && path.join("cohort.json").is_file() {
        indexed.warnings.push("a cohort.json lies in the folder already; it was not read".to_owned());
    }
    let archives = archives::message(path, &archives::with_volumes(path));
    indexed.warnings.extend(archives.clone());
    warn_unknown(path, &listing.unknown, &mut indexed.warnings);
    indexed.explained.extend(listing.unknown.into_iter().map(|(path, _)| Explained::unknown(path)));
    indexed.warnings.extend(contradictions(&listing.drafts, &options.aliases));
    settle_all(listing.drafts, &mut indexed);
    for table in participants(path)? {
        indexed.warnings.extend(table::apply_own(&table, &options.numbers, &mut indexed.cohort.cases));
    }
    if let Some(table) = &options.table {
        let (unused, warning) = table::apply(table, &options.numbers, &mut indexed.cohort.cases)?;
        indexed.unused_rows = unused;
        indexed.warnings.extend(warning);
    }
    for name in &options.numbers {
        if !indexed.cohort.cases.iter().any(|case| case.numbers.contains_key(name)) {
            indexed.warnings.push(format!("no case has a number '{name}': it is in no column of a table"));
        }
    }
    exclude(&options.exclude, &mut indexed);
    keep_subjects_together(&mut indexed);
    apply_options(options, &listing.label_schemes, &mut indexed.cohort);
    indexed.cohort.sort();
    indexed.rejected.sort();
    if indexed.cohort.cases.is_empty() {
        let reason = match indexed.rejected.first() {
            Some(first) => format!(
                "no usable case; the first of {}: {}: {}",
                indexed.rejected.len(),
                first.case,
                first.reason
            ),
            None => {
                format!("no case found with layout '{}'; see --layout, --pattern and --alias", layout.name())
            }
        };
        let archives = archives.map_or(String::new(), |found| format!("; {found}"));
        let found = Box::new(indexed);
        return Err(Error::NoCase { path: path.to_owned(), reason: reason + &archives, found });
    }
    Ok(indexed)
}

/// The options with the words of the data set that the user names, where it is one of the paper's.
fn with_own_words(options: &IndexOptions) -> Result<IndexOptions> {
    let mut options = options.clone();
    let own = options.data_set.as_deref().and_then(crate::public_data_set).map_or(&[][..], |set| set.aliases);
    for (word, target) in own {
        if !options.aliases.has(word) {
            options.aliases.set(word, target).map_err(Error::Option)?;
        }
    }
    Ok(options)
}

/// The tables of BIDS data sets: in the folder, or in those of its sites.
fn participants(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(Vec::new());
    }
    let mut folders = vec![path.to_owned()];
    for entry in std::fs::read_dir(path).at(path)? {
        folders.push(entry.at(path)?.path());
    }
    let mut tables: Vec<PathBuf> =
        folders.into_iter().map(|folder| folder.join("participants.tsv")).collect();
    tables.retain(|table| table.is_file());
    tables.sort();
    Ok(tables)
}

/// A pattern of this program's own.
#[expect(clippy::expect_used, reason = "a constant of the program, never a user's pattern")]
fn literal(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of the program is valid")
}

/// Reads a list of ids to leave out: one per line, `#` begins a comment.
///
/// # Errors
/// [`Error::File`] if it cannot be read.
pub fn read_exclusions(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).at(path)?;
    let ids = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(ids.filter(|id| !id.is_empty()).map(str::to_owned).collect())
}

/// What the name of a volume file says: the file's role, and the text before the word for it, which may be the case (or
/// empty). `None` if it is not a volume file, or has no known word.
pub fn read_name<'a>(path: &'a Path, aliases: &Aliases) -> Option<(Role, &'a str)> {
    let named = file_name::parse(path, "", aliases)?;
    Some((named.candidate.role, named.identifier))
}

fn choose(path: &Path, name: &str, options: &IndexOptions) -> Result<(&'static dyn Layout, String)> {
    std::fs::metadata(path).at(path)?;
    let (layout, why) = if name == "auto" && options.pattern.is_some() {
        (find_layout("plain")?, "a pattern was given".to_owned())
    } else if name == "auto" {
        let mut recognised = LAYOUTS.iter().filter_map(|layout| Some((*layout, layout.recognises(path)?)));
        recognised.next().ok_or_else(|| {
            let nothing =
                "no layout fits: neither volumes (.nii .nii.gz .hdr .mgz .nrrd) below it nor a data list (.json)";
            let archives = archives::message(path, &archives::with_volumes(path));
            Error::malformed(path, archives.map_or(nothing.to_owned(), |found| format!("{nothing}; {found}")))
        })?
    } else {
        (find_layout(name)?, "asked for".to_owned())
    };
    if options.pattern.is_some() && layout.name() != "plain" {
        return Err(Error::Option(format!("a pattern goes with layout 'plain', not '{}'", layout.name())));
    }
    for (given, what, layouts) in [
        (options.base_dir.is_some(), "a base folder goes", ["monai", "nnssl"]),
        (!options.channels.is_empty(), "channels go", ["monai", "nnunet"]),
    ] {
        if given && !layouts.contains(&layout.name()) {
            let [one, other] = layouts;
            let message = format!("{what} with layout '{one}' or '{other}', not '{}'", layout.name());
            return Err(Error::Option(message));
        }
    }
    Ok((layout, why))
}

fn find_layout(name: &str) -> Result<&'static dyn Layout> {
    LAYOUTS.iter().copied().find(|layout| layout.name() == name).ok_or_else(|| {
        let known: Vec<_> = LAYOUTS.iter().map(|layout| layout.name()).collect();
        Error::Option(format!("unknown layout '{name}' (known: auto {})", known.join(" ")))
    })
}

/// Whether there is a volume file (NIfTI, MGH, NRRD) below a folder, or a data list is given.
pub fn holds_volumes(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
        || !file_name::volume_files(path).0.is_empty()
}

/// The name of a folder, or of a file without its extension, also for `.` and `..`.
pub fn name_of(path: &Path) -> String {
    let named = match path.file_name() {
        Some(_) => path.to_owned(),
        None => std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
    };
    let name = if path.is_file() { named.file_stem() } else { named.file_name() };
    name.map_or_else(|| "cohort".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn warn_unknown(root: &Path, unknown: &[(PathBuf, Option<String>)], warnings: &mut Vec<String>) {
    let Some((path, _)) = unknown.first() else { return };
    let hint = unknown.iter().find_map(|(path, hint)| Some((path, hint.as_ref()?)));
    let (path, hint) = hint.map_or((path, String::new()), |(path, hint)| (path, format!(" ({hint})")));
    let shown = path.strip_prefix(root).unwrap_or(path).display();
    let count = unknown.len();
    let files = if count == 1 { "file is" } else { "files are" };
    warnings.push(format!("{count} {files} not recognised and left out, e.g. {shown}{hint}"));
}

/// Where the names of files contradict what a list says of them: the list is believed, but not without a word.
fn contradictions(drafts: &[Draft], aliases: &Aliases) -> Option<String> {
    let listed = |file: &&Candidate| file.finding.is_stated_by(Source::List);
    let files = drafts.iter().flat_map(|draft| &draft.files).filter(listed);
    let found: Vec<String> = files.filter_map(|file| file.contradiction(aliases)).collect();
    let first = found.first()?;
    let (count, files) = (found.len(), if found.len() == 1 { "file has a name" } else { "files have names" });
    Some(format!(
        "{count} {files} that contradict the list, e.g. {first}; if the names are right, see --channels"
    ))
}

impl Explained {
    fn unknown(path: PathBuf) -> Self {
        Self { path, finding: Finding::of(Vec::new()), unused: None }
    }
}

impl Indexed {
    /// Keeps the evidence of every file of a draft, and those files that stay open.
    fn explain(&mut self, draft: &Draft) {
        for file in &draft.files {
            let explained =
                Explained { path: file.path.clone(), finding: file.finding.clone(), unused: None };
            if matches!(file.finding.verdict, Verdict::Open(_)) {
                self.refused.push(explained.clone());
            }
            self.explained.push(explained);
        }
    }
}

/// Turns drafts into cases; each id is used once, whether in upper or lower case.
fn settle_all(drafts: Vec<Draft>, indexed: &mut Indexed) {
    let mut taken: BTreeMap<String, Option<Split>> = BTreeMap::new();
    let mut variants: Vec<PathBuf> = Vec::new();
    for mut draft in drafts {
        let mut passed_over = Vec::new();
        draft.settle_session();
        voxels::ask(&mut draft);
        draft.settle_session();
        indexed.explain(&draft);
        let (id, split) = (draft.id.clone(), draft.split);
        match (taken.get(&id.to_lowercase()), draft.settle(&mut passed_over)) {
            (None, Ok(case)) => {
                taken.insert(id.to_lowercase(), split);
                indexed.cohort.cases.push(case);
            }
            (Some(first), Ok(_)) => {
                let place = |split: Option<Split>| {
                    split.map_or("no split".to_owned(), |s| format!("{s:?}").to_lowercase())
                };
                let reason = format!(
                    "the id occurs twice ({} and {}); the first is kept",
                    place(*first),
                    place(split)
                );
                indexed.rejected.push(Rejected { case: id, reason });
            }
            (_, Err(reason)) => indexed.rejected.push(Rejected { case: id, reason }),
        }
        for (path, reason) in passed_over {
            let explained = indexed.explained.iter_mut().rev().find(|explained| explained.path == path);
            if let Some(explained) = explained {
                explained.unused = Some(reason);
            }
            variants.push(path);
        }
    }
    if let Some(first) = variants.first() {
        let count = variants.len();
        indexed.warnings.push(format!(
            "{count} variant files passed over in favour of a plainer one, e.g. {}",
            first.display()
        ));
    }
}

/// Gives all cases of a subject one split: of several, the one furthest from training.
fn keep_subjects_together(indexed: &mut Indexed) {
    let mut splits: BTreeMap<(String, String), BTreeSet<Split>> = BTreeMap::new();
    let subject = |case: &Case| (case.data_set.clone(), case.subject.clone());
    for case in &indexed.cohort.cases {
        splits.entry(subject(case)).or_default().extend(case.split);
    }
    for case in &mut indexed.cohort.cases {
        case.split = splits.get(&subject(case)).and_then(|splits| splits.last().copied());
    }
    splits.retain(|_, splits| splits.len() > 1);
    if let Some(((_, first), _)) = splits.first_key_value() {
        let count = splits.len();
        indexed.warnings.push(format!(
            "{count} subjects have cases in several splits; all their cases are put into the one furthest from training, e.g. \
             those of '{first}'"
        ));
    }
}

fn exclude(ids: &[String], indexed: &mut Indexed) {
    let mut unused: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    indexed.cohort.cases.retain(|case| {
        let hit = ids.iter().find(|id| *id == case.id.as_str() || **id == case.subject);
        hit.inspect(|id| {
            unused.remove(id.as_str());
        });
        hit.is_none()
    });
    indexed
        .rejected
        .retain(|rejected| !unused.remove(rejected.case.as_str()) && !ids.contains(&rejected.case));
    indexed.unused_exclusions = unused.into_iter().map(str::to_owned).collect();
}

fn apply_options(options: &IndexOptions, schemes: &BTreeMap<String, LabelScheme>, cohort: &mut Cohort) {
    for case in &mut cohort.cases {
        let own =
            options.data_set.as_deref().and_then(crate::public_data_set).and_then(|set| set.label_scheme);
        let own = own.map(LabelScheme::known);
        let scheme = options.label_scheme.as_ref().or(own.as_ref()).or_else(|| schemes.get(&case.data_set));
        case.data_set = options.data_set.clone().unwrap_or_else(|| case.data_set.clone());
        case.site = options.site.clone().or(case.site.take());
        if let Some(set) = crate::public_data_set(&case.data_set) {
            case.class = case.class.take().map(|class| set.class_of(&class));
        }
        let entry = cohort.data_sets.entry(case.data_set.clone()).or_default();
        declare(entry, case, scheme);
    }
}

/// A scheme is declared for a data set that has labels.
fn declare(data_set: &mut DataSet, case: &Case, scheme: Option<&LabelScheme>) {
    if case.label.is_some() && data_set.label_scheme.is_none() {
        data_set.label_scheme = scheme.cloned();
    }
}
