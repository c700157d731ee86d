//! The queue: operations with something to claim, in the order in which they get slots.
//!
//! An operation stands in it once for each set of labels that its waiting steps require. What it asks
//! of a worker, its lane and those labels, is its *class*; the usual one, the default lane and no
//! labels, is the empty text. One index, by class and rank, serves all: a look goes through the few
//! classes there are, passes over those that no worker with free slots can run, however many wait in
//! them, and takes from each of the others what comes first.
//!
//! What can only be claimed later stands beside it, by its time, until that has come.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Store;
use super::error::StoreError;
use crate::domain::needs::Labels;
use crate::domain::profile::Profile;
use crate::domain::scheduling::DEFAULT_LANE;

/// An operation with something to claim; its row is locked until the transaction ends.
#[derive(Clone, Copy, Debug, FromRow)]
pub struct Claimable {
    /// The operation's id.
    pub id: Uuid,
    /// Its version, which nobody else can change meanwhile.
    pub version: i32,
    /// Its place in the order.
    pub rank: DateTime<Utc>,
}

/// Free slots of workers that offer the same.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What they offer.
    pub profile: Profile,
    /// How many slots are free.
    pub free: usize,
}

/// What an operation in `lane` asks of a worker that is to run steps which require `labels`: JSON,
/// equal for equal demands; empty for the usual one.
pub(super) fn class(lane: Option<&str>, labels: &Labels) -> String {
    match lane.filter(|lane| *lane != DEFAULT_LANE) {
        None if labels.is_empty() => String::new(),
        None => json!({ "labels": labels }).to_string(),
        Some(lane) => json!({ "labels": labels, "lane": lane }).to_string(),
    }
}

impl Store {
    /// Operations of one part of `parts` with something that the workers of `offers` can claim: for
    /// each offer as many as it has free slots, lowest rank first. Their rows are locked until the
    /// transaction of `connection` ends; those that others have locked are passed over.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn lock_claimable(
        &self,
        connection: &mut PgConnection,
        (part, parts): (usize, usize),
        offers: &[Offer],
    ) -> Result<Vec<Claimable>, StoreError> {
        let int = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let offered = |offer: &Offer| {
            let Profile { labels, lanes } = &offer.profile;
            Json(json!({ "labels": labels, "lanes": lanes }))
        };
        let (free, offers): (Vec<i32>, Vec<Json<Value>>) =
            offers.iter().map(|offer| (int(offer.free), offered(offer))).unzip();
        // Only rows of operations are locked: who writes those of the queue has locked the operation
        // before. An operation that two offers find comes twice.
        Ok(sqlx::query_as(
            r#"
            -- ready/lock_claimable
            with recursive class (name) as (
                (select class from ready where due is null order by class limit 1)
                union all
                select (select r.class from ready r
                        where r.due is null and r.class > c.name
                        order by r.class limit 1)
                from class c
                where c.name is not null
            ), asked as (
                select name, coalesce(nullif(name, ''), '{}')::jsonb as of
                from class
                where name is not null
            )
            select first.id, first.version, first.rank
            from unnest($3::jsonb[], $4::int[]) as offer (of, free)
            cross join lateral (
                select waiting.id, waiting.version, waiting.rank
                from asked
                cross join lateral (
                    select o.id, o.version, r.rank
                    from ready r
                    join operation o on o.id = r.operation
                    where r.class = asked.name and r.due is null
                      and get_byte(uuid_send(r.operation), 15) % $1 = $2
                    order by r.class, r.rank, r.operation
                    limit offer.free
                    for update of o skip locked
                ) waiting
                where coalesce(asked.of -> 'labels', '{}') <@ (offer.of -> 'labels')
                  and (offer.of -> 'lanes' = 'null'
                       or offer.of -> 'lanes' ? coalesce(asked.of ->> 'lane', $5))
                order by waiting.rank, waiting.id
                limit offer.free
            ) first
            "#,
        )
        .bind(int(parts))
        .bind(int(part))
        .bind(offers)
        .bind(free)
        .bind(DEFAULT_LANE)
        .fetch_all(connection)
        .await?)
    }

    /// Puts what has become due into the queue; answers whether anything stands in it.
    ///
    /// # Errors
    /// As for any statement.
    pub async fn put_due(&self) -> Result<bool, StoreError> {
        Ok(sqlx::query_scalar(
            r#"
            -- ready/put_due
            with put as (
                update ready r
                set due = null
                from (select operation, class
                      from ready
                      where due <= clock_timestamp()
                      order by due
                      for update skip locked) d
                where r.operation = d.operation and r.class = d.class
                returning 1
            )
            select exists (select from put) or exists (select from ready where due is null)
            "#,
        )
        .fetch_one(&self.read)
        .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_demands_are_one_class() {
        let none = Labels::new();
        let gpu = Labels::from([("gpu".to_owned(), "yes".to_owned())]);
        assert_eq!(class(None, &none), "");
        assert_eq!(class(Some(DEFAULT_LANE), &none), "");
        assert_eq!(class(None, &gpu), r#"{"labels":{"gpu":"yes"}}"#);
        assert_eq!(class(Some("slow"), &none), r#"{"labels":{},"lane":"slow"}"#);
    }
}
