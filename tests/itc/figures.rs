//! How large stamps get. `SUTBOT_ITC_CASES=1 cargo test --test itc figures -- --nocapture` prints the
//! figures of large graphs.

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

/// Walks graphs of one kind and prints how large their stamps are; answers the largest.
fn largest(name: &str, graphs: &[Graph]) -> usize {
    let mut largest = 0;
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
        largest = largest.max(most);
    }
    largest
}

/// A chain stays small however long it is; otherwise the live width bounds a stamp, at a few bytes
/// for each step that runs at once.
#[test]
fn figures_stay_bounded() {
    let is_long = std::env::var_os("SUTBOT_ITC_CASES").is_some();
    let width = if is_long { 10_000 } else { 1_000 };
    let mut fan = vec![Vec::new()];
    fan.extend((0..width).map(|_| vec![0]));
    assert!(largest("fan-out, joined in the end", std::slice::from_ref(&fan)) <= 4 * width);
    fan.push((1..=width).collect());
    assert!(largest("fan-out and fan-in", &[fan]) <= 4 * width);
    let chain = (0..1_000_usize).map(|step| step.checked_sub(1).into_iter().collect());
    assert!(largest("chain of 1,000", &[chain.collect()]) <= 1_024);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (sizes, count) = if is_long { (&[20, 100, 500][..], 200) } else { (&[20, 100][..], 20) };
    for steps in sizes {
        let graphs: Vec<_> = (0..count).map(|_| random_graph(&mut random, *steps)).collect();
        assert!(largest(&format!("random graphs of {steps}"), &graphs) <= 4 * steps);
    }
}
