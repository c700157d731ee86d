//! Paging, the same for every collection.

use super::error::ApiError;
use super::prefer::Prefer;
use super::query::{Query, encode};
use super::state::DEFAULT_PAGE_SIZE;

/// The page that a client asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageAsked {
    /// How many members this page has at the most.
    pub(super) size: usize,
    /// How many members to pass over first.
    pub(super) skip: i64,
    /// Whether to tell how many there are in all.
    pub(super) count: bool,
    /// How many members all pages together may have.
    top: Option<usize>,
}

/// A place in a collection, as it stands in a link.
pub(super) trait Token: Sized {
    /// Opaque to clients.
    fn token(&self) -> String;

    /// What [`token`](Self::token) wrote; `None` for anything else.
    fn from_text(text: &str) -> Option<Self>;

    /// As [`from_text`](Self::from_text), with the error that a client gets.
    fn from_token(text: &str) -> Result<Self, ApiError> {
        Self::from_text(text).ok_or_else(|| {
            let message = "this is no `$skiptoken` of ours; take it from `@odata.nextLink`";
            ApiError::bad_request("InvalidParameter", message).target("$skiptoken")
        })
    }
}

/// Members are passed over by `$skip` up to here; links go further.
const SKIP_MAX: i64 = 1_000_000_000;

impl PageAsked {
    /// Reads `$top`, `$skip`, `$count` and `Prefer: maxpagesize`.
    pub(super) fn of(query: &Query, prefer: Prefer, most: usize) -> Result<Self, ApiError> {
        let top: Option<i64> = query.number("$top")?;
        let top = top.map(|top| usize::try_from(top).unwrap_or(usize::MAX));
        let preferred = prefer.max_page_size.or(top).unwrap_or(DEFAULT_PAGE_SIZE);
        let size = preferred.min(most).min(top.unwrap_or(usize::MAX));
        let skip: i64 = query.number("$skip")?.unwrap_or(0);
        Ok(Self { size, skip: skip.min(SKIP_MAX), count: query.flag("$count")?, top })
    }

    /// The query of the next page, after one of `members` that ended at `token`; `None` when the
    /// client wants no more.
    pub(super) fn next_link(&self, token: &str, members: usize) -> Option<String> {
        let left = self.top.map(|top| top.saturating_sub(members));
        if left == Some(0) || members == 0 {
            return None;
        }
        let mut query = format!("$skiptoken={}", encode(token));
        if let Some(left) = left {
            query += "&$top=";
            query += &left.to_string();
        }
        if self.count {
            query += "&$count=true";
        }
        Some(query)
    }
}

/// Places by number: the last step number or event number of a page.
impl Token for i32 {
    fn token(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number| *number >= 0)
    }
}
