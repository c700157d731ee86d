//! `$search`: words and phrases with `NOT`, `AND` and `OR`, free of any property.
//!
//! `NOT` binds tightest, then `AND` (also implied by a blank), then `OR`. The three words are
//! operators in upper case only: `or` is a word to search for. In a phrase, `\"` is a quote and
//! `\\` a backslash.

use std::fmt;

use super::error::{Error, ErrorKind};
use super::limits::Limits;
use super::syntax::Span;

/// The value of `$search`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// A word or a phrase.
    Term(String),
    /// Where the operand is not found.
    Not(Box<Self>),
    /// Where all of two or more operands are found.
    And(Vec<Self>),
    /// Where any of two or more operands is found.
    Or(Vec<Self>),
}

impl Search {
    /// Whether the search succeeds when `found` tells which terms occur.
    pub fn matches(&self, found: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Term(term) => found(term),
            Self::Not(operand) => !operand.matches(found),
            Self::And(operands) => operands.iter().all(|operand| operand.matches(found)),
            Self::Or(operands) => operands.iter().any(|operand| operand.matches(found)),
        }
    }

    /// `operand` in a place where only what binds tighter than `OR` or `AND` can stand.
    fn write_tight(operand: &Self, f: &mut fmt::Formatter<'_>, below: &str) -> fmt::Result {
        let loose = match operand {
            Self::Term(_) | Self::Not(_) => false,
            Self::And(_) => below != " OR ",
            Self::Or(_) => true,
        };
        if loose { write!(f, "({operand})") } else { write!(f, "{operand}") }
    }
}

impl fmt::Display for Search {
    /// The canonical text, which reads back as an equal value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operands, link) = match self {
            Self::Term(term) if is_plain_word(term) => return f.write_str(term),
            Self::Term(term) => {
                let escaped = term.replace('\\', r"\\").replace('"', "\\\"");
                return write!(f, "\"{escaped}\"");
            }
            Self::Not(operand) => {
                f.write_str("NOT ")?;
                return Self::write_tight(operand, f, "NOT");
            }
            Self::And(operands) => (operands, " AND "),
            Self::Or(operands) => (operands, " OR "),
        };
        for (index, operand) in operands.iter().enumerate() {
            if index > 0 {
                f.write_str(link)?;
            }
            Self::write_tight(operand, f, link)?;
        }
        Ok(())
    }
}

const OPERATORS: [&str; 3] = ["NOT", "AND", "OR"];

fn ends_word(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '(' | ')')
}

fn is_plain_word(term: &str) -> bool {
    !term.is_empty() && !term.contains(ends_word) && !OPERATORS.contains(&term)
}

/// Reads the value of `$search`.
///
/// # Errors
/// [`ErrorKind::Syntax`] for an empty text, an unclosed phrase or parenthesis or an operator
/// without operands; [`ErrorKind::Limit`].
pub fn search(text: &str, limits: &Limits) -> Result<Search, Error> {
    if text.len() > limits.text_bytes {
        let message = format!("the text is longer than {} bytes", limits.text_bytes);
        return Err(Error::about(ErrorKind::Limit, text, 0, message));
    }
    let mut reader = Reader { text, at: 0, limits, depth: 0, terms: 0 };
    let search = reader.any_of()?;
    if reader.peek().is_some() {
        return Err(reader.error(ErrorKind::Syntax, "there is no `(` for this `)`"));
    }
    Ok(search)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    limits: &'a Limits,
    depth: usize,
    terms: usize,
}

impl<'a> Reader<'a> {
    fn any_of(&mut self) -> Result<Search, Error> {
        let mut operands = vec![self.all_of()?];
        while self.take_operator("OR") {
            operands.push(self.all_of()?);
        }
        Ok(single_or(operands, Search::Or))
    }

    fn all_of(&mut self) -> Result<Search, Error> {
        let mut operands = vec![self.one()?];
        while self.peek().is_some_and(|next| next != ')') && self.word() != "OR" {
            let _implied = self.take_operator("AND");
            operands.push(self.one()?);
        }
        Ok(single_or(operands, Search::And))
    }

    fn one(&mut self) -> Result<Search, Error> {
        if self.depth == self.limits.nesting {
            let message = format!("the search is nested more than {} deep", self.depth);
            return Err(self.error(ErrorKind::Limit, message));
        }
        self.depth += 1;
        let search = self.one_nested()?;
        self.depth -= 1;
        Ok(search)
    }

    fn one_nested(&mut self) -> Result<Search, Error> {
        if self.take_operator("NOT") {
            return Ok(Search::Not(Box::new(self.one()?)));
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                let inner = self.any_of()?;
                if self.peek() != Some(')') {
                    return Err(self.error(ErrorKind::Syntax, "expected `)`"));
                }
                self.at += 1;
                Ok(inner)
            }
            Some('"') => self.phrase(),
            Some(next) if next != ')' && !OPERATORS.contains(&self.word()) => {
                let word = self.word();
                self.at += word.len();
                self.term(word.to_owned())
            }
            Some(_) | None => Err(self.error(ErrorKind::Syntax, "expected a word or a phrase")),
        }
    }

    fn phrase(&mut self) -> Result<Search, Error> {
        let start = self.at;
        let mut phrase = String::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at = start + 1 + at + 1;
                    return self.term(phrase);
                }
                '\\' => phrase.extend(characters.next().map(|(_, escaped)| escaped)),
                other => phrase.push(other),
            }
        }
        Err(self.error(ErrorKind::Syntax, "the phrase has no closing quote"))
    }

    fn term(&mut self, term: String) -> Result<Search, Error> {
        self.terms += 1;
        if self.terms > self.limits.nodes {
            let message = format!("the search has more than {} terms", self.limits.nodes);
            return Err(self.error(ErrorKind::Limit, message));
        }
        if term.is_empty() || term.contains('\0') {
            let message = "a term is not empty and has no NUL";
            return Err(self.error(ErrorKind::Syntax, message));
        }
        Ok(Search::Term(term))
    }

    /// The next character that is not blank; blanks before it are skipped.
    fn peek(&mut self) -> Option<char> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        rest.chars().next()
    }

    /// The characters from here to the end of the word.
    fn word(&self) -> &'a str {
        let rest = &self.text[self.at..];
        rest.split(ends_word).next().unwrap_or(rest)
    }

    fn take_operator(&mut self, operator: &str) -> bool {
        let found = self.peek().is_some() && self.word() == operator;
        if found {
            self.at += operator.len();
        }
        found
    }

    fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        let span = Span { start: self.at, end: self.text.len() };
        Error::new(kind, self.text, span, message)
    }
}

/// The only operand itself, or `link` of several.
fn single_or(mut operands: Vec<Search>, link: fn(Vec<Search>) -> Search) -> Search {
    if operands.len() > 1 {
        return link(operands);
    }
    operands.pop().expect("a chain starts with one operand")
}
