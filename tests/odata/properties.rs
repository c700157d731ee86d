//! What holds for every text, every expression and every row.

use crate::support::{condition, model, now, row};
use proptest::prelude::*;
use sutbot::odata::{ErrorKind, Limits, eval, filter, order_by, search, select};

/// Words that random texts are made of, to come further than random characters do.
const WORDS: &[&str] = &[
    "eq",
    "ne",
    "and",
    "or",
    "not",
    "in",
    "add",
    "divby",
    "name",
    "tags",
    "/",
    "any",
    "(",
    ")",
    ",",
    ":",
    "'",
    "''",
    "-",
    "1",
    "5e1",
    "2026-01-01",
    "T",
    "12:00",
    "Z",
    "null",
    "true",
    "case(",
    "cast(",
    "Edm.String",
    "duration'PT1H'",
    "length(",
    "$it",
    "$count",
    "context/a",
    " ",
    "t",
    "*",
    "desc",
    "𝄞",
    "matchesPattern(name,'",
    "[a-",
    "\\d",
    "NOT ",
    "AND ",
    "\"",
    "+",
    ".",
    "labels",
    "\0",
];

/// Reading any text whatever gives an answer and leaves a printable position.
fn read_everything(text: &str) {
    let (model, limits) = (model(), Limits::default());
    let errors = [
        filter(text, &model, &limits).err(),
        order_by(text, &model, &limits).err(),
        select(text, &model, &limits).err(),
        search(text, &limits).err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(text.is_char_boundary(error.position), "{error} in {text:?}");
        assert!(!error.message.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_characters_never_panic(text in "\\PC{0,80}") {
        read_everything(&text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        read_everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_words_never_panic(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..25),
        blank in any::<bool>(),
    ) {
        read_everything(&words.join(if blank { " " } else { "" }));
    }

    #[test]
    fn printing_and_reading_again_is_the_identity(text in condition(3)) {
        let (model, limits) = (model(), Limits { nodes: 100_000, text_bytes: 1 << 20, ..Limits::default() });
        let expr = filter(&text, &model, &limits);
        prop_assume!(!matches!(&expr, Err(error) if error.kind == ErrorKind::Limit));
        let expr = expr.map_err(|error| TestCaseError::fail(format!("{error} in {text}")))?;
        let printed = expr.to_string();
        let again = filter(&printed, &model, &limits)
            .map_err(|error| TestCaseError::fail(format!("{error} in {printed}")))?;
        prop_assert_eq!(&expr, &again, "{}", printed);
        prop_assert_eq!(printed, again.to_string());
    }

    #[test]
    fn evaluation_never_panics_and_printing_keeps_the_meaning(text in condition(3), row in row()) {
        let (model, limits) = (model(), Limits { nodes: 100_000, text_bytes: 1 << 20, ..Limits::default() });
        let Ok(expr) = filter(&text, &model, &limits) else { return Ok(()) };
        let answer = eval::matches(&expr, &row, now());
        if let Err(error) = &answer {
            let expected = [ErrorKind::DivisionByZero, ErrorKind::OutOfRange, ErrorKind::Unsupported];
            prop_assert!(expected.contains(&error.kind), "{}", error);
        }
        let again = filter(&expr.to_string(), &model, &limits).expect("canonical text is valid");
        prop_assert_eq!(answer.ok(), eval::matches(&again, &row, now()).ok());
    }

    #[test]
    fn a_search_printed_and_read_again_is_the_same(
        words in proptest::collection::vec(
            proptest::sample::select(["a", "OR", "AND", "NOT", "(", ")", "\"b c\"", "\"\\\\\\\"\"", "or"].as_slice()),
            1..12,
        )
    ) {
        if let Ok(parsed) = search(&words.join(" "), &Limits::default()) {
            prop_assert_eq!(search(&parsed.to_string(), &Limits::default()), Ok(parsed));
        }
    }
}
