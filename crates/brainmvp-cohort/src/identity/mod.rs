//! What an image is: one model for the names of files, the descriptions of series and the attributes of acquisitions.
//!
//! An identity is a weighting and a preparation (fluid nulled), with or without contrast agent; or it is known that the
//! file is no image of a modality: a map, a difference, a mask... Everything that speaks is [`Evidence`]: words
//! (`vocabulary.txt`) and what they say together (negations, `pre` and `post`, targets of registration), attributes
//! ([`Acquisition`]), and the other images of the session ([`settle`]). [`Finding::of`] weighs it. What stays open is not
//! guessed: it is refused with the evidence, and the user's words ([`Aliases`]) decide.
//!
//! A new word is a word in `vocabulary.txt`.

mod acquisition;
mod agent;
mod decision;
mod entities;
mod evidence;
mod meaning;
mod region;
mod session;
mod sidecar;
mod text;
mod token;
mod vocabulary;
mod words;

use brainmvp_volume::{Modality, Role};

pub use acquisition::Acquisition;
pub use decision::{Doubt, Finding, Verdict};
pub use entities::of_entities;
pub use evidence::{Evidence, Open, Says, Source, listed};
pub use meaning::NoImage;
pub use session::settle;
pub use vocabulary::Aliases;

use acquisition::Hints;
use text::{Heard, hear, hear_all};
use vocabulary::Vocabulary;

/// What the name of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFinding {
    /// What the file is.
    pub finding: Finding,
    /// Where the description begins in the name, in bytes: before that is the patient or case, if anything.
    pub start: usize,
    /// Where the words end that say what it is, in bytes.
    pub end: usize,
    /// The words of the description beside the first that says what it is: they may name a version of the image (`bias`,
    /// `1mm`, `3d`).
    pub rest: Vec<String>,
}

/// What a file is, by its name (without folder and ending), the folder that it lies in, and the attributes beside it.
///
/// The folder counts where the name itself does not say what the file is, and for the contrast agent. A folder of nothing
/// but label maps or masks (`labels/P01_T1.nii.gz`) says more than the image in the name, which the map was drawn on.
pub fn of_file(
    name: &str,
    folder: Option<&str>,
    acquisition: Option<&Acquisition>,
    aliases: &Aliases,
) -> NameFinding {
    let mut heard = hear(name, Source::Name, aliases);
    let (mut start, mut end) = (heard.start, heard.end);
    let rest = std::mem::take(&mut heard.rest);
    let holds_maps = folder
        .is_some_and(|name| matches!(role_of_whole(name, aliases), Some(Role::Label | Role::BrainMask)));
    let folder = folder.map(|folder| hear(folder, Source::Folder, aliases)).unwrap_or_default();
    let tells_kind = |e: &Evidence| !matches!(e.says, Says::Agent(_) | Says::Open(Open::AfterWhat));
    if heard.evidence.iter().any(tells_kind) {
        let agent = |e: &Evidence| matches!(e.says, Says::Agent(_)) && e.weight >= 4;
        let told = heard.evidence.iter().any(|e| matches!(e.says, Says::Agent(_) | Says::Open(_)));
        heard.evidence.extend(folder.evidence.into_iter().filter(|e| holds_maps || agent(e) && !told));
    } else {
        let agents = agents_of_silent_name(name, aliases);
        let described = words::words(name, aliases).iter().all(words::Word::is_known);
        if described && !agents.is_empty() {
            // `T1/postcontrast`: no patient.
            (start, end) = (0, name.len());
        } else if !folder.evidence.iter().any(tells_kind) {
            // Only the attributes may tell: then the name does not say where the patient ends.
            (start, end) = (0, 0);
        }
        heard = Heard { start, end, ..folder };
        heard.evidence.extend(agents);
    }
    NameFinding { finding: finding(heard, acquisition, aliases), start, end, rest }
}

/// Of a name without a word for the kind of file, still the words about the agent count: `T1/post_contrast.nii`.
fn agents_of_silent_name(name: &str, aliases: &Aliases) -> Vec<Evidence> {
    let mut heard = hear(name, Source::Description, aliases).evidence;
    heard.retain(|e| matches!(e.says, Says::Agent(_) | Says::Open(Open::AfterWhat)) && e.weight >= 3);
    for evidence in &mut heard {
        evidence.source = Source::Name;
    }
    heard
}

/// What a folder says of the contrast agent if its name is about nothing else: `post_contrast`, `KM`, `C+`, `02_nativ`.
/// Of `pre` and `post` alone it is open whether they are about the agent.
pub fn agent_of_folder(name: &str, aliases: &Aliases) -> Option<Evidence> {
    let words = words::words(name, aliases);
    let counts = |(at, word): (usize, &words::Word)| match word.kind {
        words::Kind::Known(_) => !word.is_core(),
        words::Kind::Number(_) => at == 0,
        words::Kind::Unknown => word.text == "c",
        words::Kind::User(_) => false,
    };
    if words.len() > 6 || !words.iter().enumerate().all(counts) {
        return None;
    }
    let mut heard = hear_all(name, Source::Folder, aliases).evidence;
    heard.retain(|e| matches!(e.says, Says::Agent(_) | Says::Open(Open::AfterWhat | Open::WithAndWithout)));
    let time =
        |meaning: &meaning::Meaning| matches!(meaning, meaning::Meaning::Before | meaning::Meaning::After);
    let [evidence] = heard.as_slice() else { return None };
    match evidence.weight {
        4.. => Some(evidence.clone()),
        _ if words.iter().flat_map(words::Word::meanings).any(time) => {
            Some(Evidence::new(Source::Folder, name, Says::Open(Open::AfterWhat), 3))
        }
        _ => None,
    }
}

/// What a series is, by its acquisition and description.
pub fn of_series(acquisition: &Acquisition, aliases: &Aliases) -> Finding {
    finding(Heard::default(), Some(acquisition), aliases)
}

/// What a word stands for that is a description as a whole: of a channel, a suffix, a column.
pub fn of_word(word: &str, aliases: &Aliases) -> Finding {
    finding(hear(word, Source::List, aliases), None, aliases)
}

/// The modality that a word stands for, or its role as a label or mask.
pub fn role_of_word(word: &str, aliases: &Aliases) -> Option<Role> {
    of_word(word, aliases).role()
}

/// The role of a name that consists of nothing but a description: `T1`, `T2 FLAIR`, `brain mask`.
pub fn role_of_whole(name: &str, aliases: &Aliases) -> Option<Role> {
    let described = words::words(name, aliases).iter().all(words::Word::is_known);
    if described { role_of_word(name, aliases) } else { None }
}

/// What the words in the name of a file say against a modality that a list declares for it; `None` if they agree or say
/// nothing.
pub fn contradiction(declared: Modality, name: &str, aliases: &Aliases) -> Option<Finding> {
    let found = of_file(name, None, None, aliases).finding;
    let other = match found.verdict {
        // "T1" does not say that there was no contrast agent.
        Verdict::Is(Role::Image(Modality::T1)) if declared == Modality::T1c => found.agent == Some(false),
        Verdict::Is(role) => role != Role::Image(declared),
        Verdict::Not(_) => true,
        Verdict::Open(_) | Verdict::Unknown => false,
    };
    other.then_some(found)
}

/// The known word that an unknown one most likely stands for, if any is close.
pub fn nearest(word: &str) -> Option<&'static str> {
    Vocabulary::get().nearest(&vocabulary::key(word))
}

/// Adds what the acquisition says to what was heard in the name, and decides.
fn finding(mut heard: Heard, acquisition: Option<&Acquisition>, aliases: &Aliases) -> Finding {
    if let Some(acquisition) = acquisition {
        let text = |text: &Option<String>, source| {
            text.as_deref().map(|text| hear(text, source, aliases)).filter(|heard| !heard.evidence.is_empty())
        };
        // The description belongs to the series; the protocol may be shared by several.
        let described = text(&acquisition.description, Source::Description)
            .or_else(|| text(&acquisition.protocol, Source::Protocol));
        if let Some(more) = described {
            heard.looks_like_t1 |= more.looks_like_t1;
            heard.echo_time_ms = heard.echo_time_ms.or(more.echo_time_ms);
            heard.evidence.extend(more.evidence);
        }
        let adc = heard.evidence.iter().any(|e| e.says == Says::Weighting(Modality::Adc));
        let t1 = |e: &Evidence| e.says == Says::Weighting(Modality::T1);
        let texts = [&acquisition.description, &acquisition.protocol].into_iter().flatten();
        let is_named =
            heard.evidence.iter().any(t1) || texts.into_iter().any(|text| names_sequence(text, aliases));
        let hints = Hints { looks_like_t1: heard.looks_like_t1, is_named, adc };
        heard.evidence.extend(acquisition.evidence(hints));
    }
    heard.evidence.extend(echo(&heard, acquisition));
    Finding::of(heard.evidence)
}

/// Whether a word of a text says more than where and how thin the slices are.
fn names_sequence(text: &str, aliases: &Aliases) -> bool {
    let says = |word: &words::Word| word.meanings().iter().any(|meaning| *meaning != meaning::Meaning::Plain);
    words::words(text, aliases).iter().any(says)
}

/// Of a dual echo, PD and T2, which one the echo time means; where the other times do not say it.
fn echo(heard: &Heard, acquisition: Option<&Acquisition>) -> Option<Evidence> {
    let says = |modality| heard.evidence.iter().any(|e| e.says == Says::Weighting(modality));
    let told = heard.evidence.iter().any(|e| e.source == Source::Times);
    if told || !says(Modality::Pd) || !says(Modality::T2) {
        return None;
    }
    let ms = heard.echo_time_ms.map(f64::from).or_else(|| acquisition?.echo_time_ms)?;
    let modality = match ms {
        ms if ms <= 0.0 => return None,
        ms if ms <= 45.0 => Modality::Pd,
        ms if ms >= 60.0 => Modality::T2,
        _ => return None,
    };
    Some(Evidence::new(Source::Times, format!("TE {ms} ms"), Says::Weighting(modality), 4))
}
