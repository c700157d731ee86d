//! `matchesPattern`: the regular expressions of ECMAScript that every engine can run alike.
//!
//! Engines disagree on what `.`, `\d`, `\w` and `\s` contain, on `{` without a number, on escapes
//! and on what a class may hold. A pattern is therefore read here and written anew in the forms on
//! which the engines of this crate and of the database agree, with the ECMAScript meaning. What has no such
//! form (look-around, back-references, `\b`, flags, Unicode properties) is refused by name.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// Largest compiled program, in bytes: bounds the time and memory of the compilation.
const PROGRAM_BYTES_MAX: usize = 1 << 16;
/// Largest repetition count: the least that the engines have in common.
const REPEAT_MAX: u32 = 255;
/// Deepest nesting of groups.
const GROUPS_MAX: usize = 50;

const DIGIT: &str = "0-9";
const WORD: &str = "A-Za-z0-9_";
const SPACE: &str = "\t\u{b}\u{c}\n\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\
                     \u{205f}\u{3000}\u{feff}";
const LINE_END: &str = "\n\r\u{2028}\u{2029}";

/// A regular expression that has been read, translated and compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Pattern {
    /// Reads an ECMAScript pattern.
    ///
    /// # Errors
    /// A sentence that names what is malformed, unsupported or too large.
    pub fn new(source: &str) -> Result<Self, String> {
        let mut translator = Translator { rest: source.chars().peekable(), out: String::new() };
        translator.alternatives(0)?;
        if translator.rest.next().is_some() {
            return Err("the pattern has a `)` without `(`".to_owned());
        }
        let regex = RegexBuilder::new(&translator.out)
            .size_limit(PROGRAM_BYTES_MAX)
            .build()
            .map_err(|_| "the pattern is malformed or too large".to_owned())?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// The pattern as the query has it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same pattern in the portable form: literals, explicit classes, `^`, `$`, groups,
    /// alternatives and counted repetitions; no shorthand classes and no `.`.
    #[must_use]
    pub fn portable(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether the pattern occurs anywhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

/// What an escape stands for.
enum Escape {
    Character(char),
    Class { negated: bool, content: &'static str },
}

impl Translator<'_> {
    fn take(&mut self, wanted: char) -> bool {
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn alternatives(&mut self, depth: usize) -> Result<(), String> {
        if depth > GROUPS_MAX {
            return Err(format!("the pattern nests more than {GROUPS_MAX} groups"));
        }
        while let Some(next) = self.rest.next_if(|next| *next != ')') {
            match next {
                '|' | '^' | '$' => {
                    self.out.push(next);
                    continue;
                }
                '(' => self.group(depth)?,
                '[' => self.class()?,
                '.' => self.push_class(true, LINE_END),
                '\\' => match self.escape()? {
                    Escape::Character(character) => self.push_literal(character),
                    Escape::Class { negated, content } => self.push_class(negated, content),
                },
                '*' | '+' | '?' | '{' => {
                    return Err(format!("the pattern has nothing to repeat before `{next}`"));
                }
                ']' | '}' => {
                    return Err(format!("the pattern has a lone `{next}`; write `\\{next}`"));
                }
                literal => self.push_literal(literal),
            }
            self.repetition()?;
        }
        Ok(())
    }

    fn group(&mut self, depth: usize) -> Result<(), String> {
        if self.take('?') && !self.take(':') {
            return Err("look-around, named groups and flags in a pattern are not supported".into());
        }
        self.out.push_str("(?:");
        self.alternatives(depth + 1)?;
        if !self.take(')') {
            return Err("the pattern has a `(` without `)`".to_owned());
        }
        self.out.push(')');
        Ok(())
    }

    /// An optional quantifier. Laziness cannot change whether a pattern matches, so it is dropped.
    fn repetition(&mut self) -> Result<(), String> {
        let Some(quantifier) = self.rest.next_if(|next| matches!(next, '*' | '+' | '?' | '{'))
        else {
            return Ok(());
        };
        self.out.push(quantifier);
        if quantifier == '{' {
            let least = self.count()?;
            self.out.push_str(&least.to_string());
            if self.take(',') {
                self.out.push(',');
                if self.rest.peek() != Some(&'}') {
                    let most = self.count()?;
                    if most < least {
                        return Err("the pattern repeats from more to fewer times".to_owned());
                    }
                    self.out.push_str(&most.to_string());
                }
            }
            if !self.take('}') {
                return Err("the pattern has a malformed repetition count".to_owned());
            }
            self.out.push('}');
        }
        let _lazy = self.take('?');
        Ok(())
    }

    fn count(&mut self) -> Result<u32, String> {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok().filter(|count| *count <= REPEAT_MAX).ok_or_else(|| {
            format!("a repetition count in a pattern is a number up to {REPEAT_MAX}")
        })
    }

    fn class(&mut self) -> Result<(), String> {
        const UNCLOSED: &str = "the pattern has a `[` without `]`";
        let negated = self.take('^');
        let mut content = String::new();
        while let Some(start) = self.class_item(UNCLOSED, &mut content)? {
            let ahead = self.rest.clone().nth(1);
            if self.rest.peek() != Some(&'-') || ahead == Some(']') {
                push_class_character(&mut content, start);
                continue;
            }
            let _dash = self.rest.next();
            let before = content.len();
            let Some(end) = self.class_item(UNCLOSED, &mut content)? else {
                return Err(UNCLOSED.to_owned());
            };
            if content.len() > before {
                return Err("a range in a pattern cannot end with a class".to_owned());
            }
            if end < start {
                return Err(format!("the pattern has the empty range `{start}-{end}`"));
            }
            push_class_character(&mut content, start);
            content.push('-');
            push_class_character(&mut content, end);
        }
        if content.is_empty() {
            return Err("an empty class in a pattern is not supported".to_owned());
        }
        self.push_class(negated, &content);
        Ok(())
    }

    /// The next single character of a class, or `None` at its end. Shorthand classes on the way go
    /// into `content` at once.
    fn class_item(&mut self, unclosed: &str, content: &mut String) -> Result<Option<char>, String> {
        loop {
            match self.rest.next().ok_or(unclosed)? {
                ']' => return Ok(None),
                '\\' => match self.escape()? {
                    Escape::Character(character) => return Ok(Some(character)),
                    Escape::Class { negated: false, content: shorthand } => {
                        content.push_str(shorthand);
                        if self.rest.peek() == Some(&'-') && self.rest.clone().nth(1) != Some(']') {
                            return Err("a range in a pattern cannot start with a class".to_owned());
                        }
                    }
                    Escape::Class { negated: true, .. } => {
                        return Err("a negated class inside a class is not supported".to_owned());
                    }
                },
                character => return Ok(Some(character)),
            }
        }
    }

    fn escape(&mut self) -> Result<Escape, String> {
        let class = |negated, content| Ok(Escape::Class { negated, content });
        match self.rest.next() {
            Some('d') => class(false, DIGIT),
            Some('D') => class(true, DIGIT),
            Some('w') => class(false, WORD),
            Some('W') => class(true, WORD),
            Some('s') => class(false, SPACE),
            Some('S') => class(true, SPACE),
            Some('t') => Ok(Escape::Character('\t')),
            Some('n') => Ok(Escape::Character('\n')),
            Some('r') => Ok(Escape::Character('\r')),
            Some('f') => Ok(Escape::Character('\u{c}')),
            Some('v') => Ok(Escape::Character('\u{b}')),
            Some(other) if other.is_ascii_alphanumeric() => {
                Err(format!("`\\{other}` in a pattern is not supported"))
            }
            Some(symbol) => Ok(Escape::Character(symbol)),
            None => Err("the pattern ends with a lone `\\`".to_owned()),
        }
    }

    fn push_literal(&mut self, character: char) {
        if r"\.+*?()|[]{}^$".contains(character) {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    fn push_class(&mut self, negated: bool, content: &str) {
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(content);
        self.out.push(']');
    }
}

fn push_class_character(content: &mut String, character: char) {
    if r"\[]^-&~".contains(character) {
        content.push('\\');
    }
    content.push(character);
}
