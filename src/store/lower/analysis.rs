//! What can be said of an expression without a row: whether it is constant, and whether it can fail.

use crate::odata::{Arithmetic, Expr, Kind, Type};

/// Whether the value is the same for every row.
pub(super) fn is_constant(expr: &Expr) -> bool {
    let depends = matches!(
        expr.kind,
        Kind::Property(_) | Kind::Count(..) | Kind::Lambda(_) | Kind::Custom(..)
    );
    !depends && !expr.any_operand(&mut |operand| !is_constant(operand))
}

/// Whether the expression has an error for some rows: a division by zero, a result out of range.
pub(super) fn can_fail(expr: &Expr) -> bool {
    let fails = match &expr.kind {
        Kind::Arithmetic(operator, pair) => !never_fails(*operator, &pair[0].ty, &pair[1].ty),
        Kind::Negate(_) => expr.ty != Type::Double,
        _ => false,
    };
    fails || expr.any_operand(&mut can_fail)
}

/// The difference of two instants or dates always fits.
fn never_fails(operator: Arithmetic, left: &Type, right: &Type) -> bool {
    operator == Arithmetic::Sub
        && left == right
        && matches!(left, Type::Date | Type::DateTimeOffset)
}
