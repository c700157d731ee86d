//! `mother completions`.

use std::io;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::args::Cli;
use super::error::CliError;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mother completions bash > ~/.local/share/bash-completion/completions/mother
  mother completions zsh > ~/.zfunc/_mother
  mother completions fish > ~/.config/fish/completions/mother.fish")]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mother", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(ExitCode::SUCCESS)
}
