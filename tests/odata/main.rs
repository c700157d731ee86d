//! The query language against its contract: sections F, G and H of the conformance table. The name
//! of a test starts with the row it is about.

mod entry;
mod errors;
mod evaluation;
mod fuzz;
mod grammar;
mod limits;
mod options;
mod properties;
mod support;
