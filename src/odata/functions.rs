//! The standard functions: names, parameters and results, as one table.

use super::model::Type;

/// A standard function (URL conventions 4.01, 5.1.1.5 to 5.1.1.10).
///
/// `matchesPattern`, `cast`, `isof` and `case` are not among them: their arguments are not values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    /// `contains(String, String)`: Boolean
    Contains,
    /// `startswith(String, String)`: Boolean
    StartsWith,
    /// `endswith(String, String)`: Boolean
    EndsWith,
    /// `length(String)`: Int, in characters
    Length,
    /// `indexof(String, String)`: Int, zero-based, in characters; -1 when not found
    IndexOf,
    /// `substring(String, Int[, Int])`: String
    Substring,
    /// `tolower(String)`: String
    ToLower,
    /// `toupper(String)`: String
    ToUpper,
    /// `trim(String)`: String
    Trim,
    /// `concat(String, String)`: String
    Concat,
    /// `year(Date or DateTimeOffset)`: Int
    Year,
    /// `month(Date or DateTimeOffset)`: Int
    Month,
    /// `day(Date or DateTimeOffset)`: Int
    Day,
    /// `hour(DateTimeOffset or TimeOfDay)`: Int
    Hour,
    /// `minute(DateTimeOffset or TimeOfDay)`: Int
    Minute,
    /// `second(DateTimeOffset or TimeOfDay)`: Int
    Second,
    /// `fractionalseconds(DateTimeOffset or TimeOfDay)`: Double
    FractionalSeconds,
    /// `date(DateTimeOffset)`: Date, in UTC
    Date,
    /// `time(DateTimeOffset)`: `TimeOfDay`, in UTC
    Time,
    /// `now()`: `DateTimeOffset`, one instant for the whole query
    Now,
    /// `totaloffsetminutes(DateTimeOffset)`: Int, always 0
    TotalOffsetMinutes,
    /// `mindatetime()`: `DateTimeOffset`
    MinDateTime,
    /// `maxdatetime()`: `DateTimeOffset`
    MaxDateTime,
    /// `totalseconds(Duration)`: Double
    TotalSeconds,
    /// `round(Int or Double)`: the same type
    Round,
    /// `floor(Int or Double)`: the same type
    Floor,
    /// `ceiling(Int or Double)`: the same type
    Ceiling,
}

/// A row of the table: each parameter lists the types it accepts, the first being what JSON and
/// null are read as; without a result type, the answer has the type of the first argument.
pub(super) struct Signature {
    pub function: Function,
    pub name: &'static str,
    pub parameters: &'static [&'static [Type]],
    pub required: usize,
    pub result: Option<Type>,
}

const TEXT: &[Type] = &[Type::String];
const INT: &[Type] = &[Type::Int];
const NUMBER: &[Type] = &[Type::Double, Type::Int];
const INSTANT: &[Type] = &[Type::DateTimeOffset];
const DAY: &[Type] = &[Type::DateTimeOffset, Type::Date];
const CLOCK: &[Type] = &[Type::DateTimeOffset, Type::TimeOfDay];
const SPAN: &[Type] = &[Type::Duration];

const fn row(
    function: Function,
    name: &'static str,
    parameters: &'static [&'static [Type]],
    result: Option<Type>,
) -> Signature {
    Signature { function, name, parameters, required: parameters.len(), result }
}

#[rustfmt::skip]
static SIGNATURES: [Signature; 27] = [
    row(Function::Contains,           "contains",           &[TEXT, TEXT], Some(Type::Boolean)),
    row(Function::StartsWith,         "startswith",         &[TEXT, TEXT], Some(Type::Boolean)),
    row(Function::EndsWith,           "endswith",           &[TEXT, TEXT], Some(Type::Boolean)),
    row(Function::Length,             "length",             &[TEXT],       Some(Type::Int)),
    row(Function::IndexOf,            "indexof",            &[TEXT, TEXT], Some(Type::Int)),
    Signature {
        function: Function::Substring, name: "substring", parameters: &[TEXT, INT, INT],
        required: 2, result: Some(Type::String),
    },
    row(Function::ToLower,            "tolower",            &[TEXT],       Some(Type::String)),
    row(Function::ToUpper,            "toupper",            &[TEXT],       Some(Type::String)),
    row(Function::Trim,               "trim",               &[TEXT],       Some(Type::String)),
    row(Function::Concat,             "concat",             &[TEXT, TEXT], Some(Type::String)),
    row(Function::Year,               "year",               &[DAY],        Some(Type::Int)),
    row(Function::Month,              "month",              &[DAY],        Some(Type::Int)),
    row(Function::Day,                "day",                &[DAY],        Some(Type::Int)),
    row(Function::Hour,               "hour",               &[CLOCK],      Some(Type::Int)),
    row(Function::Minute,             "minute",             &[CLOCK],      Some(Type::Int)),
    row(Function::Second,             "second",             &[CLOCK],      Some(Type::Int)),
    row(Function::FractionalSeconds,  "fractionalseconds",  &[CLOCK],      Some(Type::Double)),
    row(Function::Date,               "date",               &[INSTANT],    Some(Type::Date)),
    row(Function::Time,               "time",               &[INSTANT],    Some(Type::TimeOfDay)),
    row(Function::Now,                "now",                &[],           Some(Type::DateTimeOffset)),
    row(Function::TotalOffsetMinutes, "totaloffsetminutes", &[INSTANT],    Some(Type::Int)),
    row(Function::MinDateTime,        "mindatetime",        &[],           Some(Type::DateTimeOffset)),
    row(Function::MaxDateTime,        "maxdatetime",        &[],           Some(Type::DateTimeOffset)),
    row(Function::TotalSeconds,       "totalseconds",       &[SPAN],       Some(Type::Double)),
    row(Function::Round,              "round",              &[NUMBER],     None),
    row(Function::Floor,              "floor",              &[NUMBER],     None),
    row(Function::Ceiling,            "ceiling",            &[NUMBER],     None),
];

/// Functions that the standard has and this language leaves out.
pub(super) const UNSUPPORTED: [&str; 5] =
    ["geo.distance", "geo.intersects", "geo.length", "hassubset", "hassubsequence"];

/// Functions whose arguments are not all values, and which the check therefore treats one by one.
pub(super) const SPECIAL: [&str; 4] = ["matchesPattern", "cast", "isof", "case"];

impl Function {
    /// The name in the standard's spelling.
    #[must_use]
    pub fn name(self) -> &'static str {
        SIGNATURES.iter().find(|row| row.function == self).map_or("", |row| row.name)
    }
}

/// The row of the function with this name, in any case.
pub(super) fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|row| row.name.eq_ignore_ascii_case(name))
}

/// The names of all functions, for suggestions.
pub(super) fn names<'a>() -> impl Iterator<Item = &'a str> {
    SIGNATURES.iter().map(|row| row.name).chain(SPECIAL)
}
