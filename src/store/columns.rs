//! What a batch stores, table by table: a list per column, as the statement takes them.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

/// Columns of one table, filled row by row.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name { $(pub(super) $field: Vec<$type>),+ }

        impl $name {
            #[expect(clippy::too_many_arguments, reason = "one per column")]
            pub(super) fn push(&mut self, $($field: $type),+) {
                $(self.$field.push($field);)+
            }
        }
    };
}

columns! {
    /// Operations that are changed, if they have the version that is expected.
    Changed {
        id: Uuid, expected: i32, state: i16, stop: Option<i16>, flags: i16, version: i32,
        entered: DateTime<Utc>, steps: Vec<u8>, open: Vec<u8>, clock: Option<Vec<u8>>,
    }
}

columns! {
    Made {
        id: Uuid, jobset: Uuid, state: i16, stop: Option<i16>, flags: i16, version: i32,
        entered: DateTime<Utc>, steps: Vec<u8>, open: Vec<u8>, labels: Option<Json<Value>>,
        clock: Option<Vec<u8>>, alias: Option<String>,
    }
}

columns! {
    Events {
        operation: Uuid, seq: i32, at: DateTime<Utc>, kind: i16, step: Option<i32>,
        attempt: Option<i32>, action: Option<i16>, from_state: Option<i16>,
        to_state: Option<i16>, state: Option<i16>, worker: Option<i64>, stamp: Option<Vec<u8>>,
    }
}

columns! {
    Attempts {
        operation: Uuid, step: i32, attempt: i32, worker: i64, started: DateTime<Utc>,
        ended: DateTime<Utc>, exit_code: Option<i32>, signal: Option<i32>,
        exception: Option<Json<Value>>, result: Option<Json<Value>>, usage: Option<Json<Value>>,
    }
}

columns! {
    /// What new operations ask before they may begin.
    Asked {
        operation: Uuid, key: Option<String>, places: Option<i32>, on_conflict: Option<i16>,
        rate_key: Option<String>, rate: Option<i32>, per: Option<i64>, priority: i16,
        cancellable: bool,
    }
}

#[derive(Debug, Default)]
pub(super) struct Chunks {
    pub(super) operation: Vec<Uuid>,
    pub(super) chunk: Vec<i32>,
    pub(super) steps: Vec<Vec<u8>>,
    pub(super) moved: Vec<Option<Vec<u8>>>,
}

#[derive(Debug, Default)]
pub(super) struct Jobsets {
    pub(super) id: Vec<Uuid>,
    pub(super) digest: Vec<Vec<u8>>,
    pub(super) name: Vec<String>,
    pub(super) document: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Moments {
    pub(super) operation: Vec<Uuid>,
    pub(super) at: Vec<DateTime<Utc>>,
}

impl Moments {
    /// Two commands of one batch may change it: the later one counts.
    pub(super) fn set(&mut self, operation: Uuid, at: DateTime<Utc>) {
        if let Some(place) = self.operation.iter().position(|known| *known == operation) {
            self.at[place] = at;
        } else {
            self.operation.push(operation);
            self.at.push(at);
        }
    }
}

/// The queue. Without `due` something can be claimed at once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) operation: Vec<Uuid>,
    pub(super) class: Vec<String>,
    pub(super) rank: Vec<DateTime<Utc>>,
    pub(super) due: Vec<Option<DateTime<Utc>>>,
}

#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) worker: Vec<i64>,
    pub(super) operation: Vec<Uuid>,
    pub(super) step: Vec<i32>,
    pub(super) attempt: Vec<i32>,
    pub(super) interrupt: Vec<bool>,
    pub(super) force: Vec<bool>,
}

#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) operation: Vec<Uuid>,
    pub(super) context: Vec<Option<Json<Value>>>,
    pub(super) cancellation: Vec<Option<Json<Value>>>,
    pub(super) edits: Vec<Option<Json<Value>>>,
    pub(super) forked_from: Vec<Option<Uuid>>,
    pub(super) forked_from_alias: Vec<Option<String>>,
    pub(super) stopped: Vec<Option<Json<Value>>>,
}

#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) operation: Vec<Uuid>,
    pub(super) name: Vec<String>,
    /// The operations that share none any more.
    pub(super) ended: Vec<Uuid>,
}

/// What is asked of workers, each once.
#[derive(Debug, Default)]
pub(super) struct Standings {
    pub(super) worker: Vec<i64>,
    pub(super) is_asked: Vec<bool>,
}

impl Standings {
    pub(super) fn add(&mut self, worker: i64, is_asked: bool) {
        if let Some(place) = self.worker.iter().position(|known| *known == worker) {
            self.is_asked[place] |= is_asked;
        } else {
            self.worker.push(worker);
            self.is_asked.push(is_asked);
        }
    }
}

/// What changes of the rows of `admission` with the operations themselves.
#[derive(Debug, Default)]
pub(super) struct Admissions {
    pub(super) asked: Asked,
    /// Operations that were changed before they were admitted, and whether they are paused now.
    pub(super) touched: Vec<Uuid>,
    pub(super) paused: Vec<bool>,
    pub(super) ended: Vec<Uuid>,
}

impl Admissions {
    /// Whether any changes.
    pub(super) fn has_any(&self) -> bool {
        !self.asked.operation.is_empty() || !self.touched.is_empty() || !self.ended.is_empty()
    }
}

/// Attempts that new operations take over from those they were forked from.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) operation: Vec<Uuid>,
    pub(super) source: Vec<Uuid>,
    pub(super) step: Vec<i32>,
}
