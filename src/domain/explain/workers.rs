//! Whom a step waits for that only needs a worker.

use super::{Around, Crew};
use crate::domain::needs::Labels;
use crate::domain::profile::Profile;
use crate::domain::run::Run;
use crate::domain::scheduling::DEFAULT_LANE;

/// What follows on "`a` waits", for steps that require the labels of `set`.
pub(super) fn words(run: &Run, set: u32, around: &Around) -> String {
    let labels = run.jobset.needs.labels(set);
    let lane = run.jobset.scheduling.lane.as_deref();
    let crews = &around.workers.0;
    let (fit, unfit): (Vec<&Crew>, Vec<&Crew>) =
        crews.iter().partition(|crew| crew.profile.serves(lane) && crew.profile.has(labels));
    let wanted = wanted(labels);
    let is_any = labels.is_empty() && unfit.is_empty();
    let (live, slots) =
        fit.iter().fold((0, 0), |(live, slots), crew| (live + crew.live, slots + crew.slots));
    let slots = if slots == 1 { "1 slot".to_owned() } else { format!("{slots} slots") };
    match live {
        0 if unfit.is_empty() => {
            let options = labels.iter().map(|(key, value)| format!("--label {key}={value}"));
            let command: Vec<String> =
                std::iter::once("mother worker".to_owned()).chain(options).collect();
            let command = command.join(" ");
            format!(
                " for a worker with {wanted}a free slot; no worker is registered: start one by \
                 `{command}`"
            )
        }
        0 => format!(": {}", nobody(labels, lane, &unfit)),
        1 if is_any => {
            format!(" for a worker with a free slot (1 worker is registered, with {slots})")
        }
        _ if is_any => format!(
            " for a worker with a free slot ({live} workers are registered, with {slots} in all)"
        ),
        1 => format!(
            " for a worker with {wanted}a free slot (1 such worker is registered, with {slots})"
        ),
        _ => format!(
            " for a worker with {wanted}a free slot ({live} such workers are registered, with {slots} \
             in all)"
        ),
    }
}

/// "gpu=yes, os=linux and ", before more.
fn wanted(labels: &Labels) -> String {
    if labels.is_empty() { String::new() } else { format!("{} and ", pairs(labels)) }
}

fn pairs(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(", ")
}

/// No worker is of use: what each kind lacks.
fn nobody(labels: &Labels, lane: Option<&str>, unfit: &[&Crew]) -> String {
    let count = |lacks: &dyn Fn(&Profile) -> bool| -> u32 {
        unfit.iter().filter(|crew| lacks(&crew.profile)).map(|crew| crew.live).sum()
    };
    let mut lacking = Vec::new();
    for (key, value) in labels {
        let lack = count(&|profile| profile.labels.get(key) != Some(value));
        lacking.push((lack, format!("{} {key}={value}", if lack == 1 { "lacks" } else { "lack" })));
    }
    let away = count(&|profile| !profile.serves(lane));
    let takes = if away == 1 { "does" } else { "do" };
    lacking.push((away, format!("{takes} not take from that lane")));
    let told = lacking.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, what)| format!("{count} {what}")).collect();
    let lane = if away == 0 {
        String::new()
    } else {
        format!(" for the lane `{}`", lane.unwrap_or(DEFAULT_LANE))
    };
    let with = if labels.is_empty() { String::new() } else { format!(" with {}", pairs(labels)) };
    let all = match count(&|_| true) {
        1 => "1 worker".to_owned(),
        all => format!("{all} workers"),
    };
    format!("no worker{with}{lane} is registered; of {all}, {}", told.join(", "))
}
