//! Contrast between two views (BrainMVP eq. 4).
//!
//! With n cases and a temperature of tau, the loss is above `ln(1 + (n - 1) exp(-n / ((n - 1) tau)))`: unit vectors
//! cannot all be opposite to each other, n of them are on average at a cosine of -1 / (n - 1) at best. Three cases and
//! tau = 1 give
//! 0.37, where views that tell nothing apart have ln 3 = 1.10.

use brainmvp_ranks::Ranks;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

/// Added to a logit, it removes the logit from a softmax.
pub(super) const LEFT_OUT: f32 = -1e9;

/// Of whom a sample is, and from which data set: digests of the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The person.
    pub person: u64,
    /// The data set.
    pub data_set: u64,
}

impl Identity {
    /// The identity of these names.
    pub fn of(person: &str, data_set: &str) -> Self {
        Self { person: fnv_1a(person), data_set: fnv_1a(data_set) }
    }
}

impl Identity {
    /// Those of the samples of all ranks, of the first one first.
    pub fn gather(own: &[Self], ranks: &Ranks) -> Vec<Self> {
        let bytes: Vec<u8> =
            own.iter().flat_map(|one| [one.person, one.data_set]).flat_map(u64::to_le_bytes).collect();
        let all = ranks.gather(&bytes).concat();
        let (numbers, _) = all.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let (pairs, _) = numbers.as_chunks::<2>();
        pairs.iter().map(|&[person, data_set]| Self { person, data_set }).collect()
    }
}

/// FNV-1a, 64 bits: the same on every machine, as checkpoints need it.
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Samples of earlier batches.
pub struct Past {
    /// Their first and second views, as [`unit_rows`], `[L, F]` each, without gradient.
    pub views: [Tensor<2>; 2],
    /// Whose each sample is; `None` if there is none yet.
    pub identities: Vec<Option<Identity>>,
}

/// How views are compared.
#[derive(Debug, Clone, Copy)]
pub struct Contrast {
    /// Divides the cosines (tau).
    pub temperature: f32,
    /// Whether samples of one data set are negatives of each other.
    pub within_data_set: bool,
}

impl Contrast {
    /// Symmetric cross-entropy of the cosines between all first and all second views, each sample's own pair being the
    /// right answer, the other samples and those of the past the wrong ones. Samples of one person are never held against
    /// each other. 0 if there are no negatives.
    ///
    /// # Shapes
    /// - `views`: first and second views as [`unit_rows`], `[B, F]` each; `identities`: B; the result is `[1]`
    pub fn loss(&self, views: [Tensor<2>; 2], identities: &[Identity], past: Option<&Past>) -> Tensor<1> {
        let [first, second] = views;
        let past_of = |view: usize| past.map(|past| (&past.views[view], past.identities.as_slice()));
        let forth = self.towards(first.clone(), second.clone(), identities, past_of(1));
        let back = self.towards(second, first, identities, past_of(0));
        (forth + back) * 0.5
    }

    /// One direction of [`Contrast::loss`]: cross-entropy of the cosines between each query and all keys, its own being the
    /// right answer. `past`: keys of other samples, and whose they are.
    ///
    /// # Shapes
    /// - `queries`, `keys`: vectors of length 1, `[B, F]` each; `identities`: B; the result is `[1]`
    pub fn towards(
        &self,
        queries: Tensor<2>,
        keys: Tensor<2>,
        identities: &[Identity],
        past: Option<(&Tensor<2>, &[Option<Identity>])>,
    ) -> Tensor<1> {
        let (batch, device) = (identities.len(), queries.device());
        let cosines = |keys: Tensor<2>| queries.clone().matmul(keys.transpose()) / self.temperature;
        let own: Vec<Option<Identity>> = identities.iter().copied().map(Some).collect();
        let mut logits = cosines(keys) + self.offsets(identities, &own, true, &device);
        if let Some((keys, whose)) = past {
            let others = cosines(keys.clone()) + self.offsets(identities, whose, false, &device);
            logits = Tensor::cat(vec![logits, others], 1);
        }
        let diagonal = Tensor::<2>::eye(batch, &device);
        (log_softmax(logits, 1).narrow(1, 0, batch) * diagonal).sum() / -(batch as f32)
    }

    /// What leaves out the pairs that are no negatives, `[B, others]`. `paired`: the others are the samples themselves.
    fn offsets(
        self,
        samples: &[Identity],
        others: &[Option<Identity>],
        paired: bool,
        device: &Device,
    ) -> Tensor<2> {
        let negative = |sample: Identity, other: Option<Identity>| {
            other.is_some_and(|other| {
                other.person != sample.person && (self.within_data_set || other.data_set != sample.data_set)
            })
        };
        let offsets: Vec<f32> = samples
            .iter()
            .enumerate()
            .flat_map(|(i, &sample)| {
                others.iter().enumerate().map(move |(j, &other)| {
                    if (paired && i == j) || negative(sample, other) { 0.0 } else { LEFT_OUT }
                })
            })
            .collect();
        Tensor::from_data(TensorData::new(offsets, [samples.len(), others.len()]), device)
    }
}

/// The features of each sample, `[B, D, H, W, C]`, as one vector of length 1, `[B, D H W C]`.
pub fn unit_rows(features: Tensor<5>) -> Tensor<2> {
    unit(features.flatten(1, 4))
}

/// Each row with length 1, `[B, F]`; rows of length 0 stay 0.
pub fn unit(rows: Tensor<2>) -> Tensor<2> {
    // Below the floor, at 0 above all, the length has no slope.
    let length = (rows.clone() * rows.clone()).sum_dim(1).clamp_min(1e-16).sqrt();
    rows / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;
    use proptest::prelude::*;

    fn rows(batch: usize, device: &Device) -> Tensor<2> {
        unit_rows(Tensor::random([batch, 2, 2, 2, 8], Distribution::Normal(0.0, 1.0), device))
    }

    /// Person and data set by number.
    fn identities(rows: &[(u64, u64)]) -> Vec<Identity> {
        rows.iter().map(|&(person, data_set)| Identity { person, data_set }).collect()
    }

    fn loss(temperature: f32, views: [&Tensor<2>; 2], of: &[(u64, u64)], past: Option<&Past>) -> f64 {
        let contrast = Contrast { temperature, within_data_set: true };
        contrast.loss(views.map(Clone::clone), &identities(of), past).into_scalar::<f32>().into()
    }

    /// What the loss of `n` samples cannot fall below.
    fn lowest(n: usize, temperature: f64) -> f64 {
        let n = n as f64;
        (1.0 + (n - 1.0) * (-n / ((n - 1.0) * temperature)).exp()).ln()
    }

    /// Unit vectors that are all as far from each other as possible: the corners of a simplex.
    fn simplex(n: usize, device: &Device) -> Tensor<2> {
        let rows = Tensor::<2>::eye(n, device) - 1.0 / n as f32;
        rows / (1.0 - 1.0 / n as f32).sqrt()
    }

    proptest! {
        #[test]
        fn the_loss_has_the_bound_that_is_told(
            n in 2usize..7, temperature in prop::sample::select(vec![0.1f64, 0.5, 1.0]), seed: u64,
        ) {
            let device = Device::flex();
            let of: Vec<(u64, u64)> = (0..n as u64).map(|i| (i, i)).collect();
            let bound = lowest(n, temperature);
            let best = simplex(n, &device);
            let reached = loss(temperature as f32, [&best, &best], &of, None);
            prop_assert!((reached - bound).abs() < 1e-4, "{reached}, bound {bound}");
            device.seed(seed);
            let (first, second) = (rows(n, &device), rows(n, &device));
            prop_assert!(loss(temperature as f32, [&first, &second], &of, None) >= bound - 1e-5);
        }

        #[test]
        fn a_sample_of_the_past_is_as_good_as_one_of_the_batch(seed: u64) {
            // Of four samples, each pair of views is compared; the rows of two are those of two with two in the past.
            let device = Device::flex();
            device.seed(seed);
            let (first, second) = (rows(4, &device), rows(4, &device));
            let of = [(0, 0), (1, 1), (2, 0), (3, 1)];
            let part = |x: &Tensor<2>, at: usize| x.clone().narrow(0, at, 2);
            let half = |now: usize, before: usize| {
                let past = Past {
                    views: [part(&first, before), part(&second, before)],
                    identities: identities(&of[before..before + 2]).into_iter().map(Some).collect(),
                };
                loss(0.5, [&part(&first, now), &part(&second, now)], &of[now..now + 2], Some(&past))
            };
            let whole = loss(0.5, [&first, &second], &of, None);
            prop_assert!((whole - f64::midpoint(half(0, 2), half(2, 0))).abs() < 1e-5);
        }
    }

    #[test]
    fn three_cases_at_a_temperature_of_one_stay_above_0_37() {
        assert!((lowest(3, 1.0) - 0.369).abs() < 1e-3);
        // Cosines for themselves, which may all be -1, would allow less.
        assert!((1.0 + 2.0 * (-2f64).exp()).ln() < 0.24);
    }

    #[test]
    fn alone_there_is_nothing_to_tell_apart() {
        let device = Device::flex();
        let nothing = Past { views: [rows(2, &device), rows(2, &device)], identities: vec![None; 2] };
        for past in [None, Some(&nothing)] {
            assert!(loss(1.0, [&rows(1, &device), &rows(1, &device)], &[(0, 0)], past).abs() < 1e-6);
        }
    }

    #[test]
    fn one_person_is_no_negative_of_itself_whatever_the_data_set() {
        let device = Device::flex();
        device.seed(5);
        let views = rows(3, &device);
        let exchanged = views.clone().flip([0]);
        let all = [(0, 0), (1, 0), (2, 0)];
        assert!(loss(0.1, [&views, &views], &all, None) < 0.1);
        assert!(loss(0.1, [&views, &exchanged], &all, None) > 1.0);
        assert!(loss(0.1, [&views, &exchanged], &[(7, 0), (7, 1), (7, 2)], None).abs() < 1e-6);
        // The past holds the same person's other session: it changes nothing.
        let past = Past {
            views: [rows(1, &device), rows(1, &device)],
            identities: vec![Some(Identity { person: 1, data_set: 9 })],
        };
        let two = views.clone().narrow(0, 0, 2);
        let alone = |past| loss(0.1, [&two, &two], &[(1, 0), (1, 1)], past);
        assert!((alone(Some(&past)) - alone(None)).abs() < 1e-6);
    }

    #[test]
    fn a_data_set_may_be_left_out_of_its_own_negatives() {
        let device = Device::flex();
        device.seed(6);
        let (first, second) = (rows(4, &device), rows(4, &device));
        let across = Contrast { temperature: 0.2, within_data_set: false };
        let of = |rows: &[(u64, u64)]| -> f64 {
            across.loss([first.clone(), second.clone()], &identities(rows), None).into_scalar::<f32>().into()
        };
        assert!(of(&[(0, 0), (1, 0), (2, 0), (3, 0)]).abs() < 1e-6);
        let distinct = [(0, 0), (1, 1), (2, 2), (3, 3)];
        assert_eq!(of(&distinct), loss(0.2, [&first, &second], &distinct, None));
        assert!(of(&[(0, 0), (1, 0), (2, 1), (3, 1)]) < of(&distinct));
    }

    #[test]
    fn identities_are_those_of_the_names() {
        assert_eq!(Identity::of("p", "a"), Identity::of("p", "a"));
        assert_ne!(Identity::of("p", "a").person, Identity::of("q", "a").person);
        // The published value of FNV-1a for "foobar".
        assert_eq!(fnv_1a("foobar"), 0x8594_4171_F739_67E8);
    }
}
