//! Which states a filter can be true for: decides which tables and groups have to be looked at.

use super::columns::Form;
use super::{Columns, Lowering};
use crate::domain::OperationState;
use crate::odata::{Comparison, Expr, Kind, Type, Value};

/// A set of states, one bit for each code.
type States = u16;

const ALL: States = (1 << OperationState::ALL.len()) - 1;
/// A tombstone has the status that it ended with, so what is said of a status may be true of it.
const TOMBSTONE: States = bit(OperationState::Tombstone.code());

/// The states for which `filter` may be true. Operations whose data is gone are left out unless the
/// filter names their state.
pub(in crate::store) fn possible_states(
    columns: &Columns,
    filter: Option<&Expr>,
) -> Vec<OperationState> {
    let lowering = Lowering::new(columns, chrono::DateTime::UNIX_EPOCH);
    let states = filter.map_or(ALL, |filter| possible(&lowering, filter).0);
    let is_hidden = |state| matches!(state, OperationState::Tombstone | OperationState::Deleted);
    let shows_hidden = filter.is_some_and(names_hidden);
    OperationState::ALL
        .into_iter()
        .filter(|state| states & bit(state.code()) != 0 && (shows_hidden || !is_hidden(*state)))
        .collect()
}

const fn all_but(states: States) -> States {
    ALL & !states | states & TOMBSTONE
}

const fn bit(code: i16) -> States {
    1 << code
}

/// The states for which `expr` may be true, and whether it is true for all of these whatever else
/// the row holds.
fn possible(lowering: &Lowering<'_, '_>, expr: &Expr) -> (States, bool) {
    match &expr.kind {
        Kind::And(operands) => operands
            .iter()
            .map(|operand| possible(lowering, operand))
            .fold((ALL, true), |a, b| (a.0 & b.0, a.1 && b.1)),
        Kind::Or(operands) => operands
            .iter()
            .map(|operand| possible(lowering, operand))
            .fold((0, true), |a, b| (a.0 | b.0, a.1 && b.1)),
        Kind::Not(operand) => match possible(lowering, operand) {
            (states, true) => (all_but(states), true),
            (_, false) => (ALL, false),
        },
        Kind::In(subject, members) => {
            codes(lowering, subject, members).map_or((ALL, false), |states| (states, true))
        }
        Kind::Compare(comparison @ (Comparison::Eq | Comparison::Ne), pair) => {
            let states = match (&pair[0].kind, &pair[1].kind) {
                (Kind::Literal(value @ Value::String(_)), _) => {
                    codes(lowering, &pair[1], std::slice::from_ref(value))
                }
                (_, Kind::Literal(value @ Value::String(_))) => {
                    codes(lowering, &pair[0], std::slice::from_ref(value))
                }
                _ => None,
            };
            match states {
                Some(states) if *comparison == Comparison::Eq => (states, true),
                Some(states) => (all_but(states), true),
                None => (ALL, false),
            }
        }
        _ => (ALL, false),
    }
}

fn codes(lowering: &Lowering<'_, '_>, subject: &Expr, members: &[Value]) -> Option<States> {
    let (column, codes) = lowering.codes_of(subject, members)?;
    let has_null = members.iter().any(Value::is_null);
    let Form::Codes(known) = &column.form else { return None };
    let is_known = |code: i16| known.iter().any(|(_, codes)| codes.contains(&code));
    let hidden = if is_known(OperationState::Tombstone.code()) { 0 } else { TOMBSTONE };
    (!has_null).then(|| codes.into_iter().map(bit).fold(hidden, |states, state| states | state))
}

/// Whether a state that is hidden otherwise is named anywhere.
fn names_hidden(expr: &Expr) -> bool {
    let hidden = [OperationState::Tombstone.name(), OperationState::Deleted.name()];
    let is_hidden = |value: &Value| value.as_str().is_some_and(|text| hidden.contains(&text));
    let here = match &expr.kind {
        Kind::Literal(value) => matches!(expr.ty, Type::Enum(_)) && is_hidden(value),
        Kind::In(subject, members) => {
            matches!(subject.ty, Type::Enum(_)) && members.iter().any(is_hidden)
        }
        _ => false,
    };
    here || expr.any_operand(&mut names_hidden)
}
