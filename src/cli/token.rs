//! `mother token`: who may call the API.

use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::Global;
use super::error::CliError;
use super::output::Output;
use super::table::{table, text};
use crate::domain::access::Role;
use crate::domain::duration;
use crate::engine::{self, Store, StoreSettings, TOKENS_MAX, TokenView};
use crate::postgres::{self, Cluster};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it; it is shown this once and never again
    Create {
        /// What its holder may do: all about operations, run steps, or everything
        #[arg(long, value_parser = role())]
        role: Role,
        /// What people call it
        #[arg(long, default_value = "")]
        name: String,
        /// How long it is good for, `30d` for example [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        expires: Option<Duration>,
    },
    /// List all tokens, without what is secret of them
    List,
    /// Revoke a token: all servers refuse it within seconds
    Revoke {
        /// Its id, as `mother token list` shows it
        id: i64,
    },
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name)).try_map(|name| name.parse::<Role>())
}

pub(super) async fn token(
    global: &Global,
    args: TokenArgs,
    output: Output,
) -> Result<ExitCode, CliError> {
    let cluster = match global.database_url() {
        Some(_) => None,
        None => Some(postgres::start(&global.cluster_settings()).await?),
    };
    let url = cluster.as_ref().map(Cluster::url);
    let url = url.or_else(|| global.database_url().map(str::to_owned)).unwrap_or_default();
    let outcome = on_database(url, args.command, output).await;
    if let Some(cluster) = cluster {
        cluster.stop().await?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn on_database(url: String, command: TokenCommand, output: Output) -> Result<(), CliError> {
    let store = Store::new(&StoreSettings::new(url))?;
    store.migrate().await?;
    match command {
        TokenCommand::Create { role, name, expires } => {
            let made = engine::create_token(&store, role, name, expires).await?;
            let (id, token) = made.ok_or_else(too_many)?;
            if output.is_json() {
                output.json(&json!({"id": id, "role": role.name(), "token": token.reveal()}))?;
            } else {
                output.line(token.reveal())?;
                output.complain(&format!("token {id}; it is not shown again"))?;
            }
        }
        TokenCommand::List => {
            let tokens = store.tokens().await?;
            list(&tokens, store.now().await?, output)?;
        }
        TokenCommand::Revoke { id } => {
            if !store.revoke_token(id).await? {
                let message = format!("there is no token {id}; `mother token list` shows all");
                return Err(CliError::BadSetting(message));
            }
            if output.is_json() {
                output.json(&json!({"id": id, "state": "revoked"}))?;
            } else {
                output.line(&format!("token {id} is revoked"))?;
            }
        }
    }
    store.close().await;
    Ok(())
}

fn too_many() -> CliError {
    let message = format!("there are {TOKENS_MAX} tokens in use already; revoke some first");
    CliError::BadSetting(message)
}

fn list(tokens: &[TokenView], now: DateTime<Utc>, output: Output) -> Result<(), CliError> {
    if output.is_json() {
        let value: Vec<Value> = tokens.iter().map(|token| document(token, now)).collect();
        return Ok(output.json(&json!({"value": value}))?);
    }
    let mut table =
        table(&["id", "role", "name", "state", "created", "expires", "last used"], output);
    let time = |time: Option<DateTime<Utc>>| {
        time.map_or_else(|| "-".to_owned(), |time| time.format("%F %R").to_string())
    };
    for token in tokens {
        table.add_row([
            token.id.to_string(),
            role_name(token).to_owned(),
            token.name.clone(),
            state(token, now).to_owned(),
            time(Some(token.created)),
            time(token.expires),
            time(token.last_used),
        ]);
    }
    Ok(output.line(&text(&table))?)
}

fn role_name(token: &TokenView) -> &'static str {
    token.role().map_or("unknown", Role::name)
}

fn state(token: &TokenView, now: DateTime<Utc>) -> &'static str {
    match (token.revoked, token.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        (None, _) => "good",
    }
}

fn document(token: &TokenView, now: DateTime<Utc>) -> Value {
    json!({
        "id": token.id,
        "role": role_name(token),
        "name": token.name,
        "state": state(token, now),
        "createdDateTime": token.created,
        "expiresDateTime": token.expires,
        "revokedDateTime": token.revoked,
        "lastUsedDateTime": token.last_used,
    })
}
