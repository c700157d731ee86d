//! What users of the older systems could do, row by row of their tables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod findings;
mod handler;
mod machine;
mod old;
mod place;
#[path = "../support/steering.rs"]
mod steering;
#[expect(dead_code, reason = "shared with the other black-box programs")]
#[path = "../http/support.rs"]
mod support;
