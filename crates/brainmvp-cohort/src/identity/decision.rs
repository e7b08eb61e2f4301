//! What a file is, from all the evidence; or that it cannot be told.

use brainmvp_volume::{Modality, Role};

use super::NoImage;
use super::evidence::{Evidence, Open, Says, Source, listed};

/// What a file is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The decision.
    pub verdict: Verdict,
    /// Whether a contrast agent was given, if anything says so.
    pub agent: Option<bool>,
    /// All that was heard.
    pub evidence: Vec<Evidence>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The file has this role.
    Is(Role),
    /// It is known, and not an image of a modality.
    Not(NoImage),
    /// The evidence allows several things.
    Open(Doubt),
    /// Nothing says what it is.
    Unknown,
}

/// A question that the evidence leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The modalities that it may be, if that is all that is open.
    pub choices: Vec<Modality>,
    /// What is open, as a clause.
    pub reason: String,
}

impl Finding {
    /// A role that needs no evidence of its own.
    pub fn stated(source: Source, text: impl Into<String>, role: Role) -> Self {
        Self::of(vec![Evidence::stated(source, text, role)])
    }

    /// Decides.
    pub fn of(evidence: Vec<Evidence>) -> Self {
        let (verdict, agent) = Weighing { evidence: &evidence }.verdict();
        Self { verdict, agent, evidence }
    }

    /// The role; `None` if it is open or unknown. What is no image of a modality is [`Role::Ignored`].
    pub fn role(&self) -> Option<Role> {
        match self.verdict {
            Verdict::Is(role) => Some(role),
            Verdict::Not(_) => Some(Role::Ignored),
            Verdict::Open(_) | Verdict::Unknown => None,
        }
    }

    /// The modality, if it is an image of one.
    pub fn modality(&self) -> Option<Modality> {
        match self.verdict {
            Verdict::Is(Role::Image(modality)) => Some(modality),
            _ => None,
        }
    }

    /// The same finding, refused for a reason outside of the evidence.
    #[must_use]
    pub fn doubted(self, reason: String) -> Self {
        Self { verdict: Verdict::Open(Doubt { choices: Vec::new(), reason }), ..self }
    }

    /// Adds what a folder says about the agent, if nothing nearer to the image does.
    pub(crate) fn hear_folder(&mut self, evidence: &Evidence) {
        let told = |e: &Evidence| {
            !matches!(e.source, Source::Attribute(_))
                && matches!(
                    e.says,
                    Says::Agent(_)
                        | Says::Open(
                            Open::AfterWhat
                                | Open::Hyphen
                                | Open::Weighted
                                | Open::WithAndWithout
                                | Open::Scope
                        )
                )
        };
        if !self.is_decided() && !self.evidence.is_empty() && !self.evidence.iter().any(told) {
            let mut evidence_of_all = self.evidence.clone();
            evidence_of_all.push(evidence.clone());
            *self = Self::of(evidence_of_all);
        }
    }

    /// Adds what a label map beside a mask says of it: a mask of the brain, or open.
    pub(crate) fn hear_of_mask(&mut self, evidence: Evidence) {
        let reason = evidence.to_string();
        self.verdict = match evidence.says {
            Says::BrainMask => Verdict::Is(Role::BrainMask),
            _ => Verdict::Open(Doubt { choices: Vec::new(), reason }),
        };
        self.evidence.push(evidence);
    }

    /// Adds what the voxels say of an image whose weighting is open: `left` are the choices that they do not contradict,
    /// `taken` what the other images of the session are. One choice is decided by it, unless it is taken; and for T1 the
    /// agent must be told by the words, or by a T1c in the session.
    pub(crate) fn hear_voxels(&mut self, said: &str, left: &[Modality], taken: &[Modality]) {
        let voxels = |says| Evidence::new(Source::Voxels, said, says, BY_VOXELS);
        let &[only] = left else { return self.evidence.push(voxels(Says::Open(Open::Voxels))) };
        let mut evidence = self.evidence.clone();
        evidence.push(voxels(Says::Weighting(only)));
        let decided = Self::of(evidence);
        let refused = match decided.modality() {
            None => Some(Open::Voxels),
            Some(Modality::T1) if decided.agent.is_none() && !taken.contains(&Modality::T1c) => {
                Some(Open::AnyT1)
            }
            Some(modality) if taken.contains(&modality) => Some(Open::Taken),
            Some(_) => None,
        };
        match refused {
            None => *self = decided,
            Some(open) => self.evidence.push(voxels(Says::Open(open))),
        }
    }

    /// Whether the role is stated, and not weighed.
    pub(super) fn is_decided(&self) -> bool {
        self.evidence.iter().any(|e| matches!(e.says, Says::Is(_)))
    }

    /// Whether a list, a data set or the user states the role.
    pub fn is_stated_by(&self, source: Source) -> bool {
        self.evidence.iter().any(|e| e.source == source && matches!(e.says, Says::Is(_)))
    }

    /// Whether it is a mask that nothing says of what it is: of the brain, or of a lesion.
    pub fn is_bare_mask(&self) -> bool {
        let mask = |e: &Evidence| e.says == Says::Label && e.weight == BARE_MASK;
        self.verdict == Verdict::Is(Role::Label) && self.evidence.iter().any(mask)
    }

    /// The decision in one or a few words.
    pub fn decision(&self) -> String {
        match &self.verdict {
            Verdict::Is(Role::Image(modality)) => modality.to_string(),
            Verdict::Is(Role::Label) => "label".to_owned(),
            Verdict::Is(Role::BrainMask) => "mask".to_owned(),
            Verdict::Is(Role::Ignored) => "not used".to_owned(),
            Verdict::Not(no) => format!("none ({no})"),
            Verdict::Open(doubt) => format!("refused ({})", doubt.reason),
            Verdict::Unknown => "not recognised".to_owned(),
        }
    }

    /// The evidence as a sentence.
    pub fn reason(&self) -> String {
        if self.evidence.is_empty() { "no word of it is known".to_owned() } else { listed(&self.evidence) }
    }
}

/// The weight of what the voxels say, which is heard only where everything else is open: more than any word.
const BY_VOXELS: u8 = 10;

/// The weight of a mask without a word for what it shows.
pub(super) const BARE_MASK: u8 = 3;

struct Weighing<'a> {
    evidence: &'a [Evidence],
}

/// From this weight on evidence for something that is no image outweighs the name of a weighting.
const OUTWEIGHS: u8 = 3;

/// Less than this is too little to go by.
const LEAST: u8 = 2;

/// How far the best weighting must be ahead.
const AHEAD: u8 = 2;

impl Weighing<'_> {
    fn verdict(&self) -> (Verdict, Option<bool>) {
        let stated = self
            .evidence
            .iter()
            .rev()
            .find_map(|e| if let Says::Is(role) = e.says { Some(role) } else { None });
        if let Some(role) = stated {
            return (Verdict::Is(role), None);
        }
        let votes = self.votes();
        if let Some(verdict) = self.not_image(&votes).or_else(|| self.label()).or_else(|| self.open()) {
            return (verdict, None);
        }
        match self.weighting(&votes) {
            Ok(Some(Modality::T1)) => self.with_agent(),
            Ok(Some(Modality::Mra)) => (self.angiography(), self.agent().ok().flatten()),
            Ok(Some(modality)) => (Verdict::Is(Role::Image(modality)), self.agent().ok().flatten()),
            Ok(None) => (Verdict::Unknown, None),
            Err(doubt) => (Verdict::Open(doubt), None),
        }
    }

    fn strongest(&self, wanted: impl Fn(&Evidence) -> bool) -> Option<&Evidence> {
        self.evidence.iter().filter(|e| wanted(e)).max_by_key(|e| e.weight)
    }

    /// The weight of each weighting: of each source, its strongest evidence counts.
    fn votes(&self) -> Vec<(Modality, u8)> {
        let mut votes = Vec::new();
        for modality in Modality::ALL {
            let mut sources: Vec<(Source, u8)> = Vec::new();
            for e in self.evidence.iter().filter(|e| e.says == Says::Weighting(modality)) {
                match sources.iter_mut().find(|(source, _)| *source == e.source) {
                    Some((_, weight)) => *weight = e.weight.max(*weight),
                    None => sources.push((e.source, e.weight)),
                }
            }
            let sum: u8 = sources.iter().map(|(_, weight)| *weight).sum();
            if sum > 0 {
                votes.push((modality, sum));
            }
        }
        votes
    }

    fn not_image(&self, votes: &[(Modality, u8)]) -> Option<Verdict> {
        let strongest = self.strongest(|e| matches!(e.says, Says::Not(_)))?;
        let Says::Not(no) = strongest.says else { return None };
        let of_label = matches!(
            no,
            NoImage::Probability
                | NoImage::Parcellation
                | NoImage::OtherMask
                | NoImage::Transform
                | NoImage::Capture
        );
        if self.label().is_some() && !of_label {
            return None;
        }
        let best = votes.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
        if strongest.weight < OUTWEIGHS {
            return (best < OUTWEIGHS && self.open().is_none()).then_some(Verdict::Not(no));
        }
        // Times alone do not overrule a name, nor the other way round.
        if strongest.source == Source::Times && best >= 6 {
            return None;
        }
        if strongest.source == Source::Times && best >= 4 {
            let reason = format!("its name and its times contradict: {}", listed(self.evidence));
            return Some(Verdict::Open(Doubt { choices: Vec::new(), reason }));
        }
        Some(Verdict::Not(no))
    }

    fn label(&self) -> Option<Verdict> {
        let found = self.strongest(|e| matches!(e.says, Says::Label | Says::BrainMask))?;
        Some(Verdict::Is(if found.says == Says::Label { Role::Label } else { Role::BrainMask }))
    }

    /// What is open whatever the weighting is.
    fn open(&self) -> Option<Verdict> {
        let told = |wanted: &Says| {
            self.evidence.iter().any(|e| matches!(e.source, Source::Attribute(_)) && e.says == *wanted)
        };
        let (uniform, diffusion) =
            (told(&Says::Weighting(Modality::T1)), told(&Says::Weighting(Modality::Dwi)));
        let open = |e: &&Evidence| match e.says {
            Says::Open(Open::Mp2rage) => !uniform,
            Says::Open(Open::BValues) => !diffusion,
            Says::Open(Open::Lesion | Open::Target | Open::Patient) => true,
            _ => false,
        };
        let reason = self.evidence.iter().find(open)?.to_string();
        Some(Verdict::Open(Doubt { choices: Vec::new(), reason }))
    }

    /// The weighting; `None` if nothing says it.
    fn weighting(&self, votes: &[(Modality, u8)]) -> Result<Option<Modality>, Doubt> {
        let mut votes = votes.to_vec();
        self.combine(&mut votes);
        votes.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
        match votes.as_slice() {
            [] => Ok(None),
            [(_, weight), ..] if *weight < LEAST => Ok(None),
            [(best, _)] => Ok(Some(*best)),
            [(best, weight), (_, second), ..] if *weight >= second + AHEAD => Ok(Some(*best)),
            _ => {
                let choices = votes.iter().map(|(modality, _)| *modality).collect();
                let said = self.evidence.iter().filter(|e| matches!(e.says, Says::Weighting(_)));
                let said: Vec<String> = said.map(ToString::to_string).collect();
                Err(Doubt { choices, reason: format!("contradictory: {}", said.join("; ")) })
            }
        }
    }

    /// Names of sequences consist of two weightings: T2-FLAIR, T1-FLAIR, DWI-ADC. Of two echoes, the time decides.
    fn combine(&self, votes: &mut Vec<(Modality, u8)>) {
        use Modality::{Adc, Dwi, Flair, Mra, Pd, T1, T2};
        let weight = |modality| votes.iter().find(|(is, _)| *is == modality).map_or(0, |(_, weight)| *weight);
        let [t1, t2, flair, pd] = [T1, T2, Flair, Pd].map(weight);
        let mut dropped = Vec::new();
        if weight(Adc) > 0 {
            dropped.push(Dwi);
        }
        // Time of flight is a spoiled gradient echo.
        if weight(Mra) >= 4 && t1 < 4 {
            dropped.push(T1);
        }
        if flair >= 3 && t2 > 0 && t1 < 4 {
            dropped.push(T2);
        }
        if t1 >= 4 && flair > 0 && t2 == 0 && self.is_t1_flair() {
            dropped.push(Flair);
        }
        if pd > 0 && t2 > 0 {
            let te = self.evidence.iter().find_map(|e| match (e.source, &e.says) {
                (Source::Times, Says::Weighting(modality)) => Some(*modality),
                _ => None,
            });
            dropped.extend(
                te.map(|told| if told == Pd { T2 } else { Pd }).filter(|_| te == Some(Pd) || te == Some(T2)),
            );
        }
        votes.retain(|(modality, _)| !dropped.contains(modality));
    }

    /// In "T1 FLAIR" the inversion nulls fluid in a T1-weighted image; "FLAIR T1" may mean anything. Times that say FLAIR
    /// contradict.
    fn is_t1_flair(&self) -> bool {
        let place = |modality| {
            self.evidence.iter().position(|e| {
                e.says == Says::Weighting(modality) && e.weight >= 3 && e.source != Source::Times
            })
        };
        let by_times = |modality| {
            self.evidence.iter().any(|e| e.source == Source::Times && e.says == Says::Weighting(modality))
        };
        let Some((t1, flair)) = place(Modality::T1).zip(place(Modality::Flair)) else { return false };
        !by_times(Modality::Flair) && (t1 < flair || by_times(Modality::T1))
    }

    fn with_agent(&self) -> (Verdict, Option<bool>) {
        match self.agent() {
            Ok(Some(true)) => (Verdict::Is(Role::Image(Modality::T1c)), Some(true)),
            Ok(agent) => (Verdict::Is(Role::Image(Modality::T1)), agent),
            Err(reason) => {
                let choices = vec![Modality::T1, Modality::T1c];
                (Verdict::Open(Doubt { choices, reason }), None)
            }
        }
    }

    /// Whether an agent was given; `None` if nothing says so. What the words say comes before the attribute, which some
    /// scanners fill in for all series of an examination.
    fn agent(&self) -> Result<Option<bool>, String> {
        let words = |e: &Evidence| !matches!(e.source, Source::Attribute(_));
        let by_words = |given| self.strongest(|e| words(e) && e.says == Says::Agent(given));
        let weight = |given| by_words(given).map_or(0, |e| e.weight);
        let (given, not) = (weight(true), weight(false));
        let open = self.evidence.iter().find(|e| {
            matches!(
                e.says,
                Says::Open(
                    Open::AfterWhat | Open::Hyphen | Open::Weighted | Open::WithAndWithout | Open::Scope
                )
            )
        });
        let both =
            self.evidence.iter().find(|e| matches!(e.says, Says::Open(Open::WithAndWithout | Open::Scope)));
        if let Some(open) = both {
            return Err(open.to_string());
        }
        let attribute = self.strongest(|e| !words(e) && matches!(e.says, Says::Agent(_)));
        let attribute = attribute.map(|e| e.says == Says::Agent(true));
        match (given, not) {
            (0, 0) => match (open, attribute) {
                (Some(open), None | Some(false)) => Err(open.to_string()),
                (_, attribute) => Ok(attribute),
            },
            // `pre_x_post`: both times.
            (0, 3) if open.is_some() => Err(open.map_or(String::new(), ToString::to_string)),
            (given, not) if given.min(not) >= 3 || given == not => {
                let said: Vec<String> = [by_words(true), by_words(false)]
                    .into_iter()
                    .flatten()
                    .map(ToString::to_string)
                    .collect();
                Err(format!("contradictory: {}", said.join("; ")))
            }
            (given, not) => Ok(Some(given > not)),
        }
    }

    /// Angiography with a contrast agent is another contrast than time of flight.
    fn angiography(&self) -> Verdict {
        let tof = |e: &Evidence| {
            let text = e.text.to_lowercase();
            e.says == Says::Weighting(Modality::Mra)
                && ["tof", "flight"].iter().any(|word| text.contains(word))
        };
        if self.agent() == Ok(Some(true)) && !self.evidence.iter().any(tof) {
            let reason = "angiography with a contrast agent, not by time of flight".to_owned();
            return Verdict::Open(Doubt { choices: Vec::new(), reason });
        }
        Verdict::Is(Role::Image(Modality::Mra))
    }
}
