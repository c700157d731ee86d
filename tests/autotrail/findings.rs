//! Section 0: the defects of the original that were reproduced. None of them is here.

use std::time::Instant;

use serde_json::{Value, json};

use crate::place::{GRACE, service, while_others_run};
use crate::steering::{moves, step};
use crate::support::{PATIENCE, shell};

#[tokio::test]
async fn finding_1_a_marked_step_that_cannot_be_reached_does_not_keep_the_operation_open() {
    let service = service().await;
    let job = json!({
        "steps": [{"name": "a", "initialState": "Paused"}, step("b", "true"), step("c", "true")],
        "successPairs": [["a", "c"]], "failurePairs": [["a", "b"]]
    });
    let url = service.submit(&job).await.url;
    assert_eq!(service.moved_one(&url, "skip", "b").await, ["b Waiting ToSkip"]);
    service.moved_one(&url, "resume", "a").await;
    // In the original b stays marked, the process never ends and nobody is called back.
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    let states = service.states(&url).await;
    assert_eq!((&*states["b"], &*states["c"]), ("Unreachable", "Succeeded"));
}

#[tokio::test]
async fn finding_2_a_rerun_does_not_show_the_result_of_the_attempt_before() {
    let service = service().await;
    let mut job =
        shell("if [ $SUT_ATTEMPT = 1 ]; then echo 1 >$SUT_OUTPUT; exit 3; fi; exec sleep 1000");
    job["steps"][0]["onFailure"] = json!("hold");
    let url = service.submit(&job).await.url;
    let before = service.in_state(&url, "only", "Error").await;
    assert_eq!((&before["exitCode"], &before["result"]), (&json!(3), &json!(1)));
    service.moved_one(&url, "rerun", "only").await;
    let again = service.in_state(&url, "only", "Running").await;
    assert_eq!(again["attempt"], 2);
    for field in ["result", "exception", "exitCode", "signal"] {
        assert_eq!(again[field], Value::Null, "{field} is of the attempt before");
    }
    // What the first one did is kept as its own.
    assert_eq!(again["attempts"][0]["exitCode"], 3);
    service.end(&url).await;
}

#[tokio::test]
async fn finding_3_a_killed_process_does_not_leave_its_step_running() {
    let service = service().await;
    for text in ["kill -9 $$", "kill -SEGV $$", "kill -9 $PPID 2>/dev/null; kill -9 $$"] {
        let url = service.submit(&shell(text)).await.url;
        let ended = service.ended(&url).await;
        assert_eq!(ended["state"], "Failed", "{text}: {ended}");
        assert_eq!(service.states(&url).await["only"], "Failed");
    }
}

#[tokio::test]
async fn finding_4_a_step_behind_both_kinds_of_pairs_keeps_all_its_preconditions() {
    let service = service().await;
    // `both` needs good and bad; the original forgets good. `bad` is only the source of a failure
    // pair; the original dies of that.
    let job = json!({
        "steps": [{"name": "good", "initialState": "Paused"}, step("bad", "false"), {"name": "both"}],
        "successPairs": [["good", "both"]], "failurePairs": [["bad", "both"]]
    });
    let url = service.submit(&job).await.url;
    service.in_state(&url, "bad", "Failed").await;
    while_others_run(&service).await;
    assert_eq!(service.states(&url).await["both"], "Waiting");
    service.moved_one(&url, "resume", "good").await;
    assert_eq!(service.ended(&url).await["state"], "Succeeded");
    assert_eq!(service.states(&url).await["both"], "Succeeded");
    // Cycles are refused.
    let cycle = json!({"steps": [{"name": "a"}, {"name": "b"}],
                       "successPairs": [["a", "b"], ["b", "a"]]});
    service.post(cycle.to_string(), &[]).await.error(400);
}

#[tokio::test]
async fn finding_5_of_a_pause_that_races_a_run_one_wins_and_the_other_is_told() {
    let service = service().await;
    let (mut paused, mut ran) = (0, 0);
    let mut job = shell("true");
    job["start"] = json!("manual");
    let only = json!({"steps": ["only"]});
    for round in 0..80 {
        let url = service.submit(&job).await.url;
        let pause = async {
            // A different moment each time: after this many other requests.
            for _ in 0..round % 5 {
                service.get("/livez").await;
            }
            service.verb(&url, "pause", &only).await
        };
        let (_, answer) = tokio::join!(service.verb(&url, "start", &only), pause);
        if answer.status == 200 {
            paused += 1;
            let from = answer.json()["value"][0]["from"].as_str().unwrap().to_owned();
            assert_eq!(moves(&answer.json()), [format!("only {from} Paused")]);
            let told = service.told(&url, "only").await;
            assert_eq!(told.last(), Some(&format!("pause {from} Paused")), "it was run: {told:?}");
            service.verb(&url, "resume", &only).await.expect(200);
            if from == "Ready" {
                service.verb(&url, "start", &only).await.expect(200);
            }
        } else {
            ran += 1;
            answer.error(409);
        }
        assert_eq!(service.ended(&url).await["state"], "Succeeded");
        // Once, whoever won. The original starts it twice.
        let told = service.told(&url, "only").await;
        assert_eq!(told.iter().filter(|event| event.starts_with("run ")).count(), 1, "{told:?}");
    }
    assert!(paused > 0 && ran > 0, "no race: {paused} paused, {ran} ran");
}

#[tokio::test]
async fn finding_5_of_two_operators_that_race_one_wins() {
    let service = service().await;
    let job = json!({"start": "manual", "steps": [step("only", "true")]});
    let url = service.submit(&job).await.url;
    let only = json!({"steps": ["only"]});
    for _ in 0..20 {
        let (first, second) =
            tokio::join!(service.verb(&url, "pause", &only), service.verb(&url, "pause", &only));
        let mut answers = [first.status, second.status];
        answers.sort_unstable();
        assert_eq!(answers, [200, 409]);
        // One resumes what the other one marks to be skipped: both orders have a winner.
        let (resume, skip) =
            tokio::join!(service.verb(&url, "resume", &only), service.verb(&url, "skip", &only));
        // A step without anything before it is skipped as soon as it is marked.
        if skip.status == 200 && resume.status == 409 {
            assert_eq!(service.ended(&url).await["state"], "Succeeded");
            return;
        }
        assert_eq!(resume.status, 200);
        if skip.status == 200 {
            return;
        }
    }
}

#[tokio::test]
async fn finding_6_a_trial_says_what_the_call_then_does() {
    let service = service().await;
    let job = json!({"start": "manual", "steps": [step("a", "true"), step("b", "true"),
        {"name": "c", "tags": {"kind": "x"}}, {"name": "d", "tags": {"kind": "x"}}],
        "successPairs": [["a", "b"], ["b", "c"], ["b", "d"]]});
    let url = service.submit(&job).await.url;
    for (verb, body) in [
        ("pause", json!({"tags": {"kind": "x"}})),
        ("resume", json!({"steps": ["d"]})),
        ("skip", json!({"states": ["ready", "paused"], "tags": {"kind": "x"}})),
        ("unskip", json!({"filter": "n ge 0"})),
        ("block", json!({"steps": ["b"], "branch": true})),
        ("unblock", json!({})),
        ("hold", json!({"steps": ["a"]})),
    ] {
        let mut trial = body.clone();
        trial["dryRun"] = json!(true);
        let before = service.get(&url).await;
        let said = service.verb(&url, verb, &trial).await.expect(200).json();
        let after = service.get(&url).await;
        assert_eq!(before.bytes, after.bytes, "{verb}");
        assert_eq!(before.header("etag"), after.header("etag"));
        let done = service.verb(&url, verb, &body).await.expect(200).json();
        assert_eq!(said, done, "{verb}");
        assert!(!done["value"].as_array().unwrap().is_empty(), "{verb} {done}");
        // What is answered has happened when it is answered.
        let steps = service.steps(&url).await;
        for moved in done["value"].as_array().unwrap() {
            let n = usize::try_from(moved["n"].as_u64().unwrap()).unwrap();
            let now = &steps[n]["state"];
            assert!(now == &moved["to"] || now == "Skipped" || now == "Unreachable", "{moved}");
        }
    }
    service.end(&url).await;
}

#[tokio::test]
async fn an_interrupt_reaches_the_whole_process_group_as_sigint_first() {
    let service = service().await;
    // The child of the shell would live on after a SIGTERM to the shell alone.
    let mut job =
        shell("trap 'echo interrupted; exit 7' INT; sleep 1000 & echo pids $$ $!; wait; wait");
    job["steps"][0]["grace"] = json!(format!("{}ms", GRACE.as_millis()));
    let url = service.submit(&job).await.url;
    service.in_state(&url, "only", "Running").await;
    // Output is no change of the operation that could be waited for.
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    while !said.contains('\n') {
        assert!(Instant::now() < deadline, "it says nothing");
        said = service.wrote(&url, "only").await;
    }
    let pids: Vec<u32> =
        said.trim().split(' ').skip(1).map(|pid| pid.parse().expect("a number")).collect();
    assert_eq!(pids.len(), 2, "{said}");
    service.moved_one(&url, "interrupt", "only").await;
    service.gone(&url, "only").await;
    for pid in pids {
        assert!(!is_sleep_or_shell(pid), "process {pid} lives on");
    }
    assert!(service.wrote(&url, "only").await.contains("interrupted"));
    service.end(&url).await;
}

/// Whether that process is still one of the step's: the number may be somebody else's by now.
fn is_sleep_or_shell(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.contains("SUT_STEP=only") && environ.contains("SUT_ATTEMPT=1"))
}
