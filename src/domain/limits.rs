//! What a jobset may have at the most.

/// Limits of one jobset. Each has a documented default and a setting of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps per jobset (`--max-steps`).
    pub steps: usize,
    /// Guard terms per jobset, those made from pairs included (`--max-guard-terms`).
    pub guard_terms: usize,
    /// Bytes of a step's or jobset's name (not a setting: names stand in URLs).
    pub name_bytes: usize,
    /// Attempts that `retry.maxAttempts` may ask for (`--max-attempts`).
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 100_000, guard_terms: 1_000_000, name_bytes: 200, attempts: 1_000 }
    }
}
