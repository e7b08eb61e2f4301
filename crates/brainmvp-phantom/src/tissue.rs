//! The properties of tissues: relaxation, proton density, diffusion, contrast agent and flow.
//!
//! Relaxation times are rounded from the measurements collected by Stanisz et al., Magn Reson Med 54:507 (2005),
//! Wansapura et al., J Magn Reson Imaging 9:531 (1999) and Bojorquez et al., Magn Reson Imaging 35:69 (2017);
//! diffusion from the clinical literature (normal brain 0.7 to 0.9, free water 3.0, acute infarct near 0.4,
//! vasogenic oedema near 1.4, all in 1e-3 mm^2/s).

/// A kind of tissue; each voxel is a mixture of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tissue {
    Air,
    Fluid,
    Cortex,
    White,
    Striatum,
    Thalamus,
    Pallidum,
    Choroid,
    Hyperintensity,
    LargeArtery,
    SmallArtery,
    Vein,
    Bone,
    Marrow,
    Fat,
    Skin,
    Muscle,
    Mucosa,
    Vitreous,
    Oedema,
    Necrosis,
    Enhancing,
    FaintlyEnhancing,
    SolidTumour,
    InfarctGrey,
    InfarctWhite,
    Schwannoma,
}

/// How many tissues there are.
pub(super) const TISSUES: usize = Tissue::Schwannoma as usize + 1;

/// The strength of a scanner's main field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// 1.5 T.
    OneAndAHalfTesla,
    /// 3 T.
    ThreeTesla,
}

/// The properties of a tissue in the signal equations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Properties {
    /// Longitudinal relaxation time in ms.
    pub(super) t1_ms: f64,
    /// Transverse relaxation time in ms.
    pub(super) t2_ms: f64,
    /// Proton density relative to water.
    pub(super) proton_density: f64,
    /// Apparent diffusion coefficient in 1e-3 mm^2/s.
    pub(super) adc: f64,
    /// Contrast agent taken up some minutes after injection, in mmol/l.
    pub(super) agent_mmol: f64,
    /// Share of the protons that flowed in fresh (arteries) or leave before the echo (all vessels).
    pub(super) flow: f64,
    /// Whether fat suppression removes it.
    pub(super) fat: bool,
}

/// Relaxivities of a gadolinium chelate in blood, l / (mmol s).
const RELAXIVITY: [f64; 2] = [4.3, 5.2];

impl Properties {
    /// Relaxation shortened by the contrast agent: 1/T' = 1/T + r C.
    pub(super) fn with_agent(mut self) -> Self {
        let shortened = |ms: f64, r: f64| 1.0 / (1.0 / ms + r * self.agent_mmol * 1e-3);
        (self.t1_ms, self.t2_ms) =
            (shortened(self.t1_ms, RELAXIVITY[0]), shortened(self.t2_ms, RELAXIVITY[1]));
        self
    }
}

/// A row of the table: T1 and T2 at 1.5 T and 3 T (ms), proton density, ADC.
struct Row([f64; 2], [f64; 2], f64, f64);

impl Tissue {
    /// All tissues, in the order of the enum.
    pub(super) const ALL: [Self; TISSUES] = [
        Self::Air,
        Self::Fluid,
        Self::Cortex,
        Self::White,
        Self::Striatum,
        Self::Thalamus,
        Self::Pallidum,
        Self::Choroid,
        Self::Hyperintensity,
        Self::LargeArtery,
        Self::SmallArtery,
        Self::Vein,
        Self::Bone,
        Self::Marrow,
        Self::Fat,
        Self::Skin,
        Self::Muscle,
        Self::Mucosa,
        Self::Vitreous,
        Self::Oedema,
        Self::Necrosis,
        Self::Enhancing,
        Self::FaintlyEnhancing,
        Self::SolidTumour,
        Self::InfarctGrey,
        Self::InfarctWhite,
        Self::Schwannoma,
    ];

    fn row(self) -> Row {
        match self {
            Self::Air => Row([1000.0, 1000.0], [1.0, 1.0], 0.0, 0.0),
            Self::Fluid => Row([4200.0, 4300.0], [1800.0, 1600.0], 1.0, 3.0),
            Self::Cortex => Row([1060.0, 1450.0], [98.0, 92.0], 0.83, 0.84),
            Self::White => Row([640.0, 850.0], [76.0, 69.0], 0.70, 0.73),
            Self::Striatum => Row([950.0, 1280.0], [86.0, 78.0], 0.81, 0.74),
            Self::Thalamus => Row([850.0, 1130.0], [82.0, 75.0], 0.78, 0.77),
            Self::Pallidum => Row([760.0, 1010.0], [66.0, 57.0], 0.74, 0.74),
            Self::Choroid => Row([1400.0, 1750.0], [120.0, 110.0], 0.86, 1.5),
            Self::Hyperintensity => Row([950.0, 1250.0], [125.0, 115.0], 0.80, 1.05),
            Self::LargeArtery | Self::SmallArtery => Row([1440.0, 1700.0], [250.0, 200.0], 0.86, 2.0),
            Self::Vein => Row([1400.0, 1600.0], [130.0, 70.0], 0.86, 2.0),
            Self::Bone => Row([500.0, 500.0], [1.5, 1.2], 0.15, 0.3),
            Self::Marrow => Row([350.0, 420.0], [70.0, 65.0], 0.60, 0.3),
            Self::Fat => Row([290.0, 370.0], [95.0, 90.0], 0.90, 0.1),
            Self::Skin => Row([700.0, 850.0], [40.0, 36.0], 0.70, 1.0),
            Self::Muscle => Row([1010.0, 1400.0], [42.0, 38.0], 0.78, 1.4),
            Self::Mucosa => Row([1000.0, 1300.0], [110.0, 100.0], 0.85, 1.6),
            Self::Vitreous => Row([4000.0, 4100.0], [1500.0, 1300.0], 1.0, 2.9),
            Self::Oedema => Row([1250.0, 1560.0], [158.0, 148.0], 0.86, 1.40),
            Self::Necrosis => Row([2700.0, 3000.0], [330.0, 300.0], 0.95, 2.1),
            Self::Enhancing => Row([1250.0, 1580.0], [118.0, 108.0], 0.85, 1.02),
            Self::FaintlyEnhancing => Row([1350.0, 1700.0], [150.0, 140.0], 0.87, 1.30),
            Self::SolidTumour => Row([1450.0, 1800.0], [175.0, 165.0], 0.88, 1.45),
            Self::InfarctGrey => Row([1250.0, 1650.0], [132.0, 122.0], 0.85, 0.43),
            Self::InfarctWhite => Row([880.0, 1130.0], [112.0, 104.0], 0.76, 0.39),
            Self::Schwannoma => Row([1300.0, 1650.0], [128.0, 118.0], 0.86, 1.30),
        }
    }

    /// The properties of this tissue in a field.
    pub(super) fn properties(self, field: Field) -> Properties {
        let Row(t1, t2, proton_density, adc) = self.row();
        let place = usize::from(field == Field::ThreeTesla);
        let agent_mmol = match self {
            Self::Enhancing | Self::Schwannoma | Self::Choroid => 0.40,
            Self::FaintlyEnhancing => 0.13,
            Self::LargeArtery | Self::SmallArtery | Self::Vein => 0.7,
            Self::Mucosa => 0.6,
            Self::Skin | Self::Muscle => 0.08,
            // A few percent of the brain is blood.
            Self::Cortex | Self::Striatum | Self::Thalamus | Self::Pallidum => 0.025,
            Self::White => 0.012,
            _ => 0.0,
        };
        let flow = match self {
            Self::LargeArtery => 0.95,
            Self::SmallArtery => 0.60,
            Self::Vein => 0.75,
            _ => 0.0,
        };
        Properties {
            t1_ms: t1[place],
            t2_ms: t2[place],
            proton_density,
            adc,
            agent_mmol,
            flow,
            fat: matches!(self, Self::Fat | Self::Marrow),
        }
    }

    /// Whether the blood flows in unsaturated from below; veins meet a saturation band above.
    pub(super) fn is_artery(self) -> bool {
        matches!(self, Self::LargeArtery | Self::SmallArtery)
    }
}

/// Shares of the tissues in a voxel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixture(pub(super) [f32; TISSUES]);

impl Mixture {
    /// Only air.
    pub(super) fn air() -> Self {
        let mut shares = [0.0; TISSUES];
        shares[Tissue::Air as usize] = 1.0;
        Self(shares)
    }

    /// An empty sum, for averaging.
    pub(super) fn zero() -> Self {
        Self([0.0; TISSUES])
    }

    /// The share of a tissue.
    pub(super) fn share(&self, tissue: Tissue) -> f32 {
        self.0[tissue as usize]
    }

    /// Covers the present content with `share` (0 to 1) of `tissue`.
    pub(super) fn cover(&mut self, tissue: Tissue, share: f32) {
        if share > 0.0 {
            for part in &mut self.0 {
                *part *= 1.0 - share;
            }
            self.0[tissue as usize] += share;
        }
    }

    /// Turns `share` (0 to 1) of the tissue `from` into `to`.
    pub(super) fn turn(&mut self, from: Tissue, to: Tissue, share: f32) {
        let moved = self.0[from as usize] * share;
        self.0[from as usize] -= moved;
        self.0[to as usize] += moved;
    }

    /// Adds the shares of another mixture.
    pub(super) fn add(&mut self, other: &Self) {
        for (part, more) in self.0.iter_mut().zip(&other.0) {
            *part += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_in_the_order_of_the_enum() {
        for (place, tissue) in Tissue::ALL.into_iter().enumerate() {
            assert_eq!(place, tissue as usize);
        }
    }

    #[test]
    fn covering_keeps_the_sum() {
        let mut mixture = Mixture::air();
        mixture.cover(Tissue::White, 0.7);
        mixture.cover(Tissue::Fluid, 0.4);
        mixture.turn(Tissue::White, Tissue::Oedema, 0.5);
        assert!((mixture.0.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((mixture.share(Tissue::Oedema) - 0.21).abs() < 1e-6);
    }

    #[test]
    fn agent_shortens_t1() {
        let plain = Tissue::Enhancing.properties(Field::ThreeTesla);
        assert!(plain.with_agent().t1_ms < 0.3 * plain.t1_ms);
        assert_eq!(Tissue::Fluid.properties(Field::ThreeTesla).with_agent().t1_ms, 4300.0);
    }
}
