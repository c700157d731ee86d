//! cli
mod host;
pub use host::{Host, HostError, HostSettings, default_slots};
