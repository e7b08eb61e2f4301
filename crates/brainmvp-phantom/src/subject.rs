//! One subject: drawn first, rendered later.

use std::collections::BTreeMap;

use brainmvp_volume::{Grid, LabelMap, Modality, Volume};
use rayon::prelude::*;

use super::acquire::acquire;
use super::anatomy::{Anatomy, Parts};
use super::head::Head;
use super::lesion::{Disease, Grade, Lesions};
use super::random::{Purpose, Random};
use super::shape::{Point, add, ramp, scale, sub};
use super::site::{B_VALUE, SERIES, Site};
use super::tissue::{Mixture, TISSUES, Tissue};
use super::vessels::Vessels;
use super::waves::{Band, Waves};
use super::{Head as HeadOption, PhantomConfig};

/// A subject: everything that was drawn for one case. Rendering draws only the noise.
#[derive(Debug, Clone)]
pub struct Subject {
    /// `phantom-0001`...
    pub id: String,
    /// The disease, which is also the data set.
    pub disease: Disease,
    /// The grade of a glioma.
    pub grade: Option<Grade>,
    /// The available modalities; never empty.
    pub modalities: Vec<Modality>,
    /// The voxels of the case.
    pub grid: Grid,
    seed: u64,
    index: usize,
    whole: bool,
    site: Site,
    pose: Pose,
    anatomy: Anatomy,
    head: Head,
    vessels: Vessels,
    lesions: Lesions,
    shading: [Waves; 2],
}

/// A rendered case. All volumes are on one grid.
#[derive(Debug, Clone)]
pub struct PhantomCase {
    /// `phantom-0001`...
    pub id: String,
    /// Images by modality, in whole grey values (ADC in 1e-6 mm^2/s).
    pub images: BTreeMap<Modality, Volume<f32>>,
    /// The lesions; see [`Disease::label_scheme`].
    pub label: LabelMap,
    /// 1 in the brain, 0 elsewhere.
    pub brain_mask: LabelMap,
    /// `low` or `high` for gliomas.
    pub class: Option<String>,
    /// The scanner.
    pub site: String,
    /// `phantom-glioma`, `phantom-stroke`...
    pub data_set: String,
}

/// From the world to standard space: a rigid motion, a scaling and a smooth deformation.
#[derive(Debug, Clone)]
struct Pose {
    rows: [Point; 3],
    shift: Point,
    bend: [Waves; 3],
    bend_mm: f32,
}

impl Pose {
    fn draw(random: &mut Random, config: &PhantomConfig) -> Self {
        let turn = config.rotation_deg as f32 * (std::f32::consts::PI / 180.0);
        let [a, b, c] = std::array::from_fn(|_| random.around_zero(turn));
        let zoom: Point = std::array::from_fn(|_| random.between(1.0, 1.09));
        // A small rotation to second order, which is more exact than needed.
        let rows = [
            [1.0 - 0.5 * (b * b + c * c), -c, b],
            [c, 1.0 - 0.5 * (a * a + c * c), -a],
            [-b, a, 1.0 - 0.5 * (a * a + b * b)],
        ];
        Self {
            rows: std::array::from_fn(|axis| scale(rows[axis], zoom[axis])),
            shift: std::array::from_fn(|_| random.around_zero(config.translation_mm as f32)),
            bend: std::array::from_fn(|_| Waves::draw(random, Band::isotropic(8, 70.0, 180.0))),
            bend_mm: config.deformation_mm as f32 * random.between(0.6, 1.0),
        }
    }

    fn to_standard(&self, p: Point) -> Point {
        // The head rotates about a point in the middle of the brain.
        const CENTRE: Point = [0.0, -18.0, 5.0];
        let v = add(sub(p, CENTRE), self.shift);
        let turned = self.rows.map(|row| super::shape::dot(row, v));
        let bend: Point = std::array::from_fn(|axis| self.bend[axis].value(p) * self.bend_mm);
        add(add(turned, CENTRE), bend)
    }
}

/// One rendered slice.
struct Slice {
    signals: Vec<[f32; SERIES]>,
    label: Vec<u16>,
    mask: Vec<u16>,
}

/// The choices made before the subject itself is drawn.
struct Choices {
    site: usize,
    disease: Disease,
    grade: Option<Grade>,
    modalities: Vec<Modality>,
}

impl Choices {
    fn draw(config: &PhantomConfig, index: usize) -> Self {
        let mut random = Random::new(config.seed, index, Purpose::Cohort);
        let site = random.below(config.sites.max(1));
        let disease = Disease::ALL[random.weighted(&config.lesions.weights())];
        let high = random.chance(config.high_grade_share);
        let grade = (disease == Disease::Glioma).then_some(if high { Grade::High } else { Grade::Low });
        Self { site, disease, grade, modalities: modalities(&mut random, config) }
    }
}

/// Draws the subject of case `index` (from 0): the same for the same configuration, and independent of how many
/// cases there are.
pub fn draw_subject(config: &PhantomConfig, index: usize) -> Subject {
    let Choices { site, disease, grade, modalities } = Choices::draw(config, index);
    let site = Site::draw(config.seed, site);
    let mut random = Random::new(config.seed, index, Purpose::Pose);
    let pose = Pose::draw(&mut random, config);
    let shading = std::array::from_fn(|_| Waves::draw(&mut random, Band::isotropic(8, 200.0, 420.0)));
    let mut random = Random::new(config.seed, index, Purpose::Anatomy);
    let atrophy = random.unit();
    let anatomy = Anatomy::draw(&mut random, atrophy);
    let head = Head::draw(&mut random, atrophy);
    let lesions = Lesions::draw(config.seed, index, disease, grade, &anatomy);
    let vessels = Vessels::draw(config.seed, index, lesions.closed_artery_side());
    Subject {
        id: format!("phantom-{:04}", index + 1),
        disease,
        grade,
        modalities,
        grid: config.grid(),
        seed: config.seed,
        index,
        whole: config.head == HeadOption::Whole,
        site,
        pose,
        anatomy,
        head,
        vessels,
        lesions,
        shading,
    }
}

/// Each of the configured modalities is missing by chance; one always stays.
fn modalities(random: &mut Random, config: &PhantomConfig) -> Vec<Modality> {
    let kept = random.below(config.modalities.len().max(1));
    let mut modalities: Vec<Modality> = Vec::new();
    for (place, modality) in config.modalities.iter().enumerate() {
        let missing = random.chance(config.missing_rate);
        if (!missing || place == kept) && !modalities.contains(modality) {
            modalities.push(*modality);
        }
    }
    modalities.sort_unstable();
    modalities
}

impl Subject {
    /// The site that scanned the subject.
    pub fn site(&self) -> &str {
        &self.site.name
    }

    /// The name of the data set that the subject is part of.
    pub fn data_set(&self) -> String {
        format!("phantom-{}", self.disease.name())
    }

    /// Renders all images of the subject, the label and the brain mask. The result does not depend on the number
    /// of threads.
    pub fn render(&self) -> PhantomCase {
        let tables = self.signal_tables();
        let slices: Vec<Slice> =
            (0..self.grid.shape[2]).into_par_iter().map(|z| self.slice(z, &tables)).collect();
        let label: Vec<u16> = slices.iter().flat_map(|slice| slice.label.iter().copied()).collect();
        let mask: Vec<u16> = slices.iter().flat_map(|slice| slice.mask.iter().copied()).collect();
        let images = self
            .modalities
            .par_iter()
            .map(|modality| (*modality, self.image(*modality, &slices, &tables, &mask)))
            .collect::<Vec<_>>()
            .into_iter()
            .collect();
        PhantomCase {
            id: self.id.clone(),
            images,
            label: Volume::new(self.grid, label),
            brain_mask: Volume::new(self.grid, mask),
            class: self.grade.map(|grade| grade.name().to_owned()),
            site: self.site.name.clone(),
            data_set: self.data_set(),
        }
    }

    /// Signals by tissue, then series: a voxel's signal is one small matrix product.
    fn signal_tables(&self) -> Vec<[f32; SERIES]> {
        let by_series = self.site.series.map(|series| series.sequence.signals(self.site.field, series.agent));
        (0..TISSUES).map(|tissue| std::array::from_fn(|series| by_series[series][tissue])).collect()
    }

    fn slice(&self, z: usize, tables: &[[f32; SERIES]]) -> Slice {
        let [nx, ny, _] = self.grid.shape;
        let mut slice =
            Slice { signals: vec![[0.0; SERIES]; nx * ny], label: vec![0; nx * ny], mask: vec![0; nx * ny] };
        for place in 0..nx * ny {
            let centre = self.grid.affine.to_world([(place % nx) as f64, (place / nx) as f64, z as f64]);
            let centre = centre.map(|mm| mm as f32);
            let Some((mixture, inside)) = self.voxel(centre) else { continue };
            let shading = self.shading.each_ref().map(|waves| waves.value(centre).clamp(-1.6, 1.6));
            let mut signals = [0.0; SERIES];
            for (share, row) in mixture.0.iter().zip(tables) {
                if *share > 0.0 {
                    for (signal, of_tissue) in signals.iter_mut().zip(row) {
                        *signal += share * of_tissue;
                    }
                }
            }
            for (series, signal) in signals.iter_mut().enumerate() {
                *signal *= self.gain(series, shading);
            }
            slice.signals[place] = signals;
            slice.mask[place] = u16::from(inside);
            slice.label[place] = if inside { self.lesions.label(&mixture) } else { 0 };
        }
        slice
    }

    /// The receive coil's gain for a series.
    fn gain(&self, series: usize, shading: [f32; 2]) -> f32 {
        // Each series has its own blend of the two fields; both diffusion weightings have the same.
        let blend = 0.15 * (series.min(6) as f32) - 0.45;
        let strength = self.site.series[series].shading;
        (1.0 + strength * (shading[0] * (1.0 - blend.abs()) + shading[1] * blend)).max(0.2)
    }

    /// The mean mixture of a voxel of the grid, and whether it is brain; `None` if there is nothing.
    fn voxel(&self, centre: Point) -> Option<(Mixture, bool)> {
        let spacing = self.grid.affine.spacing_mm()[0] as f32;
        let standard = self.pose.to_standard(centre);
        let parts = Parts::at(self.lesions.before_growth(standard));
        if !self.whole && parts.envelope < -1.5 * spacing {
            return None;
        }
        // Voxels of up to 1.3 mm are sampled once, larger ones eight times.
        let per_axis = if spacing > 1.3 { 2 } else { 1 };
        let fine = spacing / per_axis as f32;
        let mut mixture = Mixture::zero();
        for sample in 0..per_axis * per_axis * per_axis {
            let place = [sample % per_axis, sample / per_axis % per_axis, sample / (per_axis * per_axis)];
            let at = std::array::from_fn(|axis| {
                centre[axis] + fine * (place[axis] as f32 - 0.5 * (per_axis as f32 - 1.0))
            });
            mixture.add(&self.sample(at, fine));
        }
        let share = 1.0 / (per_axis * per_axis * per_axis) as f32;
        for part in &mut mixture.0 {
            *part *= share;
        }
        Some((mixture, parts.envelope >= 0.0))
    }

    /// The tissues at one point of the world.
    fn sample(&self, p: Point, voxel_mm: f32) -> Mixture {
        let standard = self.pose.to_standard(p);
        let q = self.lesions.before_growth(standard);
        let parts = Parts::at(q);
        let inside = || self.brain(standard, q, &parts, voxel_mm);
        if self.whole { self.head.tissues(q, &parts, voxel_mm, inside) } else { inside() }
    }

    fn brain(&self, standard: Point, q: Point, parts: &Parts, voxel_mm: f32) -> Mixture {
        let mut mixture = self.anatomy.tissues(q, parts, voxel_mm);
        let lesion = self.lesions.at(standard, voxel_mm);
        self.lesions.apply(lesion, &mut mixture);
        if let Some(blood) = self.vessels.at(q) {
            mixture.cover(Tissue::Vein, ramp(blood.vein, voxel_mm));
            let artery = ramp(blood.artery, voxel_mm);
            mixture.cover(Tissue::SmallArtery, artery);
            mixture.turn(Tissue::SmallArtery, Tissue::LargeArtery, ramp(blood.radius - 1.1, 0.8));
        }
        mixture
    }

    fn image(
        &self,
        modality: Modality,
        slices: &[Slice],
        tables: &[[f32; SERIES]],
        mask: &[u16],
    ) -> Volume<f32> {
        let mut values = if modality == Modality::Adc {
            let weighted = self.series(Modality::Dwi, slices, tables);
            let plain = self.series(Modality::Adc, slices, tables);
            plain.iter().zip(&weighted).map(|(b0, b1000)| diffusion(*b0, *b1000)).collect()
        } else {
            let series = self.site.series[modality.index()];
            let white = tables[Tissue::White as usize][modality.index()];
            let mut values = self.series(modality, slices, tables);
            for value in &mut values {
                *value = (*value * series.white_value / white).clamp(0.0, 32_767.0).round();
            }
            values
        };
        if !self.whole || modality == Modality::Adc {
            for (value, inside) in values.iter_mut().zip(mask) {
                *value = if *inside == 0 { 0.0 } else { *value };
            }
        }
        Volume::new(self.grid, values)
    }

    fn series(&self, modality: Modality, slices: &[Slice], tables: &[[f32; SERIES]]) -> Vec<f32> {
        let place = modality.index();
        let series = &self.site.series[place];
        let signal = slices.iter().flat_map(|slice| slice.signals.iter().map(|s| s[place])).collect();
        let noise = tables[Tissue::White as usize][place] / series.signal_to_noise;
        let mut random = Random::new(self.seed, self.index, Purpose::Noise(place));
        acquire(signal, &self.grid, series, noise, &mut random)
    }
}

/// The apparent diffusion coefficient in 1e-6 mm^2/s from signals without and with weighting.
fn diffusion(b0: f32, b1000: f32) -> f32 {
    if b0 <= 0.0 || b1000 <= 0.0 {
        return 0.0;
    }
    (libm::logf(b0 / b1000) * (1e6 / B_VALUE as f32)).clamp(0.0, 4000.0).round()
}

#[cfg(test)]
pub(super) fn drawn_modalities(config: &PhantomConfig, index: usize) -> Vec<Modality> {
    Choices::draw(config, index).modalities
}

#[cfg(test)]
impl Subject {
    /// Places in memory of the voxels of which at least `share` is `tissue`.
    pub(super) fn voxels_of(&self, tissue: Tissue, share: f32) -> Vec<usize> {
        (0..self.grid.len())
            .into_par_iter()
            .filter(|offset| {
                let voxel = self.grid.voxel(*offset).map(|v| v as f64);
                let centre = self.grid.affine.to_world(voxel).map(|mm| mm as f32);
                self.voxel(centre).is_some_and(|(mixture, _)| mixture.share(tissue) >= share)
            })
            .collect()
    }
}
