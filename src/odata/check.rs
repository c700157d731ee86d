//! The tree as written to the checked tree: names are resolved, types are checked, and every
//! conversion that the language makes silently becomes explicit.

use super::error::{Error, ErrorKind};
use super::expr::{Expr, Kind};
use super::model::{Model, Type};
use super::syntax::{Comparison, Node, NodeKind, Span};
use super::value::Value;

mod arithmetic;
mod call;
mod convert;
mod path;

/// What the check knows while it walks a tree.
pub(super) struct Checker<'a> {
    source: &'a str,
    model: &'a Model,
    /// The lambda variables in sight, innermost last.
    scope: Vec<(&'a str, Type)>,
    patterns: usize,
}

impl<'a> Checker<'a> {
    pub(super) const fn new(source: &'a str, model: &'a Model) -> Self {
        Self { source, model, scope: Vec::new(), patterns: 0 }
    }

    /// An expression that must be Boolean, as a whole filter must.
    pub(super) fn condition(&mut self, node: Node<'a>) -> Result<Expr, Error> {
        let expr = self.expr(node)?;
        self.boolean(expr)
    }

    /// An expression of any type.
    pub(super) fn expr(&mut self, node: Node<'a>) -> Result<Expr, Error> {
        let span = node.span;
        match node.kind {
            NodeKind::Literal(value) => Ok(literal(value, span)),
            NodeKind::Path(text) => self.property(text, span),
            NodeKind::Not(operand) => {
                let operand = self.condition(*operand)?;
                Ok(boolean(Kind::Not(Box::new(operand)), span))
            }
            NodeKind::Negate(operand) => {
                let operand = self.expr(*operand)?;
                self.negate(operand, span)
            }
            NodeKind::Compare(comparison, pair) => {
                let [left, right] = *pair;
                let (negations, left) = self.leading_not(left)?;
                let right = self.expr(right)?;
                let compared = self.compare(comparison, left, right, span)?;
                Ok((0..negations)
                    .fold(compared, |expr, _| boolean(Kind::Not(Box::new(expr)), span)))
            }
            NodeKind::Arithmetic(operator, pair) => {
                let [left, right] = *pair;
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                self.arithmetic(operator, left, right, span)
            }
            NodeKind::And(operands) => Ok(boolean(Kind::And(self.conditions(operands)?), span)),
            NodeKind::Or(operands) => Ok(boolean(Kind::Or(self.conditions(operands)?), span)),
            NodeKind::In(subject, items) => {
                let subject = self.expr(*subject)?;
                self.membership(subject, items, span)
            }
            NodeKind::Call(name, arguments) => self.call(name, arguments, span),
            NodeKind::Case(arms) => self.case(arms, span),
            NodeKind::Lambda { quantifier, collection, body } => {
                self.lambda(quantifier, collection, body, span)
            }
        }
    }

    fn conditions(&mut self, nodes: Vec<Node<'a>>) -> Result<Vec<Expr>, Error> {
        nodes.into_iter().map(|node| self.condition(node)).collect()
    }

    /// The left side of a comparison, without the `not`s that negate the comparison.
    ///
    /// `not` binds tightest, so `not price le 3.5` reads `(not price) le 3.5`, which has no
    /// meaning; the guidelines that the language comes from write just this for
    /// `not (price le 3.5)`. Where the operand of a leading `not` is not Boolean, and no
    /// parentheses say otherwise, the `not` is therefore taken off and counted.
    fn leading_not(&mut self, node: Node<'a>) -> Result<(usize, Expr), Error> {
        let span = node.span;
        if node.grouped {
            return Ok((0, self.expr(node)?));
        }
        if let NodeKind::Not(operand) = node.kind {
            let (negations, operand) = self.leading_not(*operand)?;
            if negations == 0 && matches!(operand.ty, Type::Boolean | Type::Null) {
                let operand = self.boolean(operand)?;
                return Ok((0, boolean(Kind::Not(Box::new(operand)), span)));
            }
            return Ok((negations + 1, operand));
        }
        if let NodeKind::Arithmetic(operator, pair) = node.kind {
            let [left, right] = *pair;
            let (negations, left) = self.leading_not(left)?;
            let right = self.expr(right)?;
            return Ok((negations, self.arithmetic(operator, left, right, span)?));
        }
        Ok((0, self.expr(node)?))
    }

    fn compare(
        &self,
        comparison: Comparison,
        left: Expr,
        right: Expr,
        span: Span,
    ) -> Result<Expr, Error> {
        let (left, right) = self.unify(left, right, span)?;
        let with_null = is_null(&left) || is_null(&right);
        let relational = !matches!(comparison, Comparison::Eq | Comparison::Ne);
        let problem = match &left.ty {
            Type::Collection(_) | Type::Map => "is compared item by item: use `any` or `all`",
            Type::Object(_) if relational || !with_null => "can be compared with `eq null` only",
            Type::Json if relational || !with_null => {
                "has no type here: compare it with a literal, or `cast` it"
            }
            Type::Enum(_) if relational => "has no order: use `eq`, `ne` or `in`",
            Type::Null
            | Type::Boolean
            | Type::Int
            | Type::Double
            | Type::String
            | Type::Date
            | Type::TimeOfDay
            | Type::DateTimeOffset
            | Type::Duration
            | Type::Guid
            | Type::Enum(_)
            | Type::Json
            | Type::Object(_) => {
                return Ok(boolean(Kind::Compare(comparison, Box::new([left, right])), span));
            }
        };
        let message = format!("{} {problem}", left.ty);
        Err(self.error(ErrorKind::Type, span, message))
    }

    /// `subject in (...)`; each member is converted as if it were compared with the subject.
    fn membership(
        &self,
        mut subject: Expr,
        items: Vec<(Value, Span)>,
        span: Span,
    ) -> Result<Expr, Error> {
        let items: Vec<Expr> = items.into_iter().map(|(value, at)| literal(value, at)).collect();
        for item in &items {
            let wanted = if subject.ty == Type::Json && item.ty == Type::Int {
                &Type::Double
            } else {
                &item.ty
            };
            if !convert::fits(item, &subject.ty) && convert::fits(&subject, wanted) {
                subject = self.convert(subject, wanted)?;
            }
        }
        if matches!(subject.ty, Type::Object(_) | Type::Collection(_) | Type::Map) {
            let message = format!("{} cannot be searched for in a list", subject.ty);
            return Err(self.error(ErrorKind::Type, subject.span, message));
        }
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if !convert::fits(&item, &subject.ty) {
                let message = format!("cannot compare {} with {}", subject.ty, item.ty);
                return Err(self.error(ErrorKind::Type, item.span, message));
            }
            if let Kind::Literal(value) = self.convert(item, &subject.ty)?.kind {
                values.push(value);
            }
        }
        Ok(boolean(Kind::In(Box::new(subject), values), span))
    }

    /// `expr` as a Boolean: JSON is read as one, and the literal null is one.
    fn boolean(&self, expr: Expr) -> Result<Expr, Error> {
        if convert::fits(&expr, &Type::Boolean) {
            return self.convert(expr, &Type::Boolean);
        }
        let message = format!("expected a condition, found {}", expr.ty);
        Err(self.error(ErrorKind::Type, expr.span, message))
    }

    fn error(&self, kind: ErrorKind, span: Span, message: impl Into<String>) -> Error {
        Error::new(kind, self.source, span, message)
    }
}

const fn boolean(kind: Kind, span: Span) -> Expr {
    Expr { kind, ty: Type::Boolean, span }
}

const fn is_null(expr: &Expr) -> bool {
    matches!(expr.kind, Kind::Literal(Value::Null))
}

/// A literal with the type it has by itself.
fn literal(value: Value, span: Span) -> Expr {
    let ty = match &value {
        Value::Boolean(_) => Type::Boolean,
        Value::Int(_) => Type::Int,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Date(_) => Type::Date,
        Value::TimeOfDay(_) => Type::TimeOfDay,
        Value::DateTimeOffset(_) => Type::DateTimeOffset,
        Value::Duration(_) => Type::Duration,
        Value::Guid(_) => Type::Guid,
        Value::Null | Value::List(_) | Value::Object(_) => Type::Null,
    };
    Expr { kind: Kind::Literal(value), ty, span }
}
