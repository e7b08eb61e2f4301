//! Rigid and affine registration of brain images, whatever their contrasts, grids and orientations.
//!
//! [`register`] finds the [`Transform`] that takes a point in the fixed image, in RAS+ mm, to the same point of the
//! head in the moving image. It maximises the mutual information of the two images (Mattes et al., IEEE TMI 22(1),
//! 2003), from a joint histogram with B-spline windows, over points that lie anywhere between the voxels, on a pyramid
//! of resolutions. A registration that cannot be right is an [`Error`], never a result.
//!
//! ```
//! use brainmvp_registration::{Motion, Options, Pyramid, register};
//! # use brainmvp_volume::{Affine, Grid, Volume};
//! # fn main() -> Result<(), brainmvp_registration::Error> {
//! # let ball = |middle: f64| {
//! #     let grid = Grid::new([40; 3], Affine::from_spacing([4.0; 3], [-80.0; 3]));
//! #     let value = |i| {
//! #         let [x, y, z] = grid.affine.to_world(grid.voxel(i).map(|v| v as f64));
//! #         let (a, b) = ((x - middle) / 50.0, (y * y / 4900.0) + (z * z / 3000.0));
//! #         if a * a + b < 1.0 { (200.0 + x - middle + y * y / 90.0) as f32 } else { 0.0 }
//! #     };
//! #     Volume::new(grid, (0..grid.len()).map(value).collect())
//! # };
//! # let (fixed, moving) = (ball(0.0), ball(9.0));
//! let (fixed, moving) = (Pyramid::new(&fixed)?, Pyramid::new(&moving)?);
//! let found = register(&fixed, &moving, &Options { motion: Motion::Rigid, ..Options::default() })?;
//! let there = found.transform.apply([0.0, 0.0, 0.0]);
//! assert!((there[0] - 9.0).abs() < 1.0);
//! # Ok(())
//! # }
//! ```

mod ascent;
pub mod atlas;
mod error;
mod foreground;
pub mod itk;
mod motion;
mod mutual_information;
mod points;
mod pyramid;
mod register;
mod space;
mod start;
mod transform;
mod verdict;

pub use error::{Error, Result};
pub use motion::Motion;
pub use pyramid::Pyramid;
pub use register::{Options, Registration, register};
pub use space::StandardSpace;
pub use transform::Transform;
