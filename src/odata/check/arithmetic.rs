//! Which operands the arithmetic operators take, and what they yield.

use super::Checker;
use crate::odata::check::convert::fits;
use crate::odata::error::{Error, ErrorKind};
use crate::odata::expr::{Expr, Kind};
use crate::odata::model::Type;
use crate::odata::syntax::{Arithmetic, Infix, Span};
use crate::odata::value::Value;

impl Checker<'_> {
    pub(super) fn negate(&self, operand: Expr, span: Span) -> Result<Expr, Error> {
        let operand = self.beside(operand, &Type::Null)?;
        if !matches!(operand.ty, Type::Int | Type::Double | Type::Duration) {
            let message = format!("`-` needs a number or a duration, found {}", operand.ty);
            return Err(self.error(ErrorKind::Type, span, message));
        }
        let ty = operand.ty.clone();
        Ok(Expr { kind: Kind::Negate(Box::new(operand)), ty, span })
    }

    pub(super) fn arithmetic(
        &self,
        operator: Arithmetic,
        left: Expr,
        right: Expr,
        span: Span,
    ) -> Result<Expr, Error> {
        let (found_left, found_right) = (left.ty.clone(), right.ty.clone());
        let right = self.beside(right, &found_left)?;
        let left = self.beside(left, &right.ty)?;
        let Some((wanted_left, wanted_right, ty)) = signature(operator, &left.ty, &right.ty) else {
            let (name, _) = Infix::Arithmetic(operator).entry();
            let hint = if operator == Arithmetic::Mod { " (it takes whole numbers)" } else { "" };
            let message = format!("`{name}` cannot join {found_left} and {found_right}{hint}");
            return Err(self.error(ErrorKind::Type, span, message));
        };
        let divides = matches!(operator, Arithmetic::Div | Arithmetic::DivBy | Arithmetic::Mod);
        if divides && is_zero(&right) {
            return Err(self.error(ErrorKind::DivisionByZero, right.span, "division by zero"));
        }
        let (left, right) =
            (self.convert(left, &wanted_left)?, self.convert(right, &wanted_right)?);
        Ok(Expr { kind: Kind::Arithmetic(operator, Box::new([left, right])), ty, span })
    }

    /// An operand without a type of its own (null, JSON, a quoted duration) beside one of `other`.
    fn beside(&self, operand: Expr, other: &Type) -> Result<Expr, Error> {
        let temporal = matches!(other, Type::Date | Type::DateTimeOffset | Type::Duration);
        let wanted = match (&operand.ty, other) {
            (Type::Null | Type::String, _) if temporal => Type::Duration,
            (Type::Null, Type::Double) | (Type::Json, _) => Type::Double,
            (Type::Null, _) => Type::Int,
            _ => return Ok(operand),
        };
        if fits(&operand, &wanted) { self.convert(operand, &wanted) } else { Ok(operand) }
    }
}

/// What the operands are converted to, and the type of the result.
fn signature(operator: Arithmetic, left: &Type, right: &Type) -> Option<(Type, Type, Type)> {
    let number = |ty: &Type| matches!(ty, Type::Int | Type::Double);
    let same = |ty: &Type| Some((ty.clone(), ty.clone(), ty.clone()));
    let additive = matches!(operator, Arithmetic::Add | Arithmetic::Sub);
    let scaling = matches!(operator, Arithmetic::Mul | Arithmetic::Div | Arithmetic::DivBy);
    match (left, right) {
        (Type::Int, Type::Int) if operator != Arithmetic::DivBy => same(&Type::Int),
        (left, right) if number(left) && number(right) => {
            (operator != Arithmetic::Mod).then(|| same(&Type::Double))?
        }
        (Type::Duration, Type::Duration) if additive => same(&Type::Duration),
        (Type::Duration, right) if scaling && number(right) => {
            Some((Type::Duration, Type::Double, Type::Duration))
        }
        (left, Type::Duration) if operator == Arithmetic::Mul && number(left) => {
            Some((Type::Double, Type::Duration, Type::Duration))
        }
        (Type::Date | Type::DateTimeOffset, Type::Duration) if additive => {
            Some((left.clone(), Type::Duration, left.clone()))
        }
        (Type::Date, Type::Date) if operator == Arithmetic::Sub => {
            Some((Type::Date, Type::Date, Type::Duration))
        }
        (Type::Date | Type::DateTimeOffset, Type::Date | Type::DateTimeOffset)
            if operator == Arithmetic::Sub =>
        {
            Some((Type::DateTimeOffset, Type::DateTimeOffset, Type::Duration))
        }
        _ => None,
    }
}

fn is_zero(expr: &Expr) -> bool {
    let Kind::Literal(value) = &expr.kind else { return false };
    matches!(value, Value::Int(0)) || matches!(value, Value::Double(number) if *number == 0.0)
}
