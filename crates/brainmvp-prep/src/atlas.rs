//! The image that cases are registered to.

use std::path::{Path, PathBuf};

use brainmvp_registration::{Pyramid, StandardSpace};
use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Grid, file};

use crate::{AtlasSpace, Error, Result, Space, input};

/// An atlas: a space, the grid that cases get, and an image to register to.
#[derive(Debug, Clone)]
pub struct Atlas {
    /// The file.
    pub path: PathBuf,
    /// The grid, with axes turned to RAS+.
    pub grid: Grid,
    /// The standard space that the grid is known to be of.
    pub standard: Option<StandardSpace>,
    /// BLAKE3 of the file, hex.
    pub hash: String,
    /// The image, ready for registration.
    pub pyramid: Pyramid,
}

impl Atlas {
    /// Reads an atlas from a file.
    ///
    /// # Errors
    /// [`Error::Volume`] where the file cannot be read, [`Error::Config`] where its image cannot be registered to.
    pub fn read(path: &Path) -> Result<Self> {
        let image = file::read(path)?;
        let pyramid =
            Pyramid::new(&image).map_err(|e| Error::config(format!("atlas = {}: {e}", path.display())))?;
        let grid = Reorientation::to_ras(&image.grid().affine).grid(image.grid());
        let hash = input::hash_file(path)?.to_hex().to_string();
        Ok(Self { path: path.to_owned(), grid, standard: StandardSpace::of(&grid), hash, pyramid })
    }

    /// The name of the standard space, or of the file.
    pub fn name(&self) -> String {
        let file = || self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.standard.map_or_else(file, |space| space.name().to_owned())
    }

    /// The space of the cases that are registered to it.
    pub fn space(&self) -> Space {
        Space::Atlas(AtlasSpace { name: self.name(), hash: self.hash.clone(), standard: self.standard })
    }
}
