//! Whatever the input, the answer comes at once and the process lives.

use std::time::{Duration, Instant};

use crate::support::{model, now};
use sutbot::odata::{Error, ErrorKind, Limits, Value, eval, filter, order_by, search, select};

/// Generous for a debug build on a busy machine; the contract is 50 ms.
const TIME_MAX: Duration = Duration::from_millis(50);

fn timed<T>(what: &str, read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let start = Instant::now();
    let result = read();
    let took = start.elapsed();
    assert!(took < TIME_MAX, "{what} took {took:?}");
    result
}

fn refused(text: &str) -> ErrorKind {
    let (model, limits) = (model(), Limits::default());
    let what = &text[..text.floor_char_boundary(40)];
    timed(what, || filter(text, &model, &limits)).expect_err(what).kind
}

fn accepted(text: &str) {
    let what = &text[..text.floor_char_boundary(40)];
    if let Err(error) = filter(text, &model(), &Limits::default()) {
        panic!("{what}: {error}");
    }
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn row_130_a_chain_of_200_terms_is_one_level() {
    accepted(&vec!["status eq 'failed'"; 200].join(" or "));
    accepted(&vec!["status eq 'failed'"; 200].join(" and "));
    assert_eq!(refused(&vec!["paused"; 1_500].join(" or ")), ErrorKind::Limit);
}

#[test]
fn row_131_nested_parentheses_up_to_the_documented_depth() {
    for times in [1, 20, 100] {
        accepted(&nested("(", "true", ")", times));
    }
    for times in [101, 1_000, 8_000, 100_000] {
        assert_eq!(refused(&nested("(", "true", ")", times)), ErrorKind::Limit, "{times}");
    }
    assert_eq!(refused(&"(".repeat(100_000)), ErrorKind::Limit);
    assert_eq!(refused(&")".repeat(10_000)), ErrorKind::Syntax);
}

#[test]
fn row_132_chains_of_prefixes_and_calls() {
    accepted(&nested("not ", "true", "", 90));
    for times in [101, 3_000, 100_000] {
        assert_eq!(refused(&nested("not ", "true", "", times)), ErrorKind::Limit);
        assert_eq!(refused(&nested("- ", "attempts eq 1", "", times)), ErrorKind::Limit);
        assert_eq!(refused(&nested("tolower(", "name", ")", times)), ErrorKind::Limit);
        assert_eq!(refused(&nested("case(true:", "true", ")", times)), ErrorKind::Limit);
        assert_eq!(refused(&nested("tags/any(t:", "true", ")", times)), ErrorKind::Limit);
    }
    assert_eq!(refused("-----1"), ErrorKind::Type);
    assert_eq!(refused("tolower(tolower("), ErrorKind::Syntax);
}

#[test]
fn row_133_long_texts() {
    let operators = "eq add not or ".repeat(64 * 1024 / 14);
    assert_eq!(refused(&operators), ErrorKind::Limit);
    assert_eq!(refused(&operators[..16_000]), ErrorKind::Syntax);
    assert_eq!(refused(&format!("name eq '{}'", "x".repeat(65_536))), ErrorKind::Limit);
    accepted(&format!("name eq '{}'", "x".repeat(16_000)));
}

#[test]
fn long_names_are_refused_as_fast_as_short_ones() {
    for (text, kind) in [
        (format!("{} eq 1", "x".repeat(16_000)), ErrorKind::UnknownProperty),
        (format!("{}(1) eq 1", "x".repeat(16_000)), ErrorKind::UnknownFunction),
        (format!("status eq '{}'", "x".repeat(16_000)), ErrorKind::UnknownMember),
        (format!("true {}", "x".repeat(16_000)), ErrorKind::Syntax),
        ("'".repeat(16_383), ErrorKind::Syntax),
        ("1".repeat(16_000), ErrorKind::Literal),
    ] {
        assert_eq!(refused(&text), kind);
    }
}

#[test]
fn chains_of_other_operators_gain_a_level_each() {
    accepted(&format!("attempts{} eq 1", " add 1".repeat(90)));
    assert_eq!(refused(&format!("attempts{} eq 1", " add 1".repeat(101))), ErrorKind::Limit);
    assert_eq!(refused(&format!("true{}", " eq true".repeat(1_000))), ErrorKind::Limit);
    assert_eq!(refused(&format!("context{} eq 1", "/a".repeat(101))), ErrorKind::Limit);
    assert_eq!(refused(&format!("context{} eq 1", "/a".repeat(5_000))), ErrorKind::Limit);
}

#[test]
fn lists_have_a_limit_of_their_own() {
    accepted(&format!("attempts in ({})", vec!["1"; 1_000].join(",")));
    assert_eq!(refused(&format!("attempts in ({})", vec!["1"; 1_001].join(","))), ErrorKind::Limit);
}

#[test]
fn the_deepest_tree_fits_the_stack_of_a_thread() {
    let run = || {
        let (model, limits) = (model(), Limits::default());
        let level = "true or true and true eq (";
        assert!(filter(&nested(level, "true", ")", 99), &model, &limits).is_err());
        for text in [nested(level, "true", ")", 32), nested("not ", "true", "", 99)] {
            let expr = filter(&text, &model, &limits).expect("not too deep");
            assert_eq!(filter(&expr.to_string(), &model, &limits), Ok(expr.clone()));
            assert!(eval::matches(&expr, &Value::Null, now()).is_ok());
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    thread.expect("a thread starts").join().expect("the stack suffices");
}

#[test]
fn patterns_are_bounded() {
    for pattern in ["(a{255}){255}", "((((a{99}){99}){99}){99}){99}", &"(".repeat(10_000)] {
        assert_eq!(refused(&format!("matchesPattern(name,'{pattern}')")), ErrorKind::Argument);
    }
    let many = vec![r"matchesPattern(name,'(a|b){200}')"; 300].join(" or ");
    assert_eq!(refused(&many), ErrorKind::Limit);
}

#[test]
fn the_other_options_have_the_same_limits() {
    let (model, limits) = (model(), Limits::default());
    for times in [101, 5_000, 100_000] {
        let deep = nested("(", "a", ")", times);
        let kind = timed("order", || order_by(&deep, &model, &limits)).expect_err("deep").kind;
        assert_eq!(kind, ErrorKind::Limit);
        let kind = timed("search", || search(&deep, &limits)).expect_err("deep").kind;
        assert_eq!(kind, ErrorKind::Limit);
        let nots = nested("NOT ", "a", "", times);
        let kind = timed("search", || search(&nots, &limits)).expect_err("deep").kind;
        assert_eq!(kind, ErrorKind::Limit);
        let many = vec!["id"; times * 10].join(",");
        let kind = timed("select", || select(&many, &model, &limits)).expect_err("many").kind;
        assert_eq!(kind, ErrorKind::Limit);
    }
}
