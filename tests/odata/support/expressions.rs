//! Random well-typed expressions, as text.

use proptest::prelude::*;

use super::{small_double, small_int, some_date, some_guid, some_instant, some_time, text};

type Text = BoxedStrategy<String>;

fn pick(choices: &'static [&'static str]) -> Text {
    proptest::sample::select(choices).prop_map(str::to_owned).boxed()
}

fn quoted() -> Text {
    text().prop_map(|text| format!("'{}'", text.replace('\'', "''"))).boxed()
}

/// `name(arguments)`, the arguments being of one kind.
fn call(names: &'static [&'static str], arguments: [Text; 2]) -> Text {
    let [first, second] = arguments;
    (pick(names), first, second).prop_map(|(name, a, b)| format!("{name}({a},{b})")).boxed()
}

fn call_one(names: &'static [&'static str], argument: Text) -> Text {
    (pick(names), argument).prop_map(|(name, argument)| format!("{name}({argument})")).boxed()
}

fn infix(left: Text, operators: &'static [&'static str], right: Text) -> Text {
    (left, pick(operators), right).prop_map(|(l, op, r)| format!("({l} {op} {r})")).boxed()
}

/// A condition on a row of the model, at most `depth` levels of operators high (plus the lambdas').
pub(crate) fn condition(depth: u32) -> Text {
    let leaf = prop_oneof![
        pick(&[
            "true",
            "FALSE",
            "null",
            "cancelRequested",
            "paused",
            "(context/a or false)",
            "tags/any()"
        ]),
        pick(&["(error eq null)", "labels/any(l:l/key eq 'branch')", "isof(context/a,Edm.String)"]),
        (pick(&["status", "state"]), pick(&["eq", "ne"]), pick(&["'failed'", "'RUNNING'", "null"]))
            .prop_map(|(property, operator, member)| format!("({property} {operator} {member})")),
        pick(&[
            "(status in ('failed','Running',null))",
            "(name in ())",
            "(exitCode in (1,2.5,null))"
        ]),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let d = depth - 1;
    let comparisons = prop_oneof![
        infix(string(d), COMPARE, string(d)),
        infix(integer(d), COMPARE, integer(d)),
        infix(number(d), COMPARE, number(d)),
        infix(instant(d), COMPARE, instant(d)),
        infix(duration(d), COMPARE, duration(d)),
        infix(pick(&["day", "date(createdDateTime)"]), COMPARE, date()),
        infix(pick(&["clock", "time(endedDateTime)"]), COMPARE, time()),
        infix(pick(&["key", "null"]), COMPARE, guid()),
        infix(condition(d), &["eq", "ne"], condition(d)),
        (string(d), quoted(), quoted()).prop_map(|(s, a, b)| format!("({s} in ({a},{b},null))")),
        call(&["contains", "startswith", "endswith"], [string(d), string(d)]),
        string(d).prop_map(|text| format!(r"matchesPattern({text},'^[a-m]+\d?|.\S$')")),
    ];
    let logic = prop_oneof![
        infix(condition(d), &["and", "or"], condition(d)),
        (condition(d), condition(d), condition(d))
            .prop_map(|(a, b, c)| format!("({a} and {b} and {c} or {a})")),
        condition(d).prop_map(|operand| format!("(not ({operand}))")),
        (number(d), number(d)).prop_map(|(left, right)| format!("(not {left} le {right})")),
        (pick(&["any", "all"]), pick(COMPARE), string(d)).prop_map(
            move |(quantifier, operator, text)| {
                format!("tags/{quantifier}(t{d}:t{d} {operator} {text})")
            }
        ),
        (pick(&["any", "all"]), pick(COMPARE), integer(d)).prop_map(
            move |(quantifier, operator, number)| {
                format!(
                    "steps/{quantifier}(s:s/attempt {operator} {number} or s/state eq 'zombie')"
                )
            }
        ),
        (condition(d), condition(d), condition(d))
            .prop_map(|(when, then, or)| format!("case({when}:{then},true:({or}) eq true)")),
    ];
    prop_oneof![1 => leaf, 3 => comparisons, 3 => logic].boxed()
}

const COMPARE: &[&str] = &["eq", "ne", "gt", "ge", "lt", "le", "EQ"];
fn date() -> Text {
    prop_oneof![pick(&["day", "null"]), some_date().prop_map(|date| date.to_string())].boxed()
}

fn time() -> Text {
    let literal = some_time().prop_map(|time| time.format("%H:%M:%S%.f").to_string());
    prop_oneof![pick(&["clock", "null"]), literal].boxed()
}

fn guid() -> Text {
    prop_oneof![pick(&["key", "null"]), some_guid().prop_map(|guid| guid.to_string())].boxed()
}

fn string(depth: u32) -> Text {
    let leaf = prop_oneof![
        3 => pick(&["name", "id", "error/code", "labels/branch", "context/a", "context/b/a"]),
        2 => quoted(),
    ];
    // JSON alone beside JSON has no type: it is cast where no literal is sure to stand.
    let leaf = leaf.prop_map(|leaf| match leaf.strip_prefix("context/") {
        Some(_) => format!("cast({leaf},Edm.String)"),
        None => leaf,
    });
    if depth == 0 {
        return leaf.boxed();
    }
    let d = depth - 1;
    prop_oneof![
        3 => leaf,
        1 => call_one(&["tolower", "toupper", "trim", "TOLOWER"], string(d)),
        1 => call(&["concat"], [string(d), string(d)]),
        1 => call(&["substring"], [string(d), integer(d)]).prop_filter("literal below zero",
                |text| !text.contains(",-")),
        1 => call_one(&["cast"], integer(d).prop_map(|n| format!("{n},Edm.String")).boxed()),
        1 => (condition(d), string(d)).prop_map(|(when, then)| format!("case({when}:{then})")),
    ]
    .boxed()
}

fn integer(depth: u32) -> Text {
    let leaf = prop_oneof![
        pick(&["attempts", "exitCode", "error/line", "tags/$count", "labels/$count"]),
        small_int().prop_map(|number| number.to_string()),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let d = depth - 1;
    prop_oneof![
        3 => leaf,
        1 => call_one(&["length"], string(d)),
        1 => call(&["indexof"], [string(d), string(d)]),
        1 => call_one(&["year", "month", "day", "hour", "minute", "second", "totaloffsetminutes"],
                instant(d)),
        1 => infix(integer(d), &["add", "sub", "mul"], integer(d)),
        1 => infix(integer(d), &["div", "mod"], pick(&["3", "-7", "exitCode", "attempts"])),
        1 => call_one(&["cast"], string(d).prop_map(|s| format!("{s},Edm.Int64")).boxed()),
        1 => call_one(&["round", "floor", "ceiling"], integer(d)),
        1 => integer(d).prop_map(|operand| format!("- {operand}")),
    ]
    .boxed()
}

fn number(depth: u32) -> Text {
    let leaf = prop_oneof![
        pick(&["percentComplete", "cast(context/a,Edm.Double)", "5e1"]),
        small_double().prop_map(|number| format!("{number:?}")),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let d = depth - 1;
    prop_oneof![
        3 => leaf,
        1 => integer(d),
        1 => infix(number(d), &["add", "sub", "mul"], number(d)),
        1 => infix(number(d), &["divby"], pick(&["3", "0.5", "exitCode"])),
        1 => call_one(&["round", "floor", "ceiling"], number(d)),
        1 => call_one(&["fractionalseconds"], instant(d)),
        1 => call_one(&["totalseconds"], duration(d)),
    ]
    .boxed()
}

fn instant(depth: u32) -> Text {
    let leaf = prop_oneof![
        pick(&["createdDateTime", "endedDateTime", "now()", "mindatetime()", "maxdatetime()"]),
        some_instant().prop_map(|instant| instant.to_rfc3339().replace("+00:00", "Z")),
        pick(&["2026-05-31T23:30:00-01:00", "2026-06-01T02:00:00.5+02:00"]),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    prop_oneof![
        3 => leaf,
        1 => infix(instant(depth - 1), &["add", "sub"], duration(depth - 1)),
        1 => pick(&["cast(day,Edm.DateTimeOffset)", "cast(name,Edm.DateTimeOffset)"]),
    ]
    .boxed()
}

fn duration(depth: u32) -> Text {
    let leaf =
        pick(&["took", "duration'PT1H'", "duration'-P1DT2H3M4.5S'", "duration'PT0.000001S'"]);
    if depth == 0 {
        return leaf;
    }
    let d = depth - 1;
    prop_oneof![
        3 => leaf,
        1 => infix(instant(d), &["sub"], instant(d)),
        1 => infix(duration(d), &["add", "sub"], duration(d)),
        1 => infix(duration(d), &["mul", "divby"], pick(&["2", "0.3", "exitCode"])),
        1 => duration(d).prop_map(|operand| format!("-{operand}")),
    ]
    .boxed()
}
