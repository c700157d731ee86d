//! The checked tree: every name resolved, every operand typed and converted.
//!
//! The check leaves no implicit conversion behind. Both sides of a comparison have the same type
//! (or one is the literal null), an integer beside a double is a double, a date beside an instant is
//! an instant, JSON is read as what stands beside it: each of these is an explicit
//! [`Kind::Cast`] or a converted literal. Evaluation and lowering look at one [`Type`] only.

use std::fmt;

use super::functions::Function;
use super::model::Type;
use super::pattern::Pattern;
use super::syntax::{Arithmetic, Comparison, Quantifier, Span};
use super::value::Value;

/// A checked expression.
///
/// Two expressions are equal when they mean the same: their positions are not compared.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// What it yields. Any expression may also yield null.
    pub ty: Type,
    /// Where it stands in the query text.
    pub span: Span,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.ty == other.ty && self.kind == other.kind
    }
}

impl Expr {
    /// Calls `visit` with the direct operands, from left to right.
    pub fn operands<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Property(_) | Kind::Count(..) => {}
            Kind::Not(operand)
            | Kind::Negate(operand)
            | Kind::In(operand, _)
            | Kind::Matches(operand, _)
            | Kind::Cast(operand)
            | Kind::IsOf(operand, _) => visit(operand),
            Kind::Compare(_, pair) | Kind::Arithmetic(_, pair) => pair.iter().for_each(visit),
            Kind::And(operands)
            | Kind::Or(operands)
            | Kind::Call(_, operands)
            | Kind::Custom(_, operands) => operands.iter().for_each(visit),
            Kind::Case(arms) => {
                arms.iter().flat_map(|(condition, value)| [condition, value]).for_each(visit);
            }
            Kind::Lambda(lambda) => lambda.body.iter().for_each(|(_, body)| visit(body)),
        }
    }

    /// Whether `is_so` holds for one of the direct operands.
    pub fn any_operand(&self, is_so: &mut dyn FnMut(&Self) -> bool) -> bool {
        let mut any = false;
        self.operands(&mut |operand| any = any || is_so(operand));
        any
    }
}

/// What an expression is. With the conversions made explicit, a tree is at most twice as high as
/// [`Limits::nesting`](super::Limits::nesting) allows.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A constant of the expression's type, or null. Never a list or an object.
    Literal(Value),
    /// The value at a path. Of a primitive type, `Enum`, `Json`, or (beside null only) `Object`.
    Property(Path),
    /// `path/$count`: how many items there are, as [`Lambda`] sees them. The type is the one of the
    /// path: `Collection`, `Map` or `Json`.
    Count(Path, Type),
    /// `not`, on a Boolean.
    Not(Box<Expr>),
    /// Unary minus, on an integer, a double or a duration.
    Negate(Box<Expr>),
    /// Two operands of one type, compared.
    Compare(Comparison, Box<[Expr; 2]>),
    /// Two operands combined; the types are those of [`Arithmetic`]'s table in the module docs.
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    /// Two or more Booleans; an operand is never an `And` unless it stood in parentheses.
    And(Vec<Expr>),
    /// Two or more Booleans; an operand is never an `Or` unless it stood in parentheses.
    Or(Vec<Expr>),
    /// Whether the operand equals a member: each is of the operand's type, or null.
    In(Box<Expr>, Vec<Value>),
    /// A standard function with as many arguments as it takes.
    Call(Function, Vec<Expr>),
    /// `matchesPattern`.
    Matches(Box<Expr>, Pattern),
    /// A function the model declares, by its declared name.
    Custom(String, Vec<Expr>),
    /// The operand converted to the expression's type; see [`cast`](super::eval) for the pairs.
    Cast(Box<Expr>),
    /// Whether the operand has a value and that value is of this primitive type.
    IsOf(Box<Expr>, Type),
    /// The value of the first arm whose condition is true; null when none is.
    Case(Vec<(Expr, Expr)>),
    /// `any` or `all`.
    Lambda(Box<Lambda>),
}

/// A condition on the items of a collection. It is true or false, never null.
#[derive(Debug, Clone, PartialEq)]
pub struct Lambda {
    /// Whether any or all items have to meet the predicate.
    pub quantifier: Quantifier,
    /// Where the items are.
    pub collection: Path,
    /// The type of the path: `Collection`, `Map` (its items are objects with `key` and `value`), or
    /// `Json` (the items of an array; any other JSON has none).
    pub ty: Type,
    /// The variable and the predicate. Only `any()` has none: it asks for any item at all.
    pub body: Option<(String, Expr)>,
}

/// Where a value is found: below the row, or below the variable of an enclosing lambda.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    variable: Option<String>,
    text: String,
}

impl Path {
    pub(super) const fn new(variable: Option<String>, text: String) -> Self {
        Self { variable, text }
    }

    /// The lambda variable the path starts from; `None` for the row.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// The segments below the start, joined by `/`: `error/code`. Empty for the variable itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The segments below the start. Segments never contain `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.text.split('/').filter(|segment| !segment.is_empty())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variable {
            None => f.write_str(&self.text),
            Some(variable) if self.text.is_empty() => f.write_str(variable),
            Some(variable) => write!(f, "{variable}/{}", self.text),
        }
    }
}
