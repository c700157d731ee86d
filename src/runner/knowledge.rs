//! What an attempt knows of its operation: what its claim knew, and what it was told since.
//!
//! Whatever the attempt tells or asks carries this, and its outcome follows from what it heard
//! ([`itc`](crate::itc): a message carries what its sender knows, the receiver joins it).

use std::sync::{Mutex, PoisonError};

use crate::engine::Known;

/// What an attempt knows.
pub(super) struct Knowledge<'a> {
    begun: Option<&'a Known>,
    heard: Mutex<Option<Known>>,
}

impl<'a> Knowledge<'a> {
    /// That of an attempt that begins.
    pub(super) const fn new(begun: Option<&'a Known>) -> Self {
        Self { begun, heard: Mutex::new(None) }
    }

    /// It was told something by who knew that much.
    pub(super) fn hear(&self, told: Option<&Known>) {
        let Some(told) = told else { return };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some(heard.as_ref().map_or_else(|| told.clone(), |heard| heard.and(told)));
    }

    /// All that it knows by now.
    pub(super) fn now(&self) -> Option<Known> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.begun, &*heard) {
            (Some(begun), Some(heard)) => Some(begun.and(heard)),
            (begun, heard) => begun.or(heard.as_ref()).cloned(),
        }
    }

    /// What it was told.
    pub(super) fn into_heard(self) -> Option<Known> {
        self.heard.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
