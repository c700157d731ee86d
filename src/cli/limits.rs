//! What a server takes at the most.

use std::time::Duration;

use clap::Args;

use crate::domain::{Limits, duration};
use crate::itc;
use crate::odata;

const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
const MAX_BATCH: usize = 10_000;
const MAX_BATCH_STEPS: usize = 1_000_000;
const MAX_PAGE_SIZE: usize = 1_000;

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Steps of a jobset
    #[arg(long = "max-steps", value_name = "N", env = "MOTHER_MAX_STEPS", hide_env_values = true)]
    #[arg(default_value_t = Limits::default().steps)]
    pub(super) steps: usize,
    /// Guard terms of a jobset, those of its pairs included
    #[arg(
        long = "max-guard-terms",
        value_name = "N",
        env = "MOTHER_MAX_GUARD_TERMS",
        hide_env_values = true
    )]
    #[arg(default_value_t = Limits::default().guard_terms)]
    pub(super) guard_terms: usize,
    /// Attempts that a step may ask for
    #[arg(
        long = "max-attempts",
        value_name = "N",
        env = "MOTHER_MAX_ATTEMPTS",
        hide_env_values = true
    )]
    #[arg(default_value_t = Limits::default().attempts)]
    pub(super) attempts: u32,
    /// Bytes of the body of a request
    #[arg(
        long = "max-body-bytes",
        value_name = "BYTES",
        env = "MOTHER_MAX_BODY_BYTES",
        hide_env_values = true
    )]
    #[arg(default_value_t = MAX_BODY_BYTES)]
    pub(super) body_bytes: usize,
    /// Operations that one request makes
    #[arg(long = "max-batch", value_name = "N", env = "MOTHER_MAX_BATCH", hide_env_values = true)]
    #[arg(default_value_t = MAX_BATCH)]
    pub(super) batch: usize,
    /// Steps of those operations together
    #[arg(
        long = "max-batch-steps",
        value_name = "N",
        env = "MOTHER_MAX_BATCH_STEPS",
        hide_env_values = true
    )]
    #[arg(default_value_t = MAX_BATCH_STEPS)]
    pub(super) batch_steps: usize,
    /// Members on a page of a collection
    #[arg(
        long = "max-page-size",
        value_name = "N",
        env = "MOTHER_MAX_PAGE_SIZE",
        hide_env_values = true
    )]
    #[arg(default_value_t = MAX_PAGE_SIZE)]
    pub(super) page_size: usize,
    /// Clients that follow events or output at once; each holds a connection, so mind `ulimit -n`
    #[arg(
        long = "max-followers",
        value_name = "N",
        env = "MOTHER_MAX_FOLLOWERS",
        hide_env_values = true
    )]
    #[arg(default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) followers: u32,
    /// Nodes of the trees of a stamp
    #[arg(
        long = "max-stamp-nodes",
        value_name = "N",
        env = "MOTHER_MAX_STAMP_NODES",
        hide_env_values = true
    )]
    #[arg(default_value_t = itc::NODES_MAX)]
    pub(super) stamp_nodes: usize,
    /// How long a stream of events is silent at the most
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_KEEP_ALIVE",
        hide_env_values = true,
        default_value = "15s"
    )]
    #[arg(value_parser = duration::parse)]
    pub(super) keep_alive: Duration,
    /// For how long a submission that is repeated with the same key makes nothing new
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_REPEATABILITY_WINDOW",
        hide_env_values = true,
        default_value = "24h"
    )]
    #[arg(value_parser = duration::parse)]
    pub(super) repeatability_window: Duration,
    /// Bytes of a `$filter`, `$orderby`, `$search` or `$select`
    #[arg(
        long = "max-query-bytes",
        value_name = "BYTES",
        env = "MOTHER_MAX_QUERY_BYTES",
        hide_env_values = true
    )]
    #[arg(default_value_t = odata::Limits::default().text_bytes)]
    pub(super) query_bytes: usize,
    /// Depth of one; deeper ones need more of the stack
    #[arg(
        long = "max-query-nesting",
        value_name = "N",
        env = "MOTHER_MAX_QUERY_NESTING",
        hide_env_values = true
    )]
    #[arg(default_value = "100", value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(super) query_nesting: u16,
    /// Operators, calls, literals and path segments of one
    #[arg(
        long = "max-query-nodes",
        value_name = "N",
        env = "MOTHER_MAX_QUERY_NODES",
        hide_env_values = true
    )]
    #[arg(default_value_t = odata::Limits::default().nodes)]
    pub(super) query_nodes: usize,
    /// Members of an `in` list of one
    #[arg(
        long = "max-query-list",
        value_name = "N",
        env = "MOTHER_MAX_QUERY_LIST",
        hide_env_values = true
    )]
    #[arg(default_value_t = odata::Limits::default().list_items)]
    pub(super) query_list: usize,
    /// How long the database may take to answer a client's question
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_STATEMENT_TIMEOUT",
        hide_env_values = true,
        default_value = "10s"
    )]
    #[arg(value_parser = duration::parse)]
    pub(super) statement_timeout: Duration,
}

impl LimitArgs {
    pub(super) fn of_jobsets(&self) -> Limits {
        Limits {
            steps: self.steps,
            guard_terms: self.guard_terms,
            attempts: self.attempts,
            ..Limits::default()
        }
    }

    pub(super) fn of_queries(&self) -> odata::Limits {
        odata::Limits {
            text_bytes: self.query_bytes,
            nesting: self.query_nesting.into(),
            nodes: self.query_nodes,
            list_items: self.query_list,
        }
    }
}
