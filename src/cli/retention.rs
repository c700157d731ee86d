//! For how long a server keeps operations.

use std::time::Duration;

use clap::Args;

use super::error::CliError;
use crate::domain::duration;
use crate::engine::Retention;

/// Microsoft REST API Guidelines, section 13.3: results are there for a day at least.
const WHOLE_MIN: Duration = Duration::from_hours(24);

#[derive(Debug, Args)]
#[command(next_help_heading = "Retention")]
pub(super) struct RetentionArgs {
    /// How long operations are kept whole after their end; at least 24h
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_RETENTION",
        hide_env_values = true,
        default_value = "30d"
    )]
    #[arg(value_parser = duration::parse)]
    retention: Duration,
    /// How long after that their outline is kept: id, status and times
    #[arg(
        long,
        value_name = "DURATION",
        env = "MOTHER_TOMBSTONES",
        hide_env_values = true,
        default_value = "30d"
    )]
    #[arg(value_parser = duration::parse)]
    tombstones: Duration,
}

impl RetentionArgs {
    /// What was asked for, if it may be.
    pub(super) fn retention(&self) -> Result<Retention, CliError> {
        if self.retention < WHOLE_MIN {
            let message = "--retention must be at least 24h: whoever polls has to find the end";
            return Err(CliError::BadSetting(message.to_owned()));
        }
        let (whole, tombstones) = (self.retention, self.tombstones);
        Ok(Retention { whole, tombstones, ..Retention::default() })
    }
}
