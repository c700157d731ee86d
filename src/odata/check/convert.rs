//! The conversions the language makes by itself. There is none between strings and numbers.

use super::Checker;
use crate::odata::error::{Error, ErrorKind, did_you_mean};
use crate::odata::expr::{Expr, Kind};
use crate::odata::literal;
use crate::odata::model::{EnumType, PRIMITIVES, Type};
use crate::odata::syntax::Span;
use crate::odata::value::Value;

/// Up to here every integer has a double of its own, in both directions.
const EXACT_DOUBLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Whether `expr` can stand where a `wanted` is asked for.
pub(super) fn fits(expr: &Expr, wanted: &Type) -> bool {
    match (&expr.ty, wanted) {
        (found, wanted) if found == wanted => true,
        (Type::Null, _) | (Type::Int, Type::Double) | (Type::Date, Type::DateTimeOffset) => true,
        (Type::Json, wanted) => PRIMITIVES.contains(wanted),
        (Type::Double, Type::Int) => whole(expr).is_some(),
        (Type::String, Type::Enum(_) | Type::Duration) => matches!(expr.kind, Kind::Literal(_)),
        _ => false,
    }
}

/// The integer that a double literal such as `50.0` is.
fn whole(expr: &Expr) -> Option<i64> {
    let Kind::Literal(Value::Double(number)) = expr.kind else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 in magnitude")]
    (number.fract() == 0.0 && number.abs() <= EXACT_DOUBLE_MAX).then_some(number as i64)
}

impl Checker<'_> {
    /// `expr` as a `wanted`, which it [`fits`].
    pub(super) fn convert(&self, mut expr: Expr, wanted: &Type) -> Result<Expr, Error> {
        if expr.ty == *wanted {
            return Ok(expr);
        }
        let span = expr.span;
        let whole = whole(&expr);
        let converted = match (&mut expr.kind, wanted) {
            (Kind::Literal(Value::Null), _) => Some(Value::Null),
            #[expect(clippy::cast_precision_loss, reason = "as any comparison with a double")]
            (Kind::Literal(Value::Int(number)), Type::Double) => {
                Some(Value::Double(*number as f64))
            }
            (Kind::Literal(Value::Double(_)), Type::Int) => whole.map(Value::Int),
            (Kind::Literal(Value::Date(date)), Type::DateTimeOffset) => {
                Some(Value::DateTimeOffset(date.and_time(chrono::NaiveTime::MIN).and_utc()))
            }
            (Kind::Literal(Value::String(text)), Type::Enum(enumeration)) => {
                Some(Value::String(self.member(enumeration, text, span)?))
            }
            (Kind::Literal(Value::String(text)), Type::Duration) => {
                let duration = literal::duration(text).ok_or_else(|| {
                    let message = "this is not a duration such as `'PT1H30M'`";
                    self.error(ErrorKind::Literal, span, message)
                })?;
                Some(Value::Duration(duration))
            }
            _ => None,
        };
        let kind = match converted {
            Some(value) => Kind::Literal(value),
            None => Kind::Cast(Box::new(expr)),
        };
        Ok(Expr { kind, ty: wanted.clone(), span })
    }

    /// Both sides of a comparison in one type.
    pub(super) fn unify(
        &self,
        mut left: Expr,
        mut right: Expr,
        span: Span,
    ) -> Result<(Expr, Expr), Error> {
        if left.ty == right.ty {
            return Ok((left, right));
        }
        if left.ty == Type::Json && right.ty == Type::Int {
            right = self.convert(right, &Type::Double)?;
        } else if right.ty == Type::Json && left.ty == Type::Int {
            left = self.convert(left, &Type::Double)?;
        }
        if fits(&right, &left.ty) {
            let right = self.convert(right, &left.ty)?;
            return Ok((left, right));
        }
        if fits(&left, &right.ty) {
            let left = self.convert(left, &right.ty)?;
            return Ok((left, right));
        }
        let message = format!("cannot compare {} with {}", left.ty, right.ty);
        Err(self.error(ErrorKind::Type, span, message))
    }

    /// `text` in the spelling of the enumeration.
    fn member(&self, enumeration: &EnumType, text: &str, span: Span) -> Result<String, Error> {
        if let Some(member) = enumeration.member(text) {
            return Ok(member.to_owned());
        }
        let hint = match self.model.property_with_member(text) {
            Some(property) => format!("; it is a value of `{property}`: filter on `{property}`"),
            None => did_you_mean(text, enumeration.members.iter().map(String::as_str)),
        };
        let members = enumeration.members.join(", ");
        let message = format!("`{text}` is none of {} ({members}){hint}", enumeration.name);
        Err(self.error(ErrorKind::UnknownMember, span, message))
    }
}
