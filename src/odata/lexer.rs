//! Text to tokens, one at a time, each with its bytes.
//!
//! Keywords are no tokens of their own: `eq` is an operator only where an operator can stand, so a
//! property may be called `eq`. A guid, a date, an instant, a time and a number all may start with
//! a digit and are told apart by shape, longest first; `10:05` is therefore always a time.

use std::borrow::Cow;

use super::error::{Error, ErrorKind};
use super::literal;
use super::syntax::Span;
use super::value::Value;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// An identifier, with dots (`Edm.String`) or a leading `$` (`$it`, `$count`).
    Name(&'a str),
    /// The content of a quoted string, doubled quotes resolved.
    Text(Cow<'a, str>),
    /// An unquoted literal.
    Literal(Value),
    Open,
    Close,
    Comma,
    Colon,
    Slash,
    Star,
    Minus,
    End,
}

/// The reader.
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(source: &'a str) -> Self {
        Self { source, at: 0 }
    }

    /// The next token and where it stands. After the end it is `End` again and again.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Span), Error> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        self.at += self.rest().bytes().take_while(blank).count();
        let start = self.at;
        let token = self.token()?;
        Ok((token, Span { start, end: self.at }))
    }

    fn token(&mut self) -> Result<Token<'a>, Error> {
        let bytes = self.rest().as_bytes();
        let Some(first) = bytes.first() else { return Ok(Token::End) };
        let signed_digit = bytes.get(1).is_some_and(u8::is_ascii_digit);
        match first {
            b'(' => Ok(self.symbol(Token::Open)),
            b')' => Ok(self.symbol(Token::Close)),
            b',' => Ok(self.symbol(Token::Comma)),
            b':' => Ok(self.symbol(Token::Colon)),
            b'/' => Ok(self.symbol(Token::Slash)),
            b'*' => Ok(self.symbol(Token::Star)),
            b'\'' => self.text(),
            b'+' | b'-' if signed_digit => self.number(),
            b'-' => Ok(self.symbol(Token::Minus)),
            byte if byte.is_ascii_hexdigit() && self.guid_ahead() => {
                self.literal(36, "a guid", |text| literal::guid(text).map(Value::Guid))
            }
            byte if byte.is_ascii_digit() => self.starts_with_digit(),
            _ => self.name(),
        }
    }

    const fn symbol(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// The next `bytes` bytes, which must end between characters.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, _) = self.rest().split_at(bytes);
        self.at += bytes;
        taken
    }

    /// How many bytes from `from` on satisfy `wanted` (which accepts ASCII only).
    fn run(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        self.rest().bytes().skip(from).take_while(|byte| byte.is_ascii() && wanted(*byte)).count()
    }

    fn guid_ahead(&self) -> bool {
        let bytes = self.rest().as_bytes();
        bytes.get(..36).is_some_and(literal::is_guid_shape)
    }

    /// Whether the text ahead has `shape`, in which `d` stands for a digit.
    fn looks_like(&self, from: usize, shape: &str) -> bool {
        let ahead = self.rest().as_bytes().get(from..from + shape.len());
        ahead.is_some_and(|ahead| {
            ahead.iter().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
                b'd' => byte.is_ascii_digit(),
                _ => *byte == wanted,
            })
        })
    }

    fn text(&mut self) -> Result<Token<'a>, Error> {
        let start = self.at;
        let mut from = start + 1;
        let mut doubled = false;
        let end = loop {
            let Some(quote) = self.source[from..].find('\'').map(|found| from + found) else {
                return Err(self.error(
                    start,
                    self.source.len(),
                    "the string has no closing quote",
                ));
            };
            if !self.source[quote + 1..].starts_with('\'') {
                break quote;
            }
            doubled = true;
            from = quote + 2;
        };
        let raw = &self.source[start + 1..end];
        self.at = end + 1;
        if let Some(nul) = raw.find('\0') {
            let nul = start + 1 + nul;
            return Err(self.error(nul, nul + 1, "a string cannot hold the character NUL"));
        }
        let text = if doubled { raw.replace("''", "'").into() } else { raw.into() };
        Ok(Token::Text(text))
    }

    fn starts_with_digit(&mut self) -> Result<Token<'a>, Error> {
        let clock = |byte: u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
        if self.looks_like(0, "dddd-dd-dd") {
            if !matches!(self.rest().as_bytes().get(10), Some(b'T' | b't')) {
                return self.literal(10, "a date", |text| literal::date(text).map(Value::Date));
            }
            let mut length = 11 + self.run(11, clock);
            length += match self.rest().as_bytes().get(length) {
                Some(b'Z' | b'z') => 1,
                Some(b'+' | b'-') => 1 + self.run(length + 1, clock),
                Some(b' ') if self.looks_like(length, " dd:dd") => 6,
                _ => 0,
            };
            let what = "an instant with an offset (`Z` or `+01:00`)";
            return self.literal(length, what, |text| {
                literal::date_time_offset(text).map(Value::DateTimeOffset)
            });
        }
        if self.looks_like(0, "dd:dd") {
            let length = self.run(0, clock);
            return self.literal(length, "a time of day", |text| {
                literal::time_of_day(text).map(Value::TimeOfDay)
            });
        }
        self.number()
    }

    fn number(&mut self) -> Result<Token<'a>, Error> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
        let mut length = 1 + self.run(1, word);
        let exponent = self.rest()[..length].ends_with(['e', 'E']);
        if exponent && matches!(self.rest().as_bytes().get(length), Some(b'+' | b'-')) {
            length += 1 + self.run(length + 1, word);
        }
        self.literal(length, "a number", literal::number)
    }

    /// Takes `length` bytes as one literal, which must not run into a word.
    fn literal(
        &mut self,
        length: usize,
        what: &str,
        read: impl Fn(&str) -> Option<Value>,
    ) -> Result<Token<'a>, Error> {
        let start = self.at;
        let text = self.take(length);
        let joined = self.run(0, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if joined > 0 {
            return Err(self.error(start, self.at + joined, &format!("this is not {what}")));
        }
        let Some(value) = read(text) else {
            let span = Span { start, end: self.at };
            let message = format!("this is not {what}, or out of range");
            return Err(Error::new(ErrorKind::Literal, self.source, span, message));
        };
        Ok(Token::Literal(value))
    }

    fn name(&mut self) -> Result<Token<'a>, Error> {
        let start = self.at;
        let leading = |next: char| next.is_alphabetic() || next == '_';
        let mut characters = self.rest().char_indices().peekable();
        let mut length = 0;
        while let Some((at, next)) = characters.next() {
            let inner_dot = next == '.' && characters.peek().is_some_and(|(_, c)| leading(*c));
            let fits = leading(next) || (at == 0 && next == '$');
            if !fits && (at == 0 || !(next.is_alphanumeric() || inner_dot)) {
                break;
            }
            length = at + next.len_utf8();
        }
        match self.rest().chars().next() {
            Some(first) if length == 0 => {
                let end = start + first.len_utf8();
                let (kind, message) = foreign_symbol(first);
                Err(Error::new(kind, self.source, Span { start, end }, message))
            }
            Some(_) | None => Ok(Token::Name(self.take(length))),
        }
    }

    fn error(&self, start: usize, end: usize, message: &str) -> Error {
        Error::new(ErrorKind::Syntax, self.source, Span { start, end }, message)
    }
}

/// What to write instead of a symbol that other languages, or other parts of the standard, have.
const fn foreign_symbol(symbol: char) -> (ErrorKind, &'static str) {
    let message = match symbol {
        '@' => return (ErrorKind::Unsupported, "parameter aliases are not supported"),
        '[' | ']' | '{' | '}' => {
            return (ErrorKind::Unsupported, "JSON literals are not supported");
        }
        '=' => "`=` is no operator here; write `eq`",
        '!' => "`!` is no operator here; write `not` or `ne`",
        '<' => "`<` is no operator here; write `lt` or `le`",
        '>' => "`>` is no operator here; write `gt` or `ge`",
        '&' => "`&` is no operator here; write `and`",
        '|' => "`|` is no operator here; write `or`",
        '+' => "`+` is no operator here; write `add`",
        '%' => "`%` is no operator here; write `mod`",
        '"' => "a string stands in single quotes",
        '.' => "a number starts with a digit",
        _ => "this character cannot stand here",
    };
    (ErrorKind::Syntax, message)
}
