//! What a call comes back with, whatever the function does.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use libtest_mimic::Trial;
use serde::Serialize;
use serde_json::{Value, json};
use sutbot::SubProcessSettings;

use crate::support::{Sign, call, call_with};
use crate::{lonely_trial, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("values_come_back", values_come_back),
        trial("panics_and_errors_come_back", panics_and_errors_come_back),
        trial("ends_of_the_process_come_back", ends_of_the_process_come_back),
        trial("what_cannot_be_called_comes_back", what_cannot_be_called_comes_back),
        trial("what_is_no_result_comes_back", what_is_no_result_comes_back),
        trial("a_result_has_a_limit", a_result_has_a_limit),
        trial("a_closed_pipe_is_no_end", a_closed_pipe_is_no_end),
        trial("prints_are_printed", prints_are_printed),
        trial("a_forgetful_program_is_told", a_forgetful_program_is_told),
        lonely_trial("a_killed_zygote_is_told", a_killed_zygote_is_told),
    ]
}

/// Calls `name` and compares the value, or the exception.
fn check(name: &str, arguments: &(impl Serialize + ?Sized), expected: &Expect) {
    let text = match call(name, arguments) {
        Ok(value) => value.to_string(),
        Err(exception) => exception.to_string(),
    };
    expected.assert_eq(&text);
}

fn values_come_back() {
    for value in [json!(null), json!(42), json!("text\0"), json!({"a": [1, {"b": null}]})] {
        assert_eq!(call("echo", &value).unwrap(), value);
    }
    let large = Value::from("x".repeat(900_000));
    assert_eq!(call("echo", &large).unwrap(), large);
    let many: Vec<u32> = (0..1_000_000).collect();
    let settings =
        SubProcessSettings { result_bytes_max: 10_000_000, ..SubProcessSettings::default() };
    assert_eq!(call_with("echo", &many, &settings).unwrap(), json!(many));
}

fn panics_and_errors_come_back() {
    check("panic", "at the disco", &expect!["Panic: at the disco"]);
    check("panic_strangely", &(), &expect!["Panic: a panic with something that is no text"]);
    check("fail", "it rains", &expect!["Error: it rains"]);
    check("fail_io", "/nowhere", &expect!["Error: No such file or directory (os error 2)"]);
    check("fail_own", "Teapot", &expect!["Teapot: its own"]);
}

fn ends_of_the_process_come_back() {
    check("exit", &0, &expect!["Exit: the function's process exited with code 0 and no result"]);
    check("exit", &1, &expect!["Exit: the function's process exited with code 1 and no result"]);
    check(
        "exit",
        &255,
        &expect!["Exit: the function's process exited with code 255 and no result"],
    );
    check("abort", &(), &expect!["Signal: the function's process ended by signal 6 (SIGABRT)"]);
    check(
        "overflow",
        &u64::MAX,
        &expect!["Signal: the function's process ended by signal 6 (SIGABRT)"],
    );
    check(
        "out_of_memory",
        &(),
        &expect!["Signal: the function's process ended by signal 6 (SIGABRT)"],
    );
    check(
        "signal",
        &libc::SIGKILL,
        &expect![
            "Signal: the function's process ended by signal 9 (SIGKILL); a host out of memory does this too"
        ],
    );
    check(
        "signal",
        &libc::SIGTERM,
        &expect!["Signal: the function's process ended by signal 15 (SIGTERM)"],
    );
    assert_eq!(call("kill_monitor", &()).unwrap_err().kind, "Lost");
}

fn what_cannot_be_called_comes_back() {
    let unknown = call("ehco", &()).unwrap_err();
    assert_eq!(unknown.kind, "UnknownFunction");
    assert!(unknown.message.starts_with("no function is called `ehco` (known: `abort`, "));
    assert!(unknown.message.ends_with("); did you mean `echo`?"), "{unknown}");
    check(
        "exit",
        "three",
        &expect![[
            r#"BadArguments: invalid type: string "three", expected i32 at line 1 column 7"#
        ]],
    );
    check(
        "exit",
        &BTreeMap::from([((1, 2), 3)]),
        &expect!["BadArguments: the arguments cannot be written as JSON: key must be a string"],
    );
    check(
        "NUL\0",
        &(),
        &expect![[r#"NotStarted: a NUL byte cannot be passed to a process: "NUL\0""#]],
    );
}

fn what_is_no_result_comes_back() {
    check(
        "pairs",
        &(),
        &expect!["BadResult: the result cannot be written as JSON: key must be a string"],
    );
    check(
        "meddle",
        &("not JSON", 0),
        &expect![
            "BadResult: what came as the result cannot be read: expected value at line 1 column 1"
        ],
    );
    check(
        "meddle",
        &(r#"{"value": "#, 0),
        &expect![
            "BadResult: what came as the result cannot be read: EOF while parsing a value at line 1 column 10"
        ],
    );
    check(
        "meddle",
        &("something before the result", None::<i32>),
        &expect![
            "BadResult: what came as the result cannot be read: expected value at line 1 column 1"
        ],
    );
    check(
        "meddle",
        &(r#"{"value": "forged"}"#, 3),
        &expect!["Exit: the function's process exited with code 3"],
    );
    check(
        "deep",
        &200,
        &expect![
            "BadResult: what came as the result cannot be read: recursion limit exceeded at line 1 column 136"
        ],
    );
}

fn a_result_has_a_limit() {
    let settings = SubProcessSettings { result_bytes_max: 10, ..SubProcessSettings::default() };
    let quotes = 2;
    assert_eq!(call_with("big", &(10 - quotes), &settings).unwrap(), "x".repeat(8));
    let too_large = "ResultTooLarge: the result has more than 10 bytes as JSON";
    for bytes in [11 - quotes, 70_000, 10_000_000] {
        let exception = call_with("big", &bytes, &settings).unwrap_err();
        assert_eq!(exception.to_string(), too_large, "{bytes}");
    }
    let long = call_with("fail", &"x".repeat(100_000), &settings).unwrap_err();
    assert_eq!((&*long.kind, long.message.len()), ("Error", 8 * 1024 + "...".len()));
}

fn a_closed_pipe_is_no_end() {
    let sign = Sign::new();
    let (process, results) = sutbot::run_function_as_exception_safe_subprocess(
        "close_and_go_on",
        &sign.argument(),
        &SubProcessSettings::default(),
    );
    let life = sign.wait_for_life();
    assert!(process.is_alive() && results.get().is_none());
    drop(life);
    let exception = results.wait().as_ref().unwrap_err();
    expect!["Exit: the function's process exited with code 70 and no result"]
        .assert_eq(&exception.to_string());
}

/// This program in a role of its own.
fn this_program(role: &str) -> Output {
    Command::new(std::env::current_exe().unwrap()).arg(role).output().unwrap()
}

fn prints_are_printed() {
    let Output { status, stdout, stderr } = this_program("printing");
    assert!(status.success());
    assert_eq!(String::from_utf8(stdout).unwrap(), "text to stdout\nvalue null\n");
    assert_eq!(String::from_utf8(stderr).unwrap(), "text to stderr, without an end of line");
}

fn a_forgetful_program_is_told() {
    let told = String::from_utf8(this_program("forgetful").stdout).unwrap();
    expect![[r#"
        exception NotStarted: the main function of this program must call run_if_child first
    "#]]
    .assert_eq(&told);
}

fn a_killed_zygote_is_told() {
    assert_eq!(call("kill_zygote", &()).unwrap_err().kind, "Lost");
    assert_eq!(call("echo", &1).unwrap(), 1, "there is another one");
}
