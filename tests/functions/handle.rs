//! The handle: started, waited for, looked at, terminated, started again.

use libtest_mimic::Trial;
use serde_json::json;
use sutbot::{ExceptionSafeSubProcessFunction, HandleError, SubProcessSettings};

use crate::support::{Sign, impatient};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("before_the_start_there_is_nothing", before_the_start_there_is_nothing),
        trial("a_second_start_has_a_result_of_its_own", a_second_start_has_a_result_of_its_own),
        trial("a_start_is_refused_while_one_runs", a_start_is_refused_while_one_runs),
        trial("a_terminated_call_says_so", a_terminated_call_says_so),
        trial("a_handle_works_in_a_runtime", a_handle_works_in_a_runtime),
        trial("a_hundred_run_at_once", a_hundred_run_at_once),
    ]
}

fn before_the_start_there_is_nothing() {
    let function = ExceptionSafeSubProcessFunction::new("echo");
    assert!(!function.is_alive());
    assert_eq!(function.get_result(), None);
    assert_eq!(function.join(), Err(HandleError::NotStarted));
    assert_eq!(function.terminate(), Err(HandleError::NotStarted));
}

fn a_second_start_has_a_result_of_its_own() {
    let mut function = ExceptionSafeSubProcessFunction::new("hold").with_settings(impatient());
    for _ in 0..2 {
        let sign = Sign::new();
        function.start(&sign.argument()).unwrap();
        assert!(function.is_alive());
        assert_eq!(function.get_result(), None, "nor is that of the call before there");
        let life = sign.wait_for_life();
        function.terminate().unwrap();
        function.join().unwrap();
        assert!(function.get_result().unwrap().is_err());
        life.wait_for_death();
    }
    let mut function = ExceptionSafeSubProcessFunction::new("echo");
    for round in 0..10 {
        function.start(&round).unwrap();
        function.join().unwrap();
        assert!(!function.is_alive());
        for _ in 0..2 {
            assert_eq!(function.get_result(), Some(&Ok(json!(round))));
        }
    }
    assert_eq!(function.terminate(), Ok(()), "it has ended, so that is done");
    assert_eq!(function.get_result(), Some(&Ok(json!(9))));
}

fn a_start_is_refused_while_one_runs() {
    let (first, second) = (Sign::new(), Sign::new());
    let mut function = ExceptionSafeSubProcessFunction::new("hold");
    function.start(&first.argument()).unwrap();
    let _life = first.wait_for_life();
    assert_eq!(function.start(&second.argument()), Err(HandleError::StillRuns));
    assert!(function.is_alive() && function.get_result().is_none());
    function.terminate().unwrap();
    function.join().unwrap();
    function.start(&second.argument()).unwrap();
    let _life = second.wait_for_life();
    assert_eq!(function.get_result(), None);
}

fn a_terminated_call_says_so() {
    for (name, settings) in
        [("hold", SubProcessSettings::default()), ("hold_stubbornly", impatient())]
    {
        let sign = Sign::new();
        let mut function = ExceptionSafeSubProcessFunction::new(name).with_settings(settings);
        function.start(&sign.argument()).unwrap();
        let life = sign.wait_for_life();
        for _ in 0..3 {
            function.terminate().unwrap();
        }
        function.join().unwrap();
        let exception = function.get_result().unwrap().as_ref().unwrap_err();
        assert_eq!(exception.kind, "Terminated", "{name}: {exception}");
        life.wait_for_death();
    }
    let mut function = ExceptionSafeSubProcessFunction::new("hold");
    let unseen = Sign::new();
    function.start(&unseen.argument()).unwrap();
    function.terminate().unwrap(); // It may not even have begun.
    function.join().unwrap();
    assert_eq!(function.get_result().unwrap().as_ref().unwrap_err().kind, "Terminated");
}

fn a_handle_works_in_a_runtime() {
    for builder in
        [tokio::runtime::Builder::new_current_thread, tokio::runtime::Builder::new_multi_thread]
    {
        let result = builder().enable_all().build().unwrap().block_on(async {
            let mut function = ExceptionSafeSubProcessFunction::new("echo");
            function.start("here").unwrap();
            function.join().unwrap();
            function.get_result().cloned()
        });
        assert_eq!(result, Some(Ok(json!("here"))));
    }
}

fn a_hundred_run_at_once() {
    let signs: Vec<Sign> = (0..100).map(|_| Sign::new()).collect();
    let mut held = Vec::new();
    for sign in &signs {
        let mut function = ExceptionSafeSubProcessFunction::new("hold");
        function.start(&sign.argument()).unwrap();
        held.push(function);
    }
    let lives: Vec<_> = signs.iter().map(Sign::wait_for_life).collect();
    assert!(held.iter().all(ExceptionSafeSubProcessFunction::is_alive));
    drop(held);
    lives.into_iter().for_each(crate::support::Life::wait_for_death);

    let mut calls: Vec<_> = (0..100)
        .map(|number| {
            let mut function = ExceptionSafeSubProcessFunction::new("echo");
            function.start(&number).unwrap();
            function
        })
        .collect();
    for (number, function) in calls.iter_mut().enumerate() {
        function.join().unwrap();
        assert_eq!(function.get_result(), Some(&Ok(json!(number))));
    }
}
