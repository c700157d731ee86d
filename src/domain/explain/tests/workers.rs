//! What is said of steps that only need a worker.

use super::{around, named, start, submit};
use crate::domain::definition::{Definition, StepDefinition};
use crate::domain::explain::{Around, Crew, Kind, Workers, operation};
use crate::domain::needs::Labels;
use crate::domain::profile::Profile;
use crate::domain::run::Run;
use crate::domain::scheduling::Scheduling;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn crew(pairs: &[(&str, &str)], lanes: Option<&[&str]>, live: u32) -> Crew {
    let lanes = lanes.map(|lanes| lanes.iter().map(|lane| (*lane).to_owned()).collect());
    Crew { profile: Profile { labels: labels(pairs), lanes }, live, slots: 4 * live }
}

/// What is said of the first root cause.
fn told(run: &Run, crews: &[Crew]) -> String {
    let around = Around { workers: Workers(crews.to_vec()), ..around(start()) };
    let because = operation(run, &around).because.remove(0);
    assert_eq!(because.kind, Kind::Worker);
    because.message
}

fn waiting(requires: &[(&str, &str)], lane: Option<&str>) -> Run {
    submit(Definition {
        steps: vec![StepDefinition { requires: labels(requires), ..named("a") }],
        scheduling: Scheduling { lane: lane.map(str::to_owned), ..Scheduling::default() },
        ..Definition::default()
    })
}

#[test]
fn who_is_busy_and_who_is_not_there() {
    let run = waiting(&[("gpu", "yes"), ("os", "linux")], None);
    let linux = crew(&[("os", "linux")], None, 2);
    let plain = crew(&[], None, 1);
    let fits = crew(&[("gpu", "yes"), ("os", "linux"), ("zone", "b")], None, 1);
    assert_eq!(
        told(&run, &[]),
        "`a` waits for a worker with gpu=yes, os=linux and a free slot; no worker is registered: \
         start one by `mother worker --label gpu=yes --label os=linux`"
    );
    assert_eq!(
        told(&run, &[linux.clone(), plain.clone()]),
        "`a` waits: no worker with gpu=yes, os=linux is registered; of 3 workers, 3 lack gpu=yes, \
         1 lacks os=linux"
    );
    assert_eq!(
        told(&run, &[linux, plain, fits]),
        "`a` waits for a worker with gpu=yes, os=linux and a free slot (1 such worker is registered, \
         with 4 slots)"
    );
}

#[test]
fn who_takes_from_other_lanes() {
    let run = waiting(&[], Some("slow"));
    let elsewhere = crew(&[], Some(&["default", "fast"]), 1);
    assert_eq!(
        told(&run, std::slice::from_ref(&elsewhere)),
        "`a` waits: no worker for the lane `slow` is registered; of 1 worker, 1 does not take from \
         that lane"
    );
    assert_eq!(
        told(&run, &[elsewhere, crew(&[], None, 2)]),
        "`a` waits for a worker with a free slot (2 such workers are registered, with 8 slots in all)"
    );
}

#[test]
fn steps_that_need_different_workers_are_told_apart() {
    let gpu = StepDefinition { requires: labels(&[("gpu", "yes")]), ..named("b") };
    let run =
        submit(Definition { steps: vec![named("a"), gpu, named("c")], ..Definition::default() });
    let around = Around { workers: Workers(vec![crew(&[], None, 1)]), ..around(start()) };
    let because = operation(&run, &around).because;
    let told: Vec<&str> = because.iter().map(|because| because.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "`a` and `c` wait for a worker with a free slot (1 worker is registered, with 4 slots)",
            "`b` waits: no worker with gpu=yes is registered; of 1 worker, 1 lacks gpu=yes",
        ]
    );
}
