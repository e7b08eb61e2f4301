//! Which words of a name describe the image: not those of the patient's name, nor those of the image that it was
//! registered to.

use std::ops::Range;

use brainmvp_volume::Modality;

use super::meaning::Meaning;
use super::words::{Kind, Word};

/// Where a name describes the image.
pub(super) struct Description {
    /// Its words.
    pub(super) words: Range<usize>,
    /// A word before it that says something else, and the words up to the description: somebody's name, or what the
    /// image is.
    pub(super) doubt: Option<Range<usize>>,
}

/// The words that describe the image.
///
/// A file's name begins with the patient: its description begins where known words lead without a gap to the last word
/// that says what the file is. Of `CE-001_T1` it is `T1`. Everything after that belongs to it. A gap without a number is
/// in doubt if a word before it says what a file is: `T2_xyz_T1` need not be the T1 of a patient T2.
pub(super) fn description(words: &[Word], muted: &[bool]) -> Description {
    let nothing = Description { words: words.len()..words.len(), doubt: None };
    let Some(last) = (0..words.len()).rev().find(|at| words[*at].is_core() && !muted[*at]) else {
        return nothing;
    };
    if last == 0 && is_somebodys(words) {
        return nothing;
    }
    let start = first_without_gap(words, last);
    let Some(earlier) = (0..start).rev().find(|at| states_kind(words, *at) && !muted[*at]) else {
        return Description { words: start..words.len(), doubt: None };
    };
    if words[earlier + 1..start].iter().any(is_number_of_somebody) {
        return Description { words: start..words.len(), doubt: None };
    }
    let after = || (start..words.len()).filter(|at| !muted[*at]).flat_map(|at| words[at].meanings());
    let agent = |word: &Word| word.meanings().iter().any(|m| matches!(m, Meaning::Given(_)));
    let same = (start..words.len()).any(|at| {
        let states = |meaning: &Meaning| meaning.states_weighting() && words[earlier].means(*meaning);
        !muted[at] && words[at].meanings().iter().any(states) && agent(&words[at]) == agent(&words[earlier])
    });
    // `SWI_x_MAG`: no image of a modality either way.
    let no_image = |meaning: &Meaning| matches!(meaning, Meaning::Not(_, 3..));
    let image =
        after().any(|meaning| meaning.is_core() && !matches!(meaning, Meaning::Not(..) | Meaning::Mp2rage));
    if same || words[earlier].meanings().iter().any(no_image) && !image {
        return Description { words: first_without_gap(words, earlier)..words.len(), doubt: None };
    }
    Description { words: start..words.len(), doubt: Some(earlier..start) }
}

/// The first of the known words that lead without a gap to a word.
fn first_without_gap(words: &[Word], last: usize) -> usize {
    let known = (0..last).rev().take_while(|at| words[*at].is_known() && !is_numbered(words, *at)).count();
    last - known
}

/// Whether a word states what a file is.
fn states_kind(words: &[Word], at: usize) -> bool {
    let states = |meaning: &Meaning| {
        use Meaning::{BrainMask, Mask, Mp2rage, Not, Segmentation, Structure, Weighting};
        matches!(
            meaning,
            Weighting(_, 4..) | Not(_, 3..) | Segmentation | Structure | Mask | BrainMask | Mp2rage
        )
    };
    let numbered = words.get(at + 1).is_some_and(|next| next.glued && next.is_digits());
    words[at].meanings().iter().any(states) && !numbered
}

/// The number of a patient, alone or after a word: `001`, `strokecase0001`.
fn is_number_of_somebody(word: &Word) -> bool {
    let digits = word.text.len() - word.text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    match word.kind {
        Kind::Number(digits) => digits > 1,
        Kind::Unknown => digits > 1,
        Kind::User(_) | Kind::Known(_) => word.is_digits() && digits > 1,
    }
}

/// `PD-001`, `ASL_02`: a short word with a number is a patient, not a kind of image.
fn is_somebodys(words: &[Word]) -> bool {
    let [first, second, ..] = words else { return false };
    let short = first.text.len() <= 3 && !first.text.starts_with(['t', 'b']);
    // `DWI_1000`: a b-value.
    let diffusion =
        |meaning: &Meaning| matches!(meaning, Meaning::Weighting(Modality::Dwi | Modality::Adc, _));
    let b_value = second.text.parse::<u32>().is_ok_and(|b| (500..=5000).contains(&b) && b % 50 == 0);
    let is_b_value = b_value && first.meanings().iter().any(diffusion);
    short && matches!(second.kind, Kind::Number(2..)) && !is_b_value
}

/// Whether a word belongs to `PET01`, which before the description is a patient, not a kind of image.
fn is_numbered(words: &[Word], at: usize) -> bool {
    let number = |word: &Word| word.glued && word.is_digits();
    let names = |word: &Word| {
        let name =
            |meaning: &Meaning| meaning.is_core() || matches!(meaning, Meaning::Occasion | Meaning::Tissue);
        word.meanings().iter().any(name)
    };
    number(&words[at]) && at > 0 && names(&words[at - 1])
}

/// Which words name the image that this one was registered to: `T1` of `T2_to_T1`, `FLAIR_space-T1w`, `t1_refT1`.
pub(super) fn targets(name: &str, words: &[Word]) -> Vec<bool> {
    let mut muted = vec![false; words.len()];
    for at in 1..words.len() {
        if muted[at] {
            continue;
        }
        let earlier = |wanted: fn(&Word) -> bool| {
            words[..at].iter().zip(&muted).any(|(word, muted)| wanted(word) && !muted)
        };
        let marks = |meaning| words[at].means(meaning);
        // `T2_2_T1`
        let two = words[at].text == "2" && names_image(&words[at - 1]);
        let to = (two || marks(Meaning::To)) && earlier(Word::is_core);
        let registered = (marks(Meaning::Registered) || marks(Meaning::Reference)) && earlier(moves);
        let entity = marks(Meaning::Space) && is_entity(name, words, at);
        let length = words[at + 1..].iter().take_while(|word| belongs_to_target(word)).count();
        let target = |word: &Word| names_image(word) || to && names_acquisition(word);
        // `sub-1_space-T2w_T1w`
        let suffix = || words[at + 1..].iter().skip(length.min(1)).any(names_image);
        let leads = to || registered || entity && (earlier(moves) || suffix());
        if leads && words.get(at + 1).is_some_and(target) {
            let length = if entity { 1 } else { length.max(1) };
            muted[at + 1..=at + length].fill(true);
        }
        // `T2_T1space`, but not `T2_FLAIR_space`, which is acquired by SPACE.
        let before = &words[at - 1];
        let t1 = before.means(Meaning::Weighting(Modality::T1, 4));
        let other = words[..at - 1].iter().any(states_other_than_t1);
        if marks(Meaning::Space) && t1 && other {
            muted[at - 1] = true;
        }
    }
    muted
}

/// The words of a target that is all that a name says: `T1` of `meanx_to_T1`, which is no T1 for that.
pub(super) fn lone_target(words: &[Word], muted: &[bool], region: &Range<usize>) -> Option<Range<usize>> {
    const TO: [&str; 6] = ["to", "onto", "into", "zu", "vers", "auf"];
    let first = region.clone().find(|at| words[*at].is_core() && !muted[*at])?;
    let to = first.checked_sub(1).filter(|to| *to > 0 && TO.contains(&words[*to].text.as_str()))?;
    let bare = words[..to].iter().any(|word| word.kind == Kind::Unknown || word.is_known());
    (bare && names_image(&words[first])).then_some(to..first + 1)
}

/// Whether a word names something that may be registered to an image.
fn moves(word: &Word) -> bool {
    let kind = |meaning: &Meaning| {
        use Meaning::{BZero, BrainMask, Mask, Not, Segmentation};
        matches!(meaning, Not(_, 2..) | Segmentation | BrainMask | Mask | BZero)
    };
    names_image(word) || word.meanings().iter().any(kind)
}

/// Whether a word names another acquisition than one of the modalities.
fn names_acquisition(word: &Word) -> bool {
    use super::NoImage::{Diffusion, Flow, Function, Parcellation, Perfusion, Susceptibility};
    let other = |meaning: &Meaning| {
        matches!(
            meaning,
            Meaning::Not(Diffusion | Flow | Function | Parcellation | Perfusion | Susceptibility, 3..)
                | Meaning::BZero
        )
    };
    word.meanings().iter().any(other)
}

fn names_image(word: &Word) -> bool {
    let names = |meaning: &Meaning| {
        matches!(
            meaning,
            Meaning::Weighting(_, 2..) | Meaning::Mp2rage | Meaning::Not(super::NoImage::Device, _)
        )
    };
    matches!(word.kind, Kind::User(_)) || word.meanings().iter().any(names)
}

fn belongs_to_target(word: &Word) -> bool {
    let belongs = |meaning: &Meaning| {
        use Meaning::{After, Agent, Before, Given, NotGiven};
        matches!(meaning, Agent(_) | Given(_) | NotGiven(_) | Before | After)
    };
    names_image(word) || word.meanings().iter().any(belongs)
}

fn states_other_than_t1(word: &Word) -> bool {
    let other =
        |meaning: &Meaning| matches!(meaning, Meaning::Weighting(modality, 4..) if *modality != Modality::T1);
    word.meanings().iter().any(other)
}

/// Whether a word is the key of an entity of BIDS, as in `_space-T1w`.
fn is_entity(name: &str, words: &[Word], at: usize) -> bool {
    let span = &words[at].span;
    let begins = span.start == 0 || name[..span.start].ends_with('_');
    begins && name[span.end..].starts_with('-')
}
