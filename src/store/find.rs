//! Questions about operations: a filter, a search, an order, and the place where a page begins.
//!
//! Without an order of the client's, operations come in the default order: what has not started, what
//! runs, what has ended; within each by creation. Ids are in the order of creation, so no sort is
//! needed. A filter that excludes the states of a group saves looking at it, and one that only live
//! operations can meet starts from the small table of these. With an order, one statement sorts.
//! Either way a page starts where the last one ended, whatever was done meanwhile.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::lower::{Lowering, SEARCH_TEXT, Sorting, operation_columns, possible_states};
use super::view::{OPERATION_COLUMNS, OperationRow, OperationView, with_chunks};
use crate::domain::OperationState;
use crate::odata::{ErrorKind, Expr, OrderItem, Search};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct FindAsked {
    /// Which operations; all without one. Checked against
    /// [`operation_model`](super::lower::operation_model), as the order is.
    pub filter: Option<Expr>,
    /// Words to look for in name, labels and error.
    pub search: Option<Search>,
    /// In which order; the default one if empty.
    pub order: Vec<OrderItem>,
    /// Where the page begins; at the begin of the collection without one.
    pub after: Option<Keyset>,
    /// How many to pass over first.
    pub skip: i64,
    /// How many at the most.
    pub limit: usize,
    /// The instant that `now()` stands for. It should be the same for all pages of one question.
    pub now: DateTime<Utc>,
}

/// A place in the answer to a question. It is of use for the same question only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keyset {
    /// In the default order: the group (0 not started, 1 running, 2 ended) and the last operation.
    Group(u8, Uuid),
    /// In an order of the client's: what the last operation was sorted by, and its id.
    Sorted(Vec<Option<String>>, Uuid),
}

/// One page.
#[derive(Debug)]
pub struct FoundPage {
    /// The operations.
    pub operations: Vec<OperationView>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Keyset>,
}

/// What the last operation was sorted by, and its id.
type Place<'a> = (&'a [Option<String>], Uuid);

/// A place in the default order: after operation `after` of group `group`.
struct Position {
    group: u8,
    after: Uuid,
}

#[derive(FromRow)]
struct SortedRow {
    #[sqlx(flatten)]
    row: OperationRow,
    keys: Vec<Option<String>>,
}

/// 0 not started, 1 running, 2 ended.
const GROUPS: u8 = 3;

const fn group_of(state: OperationState) -> u8 {
    match state {
        OperationState::NotStarted => 0,
        OperationState::Running
        | OperationState::Zombie
        | OperationState::Cancelling
        | OperationState::Aborting
        | OperationState::Deleting => 1,
        OperationState::Succeeded
        | OperationState::Failed
        | OperationState::Timeout
        | OperationState::Cancelled
        | OperationState::Aborted
        | OperationState::Tombstone
        | OperationState::Deleted => 2,
    }
}

impl FindAsked {
    fn states(&self) -> Vec<OperationState> {
        possible_states(operation_columns(), self.filter.as_ref())
    }

    fn lowering(&self) -> Lowering<'static, '_> {
        Lowering::new(operation_columns(), self.now)
    }

    /// `from .. where ..` for the operations in these states that meet filter and search.
    fn members<'a>(
        &'a self,
        out: &mut QueryBuilder<Postgres>,
        lowering: &mut Lowering<'static, 'a>,
        states: &[OperationState],
    ) -> Result<(), StoreError> {
        // What is live is few among many: a lookup for each, in the order of the ids, whatever the
        // planner believes a lookup in many partitions to cost.
        out.push(if are_live(states) {
            " from live l cross join lateral \
             (select * from operation where id = l.operation offset 0) o"
        } else {
            " from operation o"
        });
        let codes: Vec<i16> = states.iter().map(|state| state.code()).collect();
        out.push(" where o.state = any (").push_bind(codes).push(")");
        if let Some(filter) = &self.filter {
            out.push(" and (");
            lowering.filter(out, filter)?;
            out.push(")");
        }
        if let Some(search) = &self.search {
            out.push(" and (");
            Lowering::search(out, search, &SEARCH_TEXT);
            out.push(")");
        }
        Ok(())
    }

    fn group_page(
        &self,
        head: &str,
        states: &[OperationState],
        after: Uuid,
        skip: i64,
        limit: usize,
    ) -> Result<QueryBuilder<Postgres>, StoreError> {
        let mut out = QueryBuilder::new(head);
        out.push("-- find/group_page\nselect ").push(OPERATION_COLUMNS);
        self.members(&mut out, &mut self.lowering(), states)?;
        let id = key(states);
        out.push(" and ").push(id).push(" > ").push_bind(after).push(" order by ").push(id);
        page(&mut out, skip, limit);
        Ok(out)
    }

    fn count(
        &self,
        states: &[OperationState],
        after: Uuid,
    ) -> Result<QueryBuilder<Postgres>, StoreError> {
        let mut out = QueryBuilder::new("-- find/count\nselect count(*)");
        self.members(&mut out, &mut self.lowering(), states)?;
        out.push(" and ").push(key(states)).push(" > ").push_bind(after);
        Ok(out)
    }

    /// Where the page begins in an order of the client's.
    fn place(&self, sorting: &Sorting<'_>) -> Result<Option<Place<'_>>, StoreError> {
        match &self.after {
            None => Ok(None),
            Some(Keyset::Sorted(keys, last)) if keys.len() == sorting.keys() => {
                Ok(Some((keys.as_slice(), *last)))
            }
            Some(Keyset::Sorted(..) | Keyset::Group(..)) => Err(foreign()),
        }
    }

    fn in_group(&self, group: u8) -> Vec<OperationState> {
        self.states().into_iter().filter(|state| group_of(*state) == group).collect()
    }

    fn sorted_page(
        &self,
        head: &str,
        states: &[OperationState],
        sorting: &Sorting<'_>,
        after: Option<Place<'_>>,
    ) -> Result<QueryBuilder<Postgres>, StoreError> {
        let mut out = QueryBuilder::new(head);
        out.push("-- find/sorted_page\nselect ").push(OPERATION_COLUMNS).push(", ");
        sorting.place(&mut out);
        // The order of the ids comes from the table that is read first.
        let (id, also) =
            if are_live(states) { ("o.live", ", l.operation as live") } else { ("o.id", "") };
        out.push(" as keys from (select o.*").push(also);
        let mut lowering = self.lowering();
        self.members(&mut out, &mut lowering, states)?;
        // A key that can fail is computed for the filtered rows only.
        out.push(if sorting.can_fail() { " offset 0) o" } else { ") o" });
        if sorting.keys() > 0 {
            out.push(" cross join lateral (select ");
            sorting.columns(&mut lowering, &mut out)?;
            out.push(") k");
        }
        if let Some((keys, last)) = after {
            out.push(" where ");
            sorting.after(&mut out, keys, id, last);
        }
        out.push(" order by ");
        sorting.order_by(&mut out, id);
        page(&mut out, self.skip, self.limit + 1);
        Ok(out)
    }
}

fn are_live(states: &[OperationState]) -> bool {
    states.iter().all(|state| !state.is_final())
}

/// The id, of the table that the operations in these states are looked up from.
fn key(states: &[OperationState]) -> &'static str {
    if are_live(states) { "l.operation" } else { "o.id" }
}

fn page(out: &mut QueryBuilder<Postgres>, skip: i64, limit: usize) {
    out.push(" offset ").push_bind(skip);
    out.push(" limit ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
}

fn foreign() -> StoreError {
    StoreError::BadExpression {
        kind: ErrorKind::Argument,
        message: "this place belongs to another question".to_owned(),
        source: None,
    }
}

impl Store {
    /// A page of the operations that meet a question.
    ///
    /// # Errors
    /// [`StoreError::BadExpression`] when the question cannot be answered: a property that has no
    /// form in the database, a division by zero, a place of another question, more time than is
    /// granted. Otherwise as for any statement.
    pub async fn find(&self, asked: &FindAsked) -> Result<FoundPage, StoreError> {
        if asked.order.is_empty() {
            self.find_in_groups(asked).await
        } else {
            self.find_sorted(asked).await
        }
    }

    async fn find_in_groups(&self, asked: &FindAsked) -> Result<FoundPage, StoreError> {
        let mut at = match &asked.after {
            None => Position { group: 0, after: Uuid::nil() },
            Some(Keyset::Group(group, after)) => Position { group: *group, after: *after },
            Some(Keyset::Sorted(..)) => return Err(foreign()),
        };
        let mut skip = asked.skip;
        let mut rows: Vec<OperationRow> = Vec::new();
        // One more than asked for tells whether there is a next page.
        while at.group < GROUPS && rows.len() <= asked.limit {
            let states = asked.in_group(at.group);
            if !states.is_empty() {
                let wanted = asked.limit + 1 - rows.len();
                let mut query = asked.group_page("", &states, at.after, skip, wanted)?;
                let found: Vec<OperationRow> = query
                    .build_query_as()
                    .persistent(false)
                    .fetch_all(&self.ask)
                    .await
                    .map_err(StoreError::of_question)?;
                if found.is_empty() && skip > 0 {
                    let size = self.count_of(asked.count(&states, at.after)?).await?;
                    skip -= size.min(skip);
                } else {
                    skip = 0;
                }
                rows.extend(found);
            }
            if rows.len() <= asked.limit {
                at = Position { group: at.group + 1, after: Uuid::nil() };
            }
        }
        let has_more = rows.len() > asked.limit;
        rows.truncate(asked.limit);
        let operations = with_chunks(&self.ask, rows).await?;
        let last = operations.last().filter(|_| has_more);
        let next = last.map(|last| Keyset::Group(group_of(last.state), last.id));
        Ok(FoundPage { operations, next })
    }

    async fn find_sorted(&self, asked: &FindAsked) -> Result<FoundPage, StoreError> {
        let lowering = asked.lowering();
        let sorting = lowering.sorting(&asked.order);
        let after = asked.place(&sorting)?;
        let states = asked.states();
        if states.is_empty() {
            return Ok(FoundPage { operations: Vec::new(), next: None });
        }
        let mut query = asked.sorted_page("", &states, &sorting, after)?;
        let mut found: Vec<SortedRow> = query
            .build_query_as()
            .persistent(false)
            .fetch_all(&self.ask)
            .await
            .map_err(StoreError::of_question)?;
        let has_more = found.len() > asked.limit;
        found.truncate(asked.limit);
        let next = found
            .last()
            .filter(|_| has_more)
            .map(|last| Keyset::Sorted(last.keys.clone(), last.row.plain.id));
        let rows = found.into_iter().map(|found| found.row).collect();
        Ok(FoundPage { operations: with_chunks(&self.ask, rows).await?, next })
    }

    /// How many operations meet filter and search of a question, whatever page it asks for.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn count_where(&self, asked: &FindAsked) -> Result<i64, StoreError> {
        let states = asked.states();
        if states.is_empty() {
            return Ok(0);
        }
        self.count_of(asked.count(&states, Uuid::nil())?).await
    }

    async fn count_of(&self, mut query: QueryBuilder<Postgres>) -> Result<i64, StoreError> {
        query
            .build_query_scalar()
            .persistent(false)
            .fetch_one(&self.ask)
            .await
            .map_err(StoreError::of_question)
    }

    /// The plans of the statements that [`find`](Self::find) would use, one a text, for tests.
    #[doc(hidden)]
    pub async fn explain(&self, asked: &FindAsked) -> Result<Vec<String>, StoreError> {
        const HEAD: &str = "explain (analyze, costs off, timing off, summary off)\n";
        let mut statements = Vec::new();
        if asked.order.is_empty() {
            let (first, place) = match &asked.after {
                Some(Keyset::Group(group, after)) => (*group, *after),
                Some(Keyset::Sorted(..)) => return Err(foreign()),
                None => (0, Uuid::nil()),
            };
            for group in first..GROUPS {
                let (states, limit) = (asked.in_group(group), asked.limit + 1);
                let after = if group == first { place } else { Uuid::nil() };
                if !states.is_empty() {
                    statements.push(asked.group_page(HEAD, &states, after, asked.skip, limit)?);
                }
            }
        } else {
            let lowering = asked.lowering();
            let sorting = lowering.sorting(&asked.order);
            let after = asked.place(&sorting)?;
            statements.push(asked.sorted_page(HEAD, &asked.states(), &sorting, after)?);
        }
        let mut plans = Vec::new();
        for mut statement in statements {
            let query = statement.build_query_scalar().persistent(false);
            let lines: Vec<String> = query.fetch_all(&self.ask).await?;
            plans.push(lines.join("\n"));
        }
        Ok(plans)
    }
}
