//! `$orderby`, `$select`, `$search`.

use sutbot::odata::ErrorKind::{self, Syntax, Type, UnknownProperty};
use sutbot::odata::{Limits, Search, order_by, search, select};

use crate::support::model;

#[test]
fn row_168_172_order_by() {
    let limits = Limits::default();
    for (text, canonical) in [
        ("createdDateTime desc", vec!["createdDateTime desc"]),
        ("id asc,name DESC", vec!["id", "name desc"]),
        (" id  ASC , error/code", vec!["id", "error/code"]),
        ("percentComplete gt 50 desc", vec!["percentComplete gt 50.0 desc"]),
        ("labels/branch,status", vec!["labels/branch", "status"]),
        ("cast(context/n,Edm.Double)", vec!["cast(context/n,Edm.Double)"]),
    ] {
        let items = order_by(text, &model(), &limits).expect(text);
        assert_eq!(items.iter().map(ToString::to_string).collect::<Vec<_>>(), canonical, "{text}");
    }
}

#[test]
fn row_171_order_by_refused() {
    for (text, kind) in [
        ("nosuch", UnknownProperty),
        ("id,", Syntax),
        ("", Syntax),
        ("id sideways", Syntax),
        ("id asc desc", Syntax),
        ("tags", Type),
        ("error", Type),
        ("labels", Type),
        ("context/n", Type),
    ] {
        let error = order_by(text, &model(), &Limits::default()).expect_err(text);
        assert_eq!(error.kind, kind, "{text}: {error}");
    }
}

#[test]
fn row_174_175_select() {
    for (text, canonical) in [
        ("id,status", "id,status"),
        ("*", "*"),
        ("id, *", "*"),
        ("error/code,labels/branch,tags", "error/code,labels/branch,tags"),
    ] {
        let selected = select(text, &model(), &Limits::default()).expect(text);
        assert_eq!(selected.to_string(), canonical);
    }
}

#[test]
fn row_176_select_refused() {
    for (text, kind) in [
        ("nosuch", UnknownProperty),
        ("", Syntax),
        ("id,", Syntax),
        ("id status", Syntax),
        ("1", Syntax),
        ("(id)", Syntax),
        ("length(name)", Syntax),
        ("tags/name", UnknownProperty),
    ] {
        let error = select(text, &model(), &Limits::default()).expect_err(text);
        assert_eq!(error.kind, kind, "{text}: {error}");
    }
}

#[test]
fn row_177_search() {
    for (text, canonical) in [
        ("a", "a"),
        ("a b OR c", "a AND b OR c"),
        ("a AND (b OR c)", "a AND (b OR c)"),
        ("NOT a NOT \"b c\"", "NOT a AND NOT \"b c\""),
        ("NOT (a b)", "NOT (a AND b)"),
        ("not or and", "not AND or AND and"),
        (r#""a\"b\\" "OR""#, r#""a\"b\\" AND "OR""#),
        ("O'Neil's 50% ä-ö", "O'Neil's AND 50% AND ä-ö"),
    ] {
        let parsed = search(text, &Limits::default()).expect(text);
        assert_eq!(parsed.to_string(), canonical);
    }
    for text in
        ["", " ", "AND", "a OR", "NOT", "(a", "a)", "\"a", "\"\"", "OR a", "a AND OR b", "()"]
    {
        let error = search(text, &Limits::default()).expect_err(text);
        assert_eq!(error.kind, ErrorKind::Syntax, "{text}");
    }
}

#[test]
fn a_search_is_answered_from_the_terms_found() {
    let parsed = search("red NOT (green OR \"dark blue\")", &Limits::default()).expect("valid");
    let found = |present: &'static [&'static str]| parsed.matches(&|term| present.contains(&term));
    assert!(found(&["red"]));
    assert!(!found(&["red", "dark blue"]));
    assert!(!found(&[]));
    assert_eq!(search("x", &Limits::default()), Ok(Search::Term("x".into())));
}
