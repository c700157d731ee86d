//! A line in words, as a POSIX shell splits it: quotes and backslashes, and nothing else of a shell.

/// A word and where it starts in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) start: usize,
    pub(super) text: String,
}

/// The words of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) words: Vec<Word>,
    /// Whether a quote is still open at the end.
    pub(super) unclosed: bool,
    /// Whether the last word may go on after the end, because no blank ends it.
    pub(super) touched: bool,
}

impl Split {
    pub(super) fn of(line: &str) -> Self {
        let mut split = Self::default();
        let mut quote = None;
        let mut letters = line.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            if quote.is_none() && letter.is_whitespace() {
                split.touched = false;
                continue;
            }
            if !std::mem::replace(&mut split.touched, true) {
                split.words.push(Word { start: at, text: String::new() });
            }
            let kept = match (quote, letter) {
                (None, '\'' | '"') => {
                    quote = Some(letter);
                    None
                }
                (Some(open), _) if open == letter => {
                    quote = None;
                    None
                }
                (None, '\\') => letters.next().map(|(_, escaped)| escaped),
                // Before anything else it is a letter like others: `"printf 'a\n'"`.
                (Some('"'), '\\') => {
                    let escaped = letters.next_if(|(_, next)| r#""\$`"#.contains(*next));
                    Some(escaped.map_or(letter, |(_, escaped)| escaped))
                }
                _ => Some(letter),
            };
            if let Some(word) = split.words.last_mut() {
                word.text.extend(kept);
            }
        }
        split.unclosed = quote.is_some();
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        Split::of(line).words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(texts("  skip  a\tb "), ["skip", "a", "b"]);
        assert_eq!(
            texts(r#"skip 'my step' "a \"b\"" it\'s suite='x y' ''"#),
            ["skip", "my step", r#"a "b""#, "it's", "suite=x y", ""]
        );
        assert_eq!(texts(r"'it'\''s'"), ["it's"]);
        assert_eq!(
            texts(r#"--shell "printf 'a\n' \$x \\\"" b\n"#),
            ["--shell", r#"printf 'a\n' $x \""#, "bn"]
        );
        assert!(texts(" ").is_empty());
    }

    #[test]
    fn the_end_of_the_line_is_known() {
        assert!(Split::of("skip 'my st").unclosed);
        assert!(!Split::of("skip 'my step'").unclosed);
        assert!(Split::of("skip a").touched);
        assert!(!Split::of("skip a ").touched);
        let last = Split::of("skip 'my st").words.pop().unwrap();
        assert_eq!(last, Word { start: 5, text: "my st".to_owned() });
    }
}
