//! What was found, in sentences.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::guards::Tally;
use super::terms::{for_each_alive, for_each_dead};
use super::web::{Grouped, Reason, Web, moving_verbs};
use super::{Around, Because, Gate, Kind};
use crate::domain::action::Action;
use crate::domain::admission::Rate;
use crate::domain::definition::Work;
use crate::domain::duration;
use crate::domain::guard::Term;
use crate::domain::jobset::{Jobset, Role};
use crate::domain::operation::Stop;
use crate::domain::run::{OpenAttempt, Run};
use crate::domain::state::StepState;

/// How many names stand in one sentence.
const NAMES_MAX: usize = 5;
/// How many steps of a chain stand in one sentence.
const HOPS_MAX: usize = 4;
/// How many steps of a chain are told.
const VIA_MAX: usize = 50;

/// A root cause of the one step that the web was spun from.
pub(super) fn of_step(web: &Web<'_>, group: &Grouped, around: &Around) -> Because {
    let first = group.places[0];
    let mut via = web.way_from_start(first);
    let mut because = cause(web, group, around);
    if let Some(chain) = chain(web.run, &via) {
        let is_told = group.reason == Reason::Ended; // By the last link of the chain.
        because.message = if is_told {
            chain + &reviving(web.run, web.step(first), &because.verbs)
        } else {
            format!("{chain}; {}", because.message)
        };
    }
    via.truncate(VIA_MAX);
    because.via = via;
    because
}

/// A root cause of the operation.
pub(super) fn of_operation(web: &Web<'_>, group: &Grouped, around: &Around) -> Because {
    let mut because = cause(web, group, around);
    if group.reason == Reason::Ended
        && let Some(at) = group.places.first()
        && let [.., last, root] = web.way_from_start(*at).as_slice()
        && let Some(link) = dead_link(web.run, *last, *root)
    {
        because.message = link + &reviving(web.run, *root, &because.verbs);
    }
    because
}

/// That the operation will be stopped at its deadline.
pub(super) fn deadline(run: &Run, deadline: DateTime<Utc>) -> Because {
    let after = run.jobset.deadline.map(duration::print).unwrap_or_default();
    Because {
        kind: Kind::Timer,
        step: None,
        message: format!("whatever happens, the deadline of {after} ends it at {}", time(deadline)),
        verbs: Vec::new(),
        until: Some(deadline),
        via: Vec::new(),
        steps: None,
    }
}

/// Why step `n`, which ended without having done its work, never could.
pub(super) fn never(web: &Web<'_>, n: u32) -> String {
    let run = web.run;
    let (way, reason) = web.way_to_root(n);
    let root = way.last().copied().unwrap_or(n);
    let words = reason.map(|reason| reason_words(run, root, reason).message);
    match (chain(run, &way), words) {
        (Some(chain), Some(words)) if reason != Some(&Reason::Ended) => format!("{chain}; {words}"),
        (Some(chain), _) => chain,
        (None, words) => words.unwrap_or_default(),
    }
}

/// Why the end of step `n` made the operation fail.
pub(super) fn unhandled(run: &Run, n: u32) -> String {
    let handlers = &run.jobset.step(n).handlers;
    let ended = format!("`{}` ended {}", name(run, n), now(run, n));
    if handlers.is_empty() {
        return format!("{ended}, and it has no failure branch that could handle this");
    }
    let branches = handlers.iter().take(NAMES_MAX);
    let mut branches: Vec<String> =
        branches.map(|h| format!("{} ended {}", quoted(run, *h), now(run, *h))).collect();
    if handlers.len() > NAMES_MAX {
        branches.push(format!("{} more", handlers.len() - NAMES_MAX));
    }
    format!("{ended}, and no failure branch handled this: {}", join(branches, "and"))
}

/// A time as everywhere on the wire.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn name(run: &Run, n: u32) -> &str {
    &run.jobset.step(n).definition.name
}

fn now(run: &Run, n: u32) -> &str {
    run.jobset.state_name(n, run.steps[n as usize])
}

/// "`a`, `b` and 3 more", of so many.
fn names(run: &Run, steps: &[u32], count: usize) -> String {
    let shown = steps.iter().take(NAMES_MAX).map(|n| quoted(run, *n));
    if count <= NAMES_MAX {
        return join(shown, "and");
    }
    let shown: Vec<String> = shown.collect();
    format!("{} and {} more", shown.join(", "), count - NAMES_MAX)
}

/// "a, b or c".
fn join(parts: impl IntoIterator<Item = String>, word: &str) -> String {
    let mut parts: Vec<String> = parts.into_iter().collect();
    match parts.pop() {
        None => String::new(),
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} {word} {last}", parts.join(", ")),
    }
}

fn cause(web: &Web<'_>, group: &Grouped, around: &Around) -> Because {
    let run = web.run;
    let steps: Vec<u32> = group.places.iter().take(NAMES_MAX).map(|at| web.step(*at)).collect();
    if group.reason == Reason::Gated {
        return gated(around);
    }
    // A pause is told even if it keeps no step; its words name none.
    let because = reason_words(run, steps.first().copied().unwrap_or(0), &group.reason);
    let workers =
        if group.reason == Reason::NoSlot { workers_words(around) } else { String::new() };
    if group.places.len() < 2 {
        let message = because.message + &workers;
        return Because { message, ..because };
    }
    let names = names(run, &steps, group.places.len());
    let message = match &group.reason {
        Reason::NoSlot => format!("{names} wait for a worker with a free slot{workers}"),
        Reason::AtMost(most) => format!("{names} wait: {}", at_most(*most)),
        Reason::Paused => format!("{names} wait: {PAUSED}"),
        Reason::Stopping => stopping(run).to_owned(),
        Reason::Cancelled => format!("{names} were cancelled {}", stopped_by(run)),
        _ => because.message,
    };
    Because { step: None, message, ..because }
}

/// What an operation that has not been admitted yet waits for.
fn gated(around: &Around) -> Because {
    let before = |ahead: u32| match ahead {
        0 => String::new(),
        1 => "; 1 operation stands before it in line".to_owned(),
        ahead => format!("; {ahead} operations stand before it in line"),
    };
    let (kind, message, until) = match &around.gate {
        None => (Kind::Operation, "the operation is about to be admitted".to_owned(), None),
        Some(Gate::Place { key, limit, held, holders, ahead }) => {
            let more = (*held as usize).saturating_sub(holders.len());
            let more = (more > 0).then(|| format!("{more} more"));
            let by = join(holders.iter().cloned().chain(more), "and");
            let held = match held {
                0 => String::new(),
                1 => format!(": 1 of {limit} is held by {by}"),
                held => format!(": {held} of {limit} are held by {by}"),
            };
            let before = before(*ahead);
            let message = format!("it waits for the concurrency key `{key}`{held}{before}");
            (Kind::Operation, message, None)
        }
        Some(Gate::Turn { key, rate: Rate { limit, per }, at, ahead }) => {
            let per = duration::print(per.to_std().unwrap_or_default());
            let message = format!(
                "it waits for the rate limit `{key}` of {limit} per {per} until {}{}",
                time(*at),
                before(*ahead)
            );
            (Kind::Timer, message, Some(*at))
        }
    };
    Because { kind, step: None, message, verbs: Vec::new(), until, via: Vec::new(), steps: None }
}

const PAUSED: &str = "the operation is paused as a whole, so nothing new starts: resume it";

fn at_most(most: u32) -> String {
    format!(
        "no more than {most} of the operation's steps run at once (maxConcurrency), and so many do"
    )
}

fn stopped_by(run: &Run) -> &'static str {
    match run.stop {
        Some(Stop::Deadline) => "because the deadline of the operation passed",
        Some(Stop::Cancel | Stop::Abort) | None => "with the operation",
    }
}

fn stopping(run: &Run) -> &'static str {
    match run.stop {
        Some(Stop::Deadline) => {
            "the deadline of the operation passed; it ends when its last process is gone and what \
             always runs has run"
        }
        Some(Stop::Abort) => {
            "the operation is being aborted; it ends when its last process is gone"
        }
        Some(Stop::Cancel) | None => {
            "the operation is being cancelled; it ends when its last process is gone and what is for \
             its end has run"
        }
    }
}

/// When a step that is for the end of the operation has its turn.
fn at_end(run: &Run, n: u32) -> String {
    let name = name(run, n);
    if run.stop.is_some() {
        return format!("`{name}` runs before the operation has ended, when its turn comes");
    }
    match run.jobset.step(n).role {
        Role::Compensates(undone) => format!(
            "`{name}` runs only if the operation is cancelled and {} has succeeded",
            quoted(run, undone)
        ),
        Role::CleanUp => format!("`{name}` runs only if the operation is cancelled"),
        Role::Ensure | Role::Regular => {
            format!(
                "`{name}` runs when nothing else is left to be done, however the operation ends"
            )
        }
    }
}

fn workers_words(around: &Around) -> String {
    let workers = around.workers;
    let slots = match workers.slots {
        1 => "1 slot".to_owned(),
        slots => format!("{slots} slots"),
    };
    match workers.live {
        0 => "; no worker is registered: start one by `mother worker`".to_owned(),
        1 => format!(" (1 worker is registered, with {slots})"),
        live => format!(" ({live} workers are registered, with {slots} in all)"),
    }
}

/// One reason of step `n`, without the way to it.
fn reason_words(run: &Run, n: u32, reason: &Reason) -> Because {
    let (name, state) = (name(run, n), now(run, n));
    let plain = |kind: Kind, message: String| Because {
        kind,
        step: Some(n),
        message,
        verbs: Vec::new(),
        until: None,
        via: Vec::new(),
        steps: None,
    };
    match reason {
        Reason::Ended => {
            let verbs = reviving_verbs(run, n);
            let more = reviving(run, n, &verbs);
            Because { verbs, ..plain(Kind::Step, format!("`{name}` has ended {state}{more}")) }
        }
        Reason::Closed => plain(
            Kind::Step,
            format!("`{name}` was closed when nothing was left that could have opened it"),
        ),
        Reason::Cancelled => {
            plain(Kind::Operation, format!("`{name}` was cancelled {}", stopped_by(run)))
        }
        Reason::Person(verbs) => {
            Because { verbs: verbs.clone(), ..plain(Kind::Person, person(run, n, verbs)) }
        }
        Reason::Running(open) => running(run, n, open, plain),
        Reason::Leaving(open) => plain(
            Kind::Worker,
            format!(
                "a worker is still ending attempt {} of `{name}`, which is {state}",
                open.attempt
            ),
        ),
        Reason::Timer(due) => Because {
            until: Some(*due),
            verbs: moving_verbs(run, n)
                .into_iter()
                .filter(|verb| *verb == Action::RUN_NOW)
                .collect(),
            ..plain(
                Kind::Timer,
                format!("`{name}` tries again at {}, when its back-off has passed", time(*due)),
            )
        },
        Reason::NoSlot => {
            plain(Kind::Worker, format!("`{name}` waits for a worker with a free slot"))
        }
        Reason::AtMost(most) => plain(Kind::Worker, format!("`{name}` waits: {}", at_most(*most))),
        Reason::Paused => Because {
            step: None,
            verbs: vec![Action::RESUME],
            ..plain(Kind::Operation, PAUSED.to_owned())
        },
        Reason::Gated => Because {
            step: None,
            ..plain(Kind::Operation, "the operation was not admitted".to_owned())
        },
        Reason::Stopping => {
            Because { step: None, ..plain(Kind::Operation, stopping(run).to_owned()) }
        }
        Reason::AtEnd => plain(Kind::Operation, at_end(run, n)),
        Reason::Engine => {
            plain(Kind::Operation, format!("`{name}` is about to be moved on by the service"))
        }
        Reason::Circle(steps) => plain(Kind::Step, circle(run, steps)),
    }
}

/// What an operator may do with a step that did not end well, to let it end otherwise.
fn reviving_verbs(run: &Run, n: u32) -> Vec<Action> {
    match run.steps[n as usize].class() {
        StepState::SUCCEEDED | StepState::SKIPPED => Vec::new(),
        _ => moving_verbs(run, n),
    }
}

fn reviving(run: &Run, n: u32, verbs: &[Action]) -> String {
    if verbs.is_empty() {
        return String::new();
    }
    format!("; {} {} to change that", verbs_words(&run.jobset, verbs), quoted(run, n))
}

fn verbs_words(jobset: &Jobset, verbs: &[Action]) -> String {
    join(verbs.iter().map(|verb| jobset.action_name(*verb).to_owned()), "or")
}

fn person(run: &Run, n: u32, verbs: &[Action]) -> String {
    let (name, state) = (name(run, n), now(run, n));
    let is = match run.steps[n as usize] {
        StepState::READY => format!("`{name}` is Ready and was not started"),
        StepState::ERROR => format!("`{name}` failed and is held in Error"),
        _ => format!("`{name}` is {state}"),
    };
    if verbs.is_empty() {
        return format!(
            "{is}, and its guards will never let anybody move it: cancel the operation"
        );
    }
    format!("{is}: {} it", verbs_words(&run.jobset, verbs))
}

fn running(
    run: &Run,
    n: u32,
    open: &OpenAttempt,
    plain: impl Fn(Kind, String) -> Because,
) -> Because {
    let (name, state) = (name(run, n), now(run, n));
    let timeout = run.jobset.step(n).definition.timeout;
    let until = timeout
        .and_then(|timeout| TimeDelta::from_std(timeout).ok())
        .and_then(|timeout| open.since.checked_add_signed(timeout));
    let worker = open.holder.unwrap_or_default();
    let (attempt, since) = (open.attempt, time(open.since));
    let limit = until.map(|until| format!(", which may take until {}", time(until)));
    if let Work::Instruction(instruction) = run.jobset.step(n).work(run.steps[n as usize]) {
        let who = instruction.who.as_deref().unwrap_or("a person");
        let limit = limit.unwrap_or_default();
        let message = format!(
            "`{name}` waits since {} for {who} to reply to its prompt{limit}",
            time(open.since)
        );
        return Because { until, verbs: moving_verbs(run, n), ..plain(Kind::Person, message) };
    }
    if run.steps[n as usize].class() == StepState::UNRESPONSIVE {
        let message = format!(
            "`{name}` is {state}: worker {worker}, which had attempt {attempt} of it, was not heard of \
             for longer than its lease; another worker gets it soon, or it fails if that came too often"
        );
        return plain(Kind::Worker, message);
    }
    let message = format!(
        "`{name}` is {state}: worker {worker} has had attempt {attempt} of it since {since}{}",
        limit.unwrap_or_default()
    );
    Because { until, verbs: moving_verbs(run, n), ..plain(Kind::Worker, message) }
}

fn circle(run: &Run, steps: &[u32]) -> String {
    let many = names(run, steps, steps.len());
    let is_over = steps.iter().all(|n| run.steps[*n as usize].is_ended());
    match (steps.len(), is_over) {
        (1, true) => format!("{many} could only follow itself, so nothing could open it"),
        (1, false) => format!("{many} waits for itself and is closed when nothing else is left"),
        (_, true) => format!("{many} could only follow each other, so nothing could open them"),
        (_, false) => {
            format!("{many} wait for each other and are closed when nothing else is left")
        }
    }
}

/// The sentence about the steps on a way, each of which waits, or waited in vain, for the next.
fn chain(run: &Run, way: &[u32]) -> Option<String> {
    let first = *way.first()?;
    let is_over = run.steps[first as usize].is_ended();
    let links: Vec<(u32, u32)> = way.windows(2).map(|pair| (pair[0], pair[1])).collect();
    if links.is_empty() {
        return None;
    }
    let is_told = |index: usize| index < HOPS_MAX - 1 || index + 1 == links.len();
    let mut told = Vec::new();
    for (index, (from, to)) in links.iter().enumerate() {
        if is_told(index) {
            let link =
                if is_over { dead_term(run, *from, *to) } else { live_link(run, *from, *to) };
            told.extend(link);
        } else if index == HOPS_MAX - 1 {
            told.push("...".to_owned());
        }
    }
    Some(if is_over {
        format!(
            "{} could never {}: {}",
            quoted(run, first),
            verb(run, first),
            told.join(", because ")
        )
    } else {
        told.join(", ")
    })
}

fn quoted(run: &Run, n: u32) -> String {
    format!("`{}`", name(run, n))
}

fn verb(run: &Run, n: u32) -> &'static str {
    if run.jobset.machine(n).name.is_empty() { "run" } else { "go on" }
}

fn dead_link(run: &Run, from: u32, to: u32) -> Option<String> {
    let term = dead_term(run, from, to)?;
    Some(format!("{} could never {}: {term}", quoted(run, from), verb(run, from)))
}

/// "`unit` ended Failed and is never Succeeded".
fn dead_term(run: &Run, from: u32, to: u32) -> Option<String> {
    let mut found = None;
    for_each_dead(run, from, |tally, term| {
        if term.step == to {
            found.get_or_insert((tally, *term));
        }
    });
    let (tally, term) = found?;
    let (asked, needed) = (asked(run, &term), needed(tally));
    Some(format!("{} ended {} and is never {asked}{needed}", quoted(run, to), now(run, to)))
}

/// "`deploy` waits for `canary` to be Succeeded".
fn live_link(run: &Run, from: u32, to: u32) -> Option<String> {
    let mut found = None;
    let mut find = |with_operators| {
        for_each_alive(run, from, with_operators, |tally, term| {
            if term.step == to {
                found.get_or_insert((tally, *term));
            }
        });
    };
    find(false);
    find(true);
    let (tally, term) = found?;
    let (asked, needed) = (asked(run, &term), needed(tally));
    Some(format!("{} waits for {} to be {asked}{needed}", quoted(run, from), quoted(run, to)))
}

fn asked(run: &Run, term: &Term) -> String {
    let machine = run.jobset.machine(term.step);
    let states = term.states.iter().filter_map(|state| machine.state(state));
    join(states.map(|state| state.name.clone()), "or")
}

/// " (2 of 3 such conditions are needed)", where not all are.
fn needed(tally: Tally) -> String {
    if tally.need == tally.of {
        return String::new();
    }
    format!(" ({} of {} such conditions are needed)", tally.need, tally.of)
}
