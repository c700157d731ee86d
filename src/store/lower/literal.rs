//! Values as bound parameters, each with the SQL type of its own.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::odata::{Type, Value};

/// The SQL type that values of a type have.
pub(super) const fn sql_type(ty: &Type) -> &'static str {
    match ty {
        Type::Boolean => "boolean",
        Type::Int | Type::Duration => "bigint",
        Type::Double => "double precision",
        Type::String | Type::Enum(_) | Type::Null => "text",
        Type::Date => "date",
        Type::TimeOfDay => "time",
        Type::DateTimeOffset => "timestamptz",
        Type::Guid => "uuid",
        Type::Json | Type::Object(_) | Type::Collection(_) | Type::Map => "jsonb",
    }
}

/// Binds a value of type `ty`, or a null of it.
pub(super) fn bind(out: &mut QueryBuilder<Postgres>, ty: &Type, value: &Value) {
    match value {
        Value::Boolean(truth) => out.push_bind(*truth),
        Value::Int(number) => out.push_bind(*number),
        Value::Double(number) => out.push_bind(*number),
        Value::String(text) => out.push_bind(text.clone()),
        Value::Date(date) => out.push_bind(*date),
        Value::TimeOfDay(time) => out.push_bind(*time),
        Value::DateTimeOffset(instant) => out.push_bind(*instant),
        Value::Duration(duration) => out.push_bind(micros(*duration)),
        Value::Guid(guid) => out.push_bind(*guid),
        Value::Null | Value::List(_) | Value::Object(_) => out.push("null::").push(sql_type(ty)),
    };
}

/// Binds the values that are not null as one array of the type `ty`.
pub(super) fn bind_all(out: &mut QueryBuilder<Postgres>, ty: &Type, values: &[Value]) {
    fn all<T>(values: &[Value], one: impl Fn(&Value) -> Option<T>) -> Vec<T> {
        values.iter().filter_map(one).collect()
    }
    macro_rules! bind_each {
        ($variant:ident, $item:ty) => {
            out.push_bind(all::<$item>(values, |value| match value {
                Value::$variant(value) => Some(value.clone()),
                _ => None,
            }))
        };
    }
    match ty {
        Type::Boolean => bind_each!(Boolean, bool),
        Type::Int => bind_each!(Int, i64),
        Type::Double => bind_each!(Double, f64),
        Type::Date => bind_each!(Date, NaiveDate),
        Type::TimeOfDay => bind_each!(TimeOfDay, NaiveTime),
        Type::DateTimeOffset => bind_each!(DateTimeOffset, DateTime<Utc>),
        Type::Duration => out.push_bind(all(values, |value| {
            if let Value::Duration(duration) = value { Some(micros(*duration)) } else { None }
        })),
        Type::Guid => bind_each!(Guid, Uuid),
        Type::String
        | Type::Enum(_)
        | Type::Null
        | Type::Json
        | Type::Object(_)
        | Type::Collection(_)
        | Type::Map => bind_each!(String, String),
    };
}

fn micros(duration: TimeDelta) -> i64 {
    duration.num_microseconds().unwrap_or(i64::MAX)
}
