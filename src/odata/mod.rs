//! The query language of the API: `$filter`, `$orderby`, `$select` and `$search` as in `OData` 4.01.
//!
//! # Problem
//!
//! A client asks which rows it wants in a text from the outside. That text must not be able to hang
//! or crash the service, to mean something else than the standard says, or to reach the storage in
//! any other way than as bound values; and whoever wrote it must learn what is wrong with it and
//! where.
//!
//! # Design
//!
//! ```text
//! text --lexer--> tokens --parse--> tree as written --check(model)--> Expr --+--> eval (a row)
//!                            ^ Limits                                        +--> print
//!                                                                            +--> a lowering
//! ```
//!
//! - The parser is one binding-power table and one generic loop. A chain of `and`s or of `or`s
//!   is one node, whatever its length; every other way to make the tree higher counts against
//!   [`Limits::nesting`]. All recursion in this room is therefore bounded.
//! - The check resolves every name against a declared [`Model`], types every node and makes every
//!   conversion explicit, so that [`Expr`] can be evaluated or lowered without looking anything up.
//! - Errors carry a stable [`ErrorKind`], the byte position, the offending text and, for a name,
//!   the nearest known one.
//!
//! # What an expression means
//!
//! A lowering has to match this, point by point.
//!
//! - **Null.** `eq` and `ne` are two-valued: null equals null and nothing else. `gt ge lt le` with
//!   a null are false. `in` is `eq` with each member. Arithmetic and functions of a null are null.
//!   `not`, `and`, `or` are three-valued (Kleene). A filter keeps a row only where it is true.
//!   Lambdas are two-valued: a predicate that is null counts as not true; `any` of no items is
//!   false, `all` of none is true. `isof` of null is false. `case` takes the first arm that is
//!   true, and is null without one.
//! - **`not`** binds tighter than every operator but `in`. Where its operand is neither Boolean nor
//!   in parentheses of its own and a comparison follows, it negates that comparison:
//!   `not price le 3.5` is `not (price le 3.5)`.
//! - **Strings** compare by code point. Positions and lengths count code points from zero.
//!   `indexof` yields -1 when nothing is found and 0 for the empty string. `substring` takes a
//!   computed negative start or length as zero (a literal one is an error) and is empty past the
//!   end. `tolower` and `toupper` are the full Unicode mappings without locale (`'ß'` becomes
//!   `'SS'`, a final `'Σ'` becomes `'ς'`); `trim` takes the characters with the Unicode property
//!   `White_Space` off both ends, listed in [`WHITE_SPACE`].
//! - **`matchesPattern`** takes a literal pattern of ECMAScript, searched for anywhere in the text;
//!   [`Pattern::portable`] is the form to run elsewhere.
//! - **Numbers** are `Edm.Int64` and `Edm.Double`; a literal with a point or an exponent is a
//!   double. Beside a double an integer becomes one, but a whole double literal beside an integer
//!   (`n eq 50.0`) becomes an integer. `div` of integers truncates towards zero, `mod` has the sign
//!   of the dividend and exists for integers only, `divby` is always done in doubles. `round` takes
//!   halves away from zero. Division by zero is an error, for a literal divisor before any row is
//!   looked at. A result outside the type (integer overflow; an infinite double, or one that
//!   vanishes to zero in `mul`, `div` or `divby`) is an error.
//! - **Times** are UTC and in microseconds; digits past the sixth are dropped, offsets are applied
//!   and forgotten (`totaloffsetminutes` is 0). A date beside an instant is its midnight in UTC.
//!   Instant minus instant and date minus date are durations; an instant or date plus or minus a
//!   duration is an instant or date (the day on which midnight plus the duration falls); a duration
//!   times, `div` or `divby` a number is computed as double microseconds and rounded to a whole
//!   one, halves away from zero. `now()` is one instant, given by the caller. Instants and dates
//!   outside the years 0001 to 9999 are an error.
//! - **JSON** is read as the type that stands beside it (numbers as doubles, also beside an
//!   integer): a `cast` that is null where the JSON value is something else, without any
//!   conversion between strings, numbers and Booleans. Types that JSON lacks are read from strings
//!   in their literal form. A condition reads it as Boolean. Two JSON values cannot be compared.
//!   `isof` asks whether such a reading exists: 5 is an integer and a double, 5.5 a double only.
//! - **`cast`** (explicit): double to integer truncates (null if out of range); from a string reads
//!   the literal form of the type and is null for any other text; instants to their date or time in
//!   UTC; integers, Booleans (`true`, `false`), guids (lower case), dates and enumerations to
//!   strings. Other pairs are refused.
//! - **Enumerations** accept any case in literals; rows hold the declared spelling. They have
//!   `eq`, `ne` and `in`, and are sorted by the position of their members.
//! - **Order.** False is less than true, null less than everything.
//! - **Which errors happen.** `and`, `or`, `in`, `case` and lambdas look at their operands from left
//!   to right and stop when the answer is known, so `n ne 0 and 10 div n gt 1` does not fail.
//!
//! # Where the standard leaves room
//!
//! Blanks around a text are trimmed, and those after `not`, `in` and function names may be left
//! out. A blank in the place of the `+` of an offset is read as one: form decoding puts it there.
//! `10:05` is a time wherever it stands, so `case(n eq 10 :05)` needs its blank. A lambda variable
//! hides neither a property nor an outer variable: such a name is refused. Inside a lambda, names
//! without its variable are the row's, with or without `$it/`.
//!
//! # Rejected
//!
//! A parser generator or combinator library: error positions, limits and the re-association of
//! `not` would all work against it, and the grammar is one table. An untyped tree for the
//! evaluators: each would have to repeat the conversions, and they would come to differ.
//!
//! # Deliberately absent
//!
//! `has`, `geo.*`, parameter aliases, JSON literals, `binary'…'`, `INF` and `NaN`, `Edm.Decimal`,
//! `in` over a collection (use `any`), `cast` and `isof` of the row itself, type-cast segments, and
//! any function of the local time. Each is an error that names it.

mod check;
mod error;
pub mod eval;
mod expr;
mod functions;
mod lexer;
mod limits;
mod literal;
mod model;
mod order;
mod parse;
mod pattern;
mod print;
mod search;
mod select;
mod syntax;
mod value;

pub use error::{Error, ErrorKind};
pub use eval::Row;
pub use expr::{Expr, Kind, Lambda, Path};
pub use functions::Function;
pub use limits::Limits;
pub use model::{CustomFunction, EnumType, Model, Property, Type};
pub use order::{OrderItem, order_by};
pub use pattern::Pattern;
pub use search::{Search, search};
pub use select::{Select, select};
pub use syntax::{Arithmetic, Comparison, Quantifier, Span};
pub use value::Value;

/// The characters that `trim` takes off: those with the Unicode property `White_Space`.
pub const WHITE_SPACE: &str = "\t\n\u{b}\u{c}\r \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\
    \u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\
    \u{205f}\u{3000}";

/// Reads and checks the value of `$filter`: a condition on the properties of `model`.
///
/// # Errors
/// Every [`ErrorKind`] but [`ErrorKind::OutOfRange`]. An empty text is an error, and so is an
/// expression that is not Boolean.
pub fn filter(text: &str, model: &Model, limits: &Limits) -> Result<Expr, Error> {
    let node = parse::Parser::new(text, limits)?.whole()?;
    check::Checker::new(text, model).condition(node)
}
