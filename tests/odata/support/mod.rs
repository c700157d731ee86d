//! What the tests of the query language share: a model with every type, rows of it, and a generator
//! of random well-typed expressions and rows, made for differential tests as well.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use proptest::prelude::*;
use sutbot::odata::{Model, Type, Value};
use uuid::Uuid;

/// The instant that stands for `now()`.
pub(crate) fn now() -> DateTime<Utc> {
    instant("2026-06-01T12:00:00Z")
}

pub(crate) fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("the tests write valid instants").to_utc()
}

/// A property of every type, nullable and not, with names as the API has them.
pub(crate) fn model() -> Model {
    let states = ["NotStarted", "Running", "Zombie", "Succeeded", "Failed", "Timeout", "Cancelled"];
    let statuses = ["notstarted", "running", "succeeded", "failed", "canceled"];
    let error = Model::new()
        .nullable("code", Type::String)
        .nullable("message", Type::String)
        .nullable("line", Type::Int);
    let step = Model::new()
        .property("name", Type::String)
        .property("attempt", Type::Int)
        .nullable("state", Type::enumeration("state", &states));
    Model::new()
        .property("id", Type::String)
        .nullable("name", Type::String)
        .property("status", Type::enumeration("status", &statuses))
        .nullable("state", Type::enumeration("state", &states))
        .nullable("percentComplete", Type::Double)
        .property("attempts", Type::Int)
        .nullable("exitCode", Type::Int)
        .property("cancelRequested", Type::Boolean)
        .nullable("paused", Type::Boolean)
        .property("createdDateTime", Type::DateTimeOffset)
        .nullable("endedDateTime", Type::DateTimeOffset)
        .nullable("day", Type::Date)
        .nullable("clock", Type::TimeOfDay)
        .nullable("took", Type::Duration)
        .nullable("key", Type::Guid)
        .nullable("error", Type::object(error))
        .property("labels", Type::Map)
        .property("tags", Type::collection(Type::String))
        .property("steps", Type::collection(Type::object(step)))
        .nullable("context", Type::Json)
        .function("happenedBefore", &[Type::String, Type::String], Type::Boolean)
}

/// An object value.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

/// A random row of [`model`].
pub(crate) fn row() -> impl Strategy<Value = Value> {
    let identity = (text_value(), nullable(text_value()), status(), nullable(state()));
    let numbers = (nullable(double_value()), int_value(), nullable(int_value()));
    let truths = (any::<bool>(), proptest::option::of(any::<bool>()));
    let times = (
        instant_value(),
        nullable(instant_value()),
        nullable(date_value()),
        nullable(time_value()),
        nullable(duration_value()),
        nullable(guid_value()),
    );
    let nested = (nullable(error_value()), labels(), tags(), steps(), nullable(json(2)));
    (identity, numbers, truths, times, nested).prop_map(
        |(identity, numbers, truths, times, nested)| {
            object([
                ("id", identity.0),
                ("name", identity.1),
                ("status", identity.2),
                ("state", identity.3),
                ("percentComplete", numbers.0),
                ("attempts", numbers.1),
                ("exitCode", numbers.2),
                ("cancelRequested", truths.0.into()),
                ("paused", truths.1.into()),
                ("createdDateTime", times.0),
                ("endedDateTime", times.1),
                ("day", times.2),
                ("clock", times.3),
                ("took", times.4),
                ("key", times.5),
                ("error", nested.0),
                ("labels", nested.1),
                ("tags", nested.2),
                ("steps", nested.3),
                ("context", nested.4),
            ])
        },
    )
}

fn nullable(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::option::weighted(0.75, value).prop_map(Option::unwrap_or_default)
}

/// Texts that are alike, special to some engine, or beyond ASCII.
const ODD: &[&str] = &[
    "",
    "a",
    "A",
    "ab",
    "main",
    "Main",
    "O'Neil",
    "%",
    "_",
    "\\",
    "a%b",
    "ä",
    "Ä",
    "ß",
    "ΑΣ",
    "𝄞x",
    " a ",
    "\u{a0}b",
    "a\nb",
    "5",
    "-1.5",
    "true",
    "2026-01-01",
    "ﬀ",
    "İ",
    "PT1H",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => proptest::sample::select(ODD).prop_map(str::to_owned),
                1 => "[a-zA-Z0-9äΣ%_'\\\\ ]{0,6}"]
}

fn text_value() -> impl Strategy<Value = Value> {
    text().prop_map(Value::from)
}

fn status() -> impl Strategy<Value = Value> {
    proptest::sample::select(["notstarted", "running", "succeeded", "failed"].as_slice())
        .prop_map(Value::from)
}

fn state() -> impl Strategy<Value = Value> {
    proptest::sample::select(["NotStarted", "Zombie", "Timeout"].as_slice()).prop_map(Value::from)
}

fn small_int() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -12_i64..12, 1 => Just(i64::MAX), 1 => Just(i64::MIN)]
}

fn int_value() -> impl Strategy<Value = Value> {
    small_int().prop_map(Value::Int)
}

fn small_double() -> impl Strategy<Value = f64> {
    prop_oneof![8 => (-40_i32..40).prop_map(|number| f64::from(number) / 4.0),
                1 => Just(1e300), 1 => Just(0.1)]
}

fn double_value() -> impl Strategy<Value = Value> {
    small_double().prop_map(Value::Double)
}

fn some_instant() -> impl Strategy<Value = DateTime<Utc>> {
    (-400_i64..400, prop_oneof![Just(0_i64), Just(123_456), Just(1)]).prop_map(|(hours, micros)| {
        now() + TimeDelta::hours(hours) + TimeDelta::microseconds(micros)
    })
}

fn instant_value() -> impl Strategy<Value = Value> {
    some_instant().prop_map(Value::from)
}

fn some_date() -> impl Strategy<Value = NaiveDate> {
    some_instant().prop_map(|instant| instant.date_naive())
}

fn date_value() -> impl Strategy<Value = Value> {
    some_date().prop_map(Value::from)
}

fn some_time() -> impl Strategy<Value = NaiveTime> {
    some_instant().prop_map(|instant| instant.time())
}

fn time_value() -> impl Strategy<Value = Value> {
    some_time().prop_map(Value::from)
}

fn duration_value() -> impl Strategy<Value = Value> {
    (-200_000_i64..200_000).prop_map(|seconds| TimeDelta::milliseconds(seconds * 500).into())
}

fn some_guid() -> impl Strategy<Value = Uuid> {
    (0_u128..4).prop_map(|number| Uuid::from_u128(0xabcd_0000 + number))
}

fn guid_value() -> impl Strategy<Value = Value> {
    some_guid().prop_map(Value::from)
}

fn error_value() -> impl Strategy<Value = Value> {
    (nullable(text_value()), nullable(text_value()), nullable(int_value())).prop_map(
        |(code, message, line)| object([("code", code), ("message", message), ("line", line)]),
    )
}

fn labels() -> impl Strategy<Value = Value> {
    (proptest::option::of(text_value()), proptest::option::of(text_value())).prop_map(
        |(branch, suite)| {
            let labels = [("branch", branch), ("suite", suite)];
            let present = labels.into_iter().filter_map(|(key, value)| Some((key.into(), value?)));
            Value::Object(present.collect())
        },
    )
}

fn tags() -> impl Strategy<Value = Value> {
    proptest::collection::vec(nullable(text_value()), 0..3).prop_map(Value::List)
}

fn steps() -> impl Strategy<Value = Value> {
    let step = (text_value(), int_value(), nullable(state())).prop_map(|(name, attempt, state)| {
        object([("name", name), ("attempt", attempt), ("state", state)])
    });
    proptest::collection::vec(step, 0..3).prop_map(Value::List)
}

fn json(depth: u32) -> BoxedStrategy<Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        double_value(),
        text_value()
    ];
    if depth == 0 {
        return scalar.boxed();
    }
    let inner = || json(depth - 1);
    prop_oneof![
        scalar,
        proptest::collection::vec(inner(), 0..3).prop_map(Value::List),
        (inner(), inner()).prop_map(|(a, b)| object([("a", a), ("b", b)])),
    ]
    .boxed()
}

mod expressions;
pub(crate) use expressions::condition;
