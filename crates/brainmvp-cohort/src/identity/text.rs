//! What a text says: the name of a file or folder, or the description of a series.

use std::ops::Range;

use brainmvp_volume::Modality;

use super::agent;
use super::decision::BARE_MASK;
use super::evidence::{Evidence, Open, Says, Source};
use super::meaning::{Meaning, NoImage};
use super::region;
use super::vocabulary::Aliases;
use super::words::{Kind, Word, words};

/// What was heard in a text.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) evidence: Vec<Evidence>,
    /// The echo time that the text states.
    pub(super) echo_time_ms: Option<u32>,
    /// Whether it names a sequence whose times look like those of T1: time of flight, balanced echoes.
    pub(super) looks_like_t1: bool,
    /// Where the description begins in the text, in bytes.
    pub(super) start: usize,
    /// Where the words that decide end, in bytes.
    pub(super) end: usize,
    /// The other words of the description, in lower case.
    pub(super) rest: Vec<String>,
}

/// Hears a text. The names of files and folders may begin with a patient or case; all of a description counts.
pub(super) fn hear(text: &str, source: Source, aliases: &Aliases) -> Heard {
    hear_part(text, source, aliases, matches!(source, Source::Name | Source::Folder))
}

/// Hears a text of which all counts.
pub(super) fn hear_all(text: &str, source: Source, aliases: &Aliases) -> Heard {
    hear_part(text, source, aliases, false)
}

fn hear_part(text: &str, source: Source, aliases: &Aliases, after_patient: bool) -> Heard {
    let words = words(text, aliases);
    let muted = region::targets(text, &words);
    let description = if after_patient {
        region::description(&words, &muted)
    } else {
        region::Description { words: 0..words.len(), doubt: None }
    };
    let region = description.words;
    let listener = Listener { text, source, words: &words, muted: &muted, region: region.clone() };
    let mut heard = Heard { evidence: listener.evidence(), ..Heard::default() };
    if after_patient {
        let target = region::lone_target(&words, &muted, &region);
        let doubts = [(description.doubt, Open::Patient), (target, Open::Target)];
        let doubts = doubts.into_iter().filter_map(|(words, open)| Some((words?, open)));
        heard.evidence.extend(doubts.map(|(words, open)| listener.says(words, Says::Open(open), 4)));
    }
    heard.echo_time_ms = listener.meanings().find_map(|(_, meaning)| match meaning {
        Meaning::EchoTime(ms) => Some(ms),
        _ => None,
    });
    let looks_like_t1 = |(at, meaning): (usize, Meaning)| match meaning {
        Meaning::Weighting(Modality::Mra, _) => true,
        // T2 by a sequence, not by its name: balanced echoes.
        Meaning::Weighting(Modality::T2, 3..) => !words[at].text.starts_with("t2"),
        _ => false,
    };
    heard.looks_like_t1 = listener.meanings().any(looks_like_t1);
    let description = first_of_description(&words, &region)..region.end;
    heard.start = words.get(description.start).map_or(text.len(), |word| word.span.start);
    let speaks = |at: &usize| words[*at].is_core() && !muted[*at];
    let last = region.clone().rev().find(speaks);
    let first = region.clone().find(speaks);
    let core_end = first.map_or(heard.start, |at| words[at].span.end);
    heard.end = last.map_or(core_end, |at| words[at].span.end);
    let rest = description.filter(|at| Some(*at) != first);
    heard.rest = rest.map(|at| words[at].text.clone()).collect();
    heard
}

/// The first word of a description. An event at its front (`pre_op_T1`, `stroke_T1`) rather belongs to the name of a
/// case.
fn first_of_description(words: &[Word], region: &Range<usize>) -> usize {
    let event = |at: usize| words.get(at).is_some_and(|word| word.means(Meaning::Occasion));
    let time = |at: usize| words[at].means(Meaning::Before) || words[at].means(Meaning::After);
    let mut at = region.start;
    while region.contains(&at) && (event(at) || time(at) && event(at + 1)) {
        at += 1;
    }
    at
}

struct Listener<'a> {
    text: &'a str,
    source: Source,
    words: &'a [Word],
    muted: &'a [bool],
    region: Range<usize>,
}

impl Listener<'_> {
    /// The meanings of the words that count, each with the place of its word.
    fn meanings(&self) -> impl Iterator<Item = (usize, Meaning)> {
        let heard = self.region.clone().filter(|at| !self.muted[*at]);
        heard.flat_map(|at| self.words[at].meanings().iter().map(move |meaning| (at, *meaning)))
    }

    fn find(&self, wanted: impl Fn(Meaning) -> bool) -> Option<usize> {
        self.meanings().find(|(_, meaning)| wanted(*meaning)).map(|(at, _)| at)
    }

    fn says(&self, words: Range<usize>, says: Says, weight: u8) -> Evidence {
        let text = &self.text[self.words[words.start].span.start..self.words[words.end - 1].span.end];
        Evidence::new(self.source, text, says, weight)
    }

    fn evidence(&self) -> Vec<Evidence> {
        let mut found: Vec<Evidence> = self.users();
        found.extend(self.weightings());
        found.extend(self.not_images());
        found.extend(self.labels());
        let agents = agent::heard(self.text, self.words, self.muted, self.region.clone());
        found.extend(agents.into_iter().map(|heard| {
            let text = self.with_signs(&heard.words);
            Evidence::new(self.source, text, heard.says, heard.weight)
        }));
        found
    }

    /// The text of words with a sign beside them: `+C`.
    fn with_signs(&self, words: &Range<usize>) -> &str {
        let (first, last) = (&self.words[words.start], &self.words[words.end - 1]);
        let sign = ['+', '-'];
        let before = first.sign.is_some() && self.text[..first.span.start].ends_with(sign);
        let after = last.sign.is_some() && self.text[last.span.end..].starts_with(sign);
        &self.text[first.span.start - usize::from(before)..last.span.end + usize::from(after)]
    }

    /// The user's words.
    fn users(&self) -> Vec<Evidence> {
        let user = |at: usize| match self.words[at].kind {
            Kind::User(role) if !self.muted[at] => {
                Some(Evidence::stated(Source::User, &self.text[self.words[at].span.clone()], role))
            }
            _ => None,
        };
        self.region.clone().filter_map(user).collect()
    }

    fn weightings(&self) -> Vec<Evidence> {
        let states =
            |modality| self.find(move |m| matches!(m, Meaning::Weighting(is, 4..) if is == modality));
        let mp2rage = self.find(|meaning| meaning == Meaning::Mp2rage);
        let mut found = Vec::new();
        for (at, meaning) in self.meanings() {
            let said = match meaning {
                Meaning::Weighting(modality, weight) => Some((modality, weight)),
                Meaning::BValue(500..) => Some((Modality::Dwi, 4)),
                Meaning::Flash => Some((Modality::T1, 1)),
                Meaning::Uni if mp2rage.is_some() => Some((Modality::T1, 4)),
                Meaning::T1Images if mp2rage.is_none() => Some((Modality::T1, 4)),
                Meaning::Mpr if self.is_mprage(at) => Some((Modality::T1, 3)),
                _ => None,
            };
            found.extend(
                said.map(|(modality, weight)| self.says(at..at + 1, Says::Weighting(modality), weight)),
            );
        }
        if let Some(at) = mp2rage {
            let told = self.find(|m| {
                matches!(
                    m,
                    Meaning::Uni | Meaning::T1Images | Meaning::Not(NoImage::Inversion | NoImage::Map, _)
                )
            });
            // "MP2RAGE T1" may be the map, but that is not called weighted.
            let weighted = self.words.iter().any(|word| word.text.starts_with("t1w"));
            if told.is_none() && !weighted {
                found.push(self.says(at..at + 1, Says::Open(Open::Mp2rage), 4));
            }
        }
        let b_values = |low: bool| {
            self.find(move |m| match m {
                Meaning::BZero => low,
                Meaning::BValue(b) => (b < 500) == low,
                _ => false,
            })
        };
        if let (Some(low), Some(high)) = (b_values(true), b_values(false))
            && states(Modality::Adc).is_none()
        {
            found.push(self.says(low.min(high)..low.max(high) + 1, Says::Open(Open::BValues), 4));
        }
        found
    }

    /// MPR is short for MPRAGE, unless the sequence is named as well, or the agent before it: "T1 SAG POST MPR".
    fn is_mprage(&self, at: usize) -> bool {
        use Meaning::{After, Agent, Given};
        let agent = |meaning: &Meaning| matches!(meaning, Agent(_) | Given(_) | After);
        let before = at.checked_sub(1).filter(|before| self.region.contains(before));
        if before.is_some_and(|before| {
            let word = &self.words[before];
            !word.is_core() && word.meanings().iter().any(agent)
        }) {
            return false;
        }
        let other = |(other, meaning): (usize, Meaning)| {
            other != at
                && match meaning {
                    Meaning::Weighting(Modality::T1, weight) => weight == 3,
                    Meaning::Weighting(..) | Meaning::Space | Meaning::Mp2rage => true,
                    _ => false,
                }
        };
        !self.meanings().any(other)
    }

    fn not_images(&self) -> Vec<Evidence> {
        let weighting =
            |modality| self.find(move |m| matches!(m, Meaning::Weighting(is, _) if is == modality));
        let (adc, dwi) = (weighting(Modality::Adc), weighting(Modality::Dwi));
        let high = self.find(|meaning| matches!(meaning, Meaning::BValue(500..))).is_some();
        let mut found = Vec::new();
        for (at, meaning) in self.meanings() {
            let said = match meaning {
                Meaning::BZero | Meaning::BValue(..500) if high => None,
                Meaning::Not(NoImage::Map, _) if adc.is_some() => None,
                Meaning::Not(NoImage::DoubleInversion, _) if dwi.is_some() => None,
                // Two letters such as FA may be a person's, but not beside diffusion.
                Meaning::Not(NoImage::Diffusion, 2) if dwi.is_some() => Some((NoImage::Diffusion, 4)),
                Meaning::Not(no, weight) => Some((no, weight)),
                Meaning::Prefix(no) => Some((no, 4)),
                Meaning::Mpr if !self.is_mprage(at) => Some((NoImage::Reformat, 4)),
                Meaning::T1Images if self.find(|m| m == Meaning::Mp2rage).is_some() => {
                    Some((NoImage::Map, 4))
                }
                Meaning::BZero | Meaning::BValue(..500) => Some((NoImage::Diffusion, 4)),
                Meaning::Sub if self.is_difference(at) => Some((NoImage::Difference, 4)),
                Meaning::Tissue => self.tissue(at),
                _ => None,
            };
            found.extend(said.map(|(no, weight)| self.says(at..at + 1, Says::Not(no), weight)));
        }
        found.extend(self.prefix());
        found.extend(self.gradient_t2());
        found.extend(self.fat_of_dixon());
        found.extend(self.difference_of_t1());
        if let Some(minus) = self.find(|meaning| meaning == Meaning::Minus) {
            let both = [Meaning::Before, Meaning::After].map(|wanted| self.find(move |m| m == wanted));
            let weighting = |(_, meaning): &(usize, Meaning)| matches!(meaning, Meaning::Weighting(..));
            let around = self.meanings().filter(weighting).any(|(at, _)| at < minus)
                && self.meanings().filter(weighting).any(|(at, _)| at > minus);
            if around || both.iter().all(Option::is_some) {
                found.push(self.says(minus..minus + 1, Says::Not(NoImage::Difference), 4));
            }
        }
        found
    }

    /// The F at the end of Dixon's images, or "fat".
    fn fat_of_dixon(&self) -> Option<Evidence> {
        let dixon = self.region.clone().find(|at| self.words[*at].text.ends_with("dixon"))?;
        let last = self.region.end - 1;
        let fat = ["f", "fat"].contains(&self.words[last].text.as_str()) && last > dixon;
        fat.then(|| self.says(last..last + 1, Says::Not(NoImage::Fat), 4))
    }

    /// `T1ce-T1`.
    fn difference_of_t1(&self) -> Option<Evidence> {
        let t1 = |at: usize| {
            let word = &self.words[at];
            let agent = word.meanings().iter().any(|m| matches!(m, Meaning::Given(_)));
            word.means(Meaning::Weighting(Modality::T1, 4)).then_some(agent)
        };
        let minus = |at: &usize| {
            let gap = self.text.get(self.words[*at].span.end..self.words[at + 1].span.start);
            gap.is_some_and(|gap| gap.trim() == "-")
        };
        let pairs = self.region.start..self.region.end.saturating_sub(1);
        let mut found =
            pairs.filter(minus).filter(|at| matches!((t1(*at), t1(at + 1)), (Some(a), Some(b)) if a != b));
        found.next().map(|at| self.says(at..at + 2, Says::Not(NoImage::Difference), 4))
    }

    /// SPM's letters before a name that begins with the patient.
    fn prefix(&self) -> Option<Evidence> {
        let prefix = |at: usize| match self.words[at].meanings() {
            [Meaning::Prefix(no)] => Some(self.says(at..at + 1, Says::Not(*no), 4)),
            _ => None,
        };
        (0..self.region.start).find_map(prefix)
    }

    /// "sub" is a subject at the front, and a subtraction elsewhere.
    fn is_difference(&self, at: usize) -> bool {
        let weighting = |word: &Word| word.meanings().iter().any(|m| matches!(m, Meaning::Weighting(..)));
        let after = &self.text[self.words[at].span.end..];
        let before = self.words[self.region.start..at].iter().any(weighting);
        // "Sub Ax T1"
        let known =
            self.words[at + 1..].iter().take_while(|word| word.is_known() && !weighting(word)).count();
        let follows = self.words.get(at + 1 + known).is_some_and(weighting);
        (before || follows) && !after.starts_with('-')
    }

    /// A tissue makes a name that of a map, but not a mask of its own, nor a word of a sequence.
    fn tissue(&self, at: usize) -> Option<(NoImage, u8)> {
        let shown = self.find(|m| matches!(m, Meaning::Segmentation | Meaning::Mask)).is_some();
        let image = self.words[self.region.start..at].iter();
        let image = image.flat_map(Word::meanings).any(|m| matches!(m, Meaning::Weighting(..)));
        match (shown, image) {
            (true, _) => Some((NoImage::Probability, 5)),
            (false, true) => Some((NoImage::Probability, 3)),
            _ => None,
        }
    }

    /// A gradient echo with T2 is T2*.
    fn gradient_t2(&self) -> Option<Evidence> {
        let gradient = self.find(|meaning| meaning == Meaning::Gradient)?;
        let t2 = self.meanings().find(|(at, m)| {
            matches!(m, Meaning::Weighting(Modality::T2, 4..)) && self.words[*at].text.starts_with("t2")
        });
        let (t2, _) = t2?;
        let spin = self.find(|m| matches!(m, Meaning::SpinEcho | Meaning::Weighting(Modality::T2, 2)));
        let words = t2.min(gradient)..t2.max(gradient) + 1;
        spin.is_none().then(|| self.says(words, Says::Not(NoImage::Susceptibility), 4))
    }

    fn labels(&self) -> Option<Evidence> {
        /// Words for what is left when a head is stripped.
        const BRAIN: [&str; 9] =
            ["brain", "bet", "hdbet", "hd bet", "skull", "synthstrip", "robex", "skullstripped", "stripped"];
        let of = |wanted: Meaning| self.find(move |meaning| meaning == wanted);
        let (structure, segmentation, mask) =
            (of(Meaning::Structure), of(Meaning::Segmentation), of(Meaning::Mask));
        if let Some(at) = of(Meaning::BrainMask) {
            return Some(self.says(at..at + 1, Says::BrainMask, 4));
        }
        if let Some(at) = segmentation.or(mask) {
            let of_brain = self.region.clone().find(|at| BRAIN.contains(&self.words[*at].text.as_str()));
            let lesion = structure.is_some() || segmentation.is_some();
            return Some(match of_brain.filter(|_| !lesion) {
                Some(brain) => self.says(brain.min(at)..brain.max(at) + 1, Says::BrainMask, 4),
                None => self.says(at..at + 1, Says::Label, if lesion { 4 } else { BARE_MASK }),
            });
        }
        // A description names the disease that the image was made for.
        let at = structure.filter(|_| matches!(self.source, Source::Name | Source::Folder))?;
        let follows =
            |(other, meaning): (usize, Meaning)| other > at && matches!(meaning, Meaning::Weighting(..));
        let says = if self.meanings().any(follows) { Says::Open(Open::Lesion) } else { Says::Label };
        Some(self.says(at..at + 1, says, 4))
    }
}
