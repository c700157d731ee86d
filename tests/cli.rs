//! The command line where no server is needed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};

/// `mother` with these arguments, in a new folder with these files, and with an empty environment.
fn mother(arguments: &[&str], files: &[(&str, &str)], stdin: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    // A command that does not read its stdin may have ended already.
    _ = child.stdin.take().expect("it is a pipe").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

/// The exit code, stdout and stderr of a command in one text.
fn check(arguments: &[&str], files: &[(&str, &str)], expected: &Expect) {
    let output = mother(arguments, files, "");
    expected.assert_eq(&told(&output));
}

fn told(output: &Output) -> String {
    let code = output.status.code().expect("it exits");
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}exit {code}\n", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

const GOOD: &str = r#"{"steps": [{"name": "a", "run": {"shell": "true"}}]}"#;
const GOOD_YAML: &str = "
steps:
  - name: a
    run: {command: [make, all]}
  - name: b
    when: {a: [Succeeded]}
";

#[test]
fn good_files_are_good() {
    let files = [("a.json", GOOD), ("b.yaml", GOOD_YAML)];
    check(
        &["check", "a.json", "b.yaml"],
        &files,
        &expect![[r#"
            a.json: ok
            b.yaml: ok
            exit 0
        "#]],
    );
    for text in [GOOD, GOOD_YAML] {
        let output = mother(&["check", "-"], &[], text);
        assert_eq!(told(&output), "stdin: ok\nexit 0\n");
    }
}

#[test]
fn everything_wrong_in_all_files_is_told_with_its_place() {
    let shape = r#"{"nmae": "x", "steps": [{"name": "a", "runn": {}}, {"name": 7}]}"#;
    let sense = "
steps:
  - {name: a, when: {b: [Succeeded]}}
  - {name: a, when: {a: [Sucess]}}
";
    let files =
        [("shape.json", shape), ("sense.yaml", sense), ("syntax.yml", "a: [1"), ("ok.json", GOOD)];
    check(
        &["check", "shape.json", "sense.yaml", "syntax.yml", "ok.json", "missing.json"],
        &files,
        &expect![[r#"
            ok.json: ok
            shape.json: steps[0].runn: unknown field `runn`; did you mean `run`?
            shape.json: steps[1].name: must be a string, not a number
            shape.json: nmae: unknown field `nmae`; did you mean `name`?
            sense.yaml: steps[1].name: `a` is also the name of steps[0]
            sense.yaml: steps[0].when[0]: no step is called `b`; did you mean `a`?
            sense.yaml: steps[1].when[0].a: no state is called `Sucess`
            syntax.yml: not YAML: unclosed bracket '[' at line 1, column 4
            missing.json: cannot be read: No such file or directory (os error 2)
            exit 2
        "#]],
    );
}

#[test]
fn problems_are_told_as_json_too() {
    let files = [("bad.yaml", "steps: [{name: a, when: {b: [Succeeded]}}]"), ("ok.json", GOOD)];
    check(
        &["check", "--json", "bad.yaml", "ok.json"],
        &files,
        &expect![[r#"
        {"value":[{"details":[{"code":"InvalidValue","message":"no step is called `b`; did you mean `a`?","target":"steps[0].when[0]"}],"file":"bad.yaml","valid":false},{"details":[],"file":"ok.json","valid":true}]}
        exit 2
    "#]],
    );
}

#[test]
fn warnings_are_told_and_change_no_exit_code() {
    let odd = "
steps:
  - {name: a}
  - {name: b, when: [{a: [Failed]}, {c: [Succeeded]}], guards: {pause: {a: [TimedOut]}}}
  - {name: c, when: [{a: [Skipped]}, {b: [Succeeded]}]}
";
    let files = [("odd.yaml", odd), ("ok.json", GOOD)];
    check(
        &["check", "odd.yaml", "ok.json"],
        &files,
        &expect![[r#"
        odd.yaml: ok
        ok.json: ok
        odd.yaml: warning: steps[1].guards.pause: `pause` of `b` can never be taken: `a` never becomes TimedOut
        odd.yaml: warning: steps[1]: after `a` Succeeded, `b` and `c` wait for each other, and will be closed as Unreachable
        exit 0
    "#]],
    );
    check(
        &["check", "--json", "odd.yaml"],
        &files,
        &expect![[r#"
        {"value":[{"details":[],"file":"odd.yaml","valid":true,"warnings":[{"code":"JobsetWarning","message":"`pause` of `b` can never be taken: `a` never becomes TimedOut","target":"steps[1].guards.pause"},{"code":"JobsetWarning","message":"after `a` Succeeded, `b` and `c` wait for each other, and will be closed as Unreachable","target":"steps[1]"}]}]}
        exit 0
    "#]],
    );
}

#[test]
fn a_file_can_be_drawn() {
    let files = [("b.yaml", GOOD_YAML), ("bad.yaml", "steps: []")];
    check(
        &["check", "--graph", "mermaid", "b.yaml", "bad.yaml"],
        &files,
        &expect![[r#"
            flowchart LR
              n0["a"]:::neutral
              n1["b"]:::neutral
              n0 -.->|"Succeeded"| n1
              classDef neutral fill:#ffffff,stroke:#374151,color:#111827
              linkStyle 0 stroke:#1d4ed8,stroke-dasharray:2 4
            bad.yaml: steps: a jobset needs at least one step
            exit 2
        "#]],
    );
    check(
        &["check", "--json", "--graph", "mermaid", "b.yaml"],
        &files,
        &expect![[r#"
        {"value":[{"details":[],"file":"b.yaml","graph":"flowchart LR\n  n0[\"a\"]:::neutral\n  n1[\"b\"]:::neutral\n  n0 -.->|\"Succeeded\"| n1\n  classDef neutral fill:#ffffff,stroke:#374151,color:#111827\n  linkStyle 0 stroke:#1d4ed8,stroke-dasharray:2 4\n","valid":true}]}
        exit 0
    "#]],
    );
    check(
        &["check", "--graph", "png", "b.yaml"],
        &files,
        &expect![[r#"
        error: invalid value 'png' for '--graph <FORMAT>'
          [possible values: dot, mermaid, svg]

        For more information, try '--help'.
        exit 2
    "#]],
    );
}

#[test]
fn a_bad_jobset_is_not_run() {
    let files = [("bad.yaml", "steps: [{name: a, when: {b: [Succeeded]}}]")];
    check(
        &["run", "bad.yaml"],
        &files,
        &expect![[r#"
        bad.yaml: steps[0].when[0]: no step is called `b`; did you mean `a`?
        exit 2
    "#]],
    );
    check(
        &["run", "missing.yaml"],
        &[],
        &expect![[r#"
        error: cannot read missing.yaml
          because: No such file or directory (os error 2)
        exit 2
    "#]],
    );
    check(
        &["run", "--label", "x", "bad.yaml"],
        &files,
        &expect![[r#"
        error: invalid value 'x' for '--label <KEY=VALUE>': write KEY=VALUE

        For more information, try '--help'.
        exit 2
    "#]],
    );
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    check(
        &["op", "list", "--server", "http://127.0.0.1:1"],
        &[],
        &expect![[r#"
        error: cannot reach http://127.0.0.1:1: is `mother serve` running? give its address with --server
          because: error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)
        exit 3
    "#]],
    );
    check(
        &["op", "show", "x", "--server", "127.0.0.1:1"],
        &[],
        &expect![[r#"
        error: `127.0.0.1:1` is not the address of a server; write for example http://127.0.0.1:8080
        exit 2
    "#]],
    );
    let files = [("a.json", GOOD)];
    let output = mother(&["run", "a.json", "--json", "--server", "http://127.0.0.1:1"], &files, "");
    assert_eq!(output.status.code(), Some(3));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["error"]["code"], "Unreachable");
}

#[test]
fn a_socket_is_named_like_a_server() {
    check(
        &["op", "list", "--socket", "none.sock"],
        &[],
        &expect![[r#"
        error: cannot reach unix:none.sock: is `mother serve` running? give its address with --socket
          because: error sending request: client error (Connect): No such file or directory (os error 2)
        exit 3
    "#]],
    );
    check(
        &["op", "list", "--socket", "none.sock", "--server", "http://127.0.0.1:1"],
        &[],
        &expect![[r#"
            error: a URL and a socket are given (--server or MOTHER_SERVER, --socket or MOTHER_SOCKET); name one server
            exit 2
        "#]],
    );
    check(
        &["serve", "--socket", &"s".repeat(108)],
        &[],
        &expect![[r#"
        error: the path of the socket ssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssssss has 108 bytes and a system allows 107; choose a shorter one with --socket
        exit 3
    "#]],
    );
    check(
        &["serve", "--socket", "file"],
        &[("file", "")],
        &expect![[r#"
        error: file is there already and is no socket; choose another path with --socket
        exit 3
    "#]],
    );
    check(
        &["serve", "--socket", "none/s"],
        &[],
        &expect![[r#"
        error: cannot listen on the socket none/s; choose another one with --socket
          because: No such file or directory (os error 2)
        exit 3
    "#]],
    );
}

#[test]
fn what_is_not_chosen_is_not_touched() {
    check(
        &["op", "skip", "7"],
        &[],
        &expect![[r#"
        error: say which steps are meant: --step, --tag, --state, --filter, or --all
        exit 2
    "#]],
    );
}

#[test]
fn a_list_is_asked_for_with_a_question() {
    let output = mother(&["op", "list", "--help"], &[], "");
    let help = String::from_utf8(output.stdout).unwrap();
    for flag in ["--filter <EXPR>", "--order <EXPR>", "--search <WORDS>", "--top <N>", "--all"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    check(
        &["op", "list", "--all", "--top", "5"],
        &[],
        &expect![[r#"
        error: the argument '--all' cannot be used with '--top <N>'

        Usage: mother op list --all

        For more information, try '--help'.
        exit 2
    "#]],
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    check(
        &["serve", "--statement-timeout", "0s"],
        &[],
        &expect![[r#"
        error: --statement-timeout must be at least 1ms: nothing could be answered
        exit 2
    "#]],
    );
    check(
        &["serve", "--max-query-nesting", "1000"],
        &[],
        &expect![[r#"
        error: invalid value '1000' for '--max-query-nesting <N>': 1000 is not in 1..=200

        For more information, try '--help'.
        exit 2
    "#]],
    );
    check(
        &["serve", "--lease", "3s"],
        &[],
        &expect![[r#"
        error: --heartbeat must be more than nothing and at most half of --lease, so that one late heartbeat costs no step
        exit 2
    "#]],
    );
    check(
        &["serve", "--lease", "soon"],
        &[],
        &expect![[r#"
        error: invalid value 'soon' for '--lease <DURATION>': `soon` is not a duration; write for example `90s`, `1h30m` or `PT5M`

        For more information, try '--help'.
        exit 2
    "#]],
    );
    check(
        &["check", "--log", "a=b=c", "x"],
        &[],
        &expect![[r#"
        error: --log: `a=b=c` is not a filter (error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5); try `info`
        exit 2
    "#]],
    );
}

#[test]
fn the_url_of_a_database_that_is_not_there_yet_makes_none() {
    check(
        &["db", "url", "--data-dir", "none"],
        &[],
        &expect![[r#"
        error: there is no private PostgreSQL in none yet: `mother serve` or `mother run` makes one
        exit 3
    "#]],
    );
    check(
        &["db", "url", "--database-url", "postgres://x"],
        &[],
        &expect![[r#"
        postgres://x
        exit 0
    "#]],
    );
}

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
                    op watch|op cancel|op graph|op explain|op start|op pause|op resume|\
                    op interrupt|op skip|op unskip|op rerun|op block|op unblock|op next|op hold|\
                    op unhold|op run-now|op act|op waiting|op reply|op send|\
                    interactive|db|db fetch|db url|completions";
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
              db           The private PostgreSQL that is used when no database is given
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
                  --token <TOKEN>       A bearer token for the server [env: MOTHER_TOKEN]
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
              cancel     Stop an operation and its running steps
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
                  --token <TOKEN>       A bearer token for the server [env: MOTHER_TOKEN]
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
