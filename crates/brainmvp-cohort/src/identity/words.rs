//! Known words in a name: tokens are looked up, taken apart where they are written as one (`T1post`), and joined to
//! phrases (`dark fluid`).

use std::ops::Range;

use brainmvp_volume::Role;

use super::meaning::Meaning;
use super::token::{Token, tokens};
use super::vocabulary::{Aliases, Vocabulary};

/// A word of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// In lower case, without accents; the parts of a phrase are separated by spaces.
    pub(super) text: String,
    /// Its place in the name, in bytes.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
    /// A sign beside it: `+C`, `C-`.
    pub(super) sign: Option<Sign>,
    /// Whether it is written together with the word before it.
    pub(super) glued: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// The user's word.
    User(Role),
    Known(Vec<Meaning>),
    /// A number, with this many digits.
    Number(usize),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
    /// `+/-`
    Both,
}

impl Word {
    pub(super) fn meanings(&self) -> &[Meaning] {
        match &self.kind {
            Kind::Known(meanings) => meanings,
            _ => &[],
        }
    }

    pub(super) fn means(&self, meaning: Meaning) -> bool {
        self.meanings().contains(&meaning)
    }

    /// Whether it is part of a description, rather than of somebody's name.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self.kind, Kind::Unknown | Kind::Number(_))
    }

    pub(super) fn is_digits(&self) -> bool {
        self.text.bytes().all(|b| b.is_ascii_digit())
    }

    pub(super) fn is_core(&self) -> bool {
        matches!(self.kind, Kind::User(_)) || self.meanings().iter().any(|meaning| meaning.is_core())
    }
}

/// The words of a name, in their order.
pub(super) fn words(name: &str, aliases: &Aliases) -> Vec<Word> {
    let tokens = tokens(name);
    let mut pieces: Vec<Piece> = Vec::new();
    for token in &tokens {
        // The user's word is not taken apart.
        let whole = aliases.role(&token.text).is_some();
        if whole { pieces.push(Piece::whole(token)) } else { pieces.extend(taken_apart(token)) }
    }
    let mut words = phrases(name, &pieces, aliases);
    join_b_values(&mut words);
    fields(&mut words);
    for at in 0..words.len() {
        words[at].sign = sign(name, &words, at);
    }
    words
}

/// SPM's `y_T1` and `iy_sub-01_T1w` are fields of deformation, and `wj_T1` is a map of its Jacobian.
fn fields(words: &mut [Word]) {
    const LETTERS: [&str; 3] = ["y", "iy", "wj"];
    for at in 0..words.len().saturating_sub(1) {
        let named = words[at + 1].is_core() || words[at + 1].text == "sub";
        let first = !words[..at].iter().any(Word::is_core);
        if named && first && !words[at + 1].glued && LETTERS.contains(&words[at].text.as_str()) {
            words[at].kind = Kind::Known(vec![Meaning::Prefix(super::NoImage::Transform)]);
        }
    }
}

/// `b 1000` and `b=0`: the letter and the number are one word.
fn join_b_values(words: &mut Vec<Word>) {
    for at in (1..words.len()).rev() {
        let (before, number) = (&words[at - 1], &words[at]);
        let letter = ["b", "bval", "bvalue"].contains(&before.text.as_str()) && before.kind == Kind::Unknown;
        let b =
            number.text.parse::<u32>().ok().filter(|_| letter && matches!(number.kind, Kind::Number(..5)));
        if let Some(b) = b {
            let meaning = if b == 0 { Meaning::BZero } else { Meaning::BValue(b) };
            let (text, end) = (format!("b {b}"), number.span.end);
            words[at - 1] = Word {
                text,
                span: before.span.start..end,
                kind: Kind::Known(vec![meaning]),
                ..before.clone()
            };
            words.remove(at);
        }
    }
}

/// A token or a part of one.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    span: Range<usize>,
    glued: bool,
    /// Known without the vocabulary.
    meanings: Option<Vec<Meaning>>,
}

impl Piece {
    fn whole(token: &Token) -> Self {
        Self { text: token.text.clone(), span: token.span.clone(), glued: false, meanings: None }
    }
}

fn taken_apart(token: &Token) -> Vec<Piece> {
    let vocabulary = Vocabulary::get();
    let mut whole = Piece::whole(token);
    if let Some(meanings) = vocabulary.word(&token.text) {
        whole.meanings = Some(meanings.to_vec());
        return vec![whole];
    }
    if let Some(meanings) = measure(&token.text) {
        whole.meanings = Some(meanings);
        return vec![whole];
    }
    let parts =
        tissue_map(&token.text).or_else(|| split(&token.text)).or_else(|| by_capitals(&token.written));
    let parts = parts.or_else(|| after_number(&token.text));
    let Some(parts) = parts else {
        if let Some(meanings) = unlisted(&token.text) {
            whole.meanings = Some(meanings);
            return vec![whole];
        }
        // Any map: `zmap`, `tmaps`.
        if token.text.trim_end_matches('s').ends_with("map") {
            whole.meanings = Some(vec![Meaning::Not(super::NoImage::Map, 4)]);
        }
        return vec![whole];
    };
    // Accents make the plain text shorter than the written one: then all parts have the place of the whole.
    let plain = token.span.len() == token.text.len();
    let mut start = token.span.start;
    let mut pieces = Vec::new();
    for (i, (text, meanings)) in parts.into_iter().enumerate() {
        let span = if plain { start..start + text.len() } else { token.span.clone() };
        start += text.len();
        let meanings = if meanings.is_empty() { None } else { Some(meanings) };
        pieces.push(Piece { text, span, glued: i > 0, meanings });
    }
    pieces
}

/// Words that are not in the table but begin like those for the agent ("Gadoterat", "Kontrastmittelgabe"), also where
/// an end denies it; and those with umlauts written as two letters.
fn unlisted(text: &str) -> Option<Vec<Meaning>> {
    const BEGIN: [&str; 5] = ["gado", "kontrastm", "kontrastv", "contrastv", "contrastm"];
    const DENY: [&str; 4] = ["frei", "free", "los", "less"];
    let vocabulary = Vocabulary::get();
    let plain = text.replace("ae", "a").replace("oe", "o").replace("ue", "u");
    let known = vocabulary.word(&plain).filter(|_| plain != text && plain.len() > 3).map(<[Meaning]>::to_vec);
    known.or_else(|| {
        BEGIN.iter().any(|begin| text.starts_with(begin)).then(|| {
            let denied = DENY.iter().any(|word| text.contains(word));
            vec![if denied { Meaning::NotGiven(4) } else { Meaning::Agent(4) }]
        })
    })
}

/// Parts of a token with their meanings; none for an unknown part.
type Parts = Vec<(String, Vec<Meaning>)>;

/// Numbers with a unit or a letter: b-values, echo times, sizes.
fn measure(text: &str) -> Option<Vec<Meaning>> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let after = |prefix: &str| text.strip_prefix(prefix).map(|rest| rest.trim_end_matches(['t', 's', 'm']));
    if let Some(b) = ["b", "bval", "bvalue"].iter().find_map(|prefix| number(after(prefix)?)) {
        // "B1" is the transmitter's field, and in the table.
        return Some(vec![if b == 0 { Meaning::BZero } else { Meaning::BValue(b) }]);
    }
    if let Some(te) = after("te").and_then(number) {
        return Some(vec![Meaning::EchoTime(te)]);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
    let unit = &text[digits..];
    let units = [
        "mm", "d", "ms", "s", "min", "sec", "deg", "sl", "slices", "cm", "um", "t", "ch", "x", "nex", "dir",
        "dirs", "mins", "h",
    ];
    if ["mo", "mos", "months", "m", "wk", "wks", "weeks", "w", "yr", "yrs", "y"].contains(&unit) {
        return Some(vec![Meaning::Occasion]);
    }
    let size = unit.starts_with('x') && unit[1..].bytes().all(|b| b.is_ascii_digit() || b == b'x');
    (units.contains(&unit) || size).then(|| vec![Meaning::Plain])
}

/// SPM and CAT12 put a letter and a number before the name: `c1T1`, `mwp1sub-01_T1w`.
fn tissue_map(text: &str) -> Option<Parts> {
    const PREFIXES: [&str; 11] = ["smwp", "mwp", "mwc", "smwc", "wp", "wc", "rp", "rc", "wmp", "p", "c"];
    let (prefix, rest) = PREFIXES.iter().find_map(|prefix| Some((*prefix, text.strip_prefix(prefix)?)))?;
    let tissue = rest.chars().next().filter(|c| ('0'..='6').contains(c))?;
    let rest = rest.get(1..)?;
    let known = Vocabulary::get().word(rest).map(<[Meaning]>::to_vec);
    let states = |meanings: &[Meaning]| meanings.iter().any(|meaning| meaning.states_weighting());
    let mut parts: Parts =
        vec![(format!("{prefix}{tissue}"), vec![Meaning::Prefix(super::NoImage::Probability)])];
    match known {
        Some(meanings) if states(&meanings) => parts.push((rest.to_owned(), meanings)),
        _ if rest == "sub" => parts.push((rest.to_owned(), Vec::new())),
        _ => {
            let more = split(rest)?;
            more.iter().any(|(_, meanings)| states(meanings)).then(|| parts.extend(more))?;
        }
    }
    Some(parts)
}

/// A word of some length after a number, as ANTs writes it: `1Warp`, `1InverseWarp`.
fn after_number(text: &str) -> Option<Parts> {
    let word = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &text[..text.len() - word.len()];
    let meanings =
        Vocabulary::get().word(word).filter(|_| word.len() > 3 && (1..3).contains(&number.len()))?;
    Some(vec![(number.to_owned(), vec![Meaning::Plain]), (word.to_owned(), meanings.to_vec())])
}

/// Words that other words only seem to begin with: "set1" is no spin echo.
const NEVER_BEFORE: [&str; 9] = ["se", "pos", "in", "on", "en", "ms", "as", "cs", "sub"];

/// Words that name a visit or a person when a number is glued to them.
const NEVER_NUMBERED: [&str; 10] =
    ["sub", "scan", "ses", "study", "visit", "exam", "run", "series", "child", "adult"];

/// Letters that tools and scanners put before a name: SPM's resliced, warped, smoothed and bias-corrected images, and
/// Philips's `sT1W` and `eT1W`.
const PREFIX_LETTERS: [char; 5] = ['s', 'e', 'r', 'w', 'm'];

/// Several such letters.
const PREFIXES: [&str; 7] = ["sw", "wr", "sr", "sm", "rm", "swr", "wrm"];

/// A token as a sequence of known words, as few as possible.
fn split(text: &str) -> Option<Parts> {
    if !text.is_ascii() || text.len() < 3 || text.len() > 40 {
        return None;
    }
    // The best split of the first n bytes: its parts.
    let mut best: Vec<Option<Parts>> = vec![None; text.len() + 1];
    best[0] = Some(Vec::new());
    for end in 1..=text.len() {
        for start in 0..end {
            let Some(before) = best[start].clone() else { continue };
            let Some(meanings) = part(text, &before, start..end) else { continue };
            let mut parts = before;
            parts.push((text[start..end].to_owned(), meanings));
            // Among splits of as many parts, the one whose first word is the longest.
            if best[end].as_ref().is_none_or(|known| parts.len() < known.len()) {
                best[end] = Some(parts);
            }
        }
    }
    let parts = best.pop().flatten()?;
    // Three letters for no image may be part of any word ("Keppra"), unless the rest is known to say nothing.
    let plain =
        parts.iter().filter(|(_, meanings)| meanings.contains(&Meaning::Plain)).count() + 1 >= parts.len();
    let certain = |(text, meanings): &(String, Vec<Meaning>)| {
        meanings.iter().any(|meaning| meaning.states_weighting())
            || text.len() >= 4 && meanings.iter().any(|meaning| *meaning != Meaning::Plain)
            || text.len() == 3
                && meanings.iter().any(|meaning| meaning.is_core())
                && (plain || !meanings.iter().any(|meaning| matches!(meaning, Meaning::Not(..))))
    };
    let means = |wanted: fn(&Meaning) -> bool| parts.iter().any(|(_, meanings)| meanings.iter().any(wanted));
    let of_agent =
        means(|m| matches!(m, Meaning::With | Meaning::Without | Meaning::Before | Meaning::After))
            && means(|m| matches!(m, Meaning::Agent(_) | Meaning::Given(_)));
    (of_agent || parts.iter().any(certain)).then_some(parts)
}

/// The meanings of a part of a token, if a part may stand there.
fn part(text: &str, before: &Parts, span: Range<usize>) -> Option<Vec<Meaning>> {
    let part = &text[span.clone()];
    let several = PREFIXES.contains(&part);
    if span.start == 0 && (part.len() == 1 || several) {
        // The letters must be followed by a weighting, or by the dimension.
        let rest = &text[part.len()..];
        let follows =
            ["t1", "t2", "flair", "pd", "3d", "dwi", "stir"].iter().any(|word| rest.starts_with(word));
        if part.starts_with(PREFIX_LETTERS) && follows {
            return Some(vec![Meaning::Plain]);
        }
        if !several {
            return None;
        }
    }
    if let Some((last, _)) = before.last() {
        let weighting = part.starts_with("t1") || part.starts_with("t2");
        if weighting && NEVER_BEFORE.contains(&last.as_str()) {
            return None;
        }
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        if digits {
            let to = part == "2" && text[span.end..].starts_with(['t', 'f']);
            let most = if ["pre", "post"].contains(&last.as_str()) { 8 } else { 2 };
            let number = span.end == text.len() && part.len() <= most && last.len() >= 3;
            let plain =
                !last.ends_with(|c: char| c.is_ascii_digit()) && !NEVER_NUMBERED.contains(&last.as_str());
            return match (to, number && plain) {
                (true, _) => Some(vec![Meaning::To]),
                (_, true) => Some(vec![Meaning::Plain]),
                _ => None,
            };
        }
    }
    // "T1postop" is after an operation, and not a T1 with the agent.
    let occasion = |word| Vocabulary::get().word(word).is_some_and(|m| m.contains(&Meaning::Occasion));
    if part.len() < 2 || part.len() > 4 && part.ends_with("post") && occasion(&text[span.end..]) {
        return None;
    }
    Vocabulary::get()
        .word(part)
        .map(<[Meaning]>::to_vec)
        .or_else(|| measure(part).filter(|_| part.len() > 2 || part == "3d" || part == "2d"))
}

/// `PatientT1`: words that begin with a capital, of which one states what the file is.
fn by_capitals(written: &str) -> Option<Parts> {
    let mut starts: Vec<usize> = vec![0];
    let mut before = None;
    for (at, c) in written.char_indices() {
        if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
            starts.push(at);
        }
        before = Some(c);
    }
    starts.push(written.len());
    let vocabulary = Vocabulary::get();
    let mut parts: Parts = Vec::new();
    for ends in starts.windows(2) {
        let text = written[ends[0]..ends[1]].to_lowercase();
        match vocabulary.word(&text).map(<[Meaning]>::to_vec).or_else(|| measure(&text)) {
            Some(meanings) => parts.push((text, meanings)),
            None => match split(&text) {
                Some(more) => parts.extend(more),
                None => parts.push((text, Vec::new())),
            },
        }
    }
    let states = |meaning: &Meaning| {
        meaning.states_weighting() || matches!(meaning, Meaning::Segmentation | Meaning::Mask)
    };
    (parts.len() > 1 && parts.iter().any(|(_, meanings)| meanings.iter().any(states))).then_some(parts)
}

/// Joins pieces to the longest phrases that are known; the user's come first. No phrase leads over a bracket: "POST (PRE-OP)".
fn phrases(name: &str, pieces: &[Piece], aliases: &Aliases) -> Vec<Word> {
    let vocabulary = Vocabulary::get();
    let longest = vocabulary.longest.max(aliases.longest());
    let mut words = Vec::new();
    let mut at = 0;
    while at < pieces.len() {
        let apart = |two: &[Piece]| {
            let gap = name.get(two[0].span.end..two[1].span.start).unwrap_or_default();
            gap.contains(['(', ')', '[', ']', ':', ';'])
        };
        let together = pieces[at..].windows(2).take_while(|two| !apart(two)).count() + 1;
        let lengths = (1..=longest.min(together)).rev();
        let joined = |length: usize| {
            pieces[at..at + length].iter().map(|piece| piece.text.as_str()).collect::<Vec<_>>().join(" ")
        };
        let user = lengths.clone().find_map(|n| Some((n, Kind::User(aliases.role(&joined(n))?))));
        let known = || {
            lengths
                .clone()
                .filter(|n| *n > 1)
                .find_map(|n| Some((n, Kind::Known(vocabulary.phrase(&joined(n))?.to_vec()))))
        };
        let (length, kind) = user.or_else(known).unwrap_or_else(|| (1, kind(&pieces[at])));
        words.push(Word {
            text: joined(length),
            span: pieces[at].span.start..pieces[at + length - 1].span.end,
            kind,
            sign: None,
            glued: pieces[at].glued,
        });
        at += length;
    }
    words
}

fn kind(piece: &Piece) -> Kind {
    match &piece.meanings {
        Some(meanings) => Kind::Known(meanings.clone()),
        None if piece.text.bytes().all(|b| b.is_ascii_digit()) => Kind::Number(piece.text.len()),
        None => Kind::Unknown,
    }
}

/// The sign beside a word. A hyphen that separates two words is none.
fn sign(name: &str, words: &[Word], at: usize) -> Option<Sign> {
    let span = &words[at].span;
    let before = at
        .checked_sub(1)
        .map_or(&name[..span.start], |i| name.get(words[i].span.end..span.start).unwrap_or(""));
    let next = words.get(at + 1).map(|word| word.span.start);
    let after = next.map_or(&name[span.end..], |start| name.get(span.end..start).unwrap_or(""));
    if before.contains("+/-") || before.contains("+-") || after.contains("+/-") {
        return Some(Sign::Both);
    }
    match after.trim_matches([' ', '(', ')', '[', ']']) {
        "+" if next.is_none() => return Some(Sign::Plus),
        "-" if next.is_none() => return Some(Sign::Minus),
        _ => {}
    }
    let lone_minus = before.ends_with('-') && (before.len() > 1 || at == 0);
    let trailing = after.trim_start_matches('(');
    let ends = |sign: char| trailing.starts_with(sign) && (next.is_none() || after.len() > 1);
    match () {
        () if before.trim_end().ends_with('+') => Some(Sign::Plus),
        () if ends('+') => Some(Sign::Plus),
        () if lone_minus => Some(Sign::Minus),
        () if ends('-') && after != "--" && !after.starts_with("-_-") => Some(Sign::Minus),
        () => None,
    }
}
