//! What the command line says about itself.

use expect_test::expect;

use crate::{check, mother};

#[test]
fn every_shell_is_completed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = mother(&["completions", shell], &[], "");
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("mother") && script.contains("cancel"), "{shell}");
    }
}

#[test]
fn every_command_explains_itself() {
    let commands = "run|check|serve|worker|op|op list|op show|op steps|op output|op events|\
                    op watch|op cancel|op graph|op explain|op suspects|\
                    op causes|op causality|op start|op pause|op resume|\
                    op interrupt|op skip|op unskip|op rerun|op block|op unblock|op next|op hold|\
                    op unhold|op run-now|op act|op waiting|op reply|op send|token|\
                    token create|token list|token revoke|\
                    interactive|db|db fetch|db url|doctor|completions";
    for command in commands.split('|') {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let output = mother(&arguments, &[], "");
        assert!(output.status.success(), "{command}");
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains(&format!("Usage: mother {command}")), "{command}: {help}");
    }
}

#[test]
fn the_first_page_of_help_is_enough_to_start() {
    check(
        &["--help"],
        &[],
        &expect![[r#"
            Runs sets of steps that test a system, concurrently, and repair it when a test fails

            Usage: mother [OPTIONS] <COMMAND>

            Commands:
              run          Run a jobset and follow it to its end
              check        Say everything that is wrong with jobset files, without running them
              serve        Serve the API, with a worker in the same process
              worker       Run steps for the servers on the same database
              op           Look at operations, watch them, steer them, cancel them
              interactive  Steer an operation from a prompt that shows live what happens
              token        Make, list and revoke the tokens that let clients and workers in
              db           The private PostgreSQL that is used when no database is given
              doctor       Try what this host offers to contain steps with, and say what is missing
              completions  Print the completions of a shell
              help         Print this message or the help of the given subcommand(s)

            Options:
              -h, --help     Print help
              -V, --version  Print version

            Global options:
                  --json                Print JSON on stdout
                  --server <URL>        The server to ask [default: port 8080 of this machine; `run` starts one
                                        of its own] [env: MOTHER_SERVER]
                  --socket <PATH>       The Unix socket to ask in place of a URL; for `serve`: to listen on
                                        [env: MOTHER_SOCKET]
                  --token <TOKEN>       A token for the server; other users of this machine see it here, so
                                        better in the variable or a file [env: MOTHER_TOKEN]
                  --token-file <FILE>   A file with the token [env: MOTHER_TOKEN_FILE]
                  --data-dir <DIR>      The folder of the private PostgreSQL [default: `mother` in the user's
                                        data folder] [env: MOTHER_DATA_DIR]
                  --database-url <URL>  A PostgreSQL to use instead of a private one [env: DATABASE_URL]
                  --pg-bin <DIR>        The folder of PostgreSQL's programs [default: found in PATH and the
                                        usual places] [env: MOTHER_PG_BIN]
                  --log <FILTER>        What to log on stderr: `info`, `debug`, `sutbot::engine=trace`...
                                        [default: warn; info for `serve` and `worker`] [env: MOTHER_LOG]

            Start here:
              mother run FILE        runs a jobset with everything that it needs; no set-up
              mother serve           serves the API on http://127.0.0.1:8080, with its reference at /docs
              mother COMMAND --help  more about a command

            Exit codes:
              0    done; for `run` and `op watch`: the operation succeeded
              1    the operation ended without success; for `interactive`: a line of a script failed
              2    rejected: a bad flag, an unreadable file, a jobset that is not valid
              3    not possible: no server, no database, no such operation
              130  interrupted
            exit 0
        "#]],
    );
}

#[test]
fn a_command_without_its_verb_lists_the_verbs() {
    check(
        &["op"],
        &[],
        &expect![[r#"
            Look at operations, watch them, steer them, cancel them

            Usage: mother op [OPTIONS] <COMMAND>

            Commands:
              list       List operations: those that have not ended first
              show       Show one operation
              steps      List the steps of an operation
              output     Print what a step wrote
              graph      Draw the steps of an operation and what they wait for
              explain    Say why an operation, or one of its steps, does not go on
              events     Print what happened to an operation and its steps
              watch      Follow an operation to its end; Ctrl-C leaves it running
              cancel     Stop an operation and its running steps; what is for its end runs
              suspects   List what ran causally concurrent with a step: who may have disturbed it
              causes     Print what happened before an event, as far as it could know
              causality  Draw which attempts had ended before which began
              start      Start steps that wait for the order to; all of them unless some are chosen
              pause      Pause the operation, so that nothing new starts; or steps, if some are chosen
              resume     Let the operation go on; or steps that are paused, interrupted or held after an error
              interrupt  Stop running steps
              skip       Leave steps out; those after them go on
              unskip     Take a skip back that has not come about yet
              rerun      Run steps again, those that went wrong unless some are chosen; on an operation that has
                         ended, as a new operation
              block      Close steps, and with them what comes after
              unblock    Take a block back
              next       Release the next paused steps
              hold       Have steps held for a person when they fail
              unhold     Take a hold back
              run-now    Run steps now that wait for the time of their next attempt
              act        Take an action that a machine of the jobset names itself
              waiting    List what steps ask of people and nobody has replied to
              reply      Reply to what a step asks
              send       Send a message to running steps; to all of them unless some are chosen
              help       Print this message or the help of the given subcommand(s)

            Options:
              -h, --help  Print help

            Global options:
                  --json                Print JSON on stdout
                  --server <URL>        The server to ask [default: port 8080 of this machine; `run` starts one
                                        of its own] [env: MOTHER_SERVER]
                  --socket <PATH>       The Unix socket to ask in place of a URL; for `serve`: to listen on
                                        [env: MOTHER_SOCKET]
                  --token <TOKEN>       A token for the server; other users of this machine see it here, so
                                        better in the variable or a file [env: MOTHER_TOKEN]
                  --token-file <FILE>   A file with the token [env: MOTHER_TOKEN_FILE]
                  --data-dir <DIR>      The folder of the private PostgreSQL [default: `mother` in the user's
                                        data folder] [env: MOTHER_DATA_DIR]
                  --database-url <URL>  A PostgreSQL to use instead of a private one [env: DATABASE_URL]
                  --pg-bin <DIR>        The folder of PostgreSQL's programs [default: found in PATH and the
                                        usual places] [env: MOTHER_PG_BIN]
                  --log <FILTER>        What to log on stderr: `info`, `debug`, `sutbot::engine=trace`...
                                        [default: warn; info for `serve` and `worker`] [env: MOTHER_LOG]
            exit 2
        "#]],
    );
}
