//! The values that literals, properties and evaluation share.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use uuid::Uuid;

/// One value of the language.
///
/// Times carry microseconds, the precision of the storage. Instants are UTC: the offset of a
/// literal is applied and forgotten. A member of an enumeration is a `String` in the spelling its
/// [`EnumType`](super::EnumType) declares.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// No value. Absent properties and components of a null are null too.
    #[default]
    Null,
    /// `Edm.Boolean`.
    Boolean(bool),
    /// `Edm.Int64`; smaller integer types are widened to it.
    Int(i64),
    /// `Edm.Double`. Never infinite and never NaN.
    Double(f64),
    /// `Edm.String`.
    String(String),
    /// `Edm.Date`, in the years 0001 to 9999.
    Date(NaiveDate),
    /// `Edm.TimeOfDay`.
    TimeOfDay(NaiveTime),
    /// `Edm.DateTimeOffset`, in the years 0001 to 9999.
    DateTimeOffset(DateTime<Utc>),
    /// `Edm.Duration`, in whole microseconds.
    Duration(TimeDelta),
    /// `Edm.Guid`.
    Guid(Uuid),
    /// A collection, or a JSON array.
    List(Vec<Self>),
    /// A nested object, a map, or a JSON object.
    Object(Vec<(String, Self)>),
}

impl Value {
    /// Whether this is [`Value::Null`].
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What stands at `path` (segments separated by `/`) below this value; the value itself for the
    /// empty path, and null where there is nothing.
    #[must_use]
    pub fn at(&self, path: &str) -> &Self {
        if path.is_empty() {
            return self;
        }
        path.split('/').fold(self, |value, segment| {
            let Self::Object(fields) = value else { return &Self::Null };
            fields.iter().find(|(name, _)| name == segment).map_or(&Self::Null, |(_, field)| field)
        })
    }

    /// The text of a string or of a member of an enumeration.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number of an integer.
    #[must_use]
    pub const fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }
}

macro_rules! value_from {
    ($($source:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

value_from! {
    bool => Boolean, i32 => Int, i64 => Int, f64 => Double, &str => String, String => String,
    NaiveDate => Date, NaiveTime => TimeOfDay, DateTime<Utc> => DateTimeOffset,
    TimeDelta => Duration, Uuid => Guid,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
