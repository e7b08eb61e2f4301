//! Which words of a name describe the image: not those of the patient's name, nor those of the image that it was
//! registered to.

use std::ops::Range;

use super::meaning::Meaning;
use super::words::{Kind, Word};

/// The words that describe the image, as a range of `words`.
///
/// A file's name begins with the patient: its description begins where known words lead without a gap to the last word
/// that says what the file is. Of `CE-001_T1` it is `T1`. Everything after that belongs to it.
pub(super) fn description(words: &[Word], muted: &[bool]) -> Range<usize> {
    let Some(last) = (0..words.len()).rev().find(|at| words[*at].is_core() && !muted[*at]) else {
        return words.len()..words.len();
    };
    if last == 0 && is_somebodys(words) {
        return words.len()..words.len();
    }
    let known = (0..last).rev().take_while(|at| words[*at].is_known() && !is_numbered(words, *at)).count();
    last - known..words.len()
}

/// `PD-001`, `ASL_02`: a short word with a number is a patient, not a kind of image.
fn is_somebodys(words: &[Word]) -> bool {
    let [first, second, ..] = words else { return false };
    let short = first.text.len() <= 3 && !first.text.starts_with(['t', 'b']);
    short && matches!(second.kind, Kind::Number(2..))
}

/// Whether a word belongs to `PET01`, which before the description is a patient, not a kind of image.
fn is_numbered(words: &[Word], at: usize) -> bool {
    let number = |word: &Word| word.glued && word.text.bytes().all(|b| b.is_ascii_digit());
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
        let earlier = words[..at].iter().zip(&muted).any(|(word, muted)| names_image(word) && !muted);
        if !earlier || muted[at] {
            continue;
        }
        let marks = |meaning| words[at].means(meaning);
        let next = words.get(at + 1);
        // `T2_2_T1`
        let two = words[at].text == "2" && names_image(&words[at - 1]);
        let leads = two
            || marks(Meaning::To)
            || marks(Meaning::Registered)
            || marks(Meaning::Reference)
            || marks(Meaning::Space) && is_entity(name, words, at);
        if leads && next.is_some_and(names_image) {
            let length = words[at + 1..].iter().take_while(|word| belongs_to_target(word)).count();
            muted[at + 1..=at + length].fill(true);
        }
        // `T2_T1space`, but not `T2_FLAIR_space`, which is acquired by SPACE.
        let before = &words[at - 1];
        let t1 = before.means(Meaning::Weighting(brainmvp_volume::Modality::T1, 4));
        let other = words[..at - 1].iter().any(states_other_than_t1);
        if marks(Meaning::Space) && t1 && other {
            muted[at - 1] = true;
        }
    }
    muted
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
    let other = |meaning: &Meaning| matches!(meaning, Meaning::Weighting(modality, 4..) if *modality != brainmvp_volume::Modality::T1);
    word.meanings().iter().any(other)
}

/// Whether a word is the key of an entity of BIDS, as in `_space-T1w`.
fn is_entity(name: &str, words: &[Word], at: usize) -> bool {
    let span = &words[at].span;
    let begins = span.start == 0 || name[..span.start].ends_with('_');
    begins && name[span.end..].starts_with('-')
}
