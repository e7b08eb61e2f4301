//! Whether the images of a case look like the modalities they are named for, and like one head.
//!
//! A file under the name of another modality, or of another patient, has nothing wrong in itself. Three facts give it
//! away: fluid is bright in T2 and dark in T1 and FLAIR; FLAIR correlates with T2 where T1 does so inversely; and
//! stripped, registered images of one brain end at the same border. The bounds lie well between the values measured on
//! real cases and phantoms with correct names and those with exchanged names.

use std::path::Path;

use brainmvp_volume::Modality;

use super::{CheckOptions, Kind, Problem};
use crate::Case;
use crate::contrast::{KNOWN, LEAST_BLOCKS, Sketch, correlation, lean, ranks, shared_values};

/// How much further T2 may lean to its dark end than another image. With correct names, T2 leans to the bright end by
/// 0.19 or more. Exchanged images that differ by less than this margin are not noticed.
const LEAN_MARGIN: f64 = 0.25;

/// How much better T1 may correlate with T2 than FLAIR does. With correct names, FLAIR correlates better by 0.23 or more.
const FOLLOWS_MARGIN: f64 = 0.15;

/// The outlines of one brain agree with a Dice of 0.99, those of two brains in one space with at most 0.95.
const LEAST_AGREEMENT: f64 = 0.97;

/// The suspicions that the images of a case raise.
pub(super) fn suspicions(
    case: &Case,
    images: &[(Modality, &Path, Sketch)],
    options: &CheckOptions,
) -> Vec<Problem> {
    let known: Vec<_> = images.iter().filter(|(modality, ..)| KNOWN.contains(modality)).collect();
    let mut found = exchanged(case, &known, options);
    let stripped: Vec<_> = known.iter().filter(|(_, _, sketch)| sketch.stripped).collect();
    for (i, (_, path, sketch)) in stripped.iter().enumerate() {
        let others = stripped.iter().enumerate().filter(|(j, (_, _, other))| {
            *j != i
                && sketch.grid.shape == other.grid.shape
                && sketch.file_grid.same_place(&other.file_grid, options.tolerance_mm)
        });
        let best = others.map(|(_, (_, _, other))| sketch.agreement(other)).reduce(f64::max);
        if let Some(best) = best.filter(|best| *best < LEAST_AGREEMENT) {
            let message = format!(
                "may be of another patient, or is not registered: the outline of its brain is that of no other image \
                 of the case (Dice {best:.2} at best, where images of one brain have 0.99)"
            );
            found.push(Problem::new(case, Some(path), Kind::OutlineDiffers, message));
        }
    }
    found
}

/// Modalities whose names look exchanged, judged by grey values.
fn exchanged(case: &Case, images: &[&(Modality, &Path, Sketch)], options: &CheckOptions) -> Vec<Problem> {
    let Some(t2) = images.iter().position(|(modality, ..)| *modality == Modality::T2) else {
        return Vec::new();
    };
    let sketches: Vec<&Sketch> = images.iter().map(|(_, _, sketch)| sketch).collect();
    let values = shared_values(&sketches);
    if values[t2].len() < LEAST_BLOCKS {
        return Vec::new();
    }
    let problem = |other: usize, message: String| {
        vec![Problem::new(case, Some(images[other].1), Kind::ModalityDoubtful, message)]
    };
    let (t2_path, others) = (images[t2].1.display(), (0..images.len()).filter(|i| *i != t2));
    let leans: Vec<f64> = values.iter().map(|values| lean(values)).collect();
    let furthest = others.clone().max_by(|a, b| leans[*a].total_cmp(&leans[*b]));
    if let Some(other) = furthest.filter(|other| leans[*other] - leans[t2] > LEAN_MARGIN) {
        let name = images[other].0;
        let message = format!(
            "may be t2, and {t2_path} may be {name}: fluid is the bright end of t2 and the dark end of {name}, but here \
             {name} leans to its bright end (skewness {:.2}) and t2 to its dark one ({:.2})",
            leans[other], leans[t2]
        );
        return problem(other, message);
    }
    let Some(flair) = images.iter().position(|(modality, ..)| *modality == Modality::Flair) else {
        return Vec::new();
    };
    let same_grid =
        |i: usize| sketches[i].file_grid.same_place(&sketches[t2].file_grid, options.tolerance_mm);
    let ranks: Vec<Vec<f64>> = values.iter().map(|values| ranks(values)).collect();
    let with_t2: Vec<f64> = ranks.iter().map(|ranks_of| correlation(ranks_of, &ranks[t2])).collect();
    let aligned = others.filter(|i| *i != flair && same_grid(*i) && same_grid(flair));
    let most = aligned.max_by(|a, b| with_t2[*a].total_cmp(&with_t2[*b]));
    match most.filter(|other| with_t2[*other] - with_t2[flair] > FOLLOWS_MARGIN) {
        None => Vec::new(),
        Some(other) => {
            let (name, flair_path) = (images[other].0, images[flair].1.display());
            let message = format!(
                "may be flair, and {flair_path} may be {name}: flair goes along with t2 more than {name} does, but here \
                 their rank correlations with t2 are {:.2} and {:.2}",
                with_t2[flair], with_t2[other]
            );
            problem(other, message)
        }
    }
}
