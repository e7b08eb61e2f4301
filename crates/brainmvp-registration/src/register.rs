//! Finds the transform between two images.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ascent::{Ascent, Summit};
use crate::foreground::Margin;
use crate::motion::{Directions, Motion};
use crate::mutual_information::{Comparison, Likeness};
use crate::points::Points;
use crate::pyramid::{Pyramid, RESOLUTIONS_MM};
use crate::{Error, Result, Transform, start, verdict};

/// How to register.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which transforms are allowed.
    pub motion: Motion,
    /// The seed of the points at which the images are compared.
    pub seed: u64,
    /// The similarity below which a registration has failed; see [`Registration::similarity`].
    pub least_similarity: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { motion: Motion::Rigid, seed: 0, least_similarity: 0.035 }
    }
}

/// The result: a transform, and how good it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Registration {
    /// The map from points in the fixed image to points in the moving image, RAS+ mm.
    pub transform: Transform,
    /// The similarity of the images inside the head: mutual information divided by the mean of their entropies, 0 to 1.
    /// Series of one head have about 0.1 or more, a head and an atlas 0.05, unrelated images 0.03 or less.
    pub similarity: f64,
    /// The share of the head, as seen in the smaller field of view, that both images show.
    pub overlap: f64,
    /// The steps that the optimiser took, over all levels.
    pub iterations: usize,
}

/// How one stage compares the images.
#[derive(Debug, Clone, Copy)]
struct Stage {
    level: usize,
    margin: Margin,
    points: usize,
    bins: usize,
}

/// Tries all rotations.
const SEARCH: Stage = Stage { level: 2, margin: Margin::Wide, points: 2_000, bins: 16 };
/// Chooses among the best of them.
const CHOICE: Stage = Stage { level: 1, margin: Margin::Wide, points: 4_000, bins: 24 };
/// Refines the chosen one.
const COARSE: Stage = Stage { level: 1, margin: Margin::Narrow, points: 12_000, bins: 24 };
const FINE: Stage = Stage { level: 0, margin: Margin::Narrow, points: 150_000, bins: 32 };

/// Judges the result.
const JUDGED: Stage = Stage { level: 0, margin: Margin::Inside, points: 50_000, bins: 32 };

/// If the foreground of one image is at most this part of the other's, points are drawn from it.
const SMALLER_VIEW: f64 = 0.6;

/// Finds the transform from `fixed` to `moving`. Neither headers nor orientations need to be right.
///
/// The result depends on images and options alone, not on the number of threads. Where one image shows much less than
/// the other (a brain and a head, a slab and a brain), they are compared within the smaller one.
///
/// # Errors
/// [`Error::Failed`] if the best transform cannot be right: the images are too dissimilar, share too little, or one
/// would have to be stretched more than heads differ.
pub fn register(fixed: &Pyramid, moving: &Pyramid, options: &Options) -> Result<Registration> {
    let (a, b) = (fixed.foreground().volume_mm3, moving.foreground().volume_mm3);
    verdict::judge_sizes(a, b)?;
    if b < SMALLER_VIEW * a {
        let found = register_points_of(moving, fixed, Margin::Inside, options)?;
        let transform =
            found.transform.inverse().ok_or_else(|| Error::failed("the transform is singular"))?;
        return Ok(Registration { transform, ..found });
    }
    let margin = if a < SMALLER_VIEW * b { Margin::Inside } else { Margin::Narrow };
    register_points_of(fixed, moving, margin, options)
}

/// Registers with points of `fixed`, in the last stages those within `margin`.
fn register_points_of(
    fixed: &Pyramid,
    moving: &Pyramid,
    margin: Margin,
    options: &Options,
) -> Result<Registration> {
    let apart = || Error::failed("the images do not overlap");
    let radius_mm = fixed.foreground().radius_mm;
    let rigid = Directions::new(Motion::Rigid, radius_mm);

    let points = SEARCH.points(fixed, options.seed);
    let comparison = SEARCH.comparison(&points, moving);
    // A brain in a head is harder to find than another head.
    let climbed = if margin == Margin::Inside { 80 } else { 24 };
    let starts = start::promising(&comparison, moving.foreground(), climbed);
    let starts = start::climbed(&comparison, &starts, radius_mm, &rigid, &SEARCH.ascent());
    let points = CHOICE.points(fixed, options.seed);
    let comparison = CHOICE.comparison(&points, moving);
    let climb = |start: &Summit| CHOICE.ascent().climb(&mut comparison.clone(), &rigid, start.pose);
    let summits: Vec<Summit> = starts.par_iter().filter_map(climb).collect();
    let better = |a: Summit, b: Summit| if start::score(&b) > start::score(&a) { b } else { a };
    let mut best = summits.into_iter().reduce(better).ok_or_else(apart)?;

    let mut iterations = best.iterations;
    let wanted = Directions::new(options.motion, radius_mm);
    for (stage, directions) in [(COARSE, &rigid), (COARSE, &wanted), (FINE, &wanted)] {
        let stage = Stage { margin, ..stage };
        let points = stage.points(fixed, options.seed);
        let mut comparison = stage.comparison(&points, moving);
        best = stage.ascent().climb(&mut comparison, directions, best.pose).ok_or_else(apart)?;
        iterations += best.iterations;
    }
    // Many things that are not heads have matching outlines; only the inside counts.
    let points = JUDGED.points(fixed, options.seed);
    let likeness = JUDGED.comparison(&points, moving).likeness(&best.pose).ok_or_else(apart)?;
    let transform = best.pose.transform();
    verdict::judge(&transform, options.motion, &likeness, options.least_similarity)?;
    let Likeness { similarity, overlap, .. } = likeness;
    Ok(Registration { transform, similarity, overlap, iterations })
}

impl Stage {
    fn points(&self, fixed: &Pyramid, seed: u64) -> Points {
        Points::draw(fixed, self.margin, self.level, self.points, seed)
    }

    fn comparison<'a>(&self, points: &'a Points, moving: &'a Pyramid) -> Comparison<'a> {
        Comparison::new(points, moving.level(self.level), self.bins)
    }

    fn ascent(&self) -> Ascent {
        let resolution_mm = RESOLUTIONS_MM[self.level];
        Ascent { longest_mm: resolution_mm, shortest_mm: 0.005 * resolution_mm, iterations: 60 }
    }
}
