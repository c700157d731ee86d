//! `mother`: runs jobsets.

fn main() {}
