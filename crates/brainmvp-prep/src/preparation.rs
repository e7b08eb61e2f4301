//! How cases were prepared, as recorded with them and with every network that was trained on them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{ContentFile, Pipeline, PrepConfig, Result};

/// Everything needed to prepare new cases in the same way. It is stored in the manifest of a cache, in every checkpoint
/// and in every file of weights. Files that it needs are identified by their content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// [`Pipeline::VERSION`] of the program that prepared the cases.
    pub pipeline: u32,
    /// The configuration that they were prepared with.
    pub config: PrepConfig,
}

impl Preparation {
    /// The record of a configuration that is run by this program.
    pub fn of(config: PrepConfig) -> Self {
        Self { pipeline: Pipeline::VERSION, config }
    }

    /// The same, with its files located among those of a cache or run.
    #[must_use]
    pub fn stored_in(mut self, folder: &Path) -> Self {
        if let Some(atlas) = &mut self.config.atlas {
            *atlas = atlas.stored_in(folder);
        }
        self
    }

    /// The same, with its atlas located at `path`. Without an atlas, the path is ignored.
    ///
    /// # Errors
    /// [`crate::Error::FileChanged`] if it is another file.
    pub fn with_atlas(mut self, path: &Path) -> Result<Self> {
        if let Some(atlas) = &mut self.config.atlas {
            *atlas = atlas.at(path)?;
        }
        Ok(self)
    }

    /// Copies its files into the folder of a cache or run. Returns it with the new locations.
    ///
    /// # Errors
    /// Those of [`ContentFile::store`].
    pub fn store(mut self, folder: &Path) -> Result<Self> {
        self.config.atlas = self.config.atlas.as_ref().map(|atlas| atlas.store(folder)).transpose()?;
        Ok(self)
    }

    /// The files that it needs.
    pub fn files(&self) -> impl Iterator<Item = &ContentFile> {
        self.config.atlas.iter()
    }
}
