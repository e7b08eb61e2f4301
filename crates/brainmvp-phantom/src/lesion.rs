//! Lesions: their appearance, their labels, and their effect on the brain around them.

use brainmvp_cohort::{LabelScheme, SCHEMES};
use serde::{Deserialize, Serialize};

use super::anatomy::{Anatomy, Parts, near_midline};
use super::random::{Purpose, Random};
use super::shape::{Point, add, length, ramp, scale, smoothstep, sub};
use super::tissue::{Mixture, Tissue};
use super::waves::{Band, Waves};

/// Label of the necrotic or non-enhancing core of a glioma or metastasis (BraTS 2023); of the whole lesion in
/// stroke and schwannoma.
pub const LABEL_CORE: u16 = 1;
/// Label of oedema (BraTS 2023).
pub const LABEL_OEDEMA: u16 = 2;
/// Label of enhancing tumour (BraTS 2023).
pub const LABEL_ENHANCING: u16 = 3;

/// A disease of the phantom cohort; each is a data set of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Disease {
    /// No lesion.
    Healthy,
    /// One infiltrating tumour with oedema; "high" grade enhances in a ring around necrosis, "low" hardly.
    Glioma,
    /// Several small round tumours at the border of grey and white matter.
    Metastases,
    /// An acute infarct in the territory of a middle cerebral artery, whose branches are closed.
    Stroke,
    /// A vestibular schwannoma in the cerebellopontine angle, reaching into the auditory canal.
    Schwannoma,
}

impl Disease {
    /// All diseases.
    pub const ALL: [Self; 5] =
        [Self::Healthy, Self::Glioma, Self::Metastases, Self::Stroke, Self::Schwannoma];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Glioma => "glioma",
            Self::Metastases => "metastases",
            Self::Stroke => "stroke",
            Self::Schwannoma => "schwannoma",
        }
    }

    /// The meaning of the label values, and which of them may occur; `None` if there is no lesion.
    #[expect(clippy::expect_used, reason = "the text is our own")]
    pub fn label_scheme(self) -> Option<LabelScheme> {
        let only = |name: &str| Some(format!("{LABEL_CORE}={name}").parse().expect("a value and its name"));
        match self {
            Self::Healthy => None,
            Self::Glioma | Self::Metastases => {
                SCHEMES.iter().find(|scheme| scheme.name == "brats_2023").map(LabelScheme::Known)
            }
            Self::Stroke => only("infarct"),
            Self::Schwannoma => only("schwannoma"),
        }
    }
}

/// The grade of a glioma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Little or no enhancement, no necrosis.
    Low,
    /// An enhancing ring around necrosis, much oedema.
    High,
}

impl Grade {
    /// The class label: `low` or `high`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// A roundish body with an outline made irregular by the waves.
#[derive(Debug, Clone)]
struct Body {
    centre: Point,
    radius_mm: f32,
    /// Stretch along x, y and z.
    shape: Point,
    /// Height of the bumps in mm.
    roughness_mm: f32,
    /// Thickness of the enhancing rim in mm; the whole body if it is larger than the radius.
    rim_mm: f32,
    /// How far oedema reaches beyond the body, in mm.
    oedema_mm: f32,
}

/// The lesions of one subject.
#[derive(Debug, Clone)]
pub(super) struct Lesions {
    disease: Disease,
    grade: Option<Grade>,
    bodies: Vec<Body>,
    outline: Waves,
    texture: Waves,
}

/// The lesion at a point: its effect on the tissue there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lesion {
    core: f32,
    enhancing: f32,
    oedema: f32,
    faint: f32,
}

impl Lesions {
    /// Draws the lesions of case `index`; `grade` is that of a glioma.
    pub(super) fn draw(
        seed: u64,
        index: usize,
        disease: Disease,
        grade: Option<Grade>,
        anatomy: &Anatomy,
    ) -> Self {
        let mut random = Random::new(seed, index, Purpose::Lesion);
        let outline = Waves::draw(&mut random, Band::isotropic(16, 14.0, 40.0));
        let texture = Waves::draw(&mut random, Band::isotropic(16, 5.0, 14.0));
        let bodies = match disease {
            Disease::Healthy => Vec::new(),
            Disease::Glioma => vec![glioma(&mut random, grade, anatomy)],
            Disease::Metastases => {
                let count = 2 + random.below(6);
                (0..count).map(|_| metastasis(&mut random, anatomy)).collect()
            }
            Disease::Stroke => vec![infarct(&mut random)],
            Disease::Schwannoma => schwannoma(&mut random),
        };
        Self { disease, grade, bodies, outline, texture }
    }

    /// The side (-1 left, 1 right) on which the branches of the middle cerebral artery are closed.
    pub(super) fn closed_artery_side(&self) -> Option<f32> {
        let body = self.bodies.first().filter(|_| self.disease == Disease::Stroke)?;
        Some(body.centre[0].signum())
    }

    /// The position of the tissue at `p` before the tumours displaced it.
    pub(super) fn before_growth(&self, p: Point) -> Point {
        if matches!(self.disease, Disease::Healthy | Disease::Stroke) {
            return p;
        }
        self.bodies.iter().fold(p, |q, body| {
            let away = sub(q, body.centre);
            let ratio = length(away) / (1.5 * body.radius_mm + 4.0);
            let fall = 1.0 / (1.0 + ratio * ratio);
            add(body.centre, scale(away, 1.0 - 0.42 * fall * fall))
        })
    }

    /// The lesion at `p`, edges blurred over `voxel_mm`.
    pub(super) fn at(&self, p: Point, voxel_mm: f32) -> Lesion {
        let mut found = Lesion::default();
        for body in &self.bodies {
            let away = sub(p, body.centre);
            let stretched = std::array::from_fn(|axis| away[axis] / body.shape[axis]);
            let reach = length(stretched) - body.radius_mm;
            if reach < body.oedema_mm * 1.5 + 3.0 * body.roughness_mm + 2.0 * voxel_mm {
                let depth = self.outline.value(p) * body.roughness_mm - reach;
                found = found.merged(self.part(p, body, depth, voxel_mm));
            }
        }
        found
    }

    fn part(&self, p: Point, body: &Body, depth: f32, voxel_mm: f32) -> Lesion {
        // A low-grade tumour has no sharp border.
        let border = if self.grade == Some(Grade::Low) { 5.0 } else { voxel_mm };
        let inside = ramp(depth, border);
        let texture = self.texture.value(p);
        // Oedema spreads in fingers, so its border is rougher than the body's.
        let spread = body.oedema_mm * (0.75 + 0.35 * self.outline.value(scale(p, 1.7)));
        let oedema = if body.oedema_mm > 0.0 { smoothstep(-1.5, 2.5, depth + spread) } else { 0.0 };
        let ring = match self.grade {
            Some(Grade::Low) => 0.0,
            _ => inside * (1.0 - ramp(depth - body.rim_mm * (1.0 + 0.3 * texture), voxel_mm.max(1.2))),
        };
        let faint = match self.grade {
            Some(Grade::Low) => {
                inside * smoothstep(0.9, 1.7, self.outline.value(scale(p, 1.4))) * smoothstep(2.0, 6.0, depth)
            }
            _ => 0.0,
        };
        Lesion { core: inside - ring, enhancing: ring, oedema, faint }
    }

    /// Changes the tissues at a point that the lesion reaches.
    pub(super) fn apply(&self, lesion: Lesion, mixture: &mut Mixture) {
        let Lesion { core, enhancing, oedema, faint } = lesion;
        match self.disease {
            Disease::Healthy => {}
            Disease::Stroke => {
                mixture.turn(Tissue::White, Tissue::InfarctWhite, core);
                for grey in [Tissue::Cortex, Tissue::Striatum, Tissue::Pallidum, Tissue::Thalamus] {
                    mixture.turn(grey, Tissue::InfarctGrey, core);
                }
            }
            Disease::Schwannoma => {
                mixture.cover(Tissue::Schwannoma, core.max(enhancing));
            }
            Disease::Glioma | Disease::Metastases => {
                // Vasogenic oedema follows white matter and mostly spares cortex.
                mixture.turn(Tissue::White, Tissue::Oedema, 0.85 * oedema);
                mixture.turn(Tissue::Cortex, Tissue::Oedema, 0.18 * oedema);
                mixture.turn(Tissue::Striatum, Tissue::Oedema, 0.3 * oedema);
                let low = self.grade == Some(Grade::Low);
                let middle = if low { Tissue::SolidTumour } else { Tissue::Necrosis };
                mixture.cover(middle, core + enhancing);
                mixture.turn(middle, Tissue::FaintlyEnhancing, faint);
                if enhancing > 0.0 {
                    mixture.turn(middle, Tissue::Enhancing, (enhancing / (core + enhancing)).min(1.0));
                }
            }
        }
    }

    /// The label of a voxel of these tissues; 0 if most of it is not lesion.
    pub(super) fn label(&self, mixture: &Mixture) -> u16 {
        let share = |tissues: &[Tissue]| tissues.iter().map(|t| mixture.share(*t)).sum::<f32>();
        let core = match self.disease {
            Disease::Healthy => return 0,
            Disease::Stroke => share(&[Tissue::InfarctGrey, Tissue::InfarctWhite]),
            Disease::Schwannoma => share(&[Tissue::Schwannoma]),
            Disease::Glioma | Disease::Metastases => {
                share(&[Tissue::Necrosis, Tissue::SolidTumour, Tissue::FaintlyEnhancing])
            }
        };
        let (enhancing, oedema) = (share(&[Tissue::Enhancing]), share(&[Tissue::Oedema]));
        if core + enhancing + oedema < 0.4 {
            0
        } else if enhancing >= core && enhancing >= oedema {
            LABEL_ENHANCING
        } else if core >= oedema {
            LABEL_CORE
        } else {
            LABEL_OEDEMA
        }
    }
}

impl Lesion {
    fn merged(self, other: Self) -> Self {
        let inside = (self.core + self.enhancing).max(other.core + other.enhancing);
        let enhancing = self.enhancing.max(other.enhancing);
        Self {
            core: (inside - enhancing).max(0.0),
            enhancing,
            oedema: self.oedema.max(other.oedema),
            faint: self.faint.max(other.faint),
        }
    }
}

/// A point of the cerebrum's white matter whose pial depth is within limits, away from the midline.
fn place(random: &mut Random, anatomy: &Anatomy, depth_mm: [f32; 2]) -> Point {
    let mut candidate = [32.0, -20.0, 25.0];
    for _ in 0..400 {
        candidate = [random.around_zero(55.0), random.between(-75.0, 50.0), random.between(-8.0, 60.0)];
        let outline = Parts::at(candidate).cerebrum;
        let folded = anatomy.pial_depth(candidate);
        if !near_midline(candidate) && outline > 8.0 && (depth_mm[0]..depth_mm[1]).contains(&folded) {
            break;
        }
    }
    candidate
}

fn glioma(random: &mut Random, grade: Option<Grade>, anatomy: &Anatomy) -> Body {
    let high = grade == Some(Grade::High);
    let radius_mm = random.between(10.0, 19.0);
    Body {
        centre: place(random, anatomy, [8.0, 40.0]),
        radius_mm,
        shape: std::array::from_fn(|_| random.between(0.8, 1.25)),
        roughness_mm: radius_mm * random.between(0.12, 0.22),
        rim_mm: random.between(2.5, 5.0),
        oedema_mm: if high { random.between(10.0, 22.0) } else { random.between(2.0, 6.0) },
    }
}

fn metastasis(random: &mut Random, anatomy: &Anatomy) -> Body {
    let size = random.unit();
    let radius_mm = 2.5 + 8.5 * size * size;
    Body {
        centre: place(random, anatomy, [2.0, 7.0]),
        radius_mm,
        shape: std::array::from_fn(|_| random.between(0.9, 1.1)),
        roughness_mm: 0.06 * radius_mm,
        rim_mm: random.between(2.0, 3.5),
        oedema_mm: radius_mm * random.between(0.6, 1.8),
    }
}

fn infarct(random: &mut Random) -> Body {
    let side = if random.chance(0.5) { 1.0 } else { -1.0 };
    Body {
        centre: [side * random.between(42.0, 52.0), random.between(-35.0, 15.0), random.between(0.0, 28.0)],
        radius_mm: random.between(14.0, 24.0),
        shape: [random.between(1.1, 1.4), random.between(0.9, 1.3), random.between(0.8, 1.1)],
        roughness_mm: random.between(2.5, 4.5),
        rim_mm: 0.0,
        oedema_mm: 0.0,
    }
}

/// The tumour in the angle and its stalk in the auditory canal.
fn schwannoma(random: &mut Random) -> Vec<Body> {
    let side = if random.chance(0.5) { 1.0 } else { -1.0 };
    let radius_mm = random.between(6.0, 12.0);
    let head = [side * (15.0 + radius_mm), random.between(-36.0, -31.0), random.between(-38.0, -33.0)];
    let body = Body {
        centre: head,
        radius_mm,
        shape: [1.0, 1.1, 1.0],
        roughness_mm: 0.08 * radius_mm,
        rim_mm: 0.0,
        oedema_mm: 0.0,
    };
    let stalk_centre = [head[0] + side * (radius_mm + 2.0), head[1] - 1.0, head[2]];
    let stalk = Body { centre: stalk_centre, radius_mm: 3.0, shape: [2.0, 1.0, 1.0], ..body.clone() };
    vec![body, stalk]
}
