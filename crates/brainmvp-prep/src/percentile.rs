//! Exact percentiles without sorting.

use rayon::prelude::*;

const BUCKETS: usize = 1 << 16;

/// The number of values processed together.
const BLOCK: usize = 64;

/// Percentiles (0 to 100) of all values, with linear interpolation as in numpy's default: the value at index `q / 100 *
/// (n - 1)` of the sorted values.
///
/// Counts the values in two passes, by the upper and by the lower half of their bits, after mapping the bits so that
/// they sort like the numbers. The values are not copied, and every distribution takes the same time.
///
/// # Errors
/// [`NoPercentiles`] if there are no values, or some are not finite.
pub fn percentiles<const N: usize>(values: &[f32], wanted: [f64; N]) -> Result<[f32; N], NoPercentiles> {
    if values.is_empty() {
        return Err(NoPercentiles::Empty);
    }
    let counts = UpperCounts::of(values);
    match counts.not_finite() {
        0 => {}
        voxels => return Err(NoPercentiles::NotFinite { voxels }),
    }
    let places = wanted.map(|q| (q.clamp(0.0, 100.0) / 100.0) * (values.len() - 1) as f64);
    let ranks = places.map(|place| [place.floor() as usize, place.ceil() as usize]);
    let found = select(values, &counts, ranks.as_flattened());
    let between = |i: usize| {
        let (below, above) = (f64::from(found[2 * i]), f64::from(found[2 * i + 1]));
        (below + (above - below) * places[i].fract()) as f32
    };
    Ok(std::array::from_fn(between))
}

/// Why values have no percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPercentiles {
    /// There are none.
    #[error("no voxels")]
    Empty,
    /// Some are NaN or infinite.
    #[error("{voxels} voxels are NaN or infinite")]
    NotFinite {
        /// Their number.
        voxels: usize,
    },
}

/// The number of values for each pattern of the upper 16 bits. Zeros, most of a stripped volume, are counted
/// separately: incrementing one counter over and over is slow.
struct UpperCounts {
    buckets: Vec<u32>,
    zeros: usize,
}

/// The bucket of a rank.
#[derive(Clone, Copy)]
enum Place {
    Zero,
    Bucket { bucket: usize, rank: usize },
}

impl UpperCounts {
    fn of(values: &[f32]) -> Self {
        let empty = || Self { buckets: vec![0; BUCKETS], zeros: 0 };
        let count = |mut counts: Self, chunk: &[f32]| {
            for &value in chunk {
                if value == 0.0 {
                    counts.zeros += 1;
                } else {
                    counts.buckets[(ordered(value) >> 16) as usize] += 1;
                }
            }
            counts
        };
        pieces(values).fold(empty, count).reduce(empty, Self::plus)
    }

    fn plus(mut self, other: Self) -> Self {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(a, b)| *a += b);
        Self { zeros: self.zeros + other.zeros, ..self }
    }

    /// Infinity and NaN have all exponent bits set, so they fill the outermost buckets.
    fn not_finite(&self) -> usize {
        let first = (ordered(f32::INFINITY) >> 16) as usize;
        let last = (ordered(f32::NEG_INFINITY) >> 16) as usize;
        self.buckets[..=last].iter().chain(&self.buckets[first..]).map(|&n| n as usize).sum()
    }

    /// Finds the bucket of the value with this rank, counted from 0.
    fn place(&self, mut rank: usize) -> Place {
        for (bucket, &count) in self.buckets.iter().enumerate() {
            if bucket == BUCKETS / 2 {
                if rank < self.zeros {
                    return Place::Zero;
                }
                rank -= self.zeros;
            }
            if rank < count as usize {
                return Place::Bucket { bucket, rank };
            }
            rank -= count as usize;
        }
        unreachable!("a rank below the number of values lies in a bucket")
    }
}

/// The values of the given ranks.
#[expect(clippy::expect_used, reason = "the second pass counts what the first has counted")]
fn select(values: &[f32], counts: &UpperCounts, ranks: &[usize]) -> Vec<f32> {
    let places: Vec<Place> = ranks.iter().map(|&rank| counts.place(rank)).collect();
    let mut wanted: Vec<usize> = places.iter().filter_map(Place::bucket).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let lower = if wanted.is_empty() { Vec::new() } else { lower_counts(values, &wanted) };
    let value = |place: &Place| {
        let Place::Bucket { bucket, mut rank } = *place else { return 0.0 };
        let slot = wanted.partition_point(|&w| w < bucket);
        let counts = &lower[slot * BUCKETS..][..BUCKETS];
        let within = counts.iter().position(|&n| {
            let here = rank < n as usize;
            rank -= if here { 0 } else { n as usize };
            here
        });
        let within = within.expect("both passes count the same values");
        from_ordered((bucket << 16 | within) as u32)
    };
    places.iter().map(value).collect()
}

impl Place {
    fn bucket(&self) -> Option<usize> {
        match *self {
            Self::Zero => None,
            Self::Bucket { bucket, .. } => Some(bucket),
        }
    }
}

/// For each wanted bucket in turn, the number of its values for each pattern of the lower 16 bits.
fn lower_counts(values: &[f32], wanted: &[usize]) -> Vec<u32> {
    let empty = || vec![0_u32; wanted.len() * BUCKETS];
    let count = |mut counts: Vec<u32>, chunk: &[f32]| {
        // A bucket covers the values between two bounds; few blocks have any.
        for (slot, &bucket) in wanted.iter().enumerate() {
            let [first, last] = [bucket << 16, bucket << 16 | 0xFFFF].map(|key| from_ordered(key as u32));
            let inside = |value: f32| first <= value && value <= last && value != 0.0;
            for block in chunk.chunks(BLOCK) {
                if block.iter().fold(false, |any, value| any | inside(*value)) {
                    for value in block.iter().filter(|value| inside(**value)) {
                        counts[slot << 16 | (ordered(*value) & 0xFFFF) as usize] += 1;
                    }
                }
            }
        }
        counts
    };
    let plus = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    pieces(values).fold(empty, count).reduce(empty, plus)
}

/// One piece of work per thread: each piece needs its own histogram, which must be small in comparison.
fn pieces(values: &[f32]) -> impl IndexedParallelIterator<Item = &[f32]> {
    const SMALLEST: usize = 1 << 18;
    values.par_chunks(values.len().div_ceil(rayon::current_num_threads()).max(SMALLEST))
}

/// Bits that sort as integers in the order of the numbers.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    let negative = (bits as i32 >> 31) as u32;
    bits ^ (negative | 1 << 31)
}

/// The inverse of [`ordered`].
fn from_ordered(key: u32) -> f32 {
    let positive = (key as i32 >> 31) as u32;
    f32::from_bits(key ^ (!positive | 1 << 31))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition.
    fn sorted(values: &[f32], q: f64) -> f32 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f32::total_cmp);
        let place = q / 100.0 * (values.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        (f64::from(below) + (f64::from(above) - f64::from(below)) * place.fract()) as f32
    }

    #[test]
    fn numpy_examples() {
        let values: Vec<f32> = (0..=10).map(|i| i as f32).collect();
        assert_eq!(percentiles(&values, [1.0, 99.0]), Ok([0.1, 9.9]));
        assert_eq!(percentiles(&[3.0], [1.0, 99.0]), Ok([3.0, 3.0]));
        assert_eq!(percentiles(&[-1.0, -0.0, 0.0, 5.0], [0.0, 100.0]), Ok([-1.0, 5.0]));
    }

    #[test]
    fn what_has_none() {
        assert_eq!(percentiles(&[], [1.0, 99.0]), Err(NoPercentiles::Empty));
        let values = [1.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];
        assert_eq!(percentiles(&values, [1.0, 99.0]), Err(NoPercentiles::NotFinite { voxels: 4 }));
    }

    #[test]
    fn many_pieces() {
        let values: Vec<f32> = (0..1_500_017_usize).map(|i| ((i * 7919) % 10007) as f32 - 5000.0).collect();
        assert_eq!(percentiles(&values, [5.0, 95.0]), Ok([sorted(&values, 5.0), sorted(&values, 95.0)]));
    }

    proptest! {
        #[test]
        fn the_bits_keep_the_order(a in any::<f32>(), b in any::<f32>()) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.total_cmp(&b));
            prop_assert_eq!(from_ordered(ordered(a)).to_bits(), a.to_bits());
        }

        #[test]
        fn equals_the_sorted_definition(
            values in prop::collection::vec(
                prop_oneof![
                    Just(0.0_f32),
                    Just(-0.0_f32),
                    (-40_i16..40).prop_map(f32::from),
                    -1e3_f32..1e3,
                    any::<f32>().prop_filter("finite", |v| v.is_finite()),
                ],
                1..200,
            ),
            low in 0.0..50.0,
            high in 50.0..=100.0,
        ) {
            let found = percentiles(&values, [low, high]).unwrap();
            prop_assert_eq!(found, [sorted(&values, low), sorted(&values, high)]);
        }
    }
}
