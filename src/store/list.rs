//! The collection of operations in its default order: what has not started, then what runs, then
//! what has ended; within each by creation. Ids are in the order of creation, so no sort is needed:
//! the first two groups come from the small table of live operations, the third from the primary
//! key, and a page starts where the last one ended (keyset paging) whatever was done meanwhile.

use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use super::operation::chunked_steps;
use super::read::{OPERATION_COLUMNS, OperationRow, OperationView};
use crate::domain::OperationState;

/// A place in the default order: after operation `after` of group `group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// 0 not started, 1 running, 2 ended.
    pub group: u8,
    /// The last operation before the place; nil for the begin of the group.
    pub after: Uuid,
}

impl Position {
    /// The begin of the collection.
    pub const START: Self = Self { group: 0, after: Uuid::nil() };

    /// The place behind an operation.
    fn after(operation: &OperationView) -> Self {
        let group = match operation.state {
            OperationState::NotStarted => 0,
            state if state.is_final() => 2,
            _ => 1,
        };
        Self { group, after: operation.id }
    }
}

/// One page.
#[derive(Debug)]
pub struct ListPage {
    /// The operations.
    pub operations: Vec<OperationView>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Position>,
}

const GROUPS: u8 = 3;

/// The members of a group, after `$1`.
const fn members(group: u8) -> &'static str {
    match group {
        0 => "live l join operation o on o.id = l.operation where o.state = 0 and l.operation > $1",
        1 => {
            "live l join operation o on o.id = l.operation \
             where o.state between 1 and 5 and l.operation > $1"
        }
        _ => "operation o where o.state between 6 and 10 and o.id > $1",
    }
}

impl Store {
    /// Up to `limit` operations after `from`, passing over the first `skip`.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn list(
        &self,
        from: Position,
        mut skip: i64,
        limit: usize,
    ) -> Result<ListPage, StoreError> {
        let mut rows: Vec<OperationRow> = Vec::new();
        let mut at = from;
        // One more than asked for tells whether there is a next page.
        while at.group < GROUPS && rows.len() <= limit {
            let wanted = limit + 1 - rows.len();
            let found = self.group_page(at, skip, wanted).await?;
            if found.is_empty() && skip > 0 {
                skip -= self.group_size(at).await?.min(skip);
            } else {
                skip = 0;
            }
            rows.extend(found);
            if rows.len() <= limit {
                at = Position { group: at.group + 1, after: Uuid::nil() };
            }
        }
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let operations = self.with_chunks(rows).await?;
        let next = operations.last().filter(|_| has_more).map(Position::after);
        Ok(ListPage { operations, next })
    }

    async fn group_page(
        &self,
        at: Position,
        skip: i64,
        limit: usize,
    ) -> Result<Vec<OperationRow>, StoreError> {
        let query = format!(
            "-- list/group_page\nselect {OPERATION_COLUMNS} from {} order by o.id offset $2 limit $3",
            members(at.group)
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(at.after)
            .bind(skip)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.read)
            .await?)
    }

    async fn group_size(&self, at: Position) -> Result<i64, StoreError> {
        let query = format!("-- list/group_size\nselect count(*) from {}", members(at.group));
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(at.after)
            .fetch_one(&self.read)
            .await?)
    }

    pub(super) async fn with_chunks(
        &self,
        rows: Vec<OperationRow>,
    ) -> Result<Vec<OperationView>, StoreError> {
        let chunked: Vec<Uuid> =
            rows.iter().filter(|row| row.steps.is_empty()).map(|row| row.id).collect();
        let mut chunks = if chunked.is_empty() {
            std::collections::HashMap::new()
        } else {
            let mut connection = self.read.acquire().await?;
            chunked_steps(&mut connection, &chunked).await?
        };
        rows.into_iter()
            .map(|row| {
                let bytes = chunks.remove(&row.id);
                row.into_view(bytes)
            })
            .collect()
    }

    /// How many operations there are.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("select count(*) from operation where state <= 10")
            .fetch_one(&self.read)
            .await?)
    }
}
