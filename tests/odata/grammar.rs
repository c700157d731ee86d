//! What is accepted, what it means (by its canonical text), and what is refused.

use sutbot::odata::ErrorKind::{
    self, Argument, Arity, DivisionByZero, Literal, Syntax, Type, UnknownFunction, UnknownMember,
    UnknownProperty, Unsupported,
};
use sutbot::odata::{Limits, filter};

use crate::support::model;

/// Each text means what its canonical text says.
fn reads(rows: &[(&str, &str)]) {
    for (text, canonical) in rows {
        match filter(text, &model(), &Limits::default()) {
            Ok(expr) => assert_eq!(expr.to_string(), *canonical, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

fn accepted(texts: &[&str]) {
    for text in texts {
        if let Err(error) = filter(text, &model(), &Limits::default()) {
            panic!("{text}: {error}");
        }
    }
}

fn refused(rows: &[(&str, ErrorKind)]) {
    for (text, kind) in rows {
        match filter(text, &model(), &Limits::default()) {
            Ok(expr) => panic!("{text} was read as {expr}"),
            Err(error) => assert_eq!(error.kind, *kind, "{text}: {error}"),
        }
    }
}

#[test]
fn row_122_and_binds_tighter_than_or() {
    reads(&[
        ("true or false and true", "true or false and true"),
        ("(true or false) and true", "(true or false) and true"),
        ("(true and false) and true", "(true and false) and true"),
        ("true and false and true", "true and false and true"),
    ]);
}

#[test]
fn row_123_not_binds_tighter_than_and() {
    reads(&[(
        "not cancelRequested and status eq 'failed'",
        "not cancelRequested and status eq 'failed'",
    )]);
}

#[test]
fn row_124_125_relations_bind_tighter_than_equality() {
    reads(&[
        ("percentComplete gt 10 eq true", "percentComplete gt 10.0 eq true"),
        ("(percentComplete gt 10) eq true", "percentComplete gt 10.0 eq true"),
        ("true eq percentComplete gt 10", "true eq percentComplete gt 10.0"),
        ("true eq (true gt false)", "true eq true gt false"),
        ("(true eq true) gt false", "(true eq true) gt false"),
    ]);
}

#[test]
fn row_126_not_negates_the_comparison_where_its_operand_is_not_boolean() {
    reads(&[
        ("not status eq 'running'", "not (status eq 'running')"),
        ("not percentComplete le 3.5", "not (percentComplete le 3.5)"),
        ("not attempts add 1 le 3", "not (attempts add 1 le 3)"),
        ("not not attempts eq 1", "not not (attempts eq 1)"),
        ("not attempts gt 1 eq true", "(not (attempts gt 1)) eq true"),
        ("not context/a gt 1", "not (cast(context/a,Edm.Double) gt 1.0)"),
        ("not paused eq true", "(not paused) eq true"),
        ("not name eq 'a' or true", "not (name eq 'a') or true"),
        ("not null eq true", "(not null) eq true"),
    ]);
    refused(&[
        ("(not status) eq 'running'", Type),
        ("not (status) eq 5", Type),
        ("not status", Type),
        ("not attempts add 1", Type),
        ("true eq not attempts", Type),
    ]);
}

#[test]
fn row_127_in_binds_tighter_than_not() {
    reads(&[("not status in ('running')", "not status in ('running')")]);
    refused(&[("attempts add exitCode in (1) eq 2", Type)]);
}

#[test]
fn row_128_blanks_around_not_and_in_are_optional() {
    accepted(&["not (paused)", "not(paused)", "status in('running')", "not  (\tpaused )"]);
}

#[test]
fn row_129_arithmetic_binds_as_usual() {
    reads(&[
        ("1 add 2 mul 3 eq 7", "1 add 2 mul 3 eq 7"),
        ("(1 add 2) mul 3 eq 9", "(1 add 2) mul 3 eq 9"),
        ("1 sub 2 sub 3 eq 0", "1 sub 2 sub 3 eq 0"),
        ("1 sub (2 sub 3) eq 2", "1 sub (2 sub 3) eq 2"),
        ("-attempts mul 2 eq 2", "-(attempts) mul 2 eq 2"),
        ("1 divby 2 eq 0.5", "1.0 divby 2.0 eq 0.5"),
    ]);
}

#[test]
fn row_134_135_strings() {
    reads(&[("name eq 'O''Neil'", "name eq 'O''Neil'"), ("name eq ''''", "name eq ''''")]);
    refused(&[
        ("name eq 'O'Neil'", Syntax),
        ("name eq 'x", Syntax),
        ("name eq \"x\"", Syntax),
        ("name eq '", Syntax),
    ]);
}

#[test]
fn row_136_injection_is_data_or_refused() {
    reads(&[("name eq ''' or 1 eq 1 --'", "name eq ''' or 1 eq 1 --'")]);
    accepted(&[
        "name eq '\\'",
        "name eq '𝄞'",
        "name eq '\u{fffd}'",
        "name eq '; drop table x; --'",
    ]);
    refused(&[
        ("'; drop table operations; --", Syntax),
        ("; drop table operations", Syntax),
        ("name eq '\0'", Syntax),
        ("\0", Syntax),
        ("\\", Syntax),
    ]);
}

#[test]
fn row_147_148_unknown_properties() {
    refused(&[
        ("error/nosuch eq 1", UnknownProperty),
        ("nosuch eq 1", UnknownProperty),
        ("status/code eq 1", UnknownProperty),
        ("Status eq 'running'", UnknownProperty),
        ("tags/name eq 1", UnknownProperty),
        ("labels/a/b eq 'x'", UnknownProperty),
    ]);
}

#[test]
fn row_149_keywords_in_any_case() {
    reads(&[
        ("status EQ 'running' AND Not paused", "status eq 'running' and not paused"),
        ("CONTAINS(name,'a') eq TRUE", "contains(name,'a') eq true"),
        ("name Eq NULL", "name eq null"),
        ("tags/ANY(t:t eq 'x')", "tags/any(t:t eq 'x')"),
        ("CASE(TRUE:1) eq 1", "case(true : 1) eq 1"),
        ("Cast(name,edm.int64) eq 1", "cast(name,Edm.Int64) eq 1"),
    ]);
}

#[test]
fn row_150_enumerations() {
    reads(&[
        ("status eq 'Running'", "status eq 'running'"),
        ("'ZOMBIE' ne state", "'Zombie' ne state"),
    ]);
    refused(&[
        ("status eq 'zombie'", UnknownMember),
        ("status in ('running','x')", UnknownMember),
        ("status gt 'running'", Type),
        ("status eq state", Type),
        ("status eq name", Type),
        ("contains(status,'r')", Type),
    ]);
}

#[test]
fn row_151_no_conversion_between_strings_and_numbers() {
    refused(&[
        ("percentComplete eq '50'", Type),
        ("status eq 1", Type),
        ("cancelRequested eq 1", Type),
        ("createdDateTime gt 'x'", Type),
        ("name eq 1", Type),
        ("attempts in ('1')", Type),
        ("name add 'x' eq 'y'", Type),
        ("context/a eq context/b", Type),
        ("error eq error", Type),
        ("error eq 'x'", Type),
        ("tags eq null", Type),
    ]);
}

#[test]
fn row_152_numbers() {
    accepted(&["percentComplete eq 50.0", "percentComplete eq 5e1", "percentComplete eq +50"]);
    accepted(&["percentComplete eq -1", "percentComplete eq 5E+1", "percentComplete eq 5.5e-1"]);
    reads(&[
        ("attempts eq 50.0", "attempts eq 50"),
        ("attempts eq 50.5", "cast(attempts,Edm.Double) eq 50.5"),
        ("percentComplete eq 50", "percentComplete eq 50.0"),
        ("attempts eq -9223372036854775808", "attempts eq -9223372036854775808"),
    ]);
    refused(&[
        ("percentComplete eq .5", Syntax),
        ("percentComplete eq 5.", Literal),
        ("percentComplete eq 0x10", Literal),
        ("percentComplete eq 50L", Literal),
        ("percentComplete eq 1e999", Literal),
        ("attempts eq 9223372036854775808", Literal),
        ("percentComplete eq INF", UnknownProperty),
    ]);
}

#[test]
fn row_153_154_155_instants() {
    reads(&[
        ("createdDateTime ge 2026-01-01T00:00:00Z", "createdDateTime ge 2026-01-01T00:00:00Z"),
        ("createdDateTime ge 2026-01-01t00:00z", "createdDateTime ge 2026-01-01T00:00:00Z"),
        (
            "createdDateTime ge 2026-01-01T00:00:00.123Z",
            "createdDateTime ge 2026-01-01T00:00:00.123Z",
        ),
        (
            "createdDateTime ge 2026-01-01T00:00:00.1234567Z",
            "createdDateTime ge 2026-01-01T00:00:00.123456Z",
        ),
        ("createdDateTime ge 2026-01-01T00:00:00+01:00", "createdDateTime ge 2025-12-31T23:00:00Z"),
        ("createdDateTime ge 2026-01-01T00:00:00 01:00", "createdDateTime ge 2025-12-31T23:00:00Z"),
        (
            "createdDateTime ge 2026-01-01T00:00:00-01:30 or true",
            "createdDateTime ge 2026-01-01T01:30:00Z or true",
        ),
        ("createdDateTime ge 2026-01-01", "createdDateTime ge 2026-01-01T00:00:00Z"),
        ("createdDateTime eq day", "createdDateTime eq cast(day,Edm.DateTimeOffset)"),
        ("createdDateTime in (2026-01-01)", "createdDateTime in (2026-01-01T00:00:00Z)"),
    ]);
    refused(&[
        ("createdDateTime ge 2026-01-01T00:00:00", Literal),
        ("createdDateTime ge 2026-13-01", Literal),
        ("createdDateTime ge 2026-02-31", Literal),
        ("createdDateTime ge 2026-02-31T00:00:00Z", Literal),
        ("createdDateTime ge 2026-01-01T24:00:00Z", Literal),
        ("createdDateTime ge 2026-01-01T00:00:60Z", Literal),
        ("createdDateTime ge 2026-01-01T00:00:00+24:00", Literal),
        ("createdDateTime ge 0000-01-01", Literal),
        ("clock eq 25:00", Literal),
    ]);
}

#[test]
fn row_156_guids() {
    let guid = "01234567-89ab-cdef-0123-456789abcdef";
    reads(&[
        (&format!("key eq {}", guid.to_uppercase()), &format!("key eq {guid}")),
        (
            "key eq abcdef01-89ab-cdef-0123-456789abcdef",
            "key eq abcdef01-89ab-cdef-0123-456789abcdef",
        ),
    ]);
    refused(&[(&format!("id eq {guid}"), Type), (&format!("key eq '{guid}'"), Type)]);
}

#[test]
fn row_157_158_lists() {
    reads(&[
        ("status in ('running','Failed')", "status in ('running','failed')"),
        ("status in ()", "status in ()"),
        ("attempts in (1,2.0,null)", "attempts in (1,2,null)"),
        ("attempts in (1,2.5)", "cast(attempts,Edm.Double) in (1.0,2.5)"),
        ("context/a in (1,2)", "cast(context/a,Edm.Double) in (1.0,2.0)"),
        ("took in (duration'PT1H','PT2H')", "took in (duration'PT3600S',duration'PT7200S')"),
    ]);
    refused(&[
        ("status in ('running',)", Syntax),
        ("status in (,)", Syntax),
        ("status in (status,name)", Syntax),
        ("status in 'running'", Syntax),
        ("status in ('running'", Syntax),
        ("status in ('running' 'failed')", Syntax),
        ("name in tags", Syntax),
        ("tags in ('a')", Type),
    ]);
}

#[test]
fn row_159_160_lambdas() {
    accepted(&["tags/any(t:t eq 'x')", "tags/any()", "tags/all(t:contains(t,'a'))"]);
    accepted(&["labels/any(l:l/key eq 'a-b' and l/value eq 'x')", "context/a/any(x:x/b gt 5)"]);
    accepted(&["steps/any(s:s/state eq 'failed' and tags/any(t:t eq s/name))"]);
    accepted(&[
        "steps/any(s:$it/name eq s/name)",
        "tags/$count gt 2",
        "steps/all( s : s/attempt eq 1 )",
    ]);
    refused(&[
        ("any(t:t eq 'x')", Syntax),
        ("tags/all()", Syntax),
        ("tags/any(t)", Syntax),
        ("tags/any(t:t)", Type),
        ("tags/any(name:name eq 'x')", Syntax),
        ("tags/any(t:tags/any(t:true))", Syntax),
        ("tags/some(t:t eq 'x')", UnknownFunction),
        ("name/any(t:t eq 'x')", Type),
        ("steps/any(s:s/nosuch eq 1)", UnknownProperty),
        ("name/$count eq 1", Type),
        ("t eq 'x'", UnknownProperty),
    ]);
}

#[test]
fn row_161_what_is_not_supported_is_named() {
    refused(&[
        ("geo.distance(name,name) lt 1", Unsupported),
        ("status has 'running'", Unsupported),
        ("cast(Edm.String) eq 'x'", Arity),
        ("cast(name,Edm.Decimal) eq 1", Unsupported),
        ("cast(took,Edm.String) eq 'x'", Unsupported),
        ("foo(name)", UnknownFunction),
        ("name eq binary'AA'", Unsupported),
        ("name eq @p", Unsupported),
        ("name eq [1]", Unsupported),
    ]);
}

#[test]
fn row_162_arguments() {
    refused(&[
        ("contains(name)", Arity),
        ("contains(name,'a','b')", Arity),
        ("contains()", Arity),
        ("now(1) eq now()", Arity),
        ("substring(name) eq 'a'", Arity),
        ("substring(name,1,2,3) eq 'a'", Arity),
        ("substring(name,0,-1) eq 'a'", Argument),
        ("substring(name,-1) eq 'a'", Argument),
        ("substring(name,'1') eq 'a'", Type),
        ("percentComplete div 0 eq 1", DivisionByZero),
        ("percentComplete divby 0.0 eq 1", DivisionByZero),
        ("attempts mod 0 eq 1", DivisionByZero),
        ("attempts div 0 eq 1", DivisionByZero),
        ("percentComplete mod 2 eq 1", Type),
        ("matchesPattern(name,id)", Argument),
        ("matchesPattern(name,'(')", Argument),
        ("matchesPattern(name,'(?=a)')", Argument),
        ("matchesPattern(name,'\\b')", Argument),
        ("length(1) eq 1", Type),
        ("happenedBefore('a')", Arity),
        ("case(1:2) eq 2", Type),
        ("case(true:'a',true:1) eq 1", Type),
        ("took eq duration'PT'", Literal),
        ("took eq duration'P1Y'", Literal),
    ]);
    accepted(&["happenedbefore(id,'x')", "took eq 'PT1H30M'", "took gt duration'-P1DT2H3M4.5S'"]);
    accepted(&[
        "createdDateTime sub 'PT1H' lt now()",
        "now() sub createdDateTime gt duration'PT1H'",
    ]);
}

#[test]
fn row_165_166_incomplete_texts() {
    accepted(&["true", " true", "true ", "\ttrue\n"]);
    refused(&[
        ("", Syntax),
        (" ", Syntax),
        ("eq", UnknownProperty),
        ("status eq", Syntax),
        ("status = 'a'", Syntax),
        ("status eq 'running' garbage", Syntax),
        ("status", Type),
        ("1", Type),
        ("(true", Syntax),
        ("true)", Syntax),
        ("()", Syntax),
        ("5 5", Syntax),
        ("and true", Syntax),
    ]);
}
