//! Tokens: the runs of letters and digits in a name, with what lies between them.

use std::ops::Range;

/// A run of letters and digits. `*` belongs to it (`T2*`), the prime of `T2'`, and so do a few abbreviations with a slash (`w/o`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// In lower case, without accents.
    pub(super) text: String,
    /// As it is written, without accents.
    pub(super) written: String,
    /// Its place in the name, in bytes.
    pub(super) span: Range<usize>,
}

/// The tokens of a name.
pub(super) fn tokens(name: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut chars = name.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !c.is_alphanumeric() {
            continue;
        }
        let (mut written, mut end) = (String::new(), start + c.len_utf8());
        push_plain(&mut written, c);
        while let Some((at, c)) = chars.next_if(|(_, c)| c.is_alphanumeric() || is_mark(*c) || *c == '*') {
            push_plain(&mut written, c);
            end = at + c.len_utf8();
        }
        if written.eq_ignore_ascii_case("t2")
            && let Some((at, prime)) = chars.next_if(|(_, c)| ['\'', '\u{2032}', '\u{2019}'].contains(c))
        {
            written.push('\'');
            end = at + prime.len_utf8();
        }
        found.push(Token { text: written.to_lowercase(), written, span: start..end });
    }
    join_slashes(name, found)
}

/// `w/o`, `w/`, `s/c`, `c/c`, `s/`, `c/`: a single letter before a slash.
fn join_slashes(name: &str, tokens: Vec<Token>) -> Vec<Token> {
    let mut joined: Vec<Token> = Vec::new();
    for mut token in tokens {
        let follows = ["o", "out", "c"].contains(&token.text.as_str());
        if let Some(last) = joined.last_mut()
            && follows
            && last.text.ends_with('/')
            && last.span.end == token.span.start
        {
            last.text.push_str(if token.text == "c" { "c" } else { "o" });
            last.span.end = token.span.end;
            continue;
        }
        if ["w", "s", "c"].contains(&token.text.as_str()) && name[token.span.end..].starts_with('/') {
            token.text.push('/');
            token.span.end += 1;
        }
        joined.push(token);
    }
    joined
}

/// A combining mark, as in names from macOS, where an accent is a character of its own.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// The letter without its accent.
fn push_plain(text: &mut String, c: char) {
    match c {
        'ä' | 'à' | 'á' | 'â' | 'ã' | 'å' => text.push('a'),
        'Ä' | 'À' | 'Á' | 'Â' | 'Ã' | 'Å' => text.push('A'),
        'é' | 'è' | 'ê' | 'ë' => text.push('e'),
        'É' | 'È' | 'Ê' | 'Ë' => text.push('E'),
        'í' | 'ì' | 'î' | 'ï' => text.push('i'),
        'Í' | 'Ì' | 'Î' | 'Ï' => text.push('I'),
        'ö' | 'ó' | 'ò' | 'ô' | 'õ' => text.push('o'),
        'Ö' | 'Ó' | 'Ò' | 'Ô' | 'Õ' => text.push('O'),
        'ü' | 'ú' | 'ù' | 'û' => text.push('u'),
        'Ü' | 'Ú' | 'Ù' | 'Û' => text.push('U'),
        'ç' => text.push('c'),
        'Ç' => text.push('C'),
        'ñ' => text.push('n'),
        'Ñ' => text.push('N'),
        'ß' => text.push_str("ss"),
        c if is_mark(c) => {}
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(name: &str) -> Vec<String> {
        tokens(name).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(texts("T2*_GRE.hemo"), ["t2*", "gre", "hemo"]);
        assert_eq!(texts("T1 W/O CONTRAST"), ["t1", "w/o", "contrast"]);
        assert_eq!(texts("T1 W/CONTRAST, s/c"), ["t1", "w/", "contrast", "s/c"]);
        assert_eq!(texts("PD/T2"), ["pd", "t2"]);
        assert_eq!(texts("après Präkontrast e\u{301}"), ["apres", "prakontrast", "e"]);
        assert_eq!(texts("__"), Vec::<String>::new());
    }

    proptest::proptest! {
        #[test]
        fn spans_lie_in_the_name_in_order(name in ".{0,30}") {
            let mut end = 0;
            for token in tokens(&name) {
                proptest::prop_assert!(token.span.start >= end);
                proptest::prop_assert!(name.get(token.span.clone()).is_some());
                end = token.span.end;
            }
        }
    }
}
