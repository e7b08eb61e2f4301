//! The inside of the skull: which tissues are at a point of the standard space.
//!
//! Positions and sizes are read off the MNI152 template and rounded; left and right mirror each other here,
//! and differ through the folds and the deformation of the subject.

use super::cortex::{Cortex, callosum, fissure, outline};
use super::random::Random;
use super::shape::{
    Knot, Point, ellipsoid, hypotenuse, knot, mix, ramp, rounded_min, smooth_max, smooth_min, smoothstep,
    tube,
};
use super::tissue::{Mixture, Tissue};
use super::waves::{Band, Waves};

/// Brain of one subject in standard space.
#[derive(Debug, Clone)]
pub(super) struct Anatomy {
    cortex: Cortex,
    folia: Waves,
    mottling: Waves,
    patches: Waves,
    /// Added to the radius of the ventricles, in mm.
    ventricle_mm: f32,
    /// Load of age-related white-matter hyperintensities, from 0 to 1.
    hyperintensity: f32,
}

/// Depths (mm) of a point in the large parts of the brain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    /// In the cerebrum, sulci filled.
    pub(super) cerebrum: f32,
    /// In the cerebellum, folia filled.
    pub(super) cerebellum: f32,
    /// In the brain stem.
    pub(super) stem: f32,
    /// In the brain as it is after skull stripping: the parts, with the cisterns between them.
    pub(super) envelope: f32,
}

impl Parts {
    /// The parts at `p`.
    pub(super) fn at(p: Point) -> Self {
        let cerebrum = outline(p);
        // High above the lower parts, they have no influence on the blending.
        let (cerebellum, stem) = if p[2] > 26.0 { (-1e3, -1e3) } else { (cerebellum(p), stem(p)) };
        let envelope = smooth_max(smooth_max(cerebrum, cerebellum, 12.0), stem, 12.0) + 1.0;
        Self { cerebrum, cerebellum, stem, envelope }
    }
}

/// Depth (mm, negative outside) of a point of standard space (MNI, RAS+ mm) in the brain as it is after skull stripping:
/// cerebrum, cerebellum and stem of the average phantom, with sulci and cisterns filled.
pub fn brain_depth_mm(point_mm: [f32; 3]) -> f32 {
    Parts::at(point_mm).envelope
}

impl Anatomy {
    /// Draws the inside of a skull; `atrophy` from 0 (young) to 1 (old).
    pub(super) fn draw(random: &mut Random, atrophy: f32) -> Self {
        Self {
            cortex: Cortex::draw(random, atrophy),
            folia: Waves::draw(random, Band::isotropic(8, 18.0, 40.0)),
            mottling: Waves::draw(random, Band::isotropic(16, 9.0, 30.0)),
            patches: Waves::draw(random, Band::isotropic(16, 9.0, 22.0)),
            ventricle_mm: mix(-1.2, 2.2, atrophy) + random.around_zero(0.6),
            hyperintensity: (atrophy * 1.3 - 0.3).max(0.0) * random.unit(),
        }
    }

    /// The tissues at `p`, edges blurred over `voxel_mm`.
    pub(super) fn tissues(&self, p: Point, parts: &Parts, voxel_mm: f32) -> Mixture {
        let mut mixture = Mixture::zero();
        mixture.0[Tissue::Fluid as usize] = 1.0;
        if parts.cerebrum > -2.0 * voxel_mm {
            self.mantle(p, parts.cerebrum, voxel_mm, &mut mixture);
        }
        if parts.cerebellum > -2.0 * voxel_mm {
            self.cerebellum(p, parts.cerebellum, voxel_mm, &mut mixture);
        }
        if parts.stem > -2.0 * voxel_mm {
            let inside = ramp(parts.stem, voxel_mm);
            mixture.cover(Tissue::White, inside);
            // The stem mixes tracts with nuclei.
            mixture.turn(Tissue::White, Tissue::Thalamus, inside * 0.45);
        }
        if parts.envelope > 5.0 {
            self.deep(p, voxel_mm, &mut mixture);
        }
        self.mottle(p, &mut mixture);
        mixture
    }

    fn mantle(&self, p: Point, outline_mm: f32, voxel_mm: f32, mixture: &mut Mixture) {
        let fold = self.cortex.fold(p, outline_mm);
        mixture.cover(Tissue::Cortex, ramp(fold.depth_mm, voxel_mm));
        mixture.cover(Tissue::White, ramp(fold.depth_mm - fold.thickness_mm, voxel_mm));
    }

    /// Folia: closely spaced parallel leaves across the midline that fan out from the fastigium, in lobules separated by
    /// deeper fissures; white matter branches between them.
    fn cerebellum(&self, p: Point, outline_mm: f32, voxel_mm: f32, mixture: &mut Mixture) {
        let side = p[0] * 0.03;
        let (back, up) = (p[1] + 48.0, p[2] + 32.0);
        let warp = self.folia.value(p);
        let turns =
            libm::atan2f(up, -back) * (0.5 / std::f32::consts::PI) - 0.03 * side * side + 0.012 * warp;
        let circle_mm = hypotenuse(back, up) * std::f32::consts::TAU;
        let leaf = |count: f32, shift: f32| {
            let place = turns * count + shift;
            (place - (place + 0.5).floor()).abs() * circle_mm / count
        };
        let lobule = hypotenuse(leaf(11.0, 0.3), (outline_mm - 13.0).max(0.0)) - 0.45;
        let folium = hypotenuse(leaf(44.0, 0.2), (outline_mm - 4.5 - 1.5 * warp).max(0.0)) - 0.2;
        let depth = rounded_min(rounded_min(outline_mm, lobule, 2.5), folium, 1.0);
        mixture.cover(Tissue::Cortex, ramp(depth, voxel_mm));
        let grey_mm = 1.8 + 1.6 * smoothstep(9.0, 3.0, outline_mm);
        mixture.cover(Tissue::White, ramp(depth - grey_mm, voxel_mm));
    }

    /// Nuclei and ventricles, in layers.
    fn deep(&self, p: Point, voxel_mm: f32, mixture: &mut Mixture) {
        let q = [p[0].abs(), p[1], p[2]];
        if q[0] > 48.0 || !(-85.0..=48.0).contains(&q[1]) || !(-52.0..=42.0).contains(&q[2]) {
            return;
        }
        let mut cover = |tissue, depth| mixture.cover(tissue, ramp(depth, voxel_mm));
        cover(Tissue::Cortex, tube(q, &HIPPOCAMPUS).max(ellipsoid(q, [23.0, -4.0, -21.0], [8.0, 8.0, 7.0])));
        cover(
            Tissue::Thalamus,
            smooth_max(tube(q, &THALAMUS), ellipsoid(q, [16.0, -26.0, 5.0], [8.0, 7.0, 7.0]), 4.0),
        );
        let lateral = self.lateral_ventricle(q);
        let around = ramp(lateral + 1.0 + 3.5 * self.hyperintensity, 4.0) * self.hyperintensity;
        let third = ellipsoid(q, [0.0, -10.0, 0.0], [2.8 + 0.6 * self.ventricle_mm.max(-1.2), 15.0, 11.0]);
        let fourth = ellipsoid(q, [0.0, -42.0, -31.0], [7.0, 5.5, 11.0]).max(tube(q, &AQUEDUCT));
        let white = 1.0 - smoothstep(0.0, 6.0, -lateral);
        cover(Tissue::Fluid, third.max(fourth));
        cover(
            Tissue::Striatum,
            smooth_max(tube(q, &CAUDATE), ellipsoid(q, [13.5, 15.0, 5.0], [6.0, 10.0, 9.0]), 2.0),
        );
        cover(Tissue::Fluid, lateral);
        let tilted = [q[0] + 0.22 * (q[1] - 2.0), q[1], q[2]];
        cover(Tissue::Striatum, ellipsoid(tilted, [26.5, 2.0, 1.0], [5.5, 16.0, 11.0]));
        cover(Tissue::Pallidum, ellipsoid(tilted, [19.5, -1.0, -1.0], [4.5, 8.5, 6.0]));
        cover(Tissue::Striatum, ellipsoid(tilted, [34.3, 0.0, 1.0], [0.6, 13.0, 11.0]));
        cover(Tissue::Pallidum, ellipsoid(q, [5.0, -20.0, -9.0], [3.0, 3.0, 3.5]));
        cover(
            Tissue::Pallidum,
            ellipsoid([q[0] + 0.6 * (q[1] + 17.0), q[1], q[2]], [10.0, -17.0, -11.0], [1.6, 5.0, 3.5]),
        );
        cover(Tissue::Pallidum, 0.9 - (ellipsoid(q, [14.0, -57.0, -34.0], [7.0, 8.0, 5.0]).abs()));
        cover(Tissue::White, tube(q, &FORNIX));
        cover(Tissue::Choroid, tube(q, &CHOROID));
        mixture.turn(Tissue::White, Tissue::Hyperintensity, around.max(0.0));
        if self.hyperintensity > 0.0 && mixture.share(Tissue::White) > 0.0 {
            let spots = smoothstep(1.7, 2.3, self.patches.value(p)) * self.hyperintensity.sqrt();
            mixture.turn(Tissue::White, Tissue::Hyperintensity, spots * (1.0 - white));
        }
    }

    fn lateral_ventricle(&self, q: Point) -> f32 {
        let body = tube(q, &VENTRICLE).max(tube(q, &TEMPORAL_HORN)) + self.ventricle_mm;
        // The septum between the two, the callosum above.
        let (_, above) = fissure(q, 0.5);
        smooth_min(body.min(q[0] - 0.35), -above - 5.0, 3.0)
    }

    /// Tissue is not uniform: white matter differs from tract to tract, cortex from area to area.
    fn mottle(&self, p: Point, mixture: &mut Mixture) {
        let mottling = self.mottling.value(p);
        mixture.turn(Tissue::White, Tissue::Cortex, (0.07 + 0.05 * mottling).clamp(0.0, 0.25));
        mixture.turn(Tissue::Cortex, Tissue::White, (0.05 - 0.05 * mottling).clamp(0.0, 0.2));
        mixture.turn(Tissue::Thalamus, Tissue::White, (0.12 + 0.12 * mottling).clamp(0.0, 0.4));
    }

    /// Depth (mm) of `p` below the pial surface of the cerebrum.
    pub(super) fn pial_depth(&self, p: Point) -> f32 {
        self.cortex.fold(p, outline(p)).depth_mm
    }
}

const VENTRICLE: [Knot; 8] = [
    knot(6.0, 33.0, 3.0, 2.5),
    knot(8.0, 25.0, 9.0, 5.0),
    knot(8.0, 8.0, 16.0, 5.0),
    knot(11.0, -12.0, 20.0, 5.0),
    knot(17.0, -29.0, 18.0, 5.5),
    knot(24.0, -41.0, 10.0, 7.0),
    knot(24.0, -58.0, 6.0, 4.0),
    knot(21.0, -74.0, 5.0, 1.8),
];
const TEMPORAL_HORN: [Knot; 4] = [
    knot(24.0, -41.0, 8.0, 6.0),
    knot(33.0, -33.0, -6.0, 3.2),
    knot(33.0, -18.0, -17.0, 2.2),
    knot(30.0, -8.0, -21.0, 2.4),
];
const CHOROID: [Knot; 4] = [
    knot(5.0, -2.0, 13.0, 0.8),
    knot(12.0, -20.0, 16.0, 1.2),
    knot(20.0, -36.0, 12.0, 2.4),
    knot(25.0, -41.0, 4.0, 1.8),
];
const FORNIX: [Knot; 5] = [
    knot(1.5, 0.0, -8.0, 1.2),
    knot(1.8, 3.0, 4.0, 1.6),
    knot(2.0, -4.0, 13.0, 1.8),
    knot(3.0, -22.0, 16.0, 1.6),
    knot(12.0, -36.0, 12.0, 1.6),
];
const HIPPOCAMPUS: [Knot; 4] = [
    knot(24.0, -10.0, -22.0, 6.0),
    knot(28.0, -20.0, -17.0, 5.0),
    knot(30.0, -32.0, -9.0, 4.2),
    knot(22.0, -40.0, 0.0, 2.8),
];
const THALAMUS: [Knot; 3] =
    [knot(7.0, -7.0, 6.0, 4.8), knot(10.0, -15.0, 8.0, 7.0), knot(13.0, -24.0, 8.0, 8.0)];
const CAUDATE: [Knot; 4] = [
    knot(12.0, 20.0, 6.0, 6.0),
    knot(14.0, 4.0, 17.0, 4.8),
    knot(17.0, -12.0, 22.0, 3.4),
    knot(23.0, -28.0, 20.0, 2.0),
];
const AQUEDUCT: [Knot; 3] =
    [knot(0.0, -24.0, -3.0, 1.0), knot(0.0, -35.0, -16.0, 0.9), knot(0.0, -40.0, -24.0, 1.8)];

fn stem(p: Point) -> f32 {
    const PEDUNCLE: [Knot; 4] = [
        knot(16.0, -10.0, 2.0, 7.0),
        knot(11.0, -17.0, -9.0, 7.5),
        knot(7.0, -22.0, -20.0, 8.0),
        knot(6.0, -24.0, -30.0, 9.0),
    ];
    const TEGMENTUM: [Knot; 5] = [
        knot(0.0, -28.0, -6.0, 9.5),
        knot(0.0, -30.0, -18.0, 9.5),
        knot(0.0, -28.0, -34.0, 10.0),
        knot(0.0, -34.0, -50.0, 8.5),
        knot(0.0, -46.0, -80.0, 6.0),
    ];
    const TO_CEREBELLUM: [Knot; 3] =
        [knot(9.0, -28.0, -32.0, 8.5), knot(18.0, -38.0, -34.0, 7.5), knot(21.0, -52.0, -36.0, 7.0)];
    let q = [p[0].abs(), p[1], p[2]];
    let pons = ellipsoid(q, [0.0, -23.0, -34.0], [17.0, 13.0, 13.5]);
    let stalk = smooth_max(tube(q, &PEDUNCLE), tube(q, &TEGMENTUM), 4.0);
    smooth_max(smooth_max(stalk, pons, 5.0), tube(q, &TO_CEREBELLUM), 6.0)
}

fn cerebellum(p: Point) -> f32 {
    let q = [p[0].abs(), p[1], p[2]];
    let hemisphere = ellipsoid(q, [23.0, -64.0, -37.0], [30.0, 29.0, 19.0]);
    let upper = ellipsoid(q, [18.0, -58.0, -26.0], [32.0, 28.0, 22.0]);
    let vermis = ellipsoid(q, [0.0, -62.0, -26.0], [12.0, 25.0, 24.0]);
    let whole = smooth_max(smooth_max(hemisphere, upper, 8.0), vermis, 5.0);
    // Below the tentorium, which rises towards the middle.
    let roof = -6.0 - 0.26 * q[0] + 0.10 * (q[1] + 50.0);
    smooth_min(whole, roof - q[2], 6.0)
}

/// Whether the corpus callosum or a ventricle's roof is near: used to keep lesions out of the midline.
pub(super) fn near_midline(p: Point) -> bool {
    p[0].abs() < 9.0 || (callosum(p[1], p[2]) < 3.0 && p[0].abs() < 16.0)
}
