//! What is wrong, where, and with which text: the one error of this room.

use std::fmt;

use super::expr::Expr;
use super::syntax::Span;

/// Longest piece of the offending text that an error repeats, in characters.
const TEXT_CHARS_MAX: usize = 60;
/// Longest message, in characters: a message may repeat a name that the client made up.
const MESSAGE_CHARS_MAX: usize = 500;
/// Longest name, in bytes, that a nearest known one is looked for.
const NAME_BYTES_MAX: usize = 64;

/// The stable class of an [`Error`], for `error.code` of an answer and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The text does not follow the grammar.
    Syntax,
    /// A literal has the shape of its type but no value: `2026-02-31`, an integer past 64 bits.
    Literal,
    /// A path names something the model does not declare.
    UnknownProperty,
    /// A call names something that is not a function.
    UnknownFunction,
    /// A literal beside an enumeration is none of its members.
    UnknownMember,
    /// Valid in the standard, but left out on purpose.
    Unsupported,
    /// A function was called with too few or too many arguments.
    Arity,
    /// Operands whose types do not go together.
    Type,
    /// An argument that no row can make valid, such as a negative length.
    Argument,
    /// A divisor is zero: as a literal (found by the check) or in a row (found by evaluation).
    DivisionByZero,
    /// Evaluation left the range of a type.
    OutOfRange,
    /// The text exceeds one of the [`Limits`](super::Limits).
    Limit,
}

impl ErrorKind {
    /// The name that goes into an error body. It never changes.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Syntax => "SyntaxError",
            Self::Literal => "InvalidLiteral",
            Self::UnknownProperty => "UnknownProperty",
            Self::UnknownFunction => "UnknownFunction",
            Self::UnknownMember => "UnknownMember",
            Self::Unsupported => "NotSupported",
            Self::Arity => "WrongArgumentCount",
            Self::Type => "TypeMismatch",
            Self::Argument => "InvalidArgument",
            Self::DivisionByZero => "DivisionByZero",
            Self::OutOfRange => "OutOfRange",
            Self::Limit => "QueryTooComplex",
        }
    }
}

/// Why a query text was refused, or why a row could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The class, stable across versions.
    pub kind: ErrorKind,
    /// A sentence for a person. It does not repeat the position.
    pub message: String,
    /// Where the offending text starts, in bytes from the start of the query text.
    pub position: usize,
    /// The offending text, shortened; empty when the text ended too early. Errors of the
    /// evaluation carry the canonical text of the failing expression here.
    pub text: String,
}

impl Error {
    /// An error about `span` of `source`.
    pub(super) fn new(
        kind: ErrorKind,
        source: &str,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        let text = source.get(span.start..span.end).unwrap_or_default();
        Self::about(kind, text, span.start, message)
    }

    /// An error about an expression, whose canonical text it carries.
    pub fn of(kind: ErrorKind, expr: &Expr, message: impl Into<String>) -> Self {
        Self::about(kind, &expr.to_string(), expr.span.start, message)
    }

    /// An error about `text`, which starts at `position`.
    pub(super) fn about(
        kind: ErrorKind,
        text: &str,
        position: usize,
        message: impl Into<String>,
    ) -> Self {
        let mut message = message.into();
        shorten(&mut message, MESSAGE_CHARS_MAX);
        let mut text = text.to_owned();
        shorten(&mut text, TEXT_CHARS_MAX);
        Self { kind, message, position, text }
    }
}

fn shorten(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.push('…');
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, position, text, .. } = self;
        if text.is_empty() {
            write!(f, "{message} (at the end, byte {position})")
        } else {
            write!(f, "{message} (at byte {position}: {text})")
        }
    }
}

/// ` (did you mean ...?)` with the candidate nearest to `name`, or nothing when none is near.
pub(super) fn did_you_mean<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.75;
    if name.len() > NAME_BYTES_MAX {
        return String::new();
    }
    let name = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map_or_else(String::new, |(_, nearest)| format!("; did you mean `{nearest}`?"))
}
