//! The folded mantle: the outline of the cerebrum and its sulci.
//!
//! Coordinates are millimetres in the space of the MNI template (right, front, up, from the anterior commissure). The
//! outline is a blend of simple solids. Sulci are sheets that stand upright on it: the zero lines of a random field of
//! one wavelength, drawn on the outline, wind at the even distance that gyri have, and each sheet reaches down to a depth
//! that varies along it. Cortex is everything within its thickness of the outline or of a sheet, so the ribbon has the
//! same thickness on crowns, walls and in the depth of sulci.

use super::random::Random;
use super::shape::{
    Knot, Point, add, dot, ellipsoid, hypotenuse, knot, length, mix, normalised, rounded_min, scale,
    smooth_max, smooth_min, smoothstep, sub, tube,
};
use super::waves::{Band, Waves};

/// Deeper than this (mm) there is no cortex.
const DEEPEST_SULCUS_MM: f32 = 30.0;

/// Folds of one subject.
#[derive(Debug, Clone)]
pub(super) struct Cortex {
    sulci: Waves,
    side_branches: Waves,
    fold_depth: Waves,
    bend: [Waves; 2],
    /// Half the width of a sulcus in mm; grows with atrophy.
    half_width_mm: f32,
    thickness_mm: f32,
}

/// The position of a point in the mantle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fold {
    /// Depth below the pial surface in mm, negative in the fluid of a sulcus or outside.
    pub(super) depth_mm: f32,
    /// Thickness of the cortex here in mm.
    pub(super) thickness_mm: f32,
}

impl Cortex {
    /// Draws the folds; `atrophy` from 0 (young) to 1 (old) widens the sulci and thins the cortex.
    pub(super) fn draw(random: &mut Random, atrophy: f32) -> Self {
        Self {
            sulci: Waves::draw(random, Band::isotropic(24, 16.5, 21.5)),
            side_branches: Waves::draw(random, Band::isotropic(24, 11.0, 14.0)),
            fold_depth: Waves::draw(random, Band::isotropic(8, 28.0, 50.0)),
            bend: std::array::from_fn(|_| Waves::draw(random, Band::isotropic(8, 30.0, 60.0))),
            half_width_mm: mix(0.45, 1.0, atrophy) * random.between(0.9, 1.1),
            thickness_mm: mix(3.3, 2.9, atrophy),
        }
    }

    /// The fold at `p`, whose depth in the [`outline`] is known.
    pub(super) fn fold(&self, p: Point, outline_mm: f32) -> Fold {
        let (fissure_mm, callosum_mm) = fissure(p, self.half_width_mm);
        let lateral_mm = self.sylvian(p);
        let thickness_mm = self.thickness_mm * smoothstep(-1.0, 5.0, callosum_mm);
        let open_mm = smooth_min(outline_mm, fissure_mm, 1.0);
        if !(-1.0..=DEEPEST_SULCUS_MM).contains(&open_mm) {
            return Fold { depth_mm: open_mm.min(lateral_mm), thickness_mm };
        }
        let (normal, steepness) = outward(p);
        let surface = self.bent(add(p, scale(normal, mantle(p))), open_mm);
        // No sulci where two outer faces are equally near, nor into the nuclei from below.
        let kept = 30.0 * (smoothstep(0.6, 0.3, steepness) + smoothstep(-6.0, 4.0, core(p)));
        let reach = self.fold_depth.value(surface);
        // The temporal lobe is slender, and the underside hardly folded.
        let slender = smoothstep(-4.0, 6.0, temporal(p)).max(smoothstep(-0.3, -0.8, normal[2]));
        let main_reach = (15.0 + 7.5 * reach) * (1.0 - 0.45 * slender);
        let main_mm = sheet(&self.sulci, surface, normal, open_mm);
        let main_mm = below_lip(main_mm, open_mm, main_reach - kept) - self.half_width_mm;
        let side_mm = sheet(&self.side_branches, surface, normal, open_mm);
        let side_mm = below_lip(side_mm, open_mm, 3.5 - 5.0 * reach - kept) - 0.7 * self.half_width_mm;
        let folded_mm = rounded_min(open_mm, main_mm, 4.0);
        let folded_mm = rounded_min(folded_mm, side_mm, 2.5);
        Fold { depth_mm: rounded_min(folded_mm, lateral_mm, 4.0), thickness_mm }
    }

    /// Sheets are not flat: they bend with depth.
    fn bent(&self, surface: Point, depth_mm: f32) -> Point {
        let bend = self.bend.each_ref().map(|waves| waves.value(surface));
        let shift = 0.32 * depth_mm;
        [surface[0] + bend[0] * shift, surface[1] + bend[1] * shift, surface[2] - bend[0] * shift]
    }

    /// Depth (mm) below the walls of the lateral (Sylvian) fissure: a sheet from the side of the brain that ends
    /// at the insula, and the cleft above and below between the insula and the lids that cover it.
    fn sylvian(&self, p: Point) -> f32 {
        let side = p[0].abs();
        if side < 28.0 || !(-46.0..=32.0).contains(&p[1]) {
            return f32::MAX;
        }
        let bend = self.bend[0].value(p);
        let height = p[2] - (-11.0 + (20.0 - p[1]) * 0.47) + 4.0 * bend - 0.15 * (side - 50.0);
        let beyond = (p[1] - 22.0).max(-36.0 - p[1]).max(0.0);
        let entrance = length([(41.0 - side).max(0.0), height, beyond]) - self.half_width_mm - 0.3;
        let half_height = mix(8.0, 14.0, smoothstep(-36.0, 10.0, p[1]));
        // The insula bulges outwards.
        let bulge = 1.0 - (height / half_height) * (height / half_height);
        let across = side - 38.0 - 3.0 * bulge.max(-0.5) - 0.8 * self.bend[1].value(p);
        let cleft = length([across, (height.abs() - half_height).max(0.0), beyond]);
        entrance.min(cleft - self.half_width_mm - 0.5)
    }
}

/// Distance (mm) to the zero sheet of a field drawn on the surface.
fn sheet(waves: &Waves, surface: Point, normal: Point, depth_mm: f32) -> f32 {
    let (value, gradient) = waves.value_and_gradient(surface);
    let tangential = sub(gradient, scale(normal, dot(gradient, normal)));
    // Below a convex surface of radius 60 mm, sheets converge. The second term keeps the distance finite where the field
    // is flat.
    let convergence = 60.0 / (60.0 - depth_mm.clamp(0.0, 30.0));
    value.abs() / (hypotenuse(length(tangential), 0.07) * convergence)
}

/// Distance to a sheet that ends `reach_mm` below the surface.
fn below_lip(sheet_mm: f32, depth_mm: f32, reach_mm: f32) -> f32 {
    hypotenuse(sheet_mm, (depth_mm - reach_mm).max(0.0))
}

/// Depth (mm) in the cerebrum, both hemispheres together and without sulci.
pub(super) fn outline(p: Point) -> f32 {
    let [side, y, z] = [p[0].abs(), p[1], p[2]];
    let front = ellipsoid([side, y, z], [0.0, 8.0, 9.0], [60.0, 63.0, 65.0]);
    let back = ellipsoid([side, y, z], [0.0, -36.0, 10.0], [67.0, 67.0, 67.0]);
    let vault = smooth_max(front, back, 16.0);
    let whole = smooth_min(vault, z - base_height(side, y), 14.0);
    smooth_max(whole, temporal(p), 6.0)
}

/// Height (mm) of the underside: orbital in front, hypothalamic in the middle, tentorial behind.
fn base_height(side: f32, y: f32) -> f32 {
    let behind = -3.0 - 0.26 * side + 0.10 * (y + 50.0);
    let middle = -13.0;
    let front = -22.0 + 0.06 * side;
    let forward = mix(middle, front, smoothstep(4.0, 24.0, y));
    mix(behind, forward, smoothstep(-48.0, -22.0, y))
}

/// Depth (mm) in the temporal lobe.
fn temporal(p: Point) -> f32 {
    const LOBE: [Knot; 4] = [
        knot(38.0, 8.0, -29.0, 13.0),
        knot(45.0, -12.0, -26.0, 18.5),
        knot(47.0, -40.0, -18.0, 19.0),
        knot(40.0, -66.0, -8.0, 17.0),
    ];
    const MEDIAL: [Knot; 3] =
        [knot(25.0, -2.0, -26.0, 8.5), knot(25.0, -25.0, -20.0, 8.5), knot(24.0, -48.0, -10.0, 10.0)];
    let [side, y, z] = [p[0].abs(), p[1], p[2]];
    smooth_max(tube([side, y, z], &LOBE), tube([side, y, z], &MEDIAL), 10.0)
}

/// Depth (mm) from the fissure between the hemispheres, and height (mm) above the corpus callosum that ends it.
pub(super) fn fissure(p: Point, half_width_mm: f32) -> (f32, f32) {
    let above = callosum(p[1], p[2]);
    // Near the convexity and the frontal pole the hemispheres diverge.
    let gap = half_width_mm * 0.7 + 0.2 + 0.008 * (above - 20.0).max(0.0);
    (hypotenuse((p[0].abs() - gap).max(0.0), (-above).max(0.0)) - 0.2, above)
}

/// Height (mm) above the corpus callosum in the midplane; negative below its upper face and between its ends.
pub(super) fn callosum(y: f32, z: f32) -> f32 {
    -ellipsoid([0.0, y, z], [0.0, -6.0, -1.0], [50.0, 39.0, 27.0])
}

/// A blend of all outer faces, whose gradient turns smoothly where they meet.
fn mantle(p: Point) -> f32 {
    let (fissure_mm, _) = fissure(p, 0.5);
    smooth_min(outline(p), fissure_mm, 22.0)
}

/// The outward direction of the nearest outer face, and how steeply the depth falls along it (1 near a face,
/// less where two faces are equally near).
fn outward(p: Point) -> (Point, f32) {
    const STEP: f32 = 0.5;
    let here = mantle(p);
    let slope = std::array::from_fn(|axis| {
        let mut moved = p;
        moved[axis] += STEP;
        (here - mantle(moved)) / STEP
    });
    (normalised(slope), length(slope))
}

/// Depth (mm) in the middle of the base, where nuclei and tracts lie instead of folds.
fn core(p: Point) -> f32 {
    ellipsoid([p[0].abs(), p[1], p[2]], [0.0, -12.0, 0.0], [36.0, 44.0, 24.0])
}
