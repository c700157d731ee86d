//! What is done with a text whose only aim is to break something: by `cargo fuzz`, and with a few
//! thousand texts by the everyday tests.

use chrono::DateTime;
use sqlx::{Postgres, QueryBuilder};
use sutbot::odata::{Limits, Value, eval, filter, order_by, search, select};
use sutbot::store::lower::{Lowering, operation_columns, operation_model};

/// For what was printed: casts are written out, and so is what `not` negates.
const LARGE: Limits =
    Limits { text_bytes: 1 << 24, nesting: 400, nodes: 1 << 20, list_items: 1 << 20 };

/// Reads the text as each of the four; what is read is printed, and read again as the same.
pub(crate) fn parse(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (model, limits) = (operation_model(), Limits::default());
    let filtered = filter(&text, model, &limits);
    let ordered = order_by(&text, model, &limits);
    let selected = select(&text, model, &limits);
    let searched = search(&text, &limits);
    let errors = [
        filtered.as_ref().err(),
        ordered.as_ref().err(),
        selected.as_ref().err(),
        searched.as_ref().err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(text.is_char_boundary(error.position), "{error} in {text:?}");
        assert!(!error.message.is_empty() && error.message.len() < 10_000, "{text:?}");
    }
    if let Ok(expr) = filtered {
        let again = filter(&expr.to_string(), model, &LARGE);
        assert_eq!(again.as_ref(), Ok(&expr), "{text:?}");
        _ = eval::matches(&expr, &Value::Null, DateTime::UNIX_EPOCH);
    }
    if let Ok(items) = ordered {
        let printed = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(order_by(&printed, model, &LARGE).as_ref(), Ok(&items), "{text:?}");
        _ = eval::compare(&items, &Value::Null, &Value::Null, DateTime::UNIX_EPOCH);
    }
    if let Ok(search_for) = searched {
        assert_eq!(search(&search_for.to_string(), &LARGE), Ok(search_for), "{text:?}");
    }
}

/// Writes SQL for what can be read; nothing that a client wrote stands in it.
pub(crate) fn lower(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (model, limits) = (operation_model(), Limits::default());
    let now = DateTime::UNIX_EPOCH;
    if let Ok(expr) = filter(&text, model, &limits) {
        let mut out = QueryBuilder::<Postgres>::new("");
        if Lowering::new(operation_columns(), now).filter(&mut out, &expr).is_ok() {
            inspect(out, &text);
        }
    }
    if let Ok(items) = order_by(&text, model, &limits) {
        let mut lowering = Lowering::new(operation_columns(), now);
        let mut out = QueryBuilder::<Postgres>::new("");
        let sorting = lowering.sorting(&items);
        if sorting.columns(&mut lowering, &mut out).is_ok() {
            sorting.place(&mut out);
            sorting.order_by(&mut out, "o.id");
            inspect(out, &text);
        }
    }
    if let Ok(search_for) = search(&text, &limits) {
        let mut out = QueryBuilder::<Postgres>::new("");
        Lowering::search(&mut out, &search_for, "o.text");
        inspect(out, &text);
    }
}

/// The marks of SQL that no part of ours has, and the word that seeds have in their literals.
fn inspect(mut out: QueryBuilder<Postgres>, text: &str) {
    let query = out.build();
    let sql = sqlx::Execute::sql(query);
    let sql: &str = sql.as_str();
    assert!(sql.is_ascii(), "{text:?}: {sql}");
    for mark in ["--", "/*", ";", "\0", "zebra"] {
        assert!(!sql.contains(mark), "{text:?}: {sql}");
    }
}
