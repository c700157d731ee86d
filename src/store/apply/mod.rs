//! The statement that stores a batch, composed of the parts that have something to store.
//!
//! A typical batch needs half of the parts, and an empty part is not free: the database opens its
//! tables and indexes and reads its parameters all the same. Each combination is prepared when it is
//! first needed. There are few.
//!
//! The parts see the same snapshot and none sees another's changes, so no two may touch one row.

mod parts;

use std::fmt::Write as _;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection};

use self::parts::{
    ALL_CHANGED, ALL_WATCHED, ASKED, BORN, CHANGED, CHUNKED, DEFINED, DIED, HAPPENED, KEPT, KEYED,
    LEFT, MADE, OBEYED, ORDERED, QUEUED, SETTLED, SHARED, TIED, TIMED, TOUCHED, TRIMMED, UNQUEUED,
    UNSHARED, VOUCHED, WATCHED, WIDENED,
};
use super::batch::Batch;
use super::error::StoreError;

type Statement<'b> = Query<'b, Postgres, PgArguments>;

/// A part of the statement with parameters of its own, numbered from 1.
struct Part {
    text: &'static str,
    /// Binds its parameters, in the order of their numbers.
    bind: for<'b> fn(Statement<'b>, &'b Batch) -> Statement<'b>,
}

impl Part {
    /// Appends the text, its parameters numbered on from `before`; answers the last number.
    fn append_to(&self, text: &mut String, before: usize) -> usize {
        let mut last = before;
        let mut pieces = self.text.split('$');
        text.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
            let (number, rest) = piece.split_at(end);
            let number = before + number.parse::<usize>().unwrap_or_default();
            last = last.max(number);
            // Nothing can go wrong when a string is written to.
            _ = write!(text, "${number}{rest}");
        }
        last
    }
}

fn needed(parts: &[(bool, &'static Part)]) -> Vec<&'static Part> {
    parts.iter().filter_map(|(is_needed, part)| is_needed.then_some(*part)).collect()
}

const HEAD: &str = "-- batch/apply: operations, history and queues of a set of decisions\n";

impl Batch {
    /// The common table expressions that have rows.
    fn changes(&self) -> Vec<&'static Part> {
        let has_attempts = !self.attempts.operation.is_empty();
        needed(&[
            (!self.changed.id.is_empty(), &CHANGED),
            (!self.watched.worker.is_empty(), &WATCHED),
            (!self.made.id.is_empty(), &MADE),
            (!self.chunks.operation.is_empty(), &CHUNKED),
            (!self.events.operation.is_empty(), &HAPPENED),
            (has_attempts, &SETTLED),
            (has_attempts, &OBEYED),
            (!self.jobsets.id.is_empty(), &DEFINED),
            (!self.data.operation.is_empty(), &WIDENED),
            (!self.born.is_empty(), &BORN),
            (!self.ended.is_empty(), &DIED),
            (!self.ready.operation.is_empty(), &QUEUED),
            (!self.trimmed.is_empty(), &TRIMMED),
            (!self.not_ready.is_empty(), &UNQUEUED),
            (!self.timers.operation.is_empty(), &TIMED),
            (!self.orders.operation.is_empty(), &ORDERED),
            (!self.kept.operation.is_empty(), &KEPT),
            (!self.resources.operation.is_empty(), &TIED),
            (!self.resources.operation.is_empty(), &SHARED),
            (!self.resources.ended.is_empty(), &UNSHARED),
            (!self.keys.text.is_empty(), &KEYED),
            (!self.admissions.asked.operation.is_empty(), &ASKED),
            (!self.admissions.touched.is_empty(), &TOUCHED),
            (!self.admissions.ended.is_empty(), &LEFT),
        ])
    }

    /// What has to hold, as items of what is selected. In the order in which others take the locks of a
    /// worker too: its row, then that of its claims.
    fn conditions(&self) -> Vec<&'static Part> {
        needed(&[
            (!self.changed.id.is_empty(), &ALL_CHANGED),
            (!self.watched.worker.is_empty(), &ALL_WATCHED),
            (!self.vouched.worker.is_empty(), &VOUCHED),
        ])
    }

    /// Stores it all, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an operation has another version than expected or a worker does
    /// not stand as it is told, [`StoreError::LeaseLost`] when the word of a worker does not count or
    /// it has no lease to claim by; otherwise as for any statement.
    pub async fn apply(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let (changes, conditions) = (self.changes(), self.conditions());
        let (mut text, mut parameters) = (HEAD.to_owned(), 0);
        for (index, part) in changes.iter().enumerate() {
            text.push_str(if index == 0 { "with\n" } else { ",\n" });
            parameters = part.append_to(&mut text, parameters);
        }
        text.push_str("\nselect true");
        for part in &conditions {
            text.push_str(", ");
            parameters = part.append_to(&mut text, parameters);
        }
        let mut statement = sqlx::query(AssertSqlSafe(text));
        for part in changes.into_iter().chain(conditions) {
            statement = (part.bind)(statement, self);
        }
        statement.execute(connection).await?;
        Ok(())
    }
}
