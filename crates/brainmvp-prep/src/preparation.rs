//! How cases were prepared, as it is recorded with them and with every model that has learnt from them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{ContentFile, Pipeline, PrepConfig, Result};

/// All that new cases must share to be prepared as others were. It stands in the manifest of a cache, in every checkpoint
/// and in every file of weights; files that it needs go along by content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// [`Pipeline::VERSION`] of the program that prepared them.
    pub pipeline: u32,
    /// What they were prepared by.
    pub config: PrepConfig,
}

impl Preparation {
    /// The record of a configuration that this program carries out.
    pub fn of(config: PrepConfig) -> Self {
        Self { pipeline: Pipeline::VERSION, config }
    }

    /// The same, its files looked for among those of a cache or run.
    #[must_use]
    pub fn stored_in(mut self, folder: &Path) -> Self {
        if let Some(atlas) = &mut self.config.atlas {
            *atlas = atlas.stored_in(folder);
        }
        self
    }

    /// The same, with `path` for its atlas; without an atlas, the file is not looked at.
    ///
    /// # Errors
    /// [`crate::Error::FileChanged`] where the file is another one.
    pub fn with_atlas(mut self, path: &Path) -> Result<Self> {
        if let Some(atlas) = &mut self.config.atlas {
            *atlas = atlas.at(path)?;
        }
        Ok(self)
    }

    /// Copies its files into the folder of a cache or run; returns it with its files there.
    ///
    /// # Errors
    /// As [`ContentFile::store`].
    pub fn store(mut self, folder: &Path) -> Result<Self> {
        self.config.atlas = self.config.atlas.as_ref().map(|atlas| atlas.store(folder)).transpose()?;
        Ok(self)
    }

    /// The files that it needs.
    pub fn files(&self) -> impl Iterator<Item = &ContentFile> {
        self.config.atlas.iter()
    }
}
