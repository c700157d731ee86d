//! The tree as written: names not resolved, nothing typed. It borrows from the query text and lives
//! only until the check has read it.

use super::value::Value;

/// A range of bytes of the query text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after the range.
    pub end: usize,
}

impl Span {
    /// From the start of this span to the end of `other`.
    #[must_use]
    pub const fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// A comparison operator. Equality binds weaker than the relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `eq`
    Eq,
    /// `ne`
    Ne,
    /// `gt`
    Gt,
    /// `ge`
    Ge,
    /// `lt`
    Lt,
    /// `le`
    Le,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `add`
    Add,
    /// `sub`
    Sub,
    /// `mul`
    Mul,
    /// `div`: truncates towards zero when both operands are integers.
    Div,
    /// `divby`: never truncates.
    DivBy,
    /// `mod`: on integers; the result has the sign of the dividend.
    Mod,
}

/// A collection operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// `any`
    Any,
    /// `all`
    All,
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Infix {
    Or,
    And,
    Compare(Comparison),
    Arithmetic(Arithmetic),
}

/// The binding-power table: name, operator, power. A stronger operator has a higher power; all are
/// left-associative. `not` and unary minus bind with [`PREFIX_POWER`], `in` with [`IN_POWER`].
#[rustfmt::skip]
pub(super) const OPERATORS: [(&str, Infix, u8); 14] = [
    ("or",    Infix::Or,                            1),
    ("and",   Infix::And,                           2),
    ("eq",    Infix::Compare(Comparison::Eq),       3),
    ("ne",    Infix::Compare(Comparison::Ne),       3),
    ("gt",    Infix::Compare(Comparison::Gt),       4),
    ("ge",    Infix::Compare(Comparison::Ge),       4),
    ("lt",    Infix::Compare(Comparison::Lt),       4),
    ("le",    Infix::Compare(Comparison::Le),       4),
    ("add",   Infix::Arithmetic(Arithmetic::Add),   5),
    ("sub",   Infix::Arithmetic(Arithmetic::Sub),   5),
    ("mul",   Infix::Arithmetic(Arithmetic::Mul),   6),
    ("div",   Infix::Arithmetic(Arithmetic::Div),   6),
    ("divby", Infix::Arithmetic(Arithmetic::DivBy), 6),
    ("mod",   Infix::Arithmetic(Arithmetic::Mod),   6),
];

/// How tightly `not` and unary minus hold their operand: above multiplication, below `in`.
pub(super) const PREFIX_POWER: u8 = 7;

/// How tightly `in` holds the operand before it.
pub(super) const IN_POWER: u8 = 8;

/// The power of an operand that needs no parentheses anywhere.
pub(super) const PRIMARY_POWER: u8 = 9;

impl Infix {
    /// The row of the table this operator has.
    pub(super) fn entry(self) -> (&'static str, u8) {
        let row = OPERATORS.iter().find(|(_, operator, _)| *operator == self);
        let (name, _, power) = row.expect("every operator has a row in the table");
        (name, *power)
    }
}

/// A node of the tree as written.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub kind: NodeKind<'a>,
    pub span: Span,
    /// Levels of nodes below and including this one.
    pub height: usize,
    /// Whether parentheses of its own surround it: it is then never re-associated.
    pub grouped: bool,
}

/// What a [`Node`] is.
#[derive(Debug)]
pub(super) enum NodeKind<'a> {
    Literal(Value),
    Path(&'a str),
    Not(Box<Node<'a>>),
    Negate(Box<Node<'a>>),
    Compare(Comparison, Box<[Node<'a>; 2]>),
    Arithmetic(Arithmetic, Box<[Node<'a>; 2]>),
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    In(Box<Node<'a>>, Vec<(Value, Span)>),
    Call(&'a str, Vec<Node<'a>>),
    Case(Vec<(Node<'a>, Node<'a>)>),
    Lambda { quantifier: Quantifier, collection: &'a str, body: Option<(&'a str, Box<Node<'a>>)> },
}
