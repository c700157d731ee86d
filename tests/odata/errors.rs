//! Row 167: what an error tells.

use expect_test::{Expect, expect};
use sutbot::odata::{Limits, filter};

use crate::support::model;

fn check(text: &str, expected: &Expect) {
    let error = filter(text, &model(), &Limits::default()).expect_err(text);
    expected.assert_eq(&format!("{}: {error}", error.kind.code()));
}

#[test]
fn row_147_the_nearest_property_is_named() {
    check(
        "stauts eq 'running'",
        &expect![
            "UnknownProperty: there is no property `stauts`; did you mean `status`? (at byte 0: stauts)"
        ],
    );
    check(
        "Status eq 'running'",
        &expect![
            "UnknownProperty: there is no property `Status`; did you mean `status`? (at byte 0: Status)"
        ],
    );
    check(
        "true and error/coed eq 'x'",
        &expect![
            "UnknownProperty: there is no property `coed`; did you mean `code`? (at byte 15: coed)"
        ],
    );
    check(
        "status/code eq 1",
        &expect!["UnknownProperty: `status` (status) has no property `code` (at byte 7: code)"],
    );
    check(
        "steps/any(s:s/nam eq 'x')",
        &expect![
            "UnknownProperty: there is no property `nam`; did you mean `name`? (at byte 14: nam)"
        ],
    );
    check(
        "$it/nam eq 'x'",
        &expect![
            "UnknownProperty: there is no property `nam`; did you mean `name`? (at byte 4: nam)"
        ],
    );
}

#[test]
fn row_150_the_members_and_the_other_property_are_named() {
    check(
        "status eq 'Zombie'",
        &expect![
            "UnknownMember: `Zombie` is none of status (notstarted, running, succeeded, failed, canceled); it is a value of `state`: filter on `state` (at byte 10: 'Zombie')"
        ],
    );
    check(
        "status eq 'runing'",
        &expect![
            "UnknownMember: `runing` is none of status (notstarted, running, succeeded, failed, canceled); did you mean `running`? (at byte 10: 'runing')"
        ],
    );
}

#[test]
fn row_151_both_types_are_named() {
    check(
        "percentComplete eq '50'",
        &expect![
            "TypeMismatch: cannot compare Edm.Double with Edm.String (at byte 0: percentComplete eq '50')"
        ],
    );
    check(
        "name",
        &expect!["TypeMismatch: expected a condition, found Edm.String (at byte 0: name)"],
    );
    check(
        "context/a eq context/b",
        &expect![
            "TypeMismatch: JSON has no type here: compare it with a literal, or `cast` it (at byte 0: context/a eq context/b)"
        ],
    );
    check(
        "percentComplete mod 2 eq 1",
        &expect![
            "TypeMismatch: `mod` cannot join Edm.Double and Edm.Int64 (it takes whole numbers) (at byte 0: percentComplete mod 2)"
        ],
    );
}

#[test]
fn row_161_162_functions_are_named() {
    check(
        "geo.distance(a,b) lt 1",
        &expect![
            "NotSupported: the function `geo.distance` is not supported (at byte 0: geo.distance(a,b))"
        ],
    );
    check(
        "contain(name,'x')",
        &expect![
            "UnknownFunction: there is no function `contain`; did you mean `contains`? (at byte 0: contain(name,'x'))"
        ],
    );
    check(
        "contains(name)",
        &expect![
            "WrongArgumentCount: `contains` takes 2 arguments, not 1 (at byte 0: contains(name))"
        ],
    );
    check(
        "substring(name,0,-1) eq ''",
        &expect!["InvalidArgument: a position or length cannot be negative (at byte 17: -1)"],
    );
    check(
        "percentComplete div 0 eq 1",
        &expect!["DivisionByZero: division by zero (at byte 20: 0)"],
    );
    check(
        "cast(name,Edm.Strin) eq ''",
        &expect![
            "NotSupported: the type `Edm.Strin` is not supported; did you mean `Edm.String`? (at byte 10: Edm.Strin)"
        ],
    );
    check(
        "matchesPattern(name,'(?<=a)b')",
        &expect![
            "InvalidArgument: look-around, named groups and flags in a pattern are not supported (at byte 20: '(?<=a)b')"
        ],
    );
}

#[test]
fn row_165_syntax_errors_have_a_position() {
    check(
        "status eq",
        &expect!["SyntaxError: expected a property, a literal or a call (at the end, byte 9)"],
    );
    check(
        "status = 'a'",
        &expect!["SyntaxError: `=` is no operator here; write `eq` (at byte 7: =)"],
    );
    check(
        "name eq 'ä' garbage",
        &expect!["SyntaxError: `garbage` is not an operator (at byte 13: garbage)"],
    );
    check(
        "name eq 'ä' an true",
        &expect!["SyntaxError: `an` is not an operator; did you mean `and`? (at byte 13: an)"],
    );
    check(
        "name eq 'O'Neil'",
        &expect!["SyntaxError: `Neil` is not an operator; did you mean `ne`? (at byte 11: Neil)"],
    );
    check(
        "createdDateTime ge 2026-02-31T00:00:00Z",
        &expect![
            "InvalidLiteral: this is not an instant with an offset (`Z` or `+01:00`), or out of range (at byte 19: 2026-02-31T00:00:00Z)"
        ],
    );
    check(
        "createdDateTime ge 2026-01-01T00:00:00",
        &expect![
            "InvalidLiteral: this is not an instant with an offset (`Z` or `+01:00`), or out of range (at byte 19: 2026-01-01T00:00:00)"
        ],
    );
    check("(true", &expect!["SyntaxError: expected `)` or an operator (at the end, byte 5)"]);
    check(
        &"(".repeat(200),
        &expect!["QueryTooComplex: the expression is nested more than 100 deep (at byte 101: ()"],
    );
}
