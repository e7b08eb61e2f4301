//! The image that cases are registered to.

use brainmvp_registration::{Pyramid, StandardSpace};
use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Grid, file};

use crate::{AtlasSpace, ContentFile, Error, Result, Space};

/// An atlas: a space, the grid that cases get, and an image to register to.
#[derive(Debug, Clone)]
pub struct Atlas {
    /// The file.
    pub file: ContentFile,
    /// The grid, with axes turned to RAS+.
    pub grid: Grid,
    /// The standard space that the grid is known to be of.
    pub standard: Option<StandardSpace>,
    /// The image, ready for registration.
    pub pyramid: Pyramid,
}

impl Atlas {
    /// Reads an atlas from a file.
    ///
    /// # Errors
    /// [`Error::FileNeeded`] and [`Error::FileChanged`] if the file is not there or is another one, [`Error::Volume`] if
    /// it cannot be read, [`Error::Config`] if it cannot be used for registration.
    pub fn read(from: &ContentFile) -> Result<Self> {
        let path = from.path()?;
        let image = file::read(path)?;
        let pyramid =
            Pyramid::new(&image).map_err(|e| Error::config(format!("atlas = {}: {e}", path.display())))?;
        let grid = Reorientation::to_ras(&image.grid().affine).grid(image.grid());
        Ok(Self { file: from.clone(), grid, standard: StandardSpace::of(&grid), pyramid })
    }

    /// The name of the standard space, or of the file.
    pub fn name(&self) -> String {
        match self.standard {
            Some(space) => space.name(),
            None => self.file.name(),
        }
        .to_owned()
    }

    /// The space of the cases that are registered to it.
    pub fn space(&self) -> Space {
        let hash = self.file.hash().to_owned();
        Space::Atlas(AtlasSpace { name: self.name(), hash, standard: self.standard })
    }
}
