//! From tissue to signal: the equations of the pulse sequences.
//!
//! Bernstein, King and Zhou, Handbook of MRI Pulse Sequences (2004): spin echo and inversion recovery 14.3 and
//! 14.2, spoiled gradient echo 14.1 (Ernst), time of flight 15.3, diffusion 17.1 (Stejskal and Tanner).

use super::tissue::{Field, Properties, TISSUES, Tissue};

/// A pulse sequence with its timing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sequence {
    /// Spin echo: T1, T2 or proton density weighted by its times.
    SpinEcho { tr_ms: f64, te_ms: f64 },
    /// Inversion recovery with a spin echo; FLAIR if `ti_ms` nulls fluid.
    InversionRecovery { tr_ms: f64, te_ms: f64, ti_ms: f64 },
    /// Gradient echoes, `spacing_ms` apart, around `ti_ms` after an inversion every `tr_ms` (MPRAGE).
    PreparedGradientEcho { tr_ms: f64, ti_ms: f64, te_ms: f64, spacing_ms: f64, flip_deg: f64 },
    /// Spoiled gradient echo in thin slabs, into which arterial blood flows fresh; fat partly suppressed.
    TimeOfFlight { tr_ms: f64, te_ms: f64, flip_deg: f64 },
    /// Spin echo EPI with fat suppression and diffusion gradients of `b` s/mm^2.
    Diffusion { tr_ms: f64, te_ms: f64, b: f64 },
}

/// Echoes after an inversion of [`Sequence::PreparedGradientEcho`].
const ECHOES: f64 = 160.0;

impl Sequence {
    /// The inversion time (ms) that nulls a tissue of this T1 at repetition time `tr_ms`.
    pub(super) fn nulling_time_ms(t1_ms: f64, tr_ms: f64) -> f64 {
        t1_ms * libm::log(2.0 / (1.0 + libm::exp(-tr_ms / t1_ms)))
    }

    /// The signal of a tissue, 1 being fully relaxed water without decay.
    pub(super) fn signal(self, tissue: &Properties, is_artery: bool) -> f64 {
        let Properties { t1_ms, t2_ms, proton_density, adc, flow, fat, .. } = *tissue;
        let decay = |ms: f64, time: f64| libm::exp(-ms / time);
        match self {
            Self::SpinEcho { tr_ms, te_ms } => {
                let recovered = 1.0 - decay(tr_ms, t1_ms);
                proton_density * recovered * decay(te_ms, t2_ms) * (1.0 - flow)
            }
            Self::InversionRecovery { tr_ms, te_ms, ti_ms } => {
                let recovered = (1.0 - 2.0 * decay(ti_ms, t1_ms) + decay(tr_ms, t1_ms)).abs();
                proton_density * recovered * decay(te_ms, t2_ms) * (1.0 - flow)
            }
            Self::PreparedGradientEcho { te_ms, flip_deg, .. } => {
                let excited = self.prepared(t1_ms).abs() * libm::sin(flip_deg.to_radians());
                proton_density * excited * decay(te_ms, t2_ms)
            }
            Self::TimeOfFlight { tr_ms, te_ms, flip_deg } => {
                let fresh = if is_artery { flow } else { 0.0 };
                let steady = steady_state(tr_ms, t1_ms, flip_deg);
                let excited = fresh * libm::sin(flip_deg.to_radians()) + (1.0 - fresh) * steady;
                let suppressed = if fat { 0.3 } else { 1.0 };
                proton_density * excited * decay(te_ms, t2_ms) * suppressed
            }
            Self::Diffusion { .. } if fat => 0.0,
            Self::Diffusion { tr_ms, te_ms, b } => {
                let relaxed = (1.0 - decay(tr_ms, t1_ms)) * decay(te_ms, t2_ms);
                proton_density * relaxed * libm::exp(-b * adc * 1e-3) * (1.0 - flow)
            }
        }
    }

    /// Longitudinal magnetisation at the middle echo of [`Sequence::PreparedGradientEcho`], in the steady state of
    /// many inversions (Deichmann et al., NeuroImage 12:112 (2000)); 0 for other sequences.
    fn prepared(self, t1_ms: f64) -> f64 {
        let Self::PreparedGradientEcho { tr_ms, ti_ms, spacing_ms, flip_deg, .. } = self else { return 0.0 };
        let half_ms = (0.5 * ECHOES * spacing_ms).min(ti_ms).min(0.5 * tr_ms);
        let cosine = libm::cos(flip_deg.to_radians());
        let left = libm::exp(-spacing_ms / t1_ms);
        // The echoes drive the magnetisation to a lower equilibrium, with a shorter time constant.
        let driven_ms = 1.0 / (1.0 / t1_ms - libm::log(cosine) / spacing_ms);
        let driven = (1.0 - left) / (1.0 - cosine * left);
        let relax = |start: f64, end: f64, ms: f64, time: f64| end + (start - end) * libm::exp(-ms / time);
        let middle =
            |start: f64| relax(relax(-start, 1.0, ti_ms - half_ms, t1_ms), driven, half_ms, driven_ms);
        let cycle = |start: f64| {
            let after = relax(middle(start), driven, half_ms, driven_ms);
            relax(after, 1.0, (tr_ms - ti_ms - half_ms).max(0.0), t1_ms)
        };
        // A cycle is an affine function of its initial value; the steady state is its fixed point.
        let (offset, slope) = (cycle(0.0), cycle(1.0) - cycle(0.0));
        middle(offset / (1.0 - slope))
    }

    /// The signals of all tissues in a field, in the order of [`Tissue::ALL`]; with contrast agent or without.
    pub(super) fn signals(self, field: Field, agent: bool) -> [f32; TISSUES] {
        Tissue::ALL.map(|tissue| {
            let plain = tissue.properties(field);
            let properties = if agent { plain.with_agent() } else { plain };
            self.signal(&properties, tissue.is_artery()) as f32
        })
    }
}

/// Transverse magnetisation of a spoiled gradient echo after many repetitions.
fn steady_state(tr_ms: f64, t1_ms: f64, flip_deg: f64) -> f64 {
    let left = libm::exp(-tr_ms / t1_ms);
    let (sine, cosine) = (libm::sin(flip_deg.to_radians()), libm::cos(flip_deg.to_radians()));
    sine * (1.0 - left) / (1.0 - cosine * left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(sequence: Sequence, tissue: Tissue) -> f64 {
        sequence.signal(&tissue.properties(Field::ThreeTesla), tissue.is_artery())
    }

    #[test]
    fn spin_echo_matches_a_worked_example() {
        // White matter at 3 T: 0.70 (1 - exp(-500/850)) exp(-12/69).
        let value = signal(Sequence::SpinEcho { tr_ms: 500.0, te_ms: 12.0 }, Tissue::White);
        assert!((value - 0.26160).abs() < 1e-4, "{value}");
    }

    #[test]
    fn inversion_nulls_fluid() {
        let ti_ms = Sequence::nulling_time_ms(4300.0, 9000.0);
        let flair = Sequence::InversionRecovery { tr_ms: 9000.0, te_ms: 110.0, ti_ms };
        assert!(signal(flair, Tissue::Fluid) < 1e-9);
        assert!(signal(flair, Tissue::Oedema) > 1.5 * signal(flair, Tissue::White));
    }

    #[test]
    fn fresh_blood_outshines_saturated_tissue() {
        let angiogram = Sequence::TimeOfFlight { tr_ms: 22.0, te_ms: 3.5, flip_deg: 20.0 };
        assert!(signal(angiogram, Tissue::LargeArtery) > 3.0 * signal(angiogram, Tissue::White));
        assert!(signal(angiogram, Tissue::Vein) < signal(angiogram, Tissue::White));
    }

    #[test]
    fn diffusion_decays_by_the_coefficient() {
        let at = |b| signal(Sequence::Diffusion { tr_ms: 5000.0, te_ms: 85.0, b }, Tissue::InfarctWhite);
        assert!((libm::log(at(0.0) / at(1000.0)) - 0.39).abs() < 1e-9);
    }
}
