//! Sites: the scanner and the protocol that a case comes from.

use brainmvp_volume::Modality;

use super::random::{Purpose, Random};
use super::sequence::Sequence;
use super::shape::Point;
use super::tissue::{Field, Tissue};

/// Number of modalities, which is also that of series; the one of ADC contains the image without diffusion weighting.
pub(super) const SERIES: usize = Modality::ALL.len();

/// The diffusion weighting of DWI, in s/mm^2.
pub(super) const B_VALUE: f64 = 1000.0;

/// How one modality is acquired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// The pulse sequence.
    pub(super) sequence: Sequence,
    /// Whether contrast agent was given before.
    pub(super) agent: bool,
    /// Size of an acquired voxel along x, y and z (mm); the slice thickness is the largest.
    pub(super) voxel_mm: Point,
    /// Ratio of white matter's signal to the deviation of the noise in an acquired voxel of 1 mm^3 or more.
    pub(super) signal_to_noise: f32,
    /// Grey value of white matter.
    pub(super) white_value: f32,
    /// Strength of the coil's shading: the relative change over the head.
    pub(super) shading: f32,
}

/// A site: its field and its eight series, in the order of [`Modality::ALL`].
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// `site-1`, `site-2`...
    pub(super) name: String,
    /// The main field.
    pub(super) field: Field,
    /// The series by modality.
    pub(super) series: [Series; SERIES],
}

impl Site {
    /// Draws the protocol of site `index`. Every third site scans at 1.5 T with spin-echo T1 and thick slices.
    pub(super) fn draw(seed: u64, index: usize) -> Self {
        let mut random = Random::new(seed, index, Purpose::Site);
        let thick = index % 3 == 2;
        let field = if thick { Field::OneAndAHalfTesla } else { Field::ThreeTesla };
        let sequences = sequences(&mut random, field, index);
        let series = std::array::from_fn(|place| {
            let modality = Modality::ALL[place];
            Series {
                sequence: sequences[place],
                agent: modality == Modality::T1c,
                voxel_mm: voxel_mm(&mut random, modality, index),
                signal_to_noise: random.between(0.85, 1.25) * signal_to_noise(modality, field),
                white_value: random.between(150.0, 900.0),
                shading: random.between(0.6, 1.4) * if thick { 0.08 } else { 0.13 },
            }
        });
        Self { name: format!("site-{}", index + 1), field, series }
    }
}

fn sequences(random: &mut Random, field: Field, index: usize) -> [Sequence; SERIES] {
    let mut near = |value: f64| value * f64::from(random.between(0.94, 1.06));
    let t1 = if index % 3 == 2 {
        Sequence::SpinEcho { tr_ms: near(520.0), te_ms: near(12.0) }
    } else {
        Sequence::PreparedGradientEcho {
            tr_ms: near(2200.0),
            ti_ms: near(950.0),
            te_ms: near(3.2),
            spacing_ms: near(7.2),
            flip_deg: near(9.0),
        }
    };
    let tr_ms = near(9000.0);
    // The inversion time is set by hand: fluid is nulled to a few percent.
    let fluid_ms = Tissue::Fluid.properties(field).t1_ms;
    let ti_ms = Sequence::nulling_time_ms(fluid_ms, tr_ms) * (1.0 + 0.2 * (near(1.0) - 1.0));
    let diffusion = [near(5200.0), near(82.0)];
    Modality::ALL.map(|modality| match modality {
        Modality::Flair => Sequence::InversionRecovery { tr_ms, te_ms: near(118.0), ti_ms },
        Modality::T1 | Modality::T1c => t1,
        Modality::T2 => Sequence::SpinEcho { tr_ms: near(4800.0), te_ms: near(98.0) },
        Modality::Mra => Sequence::TimeOfFlight { tr_ms: near(23.0), te_ms: near(3.6), flip_deg: near(20.0) },
        Modality::Pd => Sequence::SpinEcho { tr_ms: near(3600.0), te_ms: near(14.0) },
        Modality::Dwi => Sequence::Diffusion { tr_ms: diffusion[0], te_ms: diffusion[1], b: B_VALUE },
        Modality::Adc => Sequence::Diffusion { tr_ms: diffusion[0], te_ms: diffusion[1], b: 0.0 },
    })
}

/// In-plane size and slice thickness; slices are axial, but sagittal for the spin-echo T1 without contrast.
fn voxel_mm(random: &mut Random, modality: Modality, index: usize) -> Point {
    let thick = index % 3 == 2;
    let slab = random.between(4.0, 5.5);
    match modality {
        Modality::T1 if thick => [slab, 1.0, 1.0],
        Modality::T1c if thick => [1.0, 1.0, slab],
        Modality::T1 | Modality::T1c => [1.0, 1.0, 1.0],
        Modality::Mra => [0.6, 0.6, 0.8],
        Modality::Flair if index.is_multiple_of(3) => [1.0, 1.0, 1.2],
        Modality::Flair | Modality::T2 | Modality::Pd if thick => [1.0, 1.0, slab],
        Modality::Flair | Modality::T2 | Modality::Pd => [0.9, 0.9, 3.0],
        // Both diffusion series come from one acquisition.
        Modality::Dwi | Modality::Adc => [1.9, 1.9, if thick { 5.0 } else { 2.5 }],
    }
}

fn signal_to_noise(modality: Modality, field: Field) -> f32 {
    let at_three_tesla = match modality {
        Modality::T1 | Modality::T1c | Modality::T2 | Modality::Pd => 42.0,
        Modality::Flair | Modality::Mra => 30.0,
        Modality::Dwi => 24.0,
        Modality::Adc => 50.0,
    };
    if field == Field::ThreeTesla { at_three_tesla } else { at_three_tesla * 0.8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signals of fluid, cortex and white matter in a series.
    fn contrast(site: &Site, modality: Modality) -> [f32; 3] {
        let series = site.series[modality.index()];
        let signals = series.sequence.signals(site.field, series.agent);
        [Tissue::Fluid, Tissue::Cortex, Tissue::White].map(|tissue| signals[tissue as usize])
    }

    #[test]
    fn every_site_has_the_contrast_of_its_sequences() {
        for index in 0..24 {
            let site = Site::draw(5, index);
            let [fluid, grey, white] = contrast(&site, Modality::T1);
            assert!(white > 1.05 * grey && grey > 1.5 * fluid, "T1 of {}: {fluid} {grey} {white}", site.name);
            let [fluid, grey, white] = contrast(&site, Modality::T2);
            assert!(fluid > 1.8 * grey && grey > 1.2 * white, "T2 of {}: {fluid} {grey} {white}", site.name);
            let [fluid, grey, white] = contrast(&site, Modality::Flair);
            assert!(grey > white && white > 2.5 * fluid, "FLAIR of {}: {fluid} {grey} {white}", site.name);
            let [fluid, grey, white] = contrast(&site, Modality::Dwi);
            assert!(grey > white && white > 1.5 * fluid, "DWI of {}: {fluid} {grey} {white}", site.name);
        }
    }
}
