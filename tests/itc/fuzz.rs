//! A bounded run of what the fuzzer runs: stamps of a run, in both forms, and what is made of them.

use sutbot::itc::Stamp;

use crate::entry;
use crate::support::{Random, cases};

const INPUTS: usize = 20_000;
const BYTES_MAX: usize = 4_000;

/// Pieces that a random change of bytes does not come across.
const PIECES: [&[u8]; 10] = [
    b"(0,1)",
    b"(1,0)",
    b"(0,0,1)",
    b"(3,(0,1,0),0)",
    b"9007199254740991",
    b"((((((((((((((((",
    b",1)",
    b"\x00",
    b"\xff\xff\xff",
    b"\x24\x92\x49",
];

/// Changes bytes somewhere.
fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    let end = (at + random.below(8)).min(bytes.len());
    match random.below(5) {
        0 => drop(bytes.drain(at..end)),
        1 => {
            let piece = PIECES[random.below(PIECES.len())];
            drop(bytes.splice(at..end, piece.iter().copied()));
        }
        2 => {
            let twice = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, twice));
        }
        3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        _ => {
            let byte = u8::try_from(random.below(256)).expect("a byte");
            drop(bytes.splice(at..end.min(at + 1), [byte]));
        }
    }
    bytes.truncate(BYTES_MAX);
}

/// Stamps of one run, in both forms.
fn seeds(random: &mut Random) -> Vec<Vec<u8>> {
    let mut parts = vec![Stamp::seed()];
    let mut seeds = Vec::new();
    for _ in 0..60 {
        let at = random.below(parts.len());
        let part = parts.swap_remove(at);
        match random.below(5) {
            0 | 1 => parts.push(part.event().expect("shallow")),
            2 | 3 => parts.extend(<[_; 2]>::from(part.fork().expect("shallow"))),
            _ => match parts.pop() {
                Some(other) => parts.push(part.join(&other).expect("shallow")),
                None => parts.push(part),
            },
        }
        let stamp = parts.last().expect("one at least");
        seeds.extend([stamp.to_string().into_bytes(), stamp.encode()]);
    }
    seeds
}

#[test]
fn stamps_and_what_is_made_of_them_break_nothing() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let seeds = seeds(&mut random);
    for seed in &seeds {
        entry::read(seed);
    }
    for _ in 0..INPUTS.max(cases(0) as usize) {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(5) {
            change(&mut random, &mut bytes);
        }
        entry::read(&bytes);
    }
}
