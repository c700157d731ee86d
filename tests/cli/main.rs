//! The command line where no server is needed.

mod help;

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
        &["serve", "--repeatability-window", "4m"],
        &[],
        &expect![[r#"
        error: --repeatability-window must be at least 5m: a client that lost its connection has to find the time to try again
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
