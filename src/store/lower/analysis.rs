//! What can be said of an expression without a row: whether it is constant, and whether it can fail.

use crate::odata::{Arithmetic, Expr, Kind, Type};

/// Calls `visit` with the direct operands of `expr` until one answers true.
pub(super) fn any_operand(expr: &Expr, visit: &mut dyn FnMut(&Expr) -> bool) -> bool {
    match &expr.kind {
        Kind::Literal(_) | Kind::Property(_) | Kind::Count(..) => false,
        Kind::Not(operand)
        | Kind::Negate(operand)
        | Kind::In(operand, _)
        | Kind::Matches(operand, _)
        | Kind::Cast(operand)
        | Kind::IsOf(operand, _) => visit(operand),
        Kind::Compare(_, pair) | Kind::Arithmetic(_, pair) => visit(&pair[0]) || visit(&pair[1]),
        Kind::And(operands)
        | Kind::Or(operands)
        | Kind::Call(_, operands)
        | Kind::Custom(_, operands) => operands.iter().any(visit),
        Kind::Case(arms) => arms.iter().any(|(condition, value)| visit(condition) || visit(value)),
        Kind::Lambda(lambda) => lambda.body.iter().any(|(_, predicate)| visit(predicate)),
    }
}

/// Whether the value is the same for every row.
pub(super) fn is_constant(expr: &Expr) -> bool {
    let depends = matches!(
        expr.kind,
        Kind::Property(_) | Kind::Count(..) | Kind::Lambda(_) | Kind::Custom(..)
    );
    !depends && !any_operand(expr, &mut |operand| !is_constant(operand))
}

/// Whether the expression has an error for some rows: a division by zero, a result out of range.
pub(super) fn can_fail(expr: &Expr) -> bool {
    let fails = match &expr.kind {
        Kind::Arithmetic(operator, pair) => !never_fails(*operator, &pair[0].ty, &pair[1].ty),
        Kind::Negate(_) => expr.ty != Type::Double,
        _ => false,
    };
    fails || any_operand(expr, &mut can_fail)
}

/// The difference of two instants or dates always fits.
fn never_fails(operator: Arithmetic, left: &Type, right: &Type) -> bool {
    operator == Arithmetic::Sub
        && left == right
        && matches!(left, Type::Date | Type::DateTimeOffset)
}
