//! What a black-box HTTP client may expect, row by row of the conformance table.
//!
//! One private PostgreSQL serves the whole run, one service most of the tests: each uses operations
//! of its own. A test that needs an empty collection or other settings has a service of its own on
//! a database of its own. Requests go over a real port, malformed ones over a bare socket.
//!
//! Rows that are not here: lost workers (50, 62), foreign clients (183-192), generated clients (195,
//! 196). Row 89 has nothing to be tested: nobody is throttled. An overload
//! (row 90) is the business of the tests of the outage of the database.

mod admission;
#[path = "../support/ageing.rs"]
mod ageing;
mod bad_input;
mod batch;
mod cancel;
mod causality;
mod document;
mod explain;
mod graph;
mod hostile;
mod hygiene;
mod idempotency;
mod jvvset;
mod list;
mod live;
mod live_client;
mod machines;
mod misdeeds;
mod monitor;
mod output;
mod people;
#[path = "../support/processes.rs"]
mod processes;
mod query;
#[path = "../support/resist.rs"]
mod resist;
mod retention;
mod scheduling;
mod steer;
#[path = "../support/steering.rs"]
mod steering;
mod stopping;
mod submit;
mod support;
mod tokens;
mod workers;
