//! What the voxels say against the weightings that words leave open.
//!
//! Only what holds with a wide margin in every image measured counts, beside a T1 or T1c on the same grid: T1 with and
//! without contrast agent go along with each other, so that what goes against one is neither; and a T2 does not both go
//! along with a T1 and lean to its dark end, fluid being its bright end. One of the two alone does not tell a T2: some
//! lean to neither end, and some correlate with their T1. Whether an agent was given, and what is a FLAIR, the voxels do
//! not say: FLAIR leans to either end, and correlates with T1 by either sign.

use brainmvp_volume::Modality;

use super::{LEAST_BLOCKS, Sketch, correlation, lean, ranks, shared_values};

/// An image that correlates less with a T1 or T1c is neither: T1 and T1c of one brain correlate by 0.35 or more.
const AGAINST: f64 = -0.2;

/// From here on an image goes along with a T1: T2 correlates by 0.24 at most.
const ALONG: f64 = 0.5;

/// Below this an image leans to its dark end: the skewness of T2 is 0.04 or more.
const DARK: f64 = -0.25;

/// Images whose corners are further apart, in mm, are not known to be aligned.
const TOLERANCE_MM: f64 = 1e-3;

/// What the voxels leave of the choices, and the measurements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vote {
    /// The choices that nothing contradicts.
    pub(crate) left: Vec<Modality>,
    /// What was measured, as a clause.
    pub(crate) said: String,
}

/// Holds an image against the weightings that it may have ([`Modality::T1`] stands for T1c too) and the images of its
/// session whose weighting is known.
pub(crate) fn vote(image: &Sketch, choices: &[Modality], known: &[(Modality, Sketch)]) -> Vote {
    let mut left = choices.to_vec();
    let Some([alone]) = values([image]) else {
        return Vote { left, said: "too little of a brain to compare".to_owned() };
    };
    let lean = lean(&alone);
    let mut said = vec![format!("skewness {lean:.2}")];
    for (modality, other) in known.iter().filter(|(is, _)| matches!(is, Modality::T1 | Modality::T1c)) {
        let aligned = image.file_grid.same_place(&other.file_grid, TOLERANCE_MM);
        let Some([own, others]) = aligned.then(|| values([image, other])).flatten() else { continue };
        let rank = correlation(&ranks(&own), &ranks(&others));
        let against = if rank < AGAINST {
            Some(Modality::T1)
        } else if rank > ALONG && lean < DARK {
            Some(Modality::T2)
        } else {
            None
        };
        left.retain(|choice| Some(*choice) != against);
        let no = against.map_or(String::new(), |no| format!(", as no other {no} does"));
        said.push(format!("rank correlation {rank:.2} with {modality}{no}"));
    }
    Vote { left, said: said.join("; ") }
}

/// The values at the points of the brain that all images cover, if there are enough.
fn values<const N: usize>(sketches: [&Sketch; N]) -> Option<[Vec<f32>; N]> {
    let values: [Vec<f32>; N] = shared_values(&sketches).try_into().ok()?;
    values.iter().all(|values| values.len() >= LEAST_BLOCKS).then_some(values)
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Modality::{Flair, T1, T1c, T2};
    use brainmvp_volume::{Affine, Grid, Volume};

    use super::*;

    /// A ball of tissue, of which every block has the value that `of` gives for a number from 0 to 1.
    fn sketch(of: impl Fn(f32) -> f32) -> Sketch {
        let grid = Grid::new([24; 3], Affine::from_spacing([4.0; 3], [0.0; 3]));
        let voxel = |offset: usize| {
            let squares = grid.voxel(offset).map(|i| (i as f32 - 11.5).powi(2));
            let inside = squares.iter().sum::<f32>() < 81.0;
            if inside { 10.0 + of((offset * 37 % 101) as f32 / 100.0) } else { 0.0 }
        };
        Sketch::of(&Volume::new(grid, (0..grid.len()).map(voxel).collect()))
    }

    #[test]
    fn what_is_contradicted_and_what_is_not() {
        let t1 = || sketch(|x| 1.0 - x.powi(3));
        let bright = sketch(|x| x.powi(3));
        let even = sketch(|x| x);
        let beside = |modality| vec![(modality, t1())];
        assert_eq!(vote(&t1(), &[T1, T2], &beside(T1c)).left, [T1]);
        assert_eq!(vote(&t1(), &[T1, T2], &[]).left, [T1, T2], "an image alone");
        assert_eq!(vote(&t1(), &[T1, T2], &beside(Flair)).left, [T1, T2], "beside no T1");
        assert_eq!(vote(&even, &[T1, T2], &beside(T1c)).left, [T2]);
        assert_eq!(vote(&bright, &[T1, Flair], &beside(T1)).left, [Flair]);
        assert_eq!(vote(&t1(), &[T1, Flair], &beside(T1)).left, [T1, Flair], "a FLAIR may go along with T1");
        let empty = Sketch::of(&Volume::new(
            Grid::new([8; 3], Affine::from_spacing([1.0; 3], [0.0; 3])),
            vec![0.0; 512],
        ));
        let vote = vote(&empty, &[T1, T2], &[]);
        assert!(vote.left.len() == 2 && vote.said.contains("too little"), "{vote:?}");
    }
}
