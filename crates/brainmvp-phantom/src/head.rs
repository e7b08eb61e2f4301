//! The surroundings of the brain: skull, scalp, eyes, sinuses, face and neck.

use super::anatomy::Parts;
use super::random::Random;
use super::shape::{Knot, Point, ellipsoid, knot, ramp, smooth_max, smooth_min, smoothstep, tube};
use super::tissue::{Mixture, Tissue};
use super::waves::{Band, Waves};

/// Skull and soft tissue of one subject in standard space.
#[derive(Debug, Clone)]
pub(super) struct Head {
    thickness: Waves,
    streaks: Waves,
    fluid_mm: f32,
    skull_mm: f32,
    scalp_mm: f32,
}

impl Head {
    /// Draws the head; with `atrophy` (0 to 1) more fluid surrounds the brain.
    pub(super) fn draw(random: &mut Random, atrophy: f32) -> Self {
        Self {
            thickness: Waves::draw(random, Band::isotropic(8, 40.0, 90.0)),
            streaks: Waves::draw(
                random,
                Band { count: 16, wavelength_mm: [18.0, 45.0], stretch: [1.0, 1.0, 0.3] },
            ),
            fluid_mm: 1.2 + 2.0 * atrophy + random.unit(),
            skull_mm: random.between(5.5, 7.5),
            scalp_mm: random.between(5.0, 7.5),
        }
    }

    /// Depth (mm) in the cavity of the skull.
    fn cavity(&self, p: Point, parts: &Parts) -> f32 {
        let fossa = ellipsoid([p[0].abs(), p[1], p[2]], [0.0, -55.0, -34.0], [57.0, 44.0, 26.0]);
        let canal = tube(p, &[knot(0.0, -40.0, -50.0, 12.0), knot(0.0, -48.0, -130.0, 8.5)]);
        smooth_max(smooth_max(parts.envelope + self.fluid_mm, fossa, 10.0), canal, 8.0)
    }

    /// The tissues at `p` outside the brain, edges blurred over `voxel_mm`; `inside` is what the cavity holds.
    pub(super) fn tissues(
        &self,
        p: Point,
        parts: &Parts,
        voxel_mm: f32,
        inside: impl FnOnce() -> Mixture,
    ) -> Mixture {
        let vary = self.thickness.value(p);
        let cavity = self.cavity(p, parts);
        let skull = self.skull_mm * (1.0 + 0.15 * vary);
        let scalp = self.scalp_mm * (1.0 - 0.2 * vary);
        let q = [p[0].abs(), p[1], p[2]];
        let shell = cavity + skull + scalp;
        let surface = smooth_max(smooth_max(shell.min(vault_only(p, shell)), face(q), 10.0), neck(q), 14.0);
        let mut mixture = Mixture::air();
        if surface < -voxel_mm {
            return mixture;
        }
        let mut cover = |tissue, depth| mixture.cover(tissue, ramp(depth, voxel_mm));
        cover(Tissue::Skin, surface);
        cover(Tissue::Fat, surface - 1.8);
        let below = smoothstep(-38.0, -56.0, p[2] - 0.25 * (p[1] - 20.0));
        // Muscles, with thin layers of fat between them.
        let muscle = (self.streaks.value(p).abs() - 0.10) * 8.0;
        let soft = surface - 4.0 - 1.5 * vary;
        cover(Tissue::Muscle, soft.min(muscle).min(20.0 * below - 2.0));
        cover(Tissue::Muscle, temporalis(q).min(surface - 3.0));
        let skull_depth = (cavity + skull).min(smooth_min(surface - 3.0, 50.0, 1.0));
        cover(Tissue::Bone, skull_depth);
        let diploe = (cavity + skull - 1.7).min(-cavity - 1.7);
        cover(Tissue::Marrow, diploe.min(skull_depth));
        for (tissue, depth) in face_parts(q, voxel_mm) {
            cover(tissue, depth.min(-cavity - 1.5).min(surface - 1.5));
        }
        if cavity > -voxel_mm {
            let share = ramp(cavity, voxel_mm);
            let content = inside();
            for (part, more) in mixture.0.iter_mut().zip(&content.0) {
                *part = *part * (1.0 - share) + more * share;
            }
        }
        mixture
    }
}

/// The shell of skull and scalp belongs to the vault; below, face and neck take over.
fn vault_only(p: Point, shell: f32) -> f32 {
    shell.min(p[2] + 62.0 - 0.35 * p[1].max(0.0))
}

fn face(q: Point) -> f32 {
    let cheeks = ellipsoid(q, [0.0, 40.0, -55.0], [62.0, 52.0, 62.0]);
    let jaw = ellipsoid(q, [0.0, 44.0, -98.0], [48.0, 46.0, 34.0]);
    let nose = tube(q, &NOSE);
    smooth_max(smooth_max(cheeks, jaw, 16.0), nose, 8.0)
}

fn neck(q: Point) -> f32 {
    tube([q[0], q[1] * 0.9, q[2]], &[knot(0.0, -26.0, -55.0, 54.0), knot(0.0, -28.0, -150.0, 56.0)])
}

fn temporalis(q: Point) -> f32 {
    ellipsoid(q, [70.0, 12.0, -18.0], [8.0, 34.0, 34.0])
}

const NOSE: [Knot; 3] =
    [knot(0.0, 84.0, -22.0, 6.0), knot(0.0, 98.0, -48.0, 8.0), knot(0.0, 92.0, -56.0, 10.0)];
const OPTIC_NERVE: [Knot; 3] =
    [knot(31.0, 46.0, -33.0, 2.0), knot(20.0, 24.0, -27.0, 2.0), knot(6.0, 8.0, -20.0, 2.2)];

/// Parts of face and skull base, each drawn over the previous ones: tissue and depth (mm).
fn face_parts(q: Point, voxel_mm: f32) -> Vec<(Tissue, f32)> {
    if q[2] > 35.0 {
        return Vec::new();
    }
    let globe = ellipsoid(q, [32.0, 58.0, -33.0], [12.2; 3]);
    let orbit = ellipsoid(q, [29.0, 44.0, -33.0], [17.0, 26.0, 17.0]);
    let straight = 1.6 - (ellipsoid(q, [30.0, 46.0, -33.0], [12.0, 22.0, 12.0])).abs();
    let muscles = straight.min(smooth_max(
        2.5 - (q[0] - 30.0 - (46.0 - q[1]) * -0.35).abs(),
        2.5 - (q[2] + 33.0).abs(),
        1.0,
    ));
    let maxillary = ellipsoid(q, [29.0, 48.0, -62.0], [13.0, 16.0, 15.0]);
    let ethmoid = ellipsoid(q, [7.0, 44.0, -36.0], [7.0, 20.0, 12.0]);
    let sphenoid = ellipsoid(q, [7.0, 10.0, -38.0], [9.0, 11.0, 9.0]);
    let frontal = ellipsoid(q, [9.0, 79.0, 0.0], [12.0, 4.0, 12.0]);
    let cavum = ellipsoid(q, [6.0, 52.0, -62.0], [8.0, 34.0, 16.0]);
    let turbinate = ellipsoid(q, [8.0, 46.0, -64.0], [2.5, 24.0, 5.0]);
    let pharynx = tube(q, &[knot(0.0, 6.0, -62.0, 8.0), knot(0.0, -2.0, -130.0, 8.0)]);
    let mouth = ellipsoid(q, [0.0, 48.0, -92.0], [24.0, 34.0, 12.0]);
    let mastoid = ellipsoid(q, [52.0, -36.0, -50.0], [9.0, 12.0, 14.0]);
    let base = ellipsoid(q, [0.0, -2.0, -52.0], [26.0, 26.0, 12.0]);
    let jaw = (3.5 - ellipsoid(q, [0.0, 42.0, -98.0], [42.0, 40.0, 26.0]).abs()).min(q[1] - 22.0);
    let mut parts = vec![
        (Tissue::Bone, base),
        (Tissue::Marrow, base - 2.0),
        (Tissue::Bone, jaw),
        (Tissue::Marrow, jaw - 1.5),
        (Tissue::Muscle, mouth),
        (Tissue::Fat, orbit),
        (Tissue::Muscle, muscles),
        (Tissue::White, tube(q, &OPTIC_NERVE)),
        (Tissue::Muscle, globe),
        (Tissue::Vitreous, globe - 1.0),
        (Tissue::Muscle, ellipsoid(q, [32.0, 67.0, -33.0], [4.5, 2.0, 4.5])),
        (Tissue::Bone, mastoid + 1.0),
    ];
    for sinus in [maxillary, ethmoid, sphenoid, frontal, cavum, pharynx] {
        parts.push((Tissue::Mucosa, sinus + 1.2));
        parts.push((Tissue::Air, sinus));
    }
    let cells = 1.0 - 2.5 * (q[1] * 0.2 - (q[1] * 0.2).floor() - 0.5).abs() * 2.0;
    parts.push((Tissue::Air, (mastoid - 1.0).min(cells * voxel_mm.max(1.0))));
    parts.push((Tissue::Mucosa, turbinate));
    parts.push((Tissue::Mucosa, ellipsoid(q, [0.0, 52.0, -60.0], [1.2, 30.0, 16.0])));
    parts
}
