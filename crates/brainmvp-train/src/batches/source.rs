//! Prepared cases as sources of patches.

use brainmvp_prep::cache::{CaseEntry, GridRecord, PreparedCase};
use brainmvp_ssl::patch::PatchSource;
use brainmvp_volume::Modality;

use crate::Result;

/// A prepared case, memory-mapped.
pub struct CaseSource {
    id: String,
    data_set: String,
    modalities: Vec<Modality>,
    case: PreparedCase,
}

impl CaseSource {
    /// The source of an opened case.
    pub fn new(entry: &CaseEntry, case: PreparedCase) -> Self {
        Self {
            id: entry.case.id.to_string(),
            data_set: entry.case.data_set.clone(),
            modalities: case.modalities().collect(),
            case,
        }
    }
}

impl CaseSource {
    /// Changes when the case's images or their preparation change.
    pub fn content_hash(&self) -> &str {
        &self.case.metadata().content_hash
    }

    /// The registered volume's size and place, before the crop.
    pub fn registered_grid(&self) -> &GridRecord {
        &self.case.metadata().uncropped
    }
}

impl PatchSource for CaseSource {
    type Error = crate::Error;

    fn id(&self) -> &str {
        &self.id
    }

    fn data_set(&self) -> &str {
        &self.data_set
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

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>> {
        let shape = self.shape();
        let mut patch = vec![0.0; size.iter().product()];
        let first = std::array::from_fn(|axis| start[axis].clamp(0, shape[axis] as isize));
        let last: [isize; 3] = std::array::from_fn(|axis| {
            (start[axis] + size[axis] as isize).clamp(first[axis], shape[axis] as isize)
        });
        let inner: [usize; 3] = std::array::from_fn(|axis| (last[axis] - first[axis]) as usize);
        let from = first.map(|i: isize| i as usize);
        if inner == size {
            self.case.read_patch(modality, from, size, &mut patch)?;
        } else if !inner.contains(&0) {
            let mut part = vec![0.0; inner.iter().product()];
            self.case.read_patch(modality, from, inner, &mut part)?;
            let to: [usize; 3] = std::array::from_fn(|axis| (first[axis] - start[axis]) as usize);
            for (row, values) in part.chunks_exact(inner[0]).enumerate() {
                let (y, z) = (to[1] + row % inner[1], to[2] + row / inner[1]);
                let at = (z * size[1] + y) * size[0] + to[0];
                patch[at..at + inner[0]].copy_from_slice(values);
            }
        }
        Ok(patch)
    }
}
