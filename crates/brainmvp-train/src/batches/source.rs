//! Prepared cases as sources of patches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use brainmvp_objectives::Placement;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_prep::Space;
use brainmvp_prep::cache::{Cache, CaseEntry, CaseFacts, GridRecord, PreparedCase};
use brainmvp_prep::fingerprint::Fingerprint;
use brainmvp_volume::{Grid, Modality};

use crate::trainer::Observer;
use crate::{Error, Result};

/// A prepared case, whose voxels are read when they are asked for.
#[derive(Clone)]
pub struct CaseSource {
    facts: CaseFacts,
    person: String,
    modalities: Vec<Modality>,
    case: Arc<PreparedCase>,
    placement: Option<Placement>,
}

impl CaseSource {
    /// The source of an opened case. Templates have no place on it until [`CaseSource::place`] gives them one.
    pub fn new(entry: &CaseEntry, case: PreparedCase) -> Self {
        let facts = entry.case.clone();
        let person = nobody_elses(&facts);
        let modalities = case.modalities().collect();
        Self { facts, person, modalities, case: Arc::new(case), placement: None }
    }

    /// The same case of a person who may be in other data sets too.
    pub(super) fn of_person(mut self, person: &str) -> Self {
        person.clone_into(&mut self.person);
        self
    }

    /// Lays the templates of a pre-training on the case.
    pub fn place(&mut self, placement: Placement) {
        self.placement = Some(placement);
    }

    /// The same case with only these of its modalities.
    pub fn only(&self, modalities: &[Modality]) -> Self {
        let mut few = self.clone();
        few.modalities.retain(|modality| modalities.contains(modality));
        few
    }

    /// Whether its file is still there, as it was when it was opened.
    pub(crate) fn can_be_read(&self) -> bool {
        let voxel = |modality: &Modality| self.case.read_patch(*modality, [0; 3], [1; 3], &mut [0.0]);
        self.modalities.first().is_none_or(|modality| voxel(modality).is_ok())
    }

    /// Changes when the case's images or their preparation change.
    pub fn content_hash(&self) -> &str {
        &self.case.metadata().content_hash
    }

    /// Adds the content of the case, and what the cohort says of it, to a hash.
    pub(crate) fn hash_into(&self, hasher: &mut blake3::Hasher) {
        let CaseFacts { id, subject, data_set, site, class, numbers, split } = &self.facts;
        let split = split.map(|split| format!("{split:?}"));
        let texts = [Some(id.as_str()), Some(subject.as_str()), Some(data_set.as_str())].into_iter();
        let texts = texts.chain([site.as_deref(), class.as_deref(), split.as_deref()]);
        for text in texts.chain([Some(self.content_hash())]) {
            // Neither a missing text nor where one ends is ambiguous.
            let text = text.map_or_else(String::new, |text| format!("{}:{text}", text.len()));
            hasher.update(text.as_bytes()).update(b"\n");
        }
        for (name, number) in numbers {
            hasher.update(format!("{}:{name}={number}\n", name.len()).as_bytes());
        }
    }

    /// The cohort's information about the case.
    pub fn facts(&self) -> &CaseFacts {
        &self.facts
    }

    /// What its images look like.
    pub fn fingerprints(&self) -> &BTreeMap<Modality, Fingerprint> {
        &self.case.metadata().fingerprints
    }

    /// Whether it has a label map.
    pub fn has_label(&self) -> bool {
        self.case.has_label()
    }

    /// The grid of the prepared volumes.
    pub fn grid(&self) -> Grid {
        self.case.grid().into()
    }

    /// What the coordinates of its grid mean.
    pub fn space(&self) -> &Space {
        &self.case.metadata().space
    }

    /// The registered volume's size and position, before the crop.
    pub fn registered_grid(&self) -> &GridRecord {
        &self.case.metadata().uncropped
    }
}

impl PatchSource for CaseSource {
    type Error = crate::Error;

    fn id(&self) -> &str {
        self.facts.id.as_str()
    }

    fn data_set(&self) -> &str {
        &self.facts.data_set
    }

    fn person(&self) -> &str {
        &self.person
    }

    fn shape(&self) -> [usize; 3] {
        self.case.shape()
    }

    fn registered_shape(&self) -> [usize; 3] {
        self.case.metadata().uncropped.shape
    }

    fn crop_offset(&self) -> [usize; 3] {
        self.case.metadata().crop_offset
    }

    fn placement(&self) -> Option<Placement> {
        self.placement
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>> {
        clipped(self.shape(), start, size, |from, size, out| {
            Ok(self.case.read_patch(modality, from, size, out)?)
        })
    }

    fn labels(&self, start: [isize; 3], size: [usize; 3]) -> Result<Option<Vec<u16>>> {
        if !self.has_label() {
            return Ok(None);
        }
        let read = |from, size, out: &mut [u16]| Ok(self.case.read_label_patch(from, size, out)?);
        clipped(self.shape(), start, size, read).map(Some)
    }

    fn class(&self) -> Option<&str> {
        self.facts.class.as_deref()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.facts.numbers.get(name).copied()
    }
}

/// A person who is in only one data set. The separator does not occur in names.
fn nobody_elses(facts: &CaseFacts) -> String {
    format!("{}\u{1f}{}", facts.data_set, facts.subject)
}

/// Opens every case of a cache; those that cannot be opened are named and left out.
///
/// # Errors
/// If there is no cache, or no case of it can be opened.
pub fn open_cases(data: &Path, observer: &dyn Observer) -> Result<Vec<CaseSource>> {
    let cache = Cache::open(data)?;
    let mut cases = Vec::new();
    for entry in cache.cases() {
        match cache.open_case(entry) {
            Ok(case) => cases.push(CaseSource::new(entry, case)),
            Err(error) => observer.warn(&format!("case '{}' is left out: {error}", entry.case.id)),
        }
    }
    if cases.is_empty() {
        return Err(Error::run_folder(data, "has no usable case; run `brainmvp preprocess` first"));
    }
    Ok(cases)
}

/// A box of `size` voxels that starts at `start`, x fastest: the part inside a volume of `shape` voxels is read (`read`
/// gets its first voxel and size), the rest is 0.
fn clipped<T: Copy + Default>(
    shape: [usize; 3],
    start: [isize; 3],
    size: [usize; 3],
    read: impl FnOnce([usize; 3], [usize; 3], &mut [T]) -> Result<()>,
) -> Result<Vec<T>> {
    let mut whole = vec![T::default(); size.iter().product()];
    let first = std::array::from_fn(|axis| start[axis].clamp(0, shape[axis] as isize));
    let last: [isize; 3] = std::array::from_fn(|axis| {
        (start[axis] + size[axis] as isize).clamp(first[axis], shape[axis] as isize)
    });
    let inner: [usize; 3] = std::array::from_fn(|axis| (last[axis] - first[axis]) as usize);
    let from = first.map(|i: isize| i as usize);
    if inner == size {
        read(from, size, &mut whole)?;
    } else if !inner.contains(&0) {
        let mut part = vec![T::default(); inner.iter().product()];
        read(from, inner, &mut part)?;
        let to: [usize; 3] = std::array::from_fn(|axis| (first[axis] - start[axis]) as usize);
        for (row, values) in part.chunks_exact(inner[0]).enumerate() {
            let (y, z) = (to[1] + row % inner[1], to[2] + row / inner[1]);
            let at = (z * size[1] + y) * size[0] + to[0];
            whole[at..at + inner[0]].copy_from_slice(values);
        }
    }
    Ok(whole)
}
