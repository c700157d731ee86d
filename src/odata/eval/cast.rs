//! `cast` and `isof`.

use super::arithmetic::{midnight, whole};
use crate::odata::literal;
use crate::odata::model::Type;
use crate::odata::value::Value;

/// `value` of type `from` as a `to`; null where it is none.
pub(super) fn cast(value: Value, from: &Type, to: &Type) -> Value {
    if *from == Type::Json {
        return from_json(value, to).unwrap_or_default();
    }
    let converted = match (value, to) {
        (Value::String(text), to) if *from == Type::String => from_text(&text, to),
        (Value::String(member), Type::String) => Some(Value::String(member)),
        (number @ Value::Int(_), Type::Double) => widened(&number),
        (Value::Double(number), Type::Int) => whole(number.trunc()).map(Value::Int),
        (Value::Date(date), Type::DateTimeOffset) => Some(midnight(date).into()),
        (Value::DateTimeOffset(instant), Type::Date) => Some(instant.date_naive().into()),
        (Value::DateTimeOffset(instant), Type::TimeOfDay) => Some(instant.time().into()),
        (Value::Boolean(truth), Type::String) => Some(truth.to_string().into()),
        (Value::Int(number), Type::String) => Some(number.to_string().into()),
        (Value::Guid(guid), Type::String) => Some(guid.to_string().into()),
        (Value::Date(date), Type::String) => Some(date.to_string().into()),
        _ => None,
    };
    converted.unwrap_or_default()
}

/// Whether `value` of type `from` is a `ty`; null is nothing.
pub(super) fn is_of(value: &Value, from: &Type, ty: &Type) -> bool {
    if *from == Type::Json {
        return from_json(value.clone(), ty).is_some_and(|value| !value.is_null());
    }
    from == ty && !value.is_null()
}

/// An integer as the nearest double.
pub(super) fn widened(value: &Value) -> Option<Value> {
    #[expect(clippy::cast_precision_loss, reason = "as any comparison with a double")]
    value.as_int().map(|number| Value::Double(number as f64))
}

/// A JSON value as a `to`: numbers, strings and Booleans only as what they are, the types that JSON
/// lacks from strings in their literal form.
fn from_json(value: Value, to: &Type) -> Option<Value> {
    match (value, to) {
        (Value::Boolean(truth), Type::Boolean) => Some(truth.into()),
        (Value::String(text), Type::String) => Some(text.into()),
        (Value::Int(number), Type::Int) => Some(number.into()),
        (number @ Value::Int(_), Type::Double) => widened(&number),
        (Value::Double(number), Type::Int) => whole(number).map(Value::Int),
        (Value::Double(number), Type::Double) => Some(number.into()),
        (Value::String(_), Type::Boolean | Type::Int | Type::Double) => None,
        (Value::String(text), to) => from_text(&text, to),
        _ => None,
    }
}

/// A text in the literal form of the type (without quotes or prefix) as that type.
fn from_text(text: &str, to: &Type) -> Option<Value> {
    match to {
        Type::Boolean => literal::boolean(text).map(Value::Boolean),
        Type::Int => literal::number(text).filter(|number| matches!(number, Value::Int(_))),
        Type::Double => literal::number(text).map(|number| widened(&number).unwrap_or(number)),
        Type::Date => literal::date(text).map(Value::Date),
        Type::TimeOfDay => literal::time_of_day(text).map(Value::TimeOfDay),
        Type::DateTimeOffset => literal::date_time_offset(text).map(Value::DateTimeOffset),
        Type::Duration => literal::duration(text).map(Value::Duration),
        Type::Guid => literal::guid(text).map(Value::Guid),
        Type::String => Some(text.into()),
        Type::Null
        | Type::Enum(_)
        | Type::Json
        | Type::Object(_)
        | Type::Collection(_)
        | Type::Map => None,
    }
}
