//! A bounded run of what the fuzzer runs: the seeds, and texts made from them.

use std::fs;
use std::path::Path;

use crate::entry;

const TEXTS: usize = 20_000;
const BYTES_MAX: usize = 2_000;

/// Pieces that a random change of bytes does not come across.
const PIECES: [&str; 24] = [
    " eq ",
    " and ",
    " or ",
    "not ",
    "(",
    ")",
    "''",
    "'",
    "null",
    ",",
    "/",
    " in (",
    "any(l:",
    "cast(",
    ",Edm.String)",
    "1e308",
    "-9223372036854775808",
    "duration'P1D'",
    "\0",
    "𝄞",
    " desc",
    "case(",
    "$count",
    "now()",
];

/// Xorshift: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits") % bound.max(1)
    }

    fn change(&mut self, text: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(text.len() + 1);
        let end = (at + self.below(12)).min(text.len());
        match self.below(5) {
            0 => drop(text.drain(at..end)),
            1 => {
                let piece = PIECES[self.below(PIECES.len())];
                drop(text.splice(at..end, piece.bytes()));
            }
            2 => {
                let from = self.below(other.len());
                let to = (from + self.below(40)).min(other.len());
                drop(text.splice(at..at, other[from..to].iter().copied()));
            }
            3 => {
                let twice = text[at..end].to_vec();
                drop(text.splice(at..at, twice));
            }
            _ => {
                let byte = u8::try_from(self.below(256)).expect("a byte");
                drop(text.splice(at..end.min(at + 1), [byte]));
            }
        }
        text.truncate(BYTES_MAX);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/odata/seeds");
    let files = fs::read_dir(folder).expect("a folder of seeds");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

#[test]
fn seeds_and_what_is_made_of_them_break_nothing() {
    let seeds = seeds();
    assert!(seeds.len() >= 40);
    for seed in &seeds {
        entry::parse(seed);
        entry::lower(seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..TEXTS {
        let mut text = seeds[random.below(seeds.len())].clone();
        for _ in 0..=random.below(6) {
            let other = random.below(seeds.len());
            random.change(&mut text, &seeds[other]);
        }
        entry::parse(&text);
        entry::lower(&text);
    }
}
