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
const MOST_FILLERS: usize = 6;

/// So many words that are not known may be part of a phrase about the agent.
const MOST_UNKNOWN: usize = 2;

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
                Meaning::Without => self.negation(at),
                Meaning::With => {
                    let agent = self.agent_after(at);
                    let found = agent.and_then(|agent| heard(agent + 1, Says::Agent(true), STATED));
                    found.or_else(|| self.with_nothing(at))
                }
                Meaning::Before => self.before_or_after(at, false),
                Meaning::After => self.before_or_after(at, true),
                Meaning::Agent(weight) | Meaning::Given(weight) => self.given(at, *weight),
                Meaning::NotGiven(weight) => heard(self.end_of_denial(at), Says::Agent(false), *weight),
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

    /// A word for the agent, and for nothing else.
    fn is_agent(&self, at: usize) -> bool {
        self.means(at, |meaning| matches!(meaning, Meaning::Agent(_) | Meaning::Given(_)))
            && !self.words[at].is_core()
    }

    /// The end of what is said about the agent that follows a word with at most fillers between them: the place of its
    /// last word.
    fn agent_after(&self, at: usize) -> Option<usize> {
        let next = self.after_fillers(at);
        if self.is_agent(next) {
            return Some(self.last_of_agent(next));
        }
        (self.region.contains(&next) && self.is_letter(next)).then_some(next)
    }

    /// "Gd contrast", "injection de gadolinium": several words for the agent in a row are one phrase.
    fn last_of_agent(&self, first: usize) -> usize {
        let mut last = first;
        loop {
            let next = self.after_fillers(last);
            // "Pre contrast and post contrast"
            let of_its_own = |word: &Word| word.text.starts_with("post") || word.text.starts_with('w');
            if !self.is_agent(next) || self.words[next].sign.is_some() || of_its_own(&self.words[next]) {
                return last;
            }
            last = next;
        }
    }

    /// As [`Self::agent_after`], beyond words that are not known or name the weighting: whether what is said at `at`
    /// reaches the agent, is open.
    fn agent_beyond(&self, at: usize) -> Option<usize> {
        let mut unknown = 0;
        for next in at + 1..self.region.end {
            if self.is_agent(next) {
                return Some(self.last_of_agent(next));
            }
            let passes = |m: &Meaning| matches!(m, Meaning::Filler | Meaning::Weighting(..));
            unknown += usize::from(self.words[next].kind == Kind::Unknown);
            if unknown > MOST_UNKNOWN || self.words[next].is_known() && !self.means(next, passes) {
                return None;
            }
        }
        None
    }

    /// A negation: of the agent, if it follows; and who knows of what, if unknown words are between them.
    fn negation(&self, at: usize) -> Option<Heard> {
        let heard = |end: usize, says, weight| Some(Heard { words: at..end, says, weight });
        if let Some(last) = self.agent_after(at) {
            return heard(last + 1, Says::Agent(false), STATED);
        }
        if let Some(last) = self.agent_beyond(at) {
            return heard(last + 1, Says::Open(Open::Scope), STATED);
        }
        self.with_nothing(at)
    }

    /// "Non-contrast enhanced": the enhancement is denied too.
    fn end_of_denial(&self, at: usize) -> usize {
        let given = |next: usize| {
            self.is_agent(next)
                && self.means(next, |meaning| matches!(meaning, Meaning::Given(_)))
                && self.words[next].sign.is_none()
        };
        let follows = (at + 1..self.region.end).take_while(|next| given(*next)).count();
        if self.words[at].is_core() { at + 1 } else { at + 1 + follows }
    }

    fn after_fillers(&self, at: usize) -> usize {
        // An article is no word of the vocabulary, since it may be the letter of a patient or version.
        let article = |next: usize| ["a", "an"].contains(&self.words[next].text.as_str());
        let fillers = (at + 1..self.region.end)
            .take_while(|next| self.means(*next, |m| *m == Meaning::Filler) || article(*next));
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
            None if self.is_key(at) || self.is_of_pictures(at) => {
                return heard(at + 1, Says::Agent(true), 0);
            }
            None if self.follows_free_minus(at) && self.words[at].text.len() <= 3 => {
                return heard(at + 1, Says::Open(Open::Hyphen), 4);
            }
            None => {}
        }
        let next = self.after_fillers(at);
        let denied = self.means(next, |meaning| *meaning == Meaning::Denies)
            || self.means(next, |meaning| *meaning == Meaning::Without)
                && NO.contains(&self.words[next].text.as_str())
                && self.agent_after(next).is_none();
        if denied {
            return heard(next + 1, Says::Agent(false), STATED);
        }
        let next = at + 1;
        // `GD_PRE`, unless something else follows that it may be before.
        let event = |at: usize| self.means(at, |meaning| *meaning == Meaning::Occasion);
        let time = |wanted: Meaning| self.means(next, |m| *m == wanted) && !event(self.after_fillers(next));
        if time(Meaning::Before) && self.agent_after(next).is_none() {
            return heard(next + 1, Says::Agent(false), STATED);
        }
        heard(next, Says::Agent(true), weight)
    }

    /// The key of BIDS's `ce-nogad`, whose value speaks for itself.
    fn is_key(&self, at: usize) -> bool {
        let span = &self.words[at].span;
        let begins = span.start == 0 || self.name[..span.start].ends_with('_');
        let speaks = |meaning: &Meaning| {
            use Meaning::{After, Agent, Before, Given, NotGiven, Without};
            matches!(meaning, Agent(_) | Given(_) | NotGiven(_) | Without | Before | After)
        };
        let key = self.words[at].text == "ce" && begins && self.name[span.end..].starts_with('-');
        key && self.means(at + 1, speaks)
    }

    /// "Low contrast", "resolution enhanced": said of a picture.
    fn is_of_pictures(&self, at: usize) -> bool {
        let general = ["contr", "kontr", "enh"].iter().any(|word| self.words[at].text.starts_with(word));
        let picture = |at: usize| self.means(at, |meaning| *meaning == Meaning::Picture);
        general && (picture(at + 1) || at > 0 && picture(at - 1))
    }

    /// `T1 - Gd`: a minus sign between spaces.
    fn follows_free_minus(&self, at: usize) -> bool {
        let before = at.checked_sub(1).filter(|before| self.region.contains(before));
        let gap =
            before.and_then(|before| self.name.get(self.words[before].span.end..self.words[at].span.start));
        gap.is_some_and(|gap| gap.trim() == "-" && gap.starts_with(' ') && gap.ends_with(' '))
    }

    /// `pre` and `post`: of the agent, if it follows or nothing else does.
    fn before_or_after(&self, at: usize, after: bool) -> Option<Heard> {
        let heard = |end: usize, says, weight| Some(Heard { words: at..end, says, weight });
        if let Some(agent) = self.agent_after(at) {
            return heard(agent + 1, Says::Agent(after), STATED);
        }
        let next = self.after_fillers(at);
        // "Before and after contrast".
        let opposite = if after { Meaning::Before } else { Meaning::After };
        if next > at + 1
            && self.means(next, |m| *m == opposite)
            && let Some(agent) = self.agent_after(next)
        {
            return heard(agent + 1, Says::Open(Open::WithAndWithout), STATED);
        }
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
        if after && !apart && self.means(next, |meaning| *meaning == Meaning::Step) {
            return heard(next + 1, Says::Open(Open::AfterWhat), 3);
        }
        if !after {
            return match self.agent_beyond(at) {
                Some(agent) => heard(agent + 1, Says::Open(Open::Scope), STATED),
                None if self.words[at].text.len() < 3 => None,
                None => heard(at + 1, Says::Agent(false), 3),
            };
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

    /// `T1 mit`, `T1 ohne` and `T1 AX W` at the end, without a word for the agent. The W after "Dixon" is water.
    fn with_nothing(&self, at: usize) -> Option<Heard> {
        let t1 = |at: usize| self.means(at, |m| matches!(m, Meaning::Weighting(T1, _)));
        let before = (self.region.start..at).rev().take_while(|before| self.words[*before].is_known());
        let dixon = |at: usize| self.words[at].text.ends_with("dixon");
        if (self.region.start..at).any(dixon) {
            return None;
        }
        let (mut apart, mut after_t1) = (false, false);
        for before in before {
            if t1(before) {
                after_t1 = true;
                break;
            }
            apart = true;
        }
        if at + 1 < self.region.end || !after_t1 {
            return None;
        }
        let heard = |says, weight| Some(Heard { words: at..at + 1, says, weight });
        match self.words[at].text.as_str() {
            "plus" if apart => None,
            "w" => heard(Says::Open(Open::Weighted), 3),
            "with" | "w/" | "mit" | "avec" | "met" | "plus" => heard(Says::Agent(true), 3),
            "without" | "w/o" | "wo" | "ohne" | "sans" | "senza" | "sin" | "sem" | "zonder" => {
                heard(Says::Agent(false), 3)
            }
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
        let after = self.name[self.words[at].span.end..].trim_start_matches([' ', '(', '[']);
        let heard = |says, weight| Some(Heard { words: at..at + 1, says, weight });
        match self.words[at].sign {
            Some(Sign::Plus) if after.starts_with('+') => heard(Says::Agent(true), 3),
            Some(Sign::Minus) if after.starts_with('-') => heard(Says::Agent(false), 2),
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
        let gap = self.name.get(self.words[before].span.end..self.words[at].span.start)?;
        if self.means(before, t1) {
            let hyphen = gap.trim() == "-";
            return if hyphen { heard(Says::Open(Open::Hyphen), 4) } else { heard(Says::Agent(true), 4) };
        }
        // `T1-3D-FFE-C`
        let of_t1 = (self.region.start..before).any(|at| self.means(at, t1)) && self.words[before].is_known();
        let open = of_t1 && at + 1 == self.region.end && gap.trim() == "-";
        if open { heard(Says::Open(Open::Hyphen), 4) } else { None }
    }
}
