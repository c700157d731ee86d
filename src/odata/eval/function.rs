//! The standard functions. Positions and lengths count characters (code points).

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Timelike, Utc};

use crate::odata::functions::Function;
use crate::odata::literal;
use crate::odata::value::Value;

/// What `function` yields for arguments that the check has accepted and of which none is null; null
/// where a row holds another type than its model says.
pub(super) fn apply(function: Function, arguments: &[Value], now: DateTime<Utc>) -> Value {
    answer(function, arguments, now).unwrap_or_default()
}

fn answer(function: Function, arguments: &[Value], now: DateTime<Utc>) -> Option<Value> {
    let text = |at: usize| arguments.get(at).and_then(Value::as_str);
    let number = |at: usize| arguments.get(at).and_then(Value::as_int);
    Some(match function {
        Function::Contains => text(0)?.contains(text(1)?).into(),
        Function::StartsWith => text(0)?.starts_with(text(1)?).into(),
        Function::EndsWith => text(0)?.ends_with(text(1)?).into(),
        Function::Length => characters(text(0)?).into(),
        Function::IndexOf => position(text(0)?, text(1)?).into(),
        Function::Substring => substring(text(0)?, number(1)?, number(2)).into(),
        Function::ToLower => text(0)?.to_lowercase().into(),
        Function::ToUpper => text(0)?.to_uppercase().into(),
        Function::Trim => text(0)?.trim().into(),
        Function::Concat => [text(0)?, text(1)?].concat().into(),
        Function::Year => i64::from(day(arguments)?.year()).into(),
        Function::Month => i64::from(day(arguments)?.month()).into(),
        Function::Day => i64::from(day(arguments)?.day()).into(),
        Function::Hour => i64::from(clock(arguments)?.hour()).into(),
        Function::Minute => i64::from(clock(arguments)?.minute()).into(),
        Function::Second => i64::from(clock(arguments)?.second()).into(),
        Function::FractionalSeconds => {
            (f64::from(clock(arguments)?.nanosecond() / 1_000) / 1e6).into()
        }
        Function::Date => day(arguments)?.into(),
        Function::Time => clock(arguments)?.into(),
        Function::Now => now.into(),
        Function::TotalOffsetMinutes => Value::Int(0),
        Function::MinDateTime => literal::date_time_min().into(),
        Function::MaxDateTime => literal::date_time_max().into(),
        Function::TotalSeconds => seconds(arguments)?.into(),
        Function::Round => map_double(arguments, f64::round)?,
        Function::Floor => map_double(arguments, f64::floor)?,
        Function::Ceiling => map_double(arguments, f64::ceil)?,
    })
}

fn characters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Where `part` starts in `text`, or -1.
fn position(text: &str, part: &str) -> i64 {
    text.find(part).map_or(-1, |at| characters(&text[..at]))
}

/// A start or length below zero counts as zero; what lies past the end is empty.
fn substring(text: &str, start: i64, length: Option<i64>) -> String {
    let count = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    text.chars().skip(count(start)).take(length.map_or(usize::MAX, count)).collect()
}

fn day(arguments: &[Value]) -> Option<NaiveDate> {
    if let Some(Value::Date(date)) = arguments.first() {
        return Some(*date);
    }
    instant(arguments).map(|instant| instant.date_naive())
}

fn clock(arguments: &[Value]) -> Option<NaiveTime> {
    if let Some(Value::TimeOfDay(time)) = arguments.first() {
        return Some(*time);
    }
    instant(arguments).map(|instant| instant.time())
}

fn instant(arguments: &[Value]) -> Option<DateTime<Utc>> {
    if let Some(Value::DateTimeOffset(instant)) = arguments.first() { Some(*instant) } else { None }
}

fn seconds(arguments: &[Value]) -> Option<f64> {
    let Some(Value::Duration(duration)) = arguments.first() else { return None };
    #[expect(clippy::cast_precision_loss, reason = "the result is a double")]
    duration.num_microseconds().map(|micros| micros as f64 / 1e6)
}

/// An integer stays what it is. `f64::round` takes halves away from zero, as the standard asks.
fn map_double(arguments: &[Value], map: fn(f64) -> f64) -> Option<Value> {
    if let Some(Value::Double(number)) = arguments.first() {
        return Some(map(*number).into());
    }
    arguments.first().and_then(Value::as_int).map(Value::Int)
}
