//! Evaluates predictions: metrics, statistics over cases, and comparisons.
//!
//! From two label maps to a table and a file:
//!
//! ```
//! use brainmvp_metrics::statistics::{BootstrapConfig, ZeroRule};
//! use brainmvp_metrics::{Comparison, Region, Scores, SegmentationConfig};
//! use brainmvp_volume::{Affine, Grid, LabelMap};
//! use rand::SeedableRng;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let grid = Grid::new([4, 1, 1], Affine::from_spacing([1.0; 3], [0.0; 3]));
//! let truth = LabelMap::new(grid, vec![0, 1, 2, 2]);
//! let prediction = LabelMap::new(grid, vec![0, 1, 1, 2]);
//! let regions = [Region::new("TC", [2])?, Region::new("WT", [1, 2])?];
//!
//! // Once for every case; a command reads the configuration from its file.
//! let config = SegmentationConfig::default();
//! let mut scores = Scores::new(config.clone());
//! scores.push("case-1", config.evaluate(&prediction, &truth, &regions)?)?;
//!
//! // Once at the end. The generator is seeded, so that the intervals are the same every time.
//! let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
//! let summary = scores.summary(&BootstrapConfig::default(), &mut rng)?;
//! assert!(summary.metrics_table().to_string().contains("HD95 [mm]"));
//! assert!(summary.empty_table().to_string().contains("Missed"));
//! scores.save_json(&folder.path().join("metrics.json"), &summary, None)?;
//! scores.save_csv(&folder.path().join("results.csv"), None)?;
//!
//! // Two sets of scores, case by case.
//! let others = Scores::load_json(&folder.path().join("metrics.json"))?;
//! let comparison = Comparison::new(&scores, &others, ZeroRule::default())?;
//! assert_eq!(comparison.metrics[0].test.zeros, 1);
//! # Ok(())
//! # }
//! ```
//!
//! - Masks are bits ([`Mask`]). A [`MaskPair`] finds both surfaces and the distances between them once, for all metrics.
//! - The metrics are one list ([`Metric::all`]), with names, units and which values are better.
//! - Where a mask is empty, [`EmptyRule`] determines the score. By default a missed structure gets the worst value, and
//!   no case is left out; summaries always state how many masks were empty.
//! - Lesion-wise scores as in BraTS 2023: [`lesions`].
//! - Classifications: [`metrics::classification`]; regressions: [`metrics::regression`].
//! - Images of one grid: correlation and structural similarity, in [`images`].

mod error;
pub mod images;
pub mod lesions;
mod mask;
pub mod metrics;
mod pair;
mod region;
mod score;
pub mod scores;
mod segmentation;
pub mod statistics;

pub use error::{Error, Result};
pub use lesions::LesionRule;
pub use mask::Mask;
pub use metrics::Metric;
pub use pair::{Emptiness, MaskPair, SurfaceDistances, VoxelCounts};
pub use region::Region;
pub use score::Score;
pub use scores::{Comparison, Scores, SeenBefore, Summary};
pub use segmentation::{BothEmpty, EmptyRule, OneEmpty, RegionScores, SegmentationConfig};
