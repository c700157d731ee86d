//! How much a query text may ask for.

/// The bounds the parser enforces. Every one is answered with [`ErrorKind::Limit`] as soon as it is
/// passed, so the time to refuse a text does not depend on how far past the limit it goes.
///
/// A tree that the parser returns is never higher than `nesting`: whatever walks it (check,
/// evaluation, printing, lowering) may recurse without a limit of its own.
///
/// [`ErrorKind::Limit`]: super::ErrorKind::Limit
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text, in bytes. Default 16 KiB.
    pub text_bytes: usize,
    /// Deepest nesting: parentheses, calls, prefix operators, and the height of the tree. A chain
    /// of `and`s or of `or`s is one level whatever its length; a chain of any other operator gains
    /// one level per operator. Default 100.
    pub nesting: usize,
    /// Most nodes: one for each operator, call, literal and path segment; members of an `in` list
    /// have their own limit. Default 1,000.
    pub nodes: usize,
    /// Most members of one `in` list. Default 1,000.
    pub list_items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { text_bytes: 16 * 1024, nesting: 100, nodes: 1_000, list_items: 1_000 }
    }
}
