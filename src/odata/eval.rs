//! Evaluation of a checked expression on one row in memory.
//!
//! The rules are those of the module docs of this room; a lowering to another engine has to match
//! them. Everything is a function of the expression, the row and one instant for `now()`.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use super::error::{Error, ErrorKind};
use super::expr::{Expr, Kind, Lambda, Path};
use super::model::Type;
use super::order::OrderItem;
use super::syntax::{Comparison, Quantifier};
use super::value::Value;

mod arithmetic;
mod cast;
mod function;

/// Something that has values for the properties of a model.
pub trait Row {
    /// The value at `path` (segments joined by `/`), of the type the model declares; null where
    /// there is none. A collection is a [`Value::List`], an object or map a [`Value::Object`],
    /// JSON whatever it holds (numbers as `Int` or `Double`).
    fn get(&self, path: &str) -> Value;

    /// The answer of a function that the model declares. Arguments are never null.
    ///
    /// # Errors
    /// A sentence for a person. Rows of a model without functions need not implement this.
    fn call(&self, function: &str, arguments: &[Value]) -> Result<Value, String> {
        let _ = arguments;
        Err(format!("`{function}` cannot be evaluated on this row"))
    }
}

impl Row for Value {
    fn get(&self, path: &str) -> Value {
        self.at(path).clone()
    }
}

/// Whether `row` meets the filter: false where the expression is false or null.
///
/// # Errors
/// [`ErrorKind::DivisionByZero`] and [`ErrorKind::OutOfRange`], when evaluation from left to right
/// arrives at such an operation (`and`, `or`, `case` and lambdas stop as soon as they are decided);
/// [`ErrorKind::Unsupported`], when the row has no answer for a function of the model.
pub fn matches(filter: &Expr, row: &dyn Row, now: DateTime<Utc>) -> Result<bool, Error> {
    Ok(evaluate(filter, row, now)? == Value::Boolean(true))
}

/// The value of an expression on `row`.
///
/// # Errors
/// As [`matches()`].
pub fn evaluate(expr: &Expr, row: &dyn Row, now: DateTime<Utc>) -> Result<Value, Error> {
    Evaluator { row, now, scope: Vec::new() }.value(expr)
}

/// How two rows stand to each other under `$orderby`; equal rows need a tie-break by key.
///
/// # Errors
/// As [`matches()`].
pub fn compare<R: Row>(
    items: &[OrderItem],
    left: &R,
    right: &R,
    now: DateTime<Utc>,
) -> Result<Ordering, Error> {
    for item in items {
        let (left, right) = (evaluate(&item.expr, left, now)?, evaluate(&item.expr, right, now)?);
        let ordering = match (left.is_null(), right.is_null()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => order_of_type(&item.expr.ty, &left, &right),
        };
        if ordering != Ordering::Equal {
            return Ok(if item.descending { ordering.reverse() } else { ordering });
        }
    }
    Ok(Ordering::Equal)
}

/// Enumerations by the position of their members, all else by value.
fn order_of_type(ty: &Type, left: &Value, right: &Value) -> Ordering {
    if let (Type::Enum(enumeration), Value::String(left), Value::String(right)) = (ty, left, right)
    {
        return enumeration.position(left).cmp(&enumeration.position(right));
    }
    order(left, right).unwrap_or(Ordering::Equal)
}

/// The order of two values of one type; none for different types, null, lists and objects.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        (Value::TimeOfDay(left), Value::TimeOfDay(right)) => Some(left.cmp(right)),
        (Value::DateTimeOffset(left), Value::DateTimeOffset(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        (Value::Guid(left), Value::Guid(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// Equality is two-valued: null equals null only.
fn equal(left: &Value, right: &Value) -> bool {
    match (left.is_null(), right.is_null()) {
        (true, true) => true,
        (false, false) => order(left, right) == Some(Ordering::Equal),
        (true, false) | (false, true) => false,
    }
}

struct Evaluator<'a> {
    row: &'a dyn Row,
    now: DateTime<Utc>,
    /// The items that the variables of the enclosing lambdas stand for, innermost last.
    scope: Vec<(&'a str, Value)>,
}

impl<'a> Evaluator<'a> {
    fn value(&mut self, expr: &'a Expr) -> Result<Value, Error> {
        match &expr.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Property(path) => Ok(self.get(path, &expr.ty)),
            Kind::Count(path, ty) => {
                let count = items(self.get(path, ty), ty).len();
                Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
            }
            Kind::Not(operand) => Ok(self.truth(operand)?.map(|truth| !truth).into()),
            Kind::Negate(operand) => {
                let operand = self.value(operand)?;
                arithmetic::negate(&operand).map_err(|kind| failure(kind, expr))
            }
            Kind::Compare(comparison, pair) => {
                let (left, right) = (self.value(&pair[0])?, self.value(&pair[1])?);
                Ok(Value::Boolean(holds(*comparison, &left, &right)))
            }
            Kind::Arithmetic(operator, pair) => {
                let (left, right) = (self.value(&pair[0])?, self.value(&pair[1])?);
                arithmetic::apply(*operator, left, right).map_err(|kind| failure(kind, expr))
            }
            Kind::And(operands) => Ok(self.decided_by(false, operands)?.into()),
            Kind::Or(operands) => Ok(self.decided_by(true, operands)?.into()),
            Kind::In(subject, members) => {
                let subject = self.value(subject)?;
                Ok(Value::Boolean(members.iter().any(|member| equal(&subject, member))))
            }
            Kind::Call(function, arguments) => {
                let Some(arguments) = self.arguments(arguments)? else { return Ok(Value::Null) };
                Ok(function::apply(*function, &arguments, self.now))
            }
            Kind::Matches(subject, pattern) => {
                let subject = self.value(subject)?;
                Ok(subject.as_str().map(|text| pattern.is_match(text)).into())
            }
            Kind::Custom(name, arguments) => {
                let Some(arguments) = self.arguments(arguments)? else { return Ok(Value::Null) };
                let answer = self.row.call(name, &arguments);
                answer.map_err(|message| Error::of(ErrorKind::Unsupported, expr, message))
            }
            Kind::Cast(operand) => Ok(cast::cast(self.value(operand)?, &operand.ty, &expr.ty)),
            Kind::IsOf(operand, ty) => {
                let value = self.value(operand)?;
                Ok(Value::Boolean(cast::is_of(&value, &operand.ty, ty)))
            }
            Kind::Case(arms) => {
                for (condition, value) in arms {
                    if self.truth(condition)? == Some(true) {
                        return self.value(value);
                    }
                }
                Ok(Value::Null)
            }
            Kind::Lambda(lambda) => self.lambda(lambda).map(Value::Boolean),
        }
    }

    /// True, false or (`None`) null.
    fn truth(&mut self, expr: &'a Expr) -> Result<Option<bool>, Error> {
        Ok(if let Value::Boolean(truth) = self.value(expr)? { Some(truth) } else { None })
    }

    /// `or` is true as soon as an operand is true, `and` false as soon as one is false; else a null
    /// among the operands makes the whole null.
    fn decided_by(&mut self, decisive: bool, operands: &'a [Expr]) -> Result<Option<bool>, Error> {
        let mut result = Some(!decisive);
        for operand in operands {
            match self.truth(operand)? {
                Some(truth) if truth == decisive => return Ok(Some(decisive)),
                Some(_) => {}
                None => result = None,
            }
        }
        Ok(result)
    }

    /// The values of all arguments, or none at all if one is null.
    fn arguments(&mut self, arguments: &'a [Expr]) -> Result<Option<Vec<Value>>, Error> {
        let mut values = Vec::with_capacity(arguments.len());
        let mut some_null = false;
        for argument in arguments {
            let value = self.value(argument)?;
            some_null |= value.is_null();
            values.push(value);
        }
        Ok((!some_null).then_some(values))
    }

    fn lambda(&mut self, lambda: &'a Lambda) -> Result<bool, Error> {
        let items = items(self.get(&lambda.collection, &lambda.ty), &lambda.ty);
        let Some((variable, predicate)) = &lambda.body else { return Ok(!items.is_empty()) };
        let any = lambda.quantifier == Quantifier::Any;
        for item in items {
            self.scope.push((variable, item));
            let truth = self.truth(predicate)? == Some(true);
            self.scope.pop();
            if truth == any {
                return Ok(any);
            }
        }
        Ok(!any)
    }

    fn get(&self, path: &Path, ty: &Type) -> Value {
        let value = match path.variable() {
            None => self.row.get(path.as_str()),
            Some(variable) => {
                let bound = self.scope.iter().rev().find(|(name, _)| *name == variable);
                bound.map_or(Value::Null, |(_, item)| item.at(path.as_str()).clone())
            }
        };
        if *ty == Type::Double { cast::widened(&value).unwrap_or(value) } else { value }
    }
}

/// The items that a lambda over a value of type `ty` sees: of a map, its entries.
fn items(value: Value, ty: &Type) -> Vec<Value> {
    match (value, ty) {
        (Value::List(items), _) => items,
        (Value::Object(entries), Type::Map) => entries
            .into_iter()
            .map(|(key, value)| {
                Value::Object(vec![("key".into(), key.into()), ("value".into(), value)])
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn holds(comparison: Comparison, left: &Value, right: &Value) -> bool {
    let ordering = order(left, right);
    match comparison {
        Comparison::Eq => equal(left, right),
        Comparison::Ne => !equal(left, right),
        Comparison::Gt => ordering.is_some_and(Ordering::is_gt),
        Comparison::Ge => ordering.is_some_and(Ordering::is_ge),
        Comparison::Lt => ordering.is_some_and(Ordering::is_lt),
        Comparison::Le => ordering.is_some_and(Ordering::is_le),
    }
}

fn failure(kind: ErrorKind, expr: &Expr) -> Error {
    let message = if kind == ErrorKind::DivisionByZero {
        "division by zero"
    } else {
        "the result is out of the range of its type"
    };
    Error::of(kind, expr, message)
}
