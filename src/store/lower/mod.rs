//! Checked expressions of the query language as SQL with bound values.
//!
//! # Problem
//! The answer of the database has to be the one that [`odata`](crate::odata) defines, down to nulls,
//! rounding, code points and which errors happen, although SQL differs in all of these; and an
//! expression must not keep the planner from using an index.
//!
//! # Design
//! - Two ways to write a condition. *By value*: SQL that is true, false or null exactly where the
//!   expression is (`eq` becomes `is not distinct from`, `gt` becomes `(.. > ..) is true`). *By
//!   truth*: SQL that is true exactly where the expression is, and false or null elsewhere, in forms
//!   that an index can serve (`=`, `>`, `= any`, `@>`). A filter is lowered by truth as far as
//!   nothing in it can fail.
//! - `and` and `or` of PostgreSQL are Kleene's, and at execution they look at their operands from
//!   left to right until the answer is known; but the planner may reorder the conditions of a
//!   `where`. From the first operand of a filter that can fail, the whole filter is therefore put
//!   into a `case`, which the planner leaves as it is.
//! - What is the same for every row is computed here before: the planner would compute it too, but
//!   would fail at once where the language fails only on arrival (`false and 1 div (1 sub 1) eq 1`).
//! - Every column comes from an allow-list ([`Columns`]); everything that a client wrote is bound.
//!   Functions that PostgreSQL lacks are in `migrations/0002_query.sql`.
//!
//! # Where the answers may differ
//! Where the evaluator has an answer, the database has the same. Where the evaluator has an error,
//! the database may do without the operation that fails: on rows that another condition or the end
//! of the page leaves out, and where a null or a constant decides the answer anyway. `tolower` and `toupper` follow the Unicode version of the server's ICU;
//! without ICU they follow the locale of the database.
//!
//! # Deliberately absent
//! Functions that a model declares: they need the row in memory. Each is an error that names it.

mod analysis;
mod call;
mod columns;
mod condition;
mod literal;
mod operations;
mod order;
mod states;
mod value;

pub use columns::{Column, Columns, Form};
pub(super) use operations::SEARCH_TEXT;
pub use operations::{operation_columns, operation_model};
pub use order::Sorting;
pub(super) use states::possible_states;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};

use self::value::Item;
use super::error::StoreError;
use crate::odata::{ErrorKind, Expr, OrderItem, Search};

/// What has no form in SQL.
#[derive(Debug)]
struct Unsupported(String);

impl From<Unsupported> for StoreError {
    fn from(Unsupported(what): Unsupported) -> Self {
        let message = format!("{what} can be shown but not be used in a question");
        Self::BadExpression { kind: ErrorKind::Unsupported, message, source: None }
    }
}

/// Writes expressions over the columns of one collection.
#[derive(Debug)]
pub struct Lowering<'c, 'e> {
    columns: &'c Columns,
    now: DateTime<Utc>,
    /// The variables of the enclosing lambdas, innermost last.
    scope: Vec<(&'e str, Item)>,
    /// How many SQL aliases were given away.
    aliases: usize,
}

impl<'c, 'e> Lowering<'c, 'e> {
    /// A lowering to these columns, with the instant that `now()` stands for.
    #[must_use]
    pub const fn new(columns: &'c Columns, now: DateTime<Utc>) -> Self {
        Self { columns, now, scope: Vec::new(), aliases: 0 }
    }

    /// A condition that is true where `filter` is, and false or null elsewhere.
    ///
    /// # Errors
    /// [`StoreError::BadExpression`], when a property or function has no form in SQL.
    pub fn filter(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        filter: &'e Expr,
    ) -> Result<(), StoreError> {
        Ok(self.condition(out, filter)?)
    }

    /// A condition that is true where `search` succeeds in `text`, an SQL expression of this crate
    /// that yields the text to search in lower case.
    pub fn search(out: &mut QueryBuilder<Postgres>, search: &Search, text: &str) {
        let (operands, link) = match search {
            Search::Term(term) => {
                out.push("strpos(").push(text).push(", odata_lower(").push_bind(term.clone());
                out.push(")) > 0");
                return;
            }
            Search::Not(operand) => {
                out.push("not (");
                Self::search(out, operand, text);
                out.push(")");
                return;
            }
            Search::And(operands) => (operands, " and "),
            Search::Or(operands) => (operands, " or "),
        };
        for (at, operand) in operands.iter().enumerate() {
            out.push(if at > 0 { link } else { "" }).push("(");
            Self::search(out, operand, text);
            out.push(")");
        }
    }

    /// What rows are sorted by: the items that can make a difference.
    #[must_use]
    pub fn sorting(&self, items: &'e [OrderItem]) -> Sorting<'e> {
        Sorting::new(self, items)
    }
}
