//! What expressions yield on rows.

use chrono::{DateTime, Utc};
use sutbot::odata::{ErrorKind, Limits, Row, Value, WHITE_SPACE, eval, filter, order_by};

use crate::support::{instant, model, now, object};

fn sample() -> Value {
    object([
        ("id", "op-1".into()),
        ("name", "Ärger O'Neil".into()),
        ("status", "failed".into()),
        ("state", "Timeout".into()),
        ("percentComplete", 42.5.into()),
        ("attempts", 7.into()),
        ("cancelRequested", false.into()),
        ("createdDateTime", instant("2026-06-01T11:30:15.250Z").into()),
        ("day", instant("2026-06-01T00:00:00Z").date_naive().into()),
        ("took", chrono::TimeDelta::minutes(90).into()),
        ("error", object([("code", "Boom".into()), ("line", Value::Null)])),
        ("labels", object([("branch", "main".into())])),
        ("tags", Value::List(vec!["a".into(), "b".into(), Value::Null])),
        ("steps", Value::List(vec![object([("name", "a".into()), ("attempt", 2.into())])])),
        (
            "context",
            object([
                ("n", 5.into()),
                ("s", "5".into()),
                ("yes", true.into()),
                ("when", "2026-01-01".into()),
                ("list", Value::List(vec![1.into(), "x".into()])),
            ]),
        ),
    ])
}

fn answer(text: &str, row: &dyn Row, now: DateTime<Utc>) -> Result<bool, ErrorKind> {
    let expr = match filter(text, &model(), &Limits::default()) {
        Ok(expr) => expr,
        Err(error) => panic!("{text}: {error}"),
    };
    eval::matches(&expr, row, now).map_err(|error| error.kind)
}

/// Each text keeps the sample, or does not.
fn keeps(expected: bool, texts: &[&str]) {
    for text in texts {
        assert_eq!(answer(text, &sample(), now()), Ok(expected), "{text}");
    }
}

#[test]
fn row_121_comparisons() {
    keeps(true, &["name gt 'A'", "percentComplete le 42.5", "attempts ne 8", "status eq 'FAILED'"]);
    keeps(true, &["cancelRequested lt true", "day eq 2026-06-01", "state in ('timeout')"]);
    keeps(false, &["name lt 'Z'", "attempts gt 7", "createdDateTime gt now()"]);
}

#[test]
fn row_137_138_texts_are_literal() {
    keeps(false, &["contains(name,'%')", "contains(name,'_')", r"contains(name,'\')"]);
    keeps(true, &["contains(name,'')", "startswith(name,'')", "contains(name,'O''N')"]);
    keeps(false, &["contains(error/message,'')"]);
}

#[test]
fn row_139_to_144_null() {
    keeps(true, &["exitCode eq null", "exitCode ne 50", "not (exitCode gt 10)", "name ne null"]);
    keeps(false, &["exitCode ne null", "exitCode gt 10", "exitCode lt 10", "exitCode eq 50"]);
    keeps(false, &["contains(error/message,'a')", "not contains(error/message,'a')"]);
    keeps(true, &["exitCode in (50,null)", "null eq null", "exitCode eq error/line"]);
    keeps(false, &["exitCode gt null", "null ne null", "null", "not null", "null gt null"]);
    keeps(false, &["exitCode in (50)", "exitCode add 1 eq 1", "null and true", "null or false"]);
    keeps(true, &["null or true", "not (null and false)", "exitCode add 1 eq null"]);
}

#[test]
fn row_145_booleans_alone() {
    keeps(true, &["not cancelRequested", "context/yes", "true eq not cancelRequested"]);
    keeps(false, &["cancelRequested", "paused", "not paused", "context/n", "not context/n"]);
}

#[test]
fn row_146_nested_properties() {
    keeps(true, &["error/code eq 'Boom'", "error ne null", "labels/branch eq 'main'"]);
    keeps(true, &["labels/other eq null", "context/a/b/c eq null", "error/line eq null"]);
    let none = object([("error", Value::Null)]);
    assert_eq!(answer("error/code eq null and error eq null", &none, now()), Ok(true));
}

#[test]
fn row_159_lambdas() {
    keeps(true, &["tags/any(t:t eq 'a')", "tags/any()", "tags/$count eq 3", "context/list/any()"]);
    keeps(true, &["steps/all(s:s/attempt eq 2)", "labels/any(l:l/key eq 'branch')"]);
    keeps(true, &["context/list/any(x:x eq 'x')", "context/list/any(x:x eq 1)"]);
    keeps(true, &["not context/any()", "context/$count eq 0", "labels/$count eq 1"]);
    keeps(true, &["context/n/all(x:x eq 1)", "steps/any(s:tags/any(t:t eq s/name))"]);
    keeps(false, &["tags/all(t:startswith(t,'a') or startswith(t,'b'))", "context/n/any()"]);
    let none = object([("tags", Value::List(Vec::new()))]);
    assert_eq!(answer("tags/any(t:true)", &none, now()), Ok(false));
    assert_eq!(answer("tags/all(t:false) and not tags/any()", &none, now()), Ok(true));
}

#[test]
fn row_162_division_by_zero_in_a_row() {
    let zero = object([("attempts", 0.into()), ("exitCode", 5.into())]);
    for text in
        ["exitCode div attempts eq 1", "exitCode mod attempts eq 1", "1 divby attempts eq 1"]
    {
        assert_eq!(answer(text, &zero, now()), Err(ErrorKind::DivisionByZero), "{text}");
    }
    assert_eq!(answer("attempts ne 0 and exitCode div attempts gt 1", &zero, now()), Ok(false));
}

#[test]
fn row_163_text_functions_count_characters() {
    keeps(
        true,
        &["tolower('Ä') eq 'ä'", "toupper('straße') eq 'STRASSE'", "tolower('ΑΣ') eq 'ας'"],
    );
    keeps(true, &["length('𝄞ä') eq 2", "indexof('𝄞ä','ä') eq 1", "indexof('abc','x') eq -1"]);
    keeps(true, &["indexof('abc','') eq 0", "substring('𝄞äb',1) eq 'äb'"]);
    keeps(true, &["substring('abc',1,1) eq 'b'", "substring('abc',9) eq ''"]);
    keeps(true, &["substring('abc',1,99) eq 'bc'", "substring('abc',0 sub 5,2) eq 'ab'"]);
    keeps(true, &["trim('\u{a0} a\t') eq 'a'", "concat('a','b') eq 'ab'", "endswith('ab','b')"]);
}

#[test]
fn row_163_white_space_is_what_the_constant_says() {
    for character in '\0'..=char::MAX {
        assert_eq!(WHITE_SPACE.contains(character), character.is_whitespace(), "{character:?}");
    }
}

#[test]
fn row_164_time_functions() {
    keeps(true, &["year(createdDateTime) eq 2026", "month(day) eq 6", "day(day) eq 1"]);
    keeps(true, &["hour(createdDateTime) eq 11", "minute(12:34:56) eq 34"]);
    keeps(true, &["second(createdDateTime) eq 15", "fractionalseconds(createdDateTime) eq 0.25"]);
    keeps(true, &["date(createdDateTime) eq day", "time(createdDateTime) eq 11:30:15.25"]);
    keeps(true, &["createdDateTime gt now() sub duration'PT1H'", "totaloffsetminutes(now()) eq 0"]);
    keeps(true, &["hour(2026-01-01T00:30:00+01:00) eq 23", "mindatetime() lt maxdatetime()"]);
    keeps(
        true,
        &["totalseconds(took) eq 5400", "took mul 2 eq 'PT3H'", "took divby 4 eq 'PT22M30S'"],
    );
    keeps(true, &["now() sub createdDateTime eq 'PT29M44.75S'", "day add 'PT36H' eq 2026-06-02"]);
    keeps(true, &["day sub 'PT1S' eq 2026-05-31", "createdDateTime ge day", "-took lt took"]);
}

#[test]
fn arithmetic_has_the_documented_rules() {
    keeps(true, &["-7 div 2 eq -3", "-7 mod 2 eq -1", "7 mod -2 eq 1", "7 divby 2 eq 3.5"]);
    keeps(true, &["round(2.5) eq 3", "round(-2.5) eq -3", "round(0.49999999999999994) eq 0"]);
    keeps(true, &["floor(-1.5) eq -2", "ceiling(-1.5) eq -1", "round(7) eq 7", "7 div 2.0 eq 3.5"]);
    keeps(true, &["attempts mod 2 eq 1", "percentComplete sub 0.5 eq 42"]);
    for text in [
        "9223372036854775807 add attempts gt 0",
        "(-9223372036854775807 sub 1) div (attempts sub 8) gt 0",
        "- (attempts sub 9223372036854775807 sub 8) gt 0",
        "1e300 mul 1e300 gt 0",
        "1e-300 divby 1e300 gt 0",
        "maxdatetime() add took gt now()",
    ] {
        assert_eq!(answer(text, &sample(), now()), Err(ErrorKind::OutOfRange), "{text}");
    }
    keeps(true, &["(-9223372036854775807 sub 1) mod (attempts sub 8) eq 0"]);
}

#[test]
fn casts_and_dynamic_values() {
    keeps(true, &["context/n eq 5", "context/s eq '5'", "context/n ne '5'", "context/s ne 5"]);
    keeps(true, &["context/n add 1 eq 6", "contains(context/s,'5')", "context/when lt 2026-06-01"]);
    keeps(true, &["isof(context/n,Edm.Int64)", "isof(context/when,Edm.Date)", "context/n in (5)"]);
    keeps(false, &["isof(context/s,Edm.Int64)", "isof(exitCode,Edm.Int64)", "context/s gt 1"]);
    keeps(true, &["cast(context/s,Edm.String) eq '5'", "cast('x',Edm.Int64) eq null"]);
    keeps(true, &["cast('12',Edm.Int64) eq 12", "cast(-1.9,Edm.Int64) eq -1"]);
    keeps(true, &["cast(1e19,Edm.Int64) eq null", "cast(7,Edm.String) eq '7'"]);
    keeps(true, &["cast(status,Edm.String) eq 'failed'", "cast('2026-02-31',Edm.Date) eq null"]);
    keeps(true, &["case(attempts gt 9:'many',attempts gt 5:'some') eq 'some'"]);
    keeps(true, &["case(false:1) eq null", "case(true:1,true:2.5) eq 1"]);
}

#[test]
fn patterns_have_their_ecmascript_meaning() {
    keeps(true, &[r"matchesPattern(name,'^Ä.*l$')", r"matchesPattern('a.b','a\.b')"]);
    keeps(true, &[r"matchesPattern('a5','^[a-z]\d{1,2}$')", r"matchesPattern('a-b','^[\w-]+$')"]);
    keeps(true, &["matchesPattern('a&&b','[&&]{2}')", r"matchesPattern(' ','^\s$')"]);
    keeps(false, &["matchesPattern('a\nb','^a.b$')", r"matchesPattern('٣','\d')"]);
    keeps(false, &["matchesPattern('a\n','^a$')", "matchesPattern(error/message,'')"]);
}

#[test]
fn functions_of_the_model_are_answered_by_the_row() {
    struct Stamped(Value);
    impl Row for Stamped {
        fn get(&self, path: &str) -> Value {
            self.0.get(path)
        }
        fn call(&self, function: &str, arguments: &[Value]) -> Result<Value, String> {
            assert_eq!(function, "happenedBefore");
            Ok((arguments[0].as_str() < arguments[1].as_str()).into())
        }
    }
    let row = Stamped(sample());
    assert_eq!(answer("happenedbefore(id,'op-2')", &row, now()), Ok(true));
    assert_eq!(answer("not happenedBefore(error/message,'x')", &row, now()), Ok(false));
    assert_eq!(answer("happenedBefore(id,'x')", &sample(), now()), Err(ErrorKind::Unsupported));
}

#[test]
fn row_168_169_order() {
    let row = |n: Value, state: &str| object([("exitCode", n), ("state", state.into())]);
    let sorted = |text: &str| {
        let items = order_by(text, &model(), &Limits::default()).expect(text);
        let mut rows =
            [row(2.into(), "Zombie"), row(Value::Null, "Failed"), row(1.into(), "Running")];
        rows.sort_by(|a, b| eval::compare(&items, a, b, now()).expect("nothing can fail here"));
        rows.iter().map(|row| row.at("exitCode").as_int()).collect::<Vec<_>>()
    };
    assert_eq!(sorted("exitCode"), [None, Some(1), Some(2)]);
    assert_eq!(sorted("exitCode DESC"), [Some(2), Some(1), None]);
    assert_eq!(sorted("state"), [Some(1), Some(2), None]);
    assert_eq!(sorted("exitCode eq null desc, exitCode desc"), [None, Some(2), Some(1)]);
}
