//! SUT Bot.

pub mod cli;
pub mod client;
pub mod domain;
pub mod engine;
pub mod postgres;
pub mod runner;
pub mod store;
pub mod wire;
