//! SUT Bot.

pub mod api;
pub mod domain;
pub mod engine;
pub mod odata;
pub mod postgres;
pub mod store;
pub mod wire;
