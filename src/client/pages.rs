//! Collections, page by page.

use reqwest::Url;
use serde::de::DeserializeOwned;

use super::{Client, ClientError};
use crate::wire::Page;

impl Client {
    /// One page, and where the next one is found.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        url: &Url,
    ) -> Result<(Vec<T>, Option<Url>), ClientError> {
        let page: Page<T> = self.get(url).await?;
        let next = page.next_link.as_deref().map(|link| self.follow(link)).transpose()?;
        Ok((page.value, next))
    }

    /// The first `limit` members of a collection.
    pub(super) async fn collect<T: DeserializeOwned>(
        &self,
        first: Url,
        limit: usize,
    ) -> Result<Vec<T>, ClientError> {
        let mut members = Vec::new();
        let mut next = Some(first);
        while let Some(url) = next.take()
            && members.len() < limit
        {
            let (value, link) = self.page(&url).await?;
            members.extend(value);
            next = link;
        }
        members.truncate(limit);
        Ok(members)
    }
}
