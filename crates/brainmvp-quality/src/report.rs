//! The records and pictures of a cohort's cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use brainmvp_cohort::{Case, CaseId, Cohort};
use brainmvp_prep::brain::{BrainPrior, find_brain, is_stripped};
use brainmvp_prep::cache::{Cache, CaseEntry, CaseFacts, PreparedCase};
use brainmvp_prep::{MemoryGate, RegisterKind, Shard};
use brainmvp_registration::Transform;
use brainmvp_volume::picture::{Colour, LABEL_COLOUR, Plane};
use brainmvp_volume::{AtPath as _, Modality, Volume, file, nan_to_background, orientation};

use crate::columns::short;
use crate::draw::{ATLAS_COLOUR, BRAIN_COLOUR, DrawnImage, LEFT_OUT_COLOUR, Outlines, View, case_picture};
use crate::foreground::foreground;
use crate::measure;
use crate::prepared::Preparation;
use crate::record::{CASES, CaseRecord, ImageRecord, Original, RECORD_VERSION, path};
use crate::{Error, Result};

/// The inputs of a report.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The prepared cases.
    pub cache: &'a Cache,
    /// The cohort with their original files; without it only the prepared cases are shown.
    pub cohort: Option<&'a Cohort>,
}

impl Sources<'_> {
    /// All cases of the report, by id: those of the cohort, and those that are only in the cache.
    pub fn cases(&self) -> Vec<CaseId> {
        subjects(*self).into_iter().map(|subject| subject.facts.id).collect()
    }
}

/// How the records are made.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The share of the cases.
    pub shard: Shard,
    /// The memory budget for the cases processed at the same time, by estimate.
    pub memory_bytes: u64,
    /// Make every record anew.
    pub force: bool,
    /// Once this is true, no further case is started.
    pub stop: &'a AtomicBool,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Cases measured and drawn now.
    pub made: usize,
    /// Cases whose record already existed.
    pub kept: usize,
    /// Cases that were not started because the run was stopped.
    pub not_begun: usize,
    /// Notes about the whole report, such as a missing atlas.
    pub notes: Vec<String>,
}

/// Measures and draws every case that has no record yet, or whose record is of other content. A file that cannot be
/// read is named in the record; a fault of a single case is not an error. Each thread of the current rayon pool has one
/// case in memory at a time, as far as the memory allows.
///
/// # Errors
/// Where `dir` cannot be written.
pub fn make_records(
    sources: Sources<'_>,
    dir: &Path,
    options: &Options<'_>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Summary> {
    let cases_dir = dir.join(CASES);
    std::fs::create_dir_all(&cases_dir).at(&cases_dir)?;
    let (atlas, notes) = match atlas_outline(sources.cache) {
        Ok(outline) => (outline, Vec::new()),
        Err(note) => (None, vec![note]),
    };
    let subjects = subjects(sources);
    let ours: Vec<&Subject<'_>> = options.shard.of(&subjects).collect();
    let work = Work {
        cache: sources.cache,
        dir,
        options,
        atlas,
        gate: MemoryGate::new(options.memory_bytes),
        next: AtomicUsize::new(0),
        made: AtomicUsize::new(0),
        done: AtomicUsize::new(0),
        failed: Mutex::new(None),
    };
    let threads = rayon::current_num_threads().min(ours.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(|| work.run(&ours, progress)))));
    if let Some(error) = work.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let (made, done) = (work.made.into_inner(), work.done.into_inner());
    Ok(Summary { made, kept: done - made, not_begun: ours.len() - done, notes })
}

/// A case with all its sources.
struct Subject<'a> {
    facts: CaseFacts,
    case: Option<&'a Case>,
    entry: Option<&'a CaseEntry>,
    left_out: Option<String>,
}

impl Subject<'_> {
    fn id(&self) -> &CaseId {
        &self.facts.id
    }

    fn original(&self, modality: Modality) -> Option<&Path> {
        Some(self.case?.images.get(&modality)?)
    }

    fn modalities(&self) -> Vec<Modality> {
        match (self.entry, self.case) {
            (Some(entry), _) => entry.modalities.clone(),
            (None, Some(case)) => case.images.keys().copied().collect(),
            (None, None) => Vec::new(),
        }
    }

    /// Whether a record is up to date. Cases that were left out may have been fixed since.
    fn is_told_by(&self, record: &CaseRecord) -> bool {
        let Some(entry) = self.entry else { return false };
        let complete = record.images.iter().all(|image| {
            image.original.is_some() || self.original(image.modality).is_none_or(|path| !path.is_file())
        });
        let is_same = record.content_hash.as_ref() == Some(&entry.content_hash) && record.case == self.facts;
        is_same && record.left_out.is_none() && complete
    }
}

/// The cases of the cohort, and those that are only in the cache, by id.
fn subjects(sources: Sources<'_>) -> Vec<Subject<'_>> {
    let manifest = sources.cache.manifest();
    let mut all: BTreeMap<&CaseId, Subject<'_>> = BTreeMap::new();
    for case in sources.cohort.iter().flat_map(|cohort| &cohort.cases) {
        let left_out = Some("not prepared yet".to_owned());
        all.insert(
            &case.id,
            Subject { facts: CaseFacts::from(case), case: Some(case), entry: None, left_out },
        );
    }
    for entry in &manifest.cases {
        let case = all.get(&entry.case.id).and_then(|subject| subject.case);
        let facts = case.map_or_else(|| entry.case.clone(), CaseFacts::from);
        all.insert(&entry.case.id, Subject { facts, case, entry: Some(entry), left_out: None });
    }
    for quarantined in &manifest.quarantined {
        let left_out = Some(quarantined.reason.clone());
        let unknown = || CaseFacts {
            id: quarantined.id.clone(),
            subject: String::new(),
            data_set: String::new(),
            site: None,
            class: None,
            numbers: BTreeMap::new(),
            split: None,
        };
        let subject = all.entry(&quarantined.id);
        let subject =
            subject.or_insert_with(|| Subject { facts: unknown(), case: None, entry: None, left_out: None });
        subject.left_out = left_out;
    }
    all.into_values().collect()
}

/// The brain of the atlas, or its head if no brain is found in it; `None` without an atlas.
fn atlas_outline(cache: &Cache) -> std::result::Result<Option<Volume<u8>>, String> {
    let config = &cache.manifest().preparation.config;
    let Some(atlas) = config.atlas.as_ref().filter(|_| config.register != RegisterKind::None) else {
        return Ok(None);
    };
    let image = atlas.path().and_then(|path| Ok(file::read(path)?));
    let image = image.map_err(|error| format!("the atlas is not outlined: {error}"))?;
    if !is_stripped(&image)
        && let Ok(found) = find_brain(&[&image], &BrainPrior::built_in())
    {
        return Ok(Some(found.mask.map(|inside| u8::from(inside > 0))));
    }
    let (inside, _) = foreground(&image);
    Ok(Some(Volume::new(*image.grid(), inside.into_iter().map(u8::from).collect())))
}

/// The state that the threads share.
struct Work<'a> {
    cache: &'a Cache,
    dir: &'a Path,
    options: &'a Options<'a>,
    atlas: Option<Volume<u8>>,
    gate: MemoryGate,
    next: AtomicUsize,
    made: AtomicUsize,
    done: AtomicUsize,
    failed: Mutex<Option<Error>>,
}

impl Work<'_> {
    fn run(&self, subjects: &[&Subject<'_>], progress: &(dyn Fn(usize) + Sync)) {
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.options.stop.load(Ordering::Relaxed) && failed().is_none() {
            let Some(subject) = subjects.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let known = CaseRecord::load(self.dir, subject.id()).filter(|record| subject.is_told_by(record));
            if known.is_none() || self.options.force || !path(self.dir, subject.id(), "png").is_file() {
                let _permit = self.gate.acquire(estimate_bytes(subject));
                if let Err(error) = self.make(subject) {
                    failed().get_or_insert(error);
                    break;
                }
                self.made.fetch_add(1, Ordering::Relaxed);
            }
            progress(self.done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }

    /// Measures and draws a case. The picture is written first: the record means that it exists.
    fn make(&self, subject: &Subject<'_>) -> Result<()> {
        let mut record = CaseRecord {
            version: RECORD_VERSION,
            case: subject.facts.clone(),
            content_hash: subject.entry.map(|entry| entry.content_hash.clone()),
            left_out: subject.left_out.clone(),
            skull: None,
            already_in: None,
            has_label: subject.case.is_some_and(|case| case.label.is_some()),
            images: Vec::new(),
        };
        let opened = subject.entry.map(|entry| self.cache.open_case(entry)).transpose();
        let drawn = match opened {
            Ok(case) => self.images(subject, case.as_ref(), &mut record),
            Err(error) => Err(error),
        };
        let drawn = drawn.unwrap_or_else(|error| {
            record.left_out = Some(error.to_string());
            Vec::new()
        });
        let mut legend: Vec<(&str, Colour)> = Vec::new();
        if record.skull.is_some() {
            legend.push(("brain", BRAIN_COLOUR));
            legend.extend(self.atlas.as_ref().map(|_| ("atlas", ATLAS_COLOUR)));
            legend.extend(record.has_label.then_some(("label", LABEL_COLOUR)));
        } else {
            legend.push(("left out (the table says why)", LEFT_OUT_COLOUR));
        }
        let picture = case_picture(subject.id().as_str(), &drawn, &legend);
        picture.write_png(&path(self.dir, subject.id(), "png"))?;
        record.save(self.dir)
    }

    fn images(
        &self,
        subject: &Subject<'_>,
        case: Option<&PreparedCase>,
        record: &mut CaseRecord,
    ) -> brainmvp_prep::Result<Vec<DrawnImage>> {
        let preparation = case.map(Preparation::of).transpose()?;
        let mut outlines: Outlines<'_> = Vec::new();
        outlines.extend(self.atlas.as_ref().filter(|_| case.is_some()).map(|volume| (volume, ATLAS_COLOUR)));
        if let Some(preparation) = &preparation {
            outlines.push((&preparation.brain, BRAIN_COLOUR));
            outlines.extend(preparation.label.as_ref().map(|volume| (volume, LABEL_COLOUR)));
            record.skull = Some(preparation.skull());
            record.already_in = preparation.already_in();
            record.has_label = preparation.label.is_some();
        }
        let mut drawn = Vec::new();
        for modality in subject.modalities() {
            let (image, pictures) = image(subject, modality, preparation.as_ref(), &outlines)?;
            record.images.push(image);
            drawn.push(pictures);
        }
        Ok(drawn)
    }
}

/// Measures and draws an image: its file, as far as it can be read, and the prepared image.
fn image(
    subject: &Subject<'_>,
    modality: Modality,
    preparation: Option<&Preparation<'_>>,
    outlines: &Outlines<'_>,
) -> brainmvp_prep::Result<(ImageRecord, DrawnImage)> {
    let mut image = ImageRecord {
        modality,
        original: None,
        unread: None,
        registered: preparation.and_then(|preparation| preparation.registered(modality)),
        prepared: None,
        thumbnail: String::new(),
    };
    let mut pictures = DrawnImage { modality, before: None, after: None };
    match subject.original(modality).map(file::read) {
        Some(Ok(mut volume)) => {
            nan_to_background(&mut volume);
            let part = preparation.and_then(|p| p.brain_in(modality, volume.grid()));
            let original = measure::original(&volume, part);
            let view = original_view(&volume, &original, modality, preparation);
            pictures.before = Some((view.planes(outlines), caption(&volume)));
            image.thumbnail = thumbnail(&view);
            image.original = Some(original);
        }
        Some(Err(error)) => {
            let reason = error.to_string();
            image.unread = Some(subject.case.map_or(reason.clone(), |case| case.without_paths(&reason)));
        }
        None => {}
    }
    if let Some(preparation) = preparation {
        let volume = preparation.image(modality)?;
        let view = View {
            image: &volume,
            transform: Transform::identity(),
            centre_mm: preparation.centre_mm,
            window: (0.0, 1.0),
            margin_mm: 8.0,
        };
        pictures.after = Some((view.planes(outlines), caption(&volume)));
        image.thumbnail = thumbnail(&view);
        image.prepared = Some(preparation.measures(&volume));
    }
    Ok((image, pictures))
}

/// The image as it is in its file, through the point that is the middle of the prepared brain.
fn original_view<'a>(
    image: &'a Volume,
    measured: &Original,
    modality: Modality,
    preparation: Option<&Preparation<'_>>,
) -> View<'a> {
    let middle = image.grid().affine.to_world(image.shape().map(|n| (n as f64 - 1.0) / 2.0));
    // Some fat, brighter than any brain, may be shown as white.
    let white = measured.percentiles.map_or(1.0, |[low, _, high]| high + 0.25 * (high - low));
    let black = measured.percentiles.map_or(0.0, |[low, ..]| low.min(0.0));
    View {
        image,
        transform: preparation.map_or(Transform::identity(), |p| p.transform(modality)),
        centre_mm: preparation.map_or(middle, |p| p.centre_mm),
        window: (black as f32, white as f32),
        margin_mm: 0.0,
    }
}

/// `240 x 240 x 155 at 1 mm, RAS`.
fn caption(image: &Volume) -> String {
    let affine = &image.grid().affine;
    let [x, y, z] = image.shape();
    let [a, b, c] = affine.spacing_mm().map(|mm| short(mm, 2));
    let spacing = if a == b && b == c { a } else { format!("{a} x {b} x {c}") };
    format!("{x} x {y} x {z} at {spacing} mm, {}", orientation::code(affine))
}

fn thumbnail(view: &View<'_>) -> String {
    const SIDE: usize = 72;
    base64::engine::general_purpose::STANDARD.encode(view.plane(Plane::Axial, &Vec::new()).shrunk(SIDE).png())
}

/// An upper estimate of the memory that a case needs: the largest of its files unpacked, as `f32`, its voxels inside
/// the mask and the blocks for the noise; the prepared case with its mask and one image.
fn estimate_bytes(subject: &Subject<'_>) -> u64 {
    const BYTES_A_VOXEL: u64 = 24;
    let originals = subject.case.iter().flat_map(|case| case.images.values());
    let voxels =
        originals.filter_map(|path| file::read_header(path).ok()).map(|header| header.grid.len() as u64);
    let prepared = subject.entry.map_or(0, |entry| entry.shape.iter().map(|n| *n as u64).product());
    voxels.max().unwrap_or(0).saturating_add(prepared).saturating_mul(BYTES_A_VOXEL)
}
