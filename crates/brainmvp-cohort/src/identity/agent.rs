//! What the words say about the contrast agent: negations, `pre` and `post`, signs.

use std::ops::Range;

use brainmvp_volume::Modality::T1;

use super::evidence::{Open, Says};
use super::meaning::Meaning;
use super::words::{Kind, Sign, Word};

/// What one or more words say about the agent.
pub(super) struct Heard {
    /// The words.
    pub(super) words: Range<usize>,
    pub(super) says: Says,
    pub(super) weight: u8,
}

/// What is said about the agent in the words `region`, except in muted ones.
pub(super) fn heard(name: &str, words: &[Word], muted: &[bool], region: Range<usize>) -> Vec<Heard> {
    let listener = Listener { name, words, muted, region };
    let mut found = Vec::new();
    let mut at = listener.region.start;
    while at < listener.region.end {
        let heard = if muted[at] { None } else { listener.at(at) };
        at = heard.as_ref().map_or(at, |heard| heard.words.end - 1) + 1;
        found.extend(heard.filter(|heard| heard.weight > 0));
    }
    found
}

/// More than a few words between a negation and its agent have another meaning.
const MOST_FILLERS: usize = 3;

/// What a phrase states, before any single word.
const STATED: u8 = 5;

struct Listener<'a> {
    name: &'a str,
    words: &'a [Word],
    muted: &'a [bool],
    region: Range<usize>,
}

impl Listener<'_> {
    fn at(&self, at: usize) -> Option<Heard> {
        let word = &self.words[at];
        let heard = |end: usize, says, weight| Some(Heard { words: at..end, says, weight });
        for meaning in word.meanings() {
            let found = match meaning {
                Meaning::Both => heard(at + 1, Says::Open(Open::WithAndWithout), STATED),
                Meaning::Without => {
                    let agent = self.agent_after(at);
                    agent.and_then(|agent| heard(agent + 1, Says::Agent(false), STATED))
                }
                Meaning::With => {
                    let agent = self.agent_after(at);
                    let found = agent.and_then(|agent| heard(agent + 1, Says::Agent(true), STATED));
                    found.or_else(|| self.with_nothing(at))
                }
                Meaning::Before => self.before_or_after(at, false),
                Meaning::After => self.before_or_after(at, true),
                Meaning::Agent(weight) | Meaning::Given(weight) => self.given(at, *weight),
                Meaning::NotGiven(weight) => heard(at + 1, Says::Agent(false), *weight),
                _ => None,
            };
            if found.is_some() {
                return found;
            }
        }
        self.sign_of_t1(at).or_else(|| self.letter(at))
    }

    fn means(&self, at: usize, wanted: impl Fn(&Meaning) -> bool) -> bool {
        self.region.contains(&at) && !self.muted[at] && self.words[at].meanings().iter().any(wanted)
    }

    /// The agent that follows a word, with at most fillers between them.
    fn agent_after(&self, at: usize) -> Option<usize> {
        let next = self.after_fillers(at);
        let agent = self.means(next, |meaning| matches!(meaning, Meaning::Agent(_) | Meaning::Given(_)));
        let letter = self.region.contains(&next) && self.is_letter(next);
        (agent || letter).then_some(next)
    }

    fn after_fillers(&self, at: usize) -> usize {
        let fillers =
            (at + 1..self.region.end).take_while(|next| self.means(*next, |m| *m == Meaning::Filler));
        at + 1 + fillers.take(MOST_FILLERS).count()
    }

    fn is_letter(&self, at: usize) -> bool {
        self.words[at].text == "c" && self.words[at].kind == Kind::Unknown
    }

    /// An agent, or a word that says that it was given: unless a sign or a word after it says the opposite.
    fn given(&self, at: usize, weight: u8) -> Option<Heard> {
        const NO: [&str; 14] = [
            "none", "no", "neg", "negative", "negativ", "off", "non", "not", "without", "ohne", "sans",
            "senza", "sem", "zonder",
        ];
        let heard = |end: usize, says, weight| Some(Heard { words: at..end, says, weight });
        match self.words[at].sign {
            Some(Sign::Minus) => return heard(at + 1, Says::Agent(false), STATED),
            Some(Sign::Plus) => return heard(at + 1, Says::Agent(true), STATED),
            Some(Sign::Both) => return heard(at + 1, Says::Open(Open::WithAndWithout), STATED),
            None => {}
        }
        let next = at + 1;
        let denied = self.means(next, |meaning| *meaning == Meaning::Without)
            && NO.contains(&self.words[next].text.as_str())
            && self.agent_after(next).is_none();
        if denied {
            return heard(next + 1, Says::Agent(false), STATED);
        }
        // `GD_PRE`, unless something else follows that it may be before.
        let event = |at: usize| self.means(at, |meaning| *meaning == Meaning::Occasion);
        let time = |wanted: Meaning| self.means(next, |m| *m == wanted) && !event(self.after_fillers(next));
        if time(Meaning::Before) && self.agent_after(next).is_none() {
            return heard(next + 1, Says::Agent(false), STATED);
        }
        heard(next, Says::Agent(true), weight)
    }

    /// `pre` and `post`: of the agent, if it follows or nothing else does.
    fn before_or_after(&self, at: usize, after: bool) -> Option<Heard> {
        let heard = |end: usize, says, weight| Some(Heard { words: at..end, says, weight });
        if let Some(agent) = self.agent_after(at) {
            return heard(agent + 1, Says::Agent(after), STATED);
        }
        let next = self.after_fillers(at);
        // "T1 POST: Processed" is two things.
        let apart =
            self.words.get(at + 1).and_then(|word| self.name.get(self.words[at].span.end..word.span.start));
        let apart = apart.is_some_and(|gap| gap.contains([':', ';', ',', '(']));
        if !apart && self.means(next, |meaning| *meaning == Meaning::Occasion) {
            // Before or after something else: heard, but it says nothing about the agent.
            return heard(next + 1, Says::Agent(after), 0);
        }
        if at > 0 && self.means(at - 1, |meaning| *meaning == Meaning::Occasion) {
            return None;
        }
        if !after {
            return heard(at + 1, Says::Agent(false), 2);
        }
        // Not every language has the same word for it, and short ones have other meanings.
        if self.words[at].text.len() < 3 {
            return None;
        }
        let known_before = at > self.region.start && self.words[at - 1].is_known();
        let right = self.words.get(at + 1).filter(|_| at + 1 < self.region.end);
        let core_follows = right.is_some_and(Word::is_core);
        // A date, or something that is not known.
        let event_follows = right.is_some_and(|word| match word.kind {
            Kind::Unknown => word.text.len() > 2,
            Kind::Number(digits) => digits > 3,
            _ => word.glued && word.text.len() > 3 && word.text.bytes().all(|b| b.is_ascii_digit()),
        });
        if (known_before || core_follows) && !event_follows {
            return heard(at + 1, Says::Agent(true), 3);
        }
        heard(at + 1, Says::Open(Open::AfterWhat), 3)
    }

    /// `T1 mit` and `T1 AX W` at the end, without a word for the agent. The W after "Dixon" is water.
    fn with_nothing(&self, at: usize) -> Option<Heard> {
        let t1 = |at: usize| self.means(at, |m| matches!(m, Meaning::Weighting(T1, _)));
        let before = (self.region.start..at).rev().take_while(|before| self.words[*before].is_known());
        let (mut apart, mut after_t1) = (false, false);
        for before in before {
            if t1(before) {
                after_t1 = true;
                break;
            }
            apart = true;
            if self.words[before].text.ends_with("dixon") {
                return None;
            }
        }
        if at + 1 < self.region.end || !after_t1 {
            return None;
        }
        let heard = |says, weight| Some(Heard { words: at..at + 1, says, weight });
        match self.words[at].text.as_str() {
            "plus" if apart => None,
            "w" => heard(Says::Open(Open::Weighted), 3),
            "with" | "w/" | "mit" | "avec" | "met" | "plus" => heard(Says::Agent(true), 3),
            _ => None,
        }
    }

    /// `T1+` and `T1-`.
    fn sign_of_t1(&self, at: usize) -> Option<Heard> {
        let t1 = |meaning: &Meaning| matches!(meaning, Meaning::Weighting(T1, 4..));
        let next = self.region.contains(&(at + 1)).then(|| &self.words[at + 1]);
        if !self.means(at, t1) || next.is_some_and(|next| next.sign.is_some() || next.text == "c") {
            return None;
        }
        let end = self.words[at].span.end;
        let heard = |says, weight| Some(Heard { words: at..at + 1, says, weight });
        match self.words[at].sign {
            Some(Sign::Plus) if self.name[end..].trim_start().starts_with('+') => heard(Says::Agent(true), 3),
            Some(Sign::Minus) if self.name[end..].trim_start().starts_with('-') => {
                heard(Says::Agent(false), 2)
            }
            _ => None,
        }
    }

    /// The letter C beside T1: `+C`, `C-`, `T1_C`.
    fn letter(&self, at: usize) -> Option<Heard> {
        if !self.is_letter(at) {
            return None;
        }
        let heard = |says, weight| Some(Heard { words: at..at + 1, says, weight });
        match self.words[at].sign {
            Some(Sign::Plus) => return heard(Says::Agent(true), STATED),
            Some(Sign::Minus) => return heard(Says::Agent(false), STATED),
            Some(Sign::Both) => return heard(Says::Open(Open::WithAndWithout), STATED),
            None => {}
        }
        let before = at.checked_sub(1).filter(|before| self.region.contains(before))?;
        let t1 = |meaning: &Meaning| matches!(meaning, Meaning::Weighting(T1, _));
        if !self.means(before, t1) {
            return None;
        }
        let gap = self.name.get(self.words[before].span.end..self.words[at].span.start)?;
        if gap == "-" { heard(Says::Open(Open::Hyphen), 4) } else { heard(Says::Agent(true), 4) }
    }
}
