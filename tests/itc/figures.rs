//! How large stamps are: `cargo test --release --test itc figures -- --ignored --nocapture`.

use std::time::Instant;

use sutbot::itc::Stamp;

use crate::support::Random;

/// For each step the steps before it.
type Graph = Vec<Vec<usize>>;

/// Each step has up to three before it.
fn random_graph(random: &mut Random, steps: usize) -> Graph {
    let before = |step: usize| {
        let count = if step == 0 { 0 } else { random.below(4) };
        let mut before: Vec<usize> = (0..count).map(|_| random.below(step)).collect();
        before.sort_unstable();
        before.dedup();
        before
    };
    (0..steps).map(before).collect()
}

/// A step starts when those before it have ended: it joins what they forked for it, has events
/// (claimed, started, ended; up to `more` if it is tried again) and forks for those after it. Answers
/// the size of each stamp.
fn walk(graph: &Graph, more: usize) -> Vec<usize> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut after = vec![0; graph.len()];
    for step in graph.iter().flatten() {
        after[*step] += 1;
    }
    let roots = graph.iter().filter(|before| before.is_empty()).count();
    let mut starts = Stamp::seed().fork_many(roots).expect("shallow");
    let mut given: Vec<Vec<Stamp>> = vec![Vec::new(); graph.len()];
    let (mut sizes, mut ends) = (Vec::new(), Vec::new());
    for (step, before) in graph.iter().enumerate() {
        let parts = before.iter().map(|from| given[*from].pop().expect("one for each"));
        let parts: Vec<Stamp> = parts.collect();
        let joined = Stamp::join_many(parts).expect("parts");
        let mut stamp = joined.or_else(|| starts.pop()).expect("one for each root");
        sizes.push(stamp.encode().len());
        for _ in 0..3 + random.below(more + 1) {
            stamp = stamp.event().expect("few");
            sizes.push(stamp.encode().len());
        }
        if after[step] == 0 {
            ends.push(stamp);
        } else {
            given[step] = stamp.fork_many(after[step]).expect("shallow");
        }
    }
    let end = Stamp::join_many(ends).expect("parts").expect("an end");
    assert!(end.id().is_one());
    sizes.push(end.encode().len());
    sizes
}

fn show(name: &str, graphs: &[Graph]) {
    for more in [0, 6] {
        let begin = Instant::now();
        let mut sizes: Vec<usize> = graphs.iter().flat_map(|graph| walk(graph, more)).collect();
        let took = begin.elapsed();
        sizes.sort_unstable();
        let (count, median, most) = (sizes.len(), sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
        let most_events = 3 + more;
        println!(
            "{name}, 3 to {most_events} events: {count} stamps, median {median} B, max {most} B, \
             {took:?}"
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let mut fan = vec![Vec::new()];
    fan.extend((0..10_000).map(|_| vec![0]));
    show("fan-out of 10,000, joined in the end", &[fan.clone()]);
    fan.push((1..=10_000).collect());
    show("fan-out of 10,000 and fan-in", &[fan]);
    let chain = (0..1_000_usize).map(|step| step.checked_sub(1).into_iter().collect());
    show("chain of 1,000", &[chain.collect()]);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for steps in [20, 100, 500] {
        let graphs: Vec<_> = (0..200).map(|_| random_graph(&mut random, steps)).collect();
        show(&format!("200 random graphs of {steps}"), &graphs);
    }
}
