//! The image that cases are registered to.

use brainmvp_registration::{Pyramid, StandardSpace};
use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Grid, file};

use crate::{ContentFile, Error, Result};

/// An atlas: a space, the grid that cases get, and an image to register to.
#[derive(Debug, Clone)]
pub struct Atlas {
    /// The file.
    pub file: ContentFile,
    /// The grid, with axes turned to RAS+.
    pub grid: Grid,
    /// The standard space that the grid is known to be of.
    pub space: Option<StandardSpace>,
    /// The image, ready for registration.
    pub pyramid: Pyramid,
}

impl Atlas {
    /// Reads an atlas from a file.
    ///
    /// # Errors
    /// [`Error::FileNeeded`] and [`Error::FileChanged`] where the file is not there or is another one, [`Error::Volume`]
    /// where it cannot be read, [`Error::Config`] where its image cannot be registered to.
    pub fn read(from: &ContentFile) -> Result<Self> {
        let path = from.path()?;
        let image = file::read(path)?;
        let pyramid =
            Pyramid::new(&image).map_err(|e| Error::config(format!("atlas = {}: {e}", path.display())))?;
        let grid = Reorientation::to_ras(&image.grid().affine).grid(image.grid());
        Ok(Self { file: from.clone(), grid, space: StandardSpace::of(&grid), pyramid })
    }

    /// The name of the standard space, or of the file.
    pub fn name(&self) -> String {
        self.space.map_or(self.file.name(), |space| space.name()).to_owned()
    }
}
