//! Nothing that a function started is left, however its call ends.

use std::path::Path;
use std::process::Command;

use libtest_mimic::Trial;
use sutbot::{ExceptionSafeSubProcessFunction, SubProcessSettings};

use crate::support::{Sign, call};
use crate::trial;

/// Where the role `holding` finds what to hold.
const SIGN: &str = "SIGN";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("what_a_function_leaves_behind_is_killed", what_a_function_leaves_behind_is_killed),
        trial("a_dropped_handle_kills", a_dropped_handle_kills),
        trial("nothing_outlives_the_program", nothing_outlives_the_program),
        trial("children_get_no_private_descriptor", children_get_no_private_descriptor),
    ]
}

fn what_a_function_leaves_behind_is_killed() {
    let sign = Sign::new();
    let (_process, results) = sutbot::run_function_as_exception_safe_subprocess(
        "leave_behind",
        &sign.argument(),
        &SubProcessSettings::default(),
    );
    let left = results.wait().as_ref().unwrap().as_u64().unwrap();
    assert!(!Path::new(&format!("/proc/{left}")).exists());
}

fn a_dropped_handle_kills() {
    for name in ["hold", "hold_stubbornly"] {
        let sign = Sign::new();
        let mut function = ExceptionSafeSubProcessFunction::new(name);
        function.start(&sign.argument()).unwrap();
        let life = sign.wait_for_life();
        drop(function);
        life.wait_for_death();
    }
    let sign = Sign::new();
    let (process, results) = sutbot::run_function_as_exception_safe_subprocess(
        "hold",
        &sign.argument(),
        &SubProcessSettings::default(),
    );
    drop(process);
    assert_eq!(results.wait().as_ref().unwrap_err().kind, "Terminated");
}

fn nothing_outlives_the_program() {
    let sign = Sign::new();
    let mut program = Command::new(std::env::current_exe().unwrap())
        .arg("holding")
        .env(SIGN, sign.argument().as_str().unwrap())
        .spawn()
        .unwrap();
    let life = sign.wait_for_life();
    program.kill().unwrap();
    program.wait().unwrap();
    life.wait_for_death();
}

/// What this program does in the role `holding`.
pub(crate) fn hold_for_ever() {
    let sign = std::env::var(SIGN).unwrap();
    call("hold_stubbornly", &sign).unwrap();
}

fn children_get_no_private_descriptor() {
    // 3 is the folder that ls reads.
    assert_eq!(call("open_to_children", &()).unwrap(), "0\n1\n2\n3\n");
}
