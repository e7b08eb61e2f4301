//! Registration of templates to cases that are not in their space, once per case.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use brainmvp_objectives::FrozenTemplates;
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_registration::{Motion, Options, Pyramid, Registration};
use brainmvp_volume::{AtPath as _, Grid, Modality, Volume, write_atomically};
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::{Error, Result};

/// A plausible registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registered {
    /// The modality of the template and the image that were registered.
    pub(super) modality: Modality,
    /// See [`Registration::similarity`].
    pub(super) similarity: f64,
    /// Rows of the map from positions in the case to positions in the template, RAS+ mm.
    pub(super) transform: [[f64; 4]; 3],
}

/// A registration, or why there is none, as stored with the prepared cases.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    /// The content hash of the prepared case.
    case: String,
    /// BLAKE3 of the template and its grid.
    template: String,
    found: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Registered(Registered),
    Failed(String),
}

/// The version of the file, and of how templates are registered.
const VERSION: u32 = 1;

/// Templates are mean heads, so they also differ from a single head in size and shape.
const MOTION: Motion = Motion::Affine;

/// The templates, ready to be registered.
pub(super) struct Candidates<'a> {
    templates: &'a FrozenTemplates,
    grid: Grid,
    /// The best-formed first. Each is prepared when it is first needed.
    ready: Vec<(Modality, OnceLock<Candidate>)>,
    /// The folder of stored transforms.
    store: Option<PathBuf>,
}

struct Candidate {
    /// BLAKE3 of the voxels and the grid, hex.
    hash: String,
    /// Or why it cannot be registered.
    pyramid: std::result::Result<Pyramid, String>,
}

impl<'a> Candidates<'a> {
    /// Templates on `grid`. Transforms are stored in the folder `store`, if there is one.
    pub(super) fn new(templates: &'a FrozenTemplates, grid: Grid, store: Option<PathBuf>) -> Self {
        let ready = templates.best_formed().into_iter().map(|modality| (modality, OnceLock::new()));
        Self { templates, grid, ready: ready.collect(), store }
    }

    /// Registers a template to the case's image of the same modality, choosing the best-formed template among the
    /// modalities of the case; or says why that failed. A result for the same case and template that is already stored is
    /// reused.
    ///
    /// # Errors
    /// If the case cannot be read, or the store cannot be written.
    pub(super) fn register(&self, case: &CaseSource) -> Result<std::result::Result<Registered, String>> {
        let Some((modality, ready)) = self.ready.iter().find(|(m, _)| case.modalities().contains(m)) else {
            return Ok(Err("there is no template of a modality that it has".to_owned()));
        };
        let candidate = ready.get_or_init(|| self.candidate(*modality));
        let file = self.store.as_ref().map(|store| store.join(file_name(case, &candidate.hash)));
        let known = file.as_deref().and_then(|file| Record::read(file, case.content_hash(), &candidate.hash));
        let found = if let Some(found) = known {
            found
        } else {
            let found = candidate.search(case, *modality)?;
            if let Some(file) = &file {
                let (case, template) = (case.content_hash().to_owned(), candidate.hash.clone());
                Record { version: VERSION, case, template, found: found.clone() }.write(file)?;
            }
            found
        };
        Ok(match found {
            Outcome::Registered(registered) => Ok(registered),
            Outcome::Failed(reason) => Err(reason),
        })
    }

    /// The grid of the templates.
    pub(super) fn grid(&self) -> &Grid {
        &self.grid
    }

    fn candidate(&self, modality: Modality) -> Candidate {
        let voxels = self.templates.get(modality).unwrap_or_default();
        let mut bytes: Vec<u8> = Vec::with_capacity(size_of_val(voxels) + 256);
        bytes.extend(self.grid.shape.iter().flat_map(|n| (*n as u64).to_le_bytes()));
        bytes.extend(self.grid.affine.rows().iter().flatten().flat_map(|value| value.to_le_bytes()));
        bytes.extend(voxels.iter().flat_map(|value| value.to_le_bytes()));
        Candidate {
            hash: blake3::hash(&bytes).to_hex().to_string(),
            pyramid: Pyramid::new(&Volume::new(self.grid, voxels.to_vec())).map_err(|e| e.to_string()),
        }
    }
}

impl Candidate {
    /// The registration of the template to the image of a case.
    fn search(&self, case: &CaseSource, modality: Modality) -> Result<Outcome> {
        let image = Volume::new(case.grid(), case.patch(modality, [0; 3], case.shape())?);
        let options = Options { motion: MOTION, ..Options::default() };
        let found = self.pyramid.as_ref().map_err(String::clone).and_then(|template| {
            let image = Pyramid::new(&image).map_err(|e| e.to_string())?;
            brainmvp_registration::register(&image, template, &options).map_err(|e| e.to_string())
        });
        Ok(match found {
            Ok(Registration { transform, similarity, .. }) => {
                Outcome::Registered(Registered { modality, similarity, transform: transform.rows() })
            }
            Err(reason) => {
                Outcome::Failed(format!("its {modality} image and the {modality} template: {reason}"))
            }
        })
    }
}

/// One file for each pair of a case's content and a template.
fn file_name(case: &CaseSource, template: &str) -> String {
    let pair = blake3::hash(format!("{} {template}", case.content_hash()).as_bytes());
    format!("{}.{:.16}.json", case.id(), pair.to_hex())
}

impl Record {
    /// The stored result for this case and template. `None` if there is none, or if it is damaged or of another version,
    /// case content or template; it is then computed again.
    fn read(file: &Path, case: &str, template: &str) -> Option<Outcome> {
        let record: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let ours = record.version == VERSION && record.case == case && record.template == template;
        ours.then_some(record.found)
    }

    fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).at(folder)?;
        }
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::run_folder(file, e.to_string()))?;
        text.push(b'\n');
        Ok(write_atomically(file, |to| to.write_all(&text))?)
    }
}
