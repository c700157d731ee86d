//! Arithmetic that never panics and never wraps.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::odata::error::ErrorKind;
use crate::odata::literal::in_range;
use crate::odata::syntax::Arithmetic;
use crate::odata::value::Value;

/// A value, or the class of what went wrong.
pub(super) type Outcome = Result<Value, ErrorKind>;

const OUT_OF_RANGE: ErrorKind = ErrorKind::OutOfRange;

/// Unary minus.
pub(super) fn negate(operand: &Value) -> Outcome {
    match *operand {
        Value::Int(number) => integers(Arithmetic::Sub, 0, number),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(duration) => durations(Arithmetic::Sub, TimeDelta::zero(), duration),
        Value::Null
        | Value::Boolean(_)
        | Value::String(_)
        | Value::Date(_)
        | Value::TimeOfDay(_)
        | Value::DateTimeOffset(_)
        | Value::Guid(_)
        | Value::List(_)
        | Value::Object(_) => Ok(Value::Null),
    }
}

/// A binary operator on two operands as the check has converted them; null if one is null.
pub(super) fn apply(operator: Arithmetic, left: Value, right: Value) -> Outcome {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(operator, left, right),
        (Value::Double(left), Value::Double(right)) => doubles(operator, left, right),
        (Value::Duration(left), Value::Duration(right)) => durations(operator, left, right),
        (Value::Duration(duration), Value::Double(number))
        | (Value::Double(number), Value::Duration(duration)) => scale(operator, duration, number),
        (Value::DateTimeOffset(instant), Value::Duration(duration)) => {
            Ok(Value::DateTimeOffset(shift(instant, signed(operator, duration))?))
        }
        (Value::Date(date), Value::Duration(duration)) => {
            let shifted = shift(midnight(date), signed(operator, duration))?;
            Ok(Value::Date(shifted.date_naive()))
        }
        (Value::DateTimeOffset(left), Value::DateTimeOffset(right)) => {
            Ok(Value::Duration(left.signed_duration_since(right)))
        }
        (Value::Date(left), Value::Date(right)) => {
            Ok(Value::Duration(left.signed_duration_since(right)))
        }
        _ => Ok(Value::Null),
    }
}

/// The first instant of a day, in UTC.
pub(super) fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

fn integers(operator: Arithmetic, left: i64, right: i64) -> Outcome {
    let divides = matches!(operator, Arithmetic::Div | Arithmetic::DivBy | Arithmetic::Mod);
    if divides && right == 0 {
        return Err(ErrorKind::DivisionByZero);
    }
    let result = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Sub => left.checked_sub(right),
        Arithmetic::Mul => left.checked_mul(right),
        Arithmetic::Div | Arithmetic::DivBy => left.checked_div(right),
        Arithmetic::Mod => Some(left.wrapping_rem(right)),
    };
    result.map(Value::Int).ok_or(OUT_OF_RANGE)
}

fn doubles(operator: Arithmetic, left: f64, right: f64) -> Outcome {
    let divides = matches!(operator, Arithmetic::Div | Arithmetic::DivBy | Arithmetic::Mod);
    if divides && right == 0.0 {
        return Err(ErrorKind::DivisionByZero);
    }
    let (result, vanished) = match operator {
        Arithmetic::Add => (left + right, false),
        Arithmetic::Sub => (left - right, false),
        Arithmetic::Mul => (left * right, left != 0.0 && right != 0.0),
        Arithmetic::Div | Arithmetic::DivBy => (left / right, left != 0.0),
        Arithmetic::Mod => (left % right, false),
    };
    if !result.is_finite() || (vanished && result == 0.0) {
        return Err(OUT_OF_RANGE);
    }
    Ok(Value::Double(result))
}

fn durations(operator: Arithmetic, left: TimeDelta, right: TimeDelta) -> Outcome {
    let sum = left.checked_add(&signed(operator, right));
    sum.and_then(|sum| sum.num_microseconds()).map(micros).ok_or(OUT_OF_RANGE)
}

/// A duration times or divided by a number, rounded to the microsecond, halves away from zero.
fn scale(operator: Arithmetic, duration: TimeDelta, number: f64) -> Outcome {
    let divides = matches!(operator, Arithmetic::Div | Arithmetic::DivBy);
    if divides && number == 0.0 {
        return Err(ErrorKind::DivisionByZero);
    }
    let amount = duration.num_microseconds().ok_or(OUT_OF_RANGE)?;
    #[expect(clippy::cast_precision_loss, reason = "scaling is defined on doubles")]
    let amount = amount as f64;
    let scaled = if divides { amount / number } else { amount * number };
    whole(scaled.round()).map(micros).ok_or(OUT_OF_RANGE)
}

/// A whole double as an integer, if it is in the range of integers.
pub(super) fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let fits = number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range, see above")]
    fits.then_some(number as i64)
}

const fn micros(amount: i64) -> Value {
    Value::Duration(TimeDelta::microseconds(amount))
}

fn signed(operator: Arithmetic, duration: TimeDelta) -> TimeDelta {
    if operator == Arithmetic::Sub { -duration } else { duration }
}

fn shift(instant: DateTime<Utc>, by: TimeDelta) -> Result<DateTime<Utc>, ErrorKind> {
    instant.checked_add_signed(by).filter(|shifted| in_range(*shifted)).ok_or(OUT_OF_RANGE)
}
