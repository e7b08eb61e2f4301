//! The table of words (`vocabulary.txt`) and the user's words.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use brainmvp_volume::Role;

use super::meaning::Meaning;
use super::token::tokens;

/// The words and phrases that are known, in lower case without accents. The parts of a phrase are separated by spaces.
pub(super) struct Vocabulary {
    meanings: HashMap<String, Vec<Meaning>>,
    /// Words that are written as one, each with the phrase that it stands for or with itself.
    single: HashMap<String, String>,
    /// The most parts that a phrase has.
    pub(super) longest: usize,
}

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::parse(include_str!("vocabulary.txt")));

impl Vocabulary {
    pub(super) fn get() -> &'static Self {
        &VOCABULARY
    }

    #[expect(clippy::expect_used, reason = "the table is part of the program, and a test reads it")]
    fn parse(table: &str) -> Self {
        let mut words = Self { meanings: HashMap::new(), single: HashMap::new(), longest: 0 };
        for (meanings, phrases) in rows(table) {
            let meanings: Vec<Meaning> =
                meanings.split(',').map(|text| text.trim().parse().expect("a meaning is known")).collect();
            for phrase in phrases.split(',').map(key) {
                let parts = phrase.split(' ').count();
                words.longest = words.longest.max(parts);
                words.single.insert(phrase.replace(' ', ""), phrase.clone());
                words.meanings.entry(phrase).or_insert_with(|| meanings.clone());
            }
        }
        // A word that is a line of its own is that, whatever phrase has the same letters.
        for phrase in words.meanings.keys().filter(|phrase| !phrase.contains(' ')) {
            words.single.insert(phrase.clone(), phrase.clone());
        }
        words
    }

    /// The meanings of a phrase of one part or more.
    pub(super) fn phrase(&self, phrase: &str) -> Option<&[Meaning]> {
        self.meanings.get(phrase).map(Vec::as_slice)
    }

    /// The meanings of a word without spaces, which may stand for a phrase.
    pub(super) fn word(&self, word: &str) -> Option<&[Meaning]> {
        self.phrase(self.single.get(word)?)
    }

    /// The known word for a weighting, an agent or a label that an unknown one most likely stands for, if any is close.
    pub(super) fn nearest(&self, word: &str) -> Option<&str> {
        let speaks = |meanings: &[Meaning]| meanings.iter().any(|meaning| meaning.is_core());
        let known = self.single.iter().filter(|(_, phrase)| self.phrase(phrase).is_some_and(speaks));
        let distances = known.map(|(known, _)| (edit_distance(word, known), known.as_str()));
        let (distance, known) = distances.min()?;
        (distance <= (word.chars().count() / 4).max(1)).then_some(known)
    }
}

/// The rows of the table: meanings and words.
fn rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(':'))
}

/// A word or phrase in the form of the table.
pub(super) fn key(text: &str) -> String {
    tokens(text).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
}

/// The user's words, each with the role that it stands for. They decide, whatever else is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aliases {
    words: BTreeMap<String, Role>,
}

impl Aliases {
    /// The user's words: each maps to a modality's name, or to `label`, `mask` (of the brain) or `ignore`.
    ///
    /// # Errors
    /// Where a word is empty, or maps to something else; the message names both.
    pub fn extended(user: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut aliases = Self::default();
        user.iter().try_for_each(|(word, target)| aliases.set(word, target))?;
        Ok(aliases)
    }

    /// Gives a word a meaning, replacing any earlier one, as in [`Aliases::extended`].
    ///
    /// # Errors
    /// As [`Aliases::extended`].
    pub fn set(&mut self, word: &str, target: &str) -> Result<(), String> {
        let role = match target.to_ascii_lowercase().as_str() {
            "label" => Role::Label,
            "mask" => Role::BrainMask,
            "ignore" => Role::Ignored,
            name => Role::Image(
                name.parse()
                    .map_err(|reason| format!("alias '{word}': {reason}; also allowed: label mask ignore"))?,
            ),
        };
        let key = key(word);
        if key.is_empty() {
            return Err(format!("alias '{word}' for {target}: the word is empty"));
        }
        self.words.insert(key, role);
        Ok(())
    }

    /// Whether the user gave a word a meaning.
    pub fn has(&self, word: &str) -> bool {
        self.words.contains_key(&key(word))
    }

    /// The most parts that one of the words has.
    pub(super) fn longest(&self) -> usize {
        self.words.keys().map(|word| word.split(' ').count()).max().unwrap_or(0)
    }

    /// The role of a word or phrase in the form of the table.
    pub(super) fn role(&self, phrase: &str) -> Option<Role> {
        self.words.get(phrase).copied()
    }
}

/// Insertions, deletions and replacements between two words (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use brainmvp_volume::Modality;

    use super::*;

    #[test]
    fn every_line_is_read_and_no_word_stands_twice() {
        let mut seen = BTreeSet::new();
        let mut twice = Vec::new();
        for (meanings, words) in rows(include_str!("vocabulary.txt")) {
            for meaning in meanings.split(',') {
                assert!(meaning.trim().parse::<Meaning>().is_ok(), "{meaning}");
            }
            for word in words.split(',').map(key) {
                assert!(!word.is_empty(), "{words}");
                if !seen.insert(word.clone()) {
                    twice.push(word);
                }
            }
        }
        assert_eq!(twice, Vec::<String>::new());
    }

    #[test]
    fn phrases_are_found_as_one_word_too() {
        let words = Vocabulary::get();
        let flair = [Meaning::Weighting(Modality::Flair, 4)];
        assert_eq!(words.word("darkfluid"), Some(&flair[..]));
        assert_eq!(words.phrase("dark fluid"), Some(&flair[..]));
        assert_eq!(words.word("nothing"), None);
    }

    #[test]
    fn an_unknown_word_gets_its_nearest_neighbour() {
        let words = Vocabulary::get();
        assert_eq!(words.nearest("mpragee"), Some("mprage"));
        assert_eq!(words.nearest("something"), None);
    }

    #[test]
    fn the_users_words_are_checked() {
        let user = |word: &str, target: &str| BTreeMap::from([(word.to_owned(), target.to_owned())]);
        let aliases = Aliases::extended(&user("Brain-ROI", "mask")).unwrap();
        assert_eq!(aliases.role("brain roi"), Some(Role::BrainMask));
        for (word, target) in [("foo", "t3"), ("--", "t1")] {
            let error = Aliases::extended(&user(word, target)).unwrap_err();
            assert!(error.contains(word) && error.contains(target), "{error}");
        }
    }
}
