//! The canonical text of checked expressions.
//!
//! Reading a canonical text gives back an equal expression, as long as it keeps within the limits:
//! conversions that the check made are
//! written out (`cast(context/n,Edm.Double) gt 5.0`), parentheses stand exactly where the tree needs
//! them, plus around a `not` that is compared.

use std::fmt::{self, Display, Formatter};

use chrono::{SecondsFormat, TimeDelta};

use super::expr::{Expr, Kind, Lambda};
use super::order::OrderItem;
use super::select::Select;
use super::syntax::{IN_POWER, Infix, PREFIX_POWER, PRIMARY_POWER, Quantifier};
use super::value::Value;

/// The canonical text.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Literal(value) => literal(f, value),
            Kind::Property(path) => path.fmt(f),
            Kind::Count(path, _) => write!(f, "{path}/$count"),
            Kind::Not(operand) => write!(f, "not {}", At(operand, PREFIX_POWER)),
            Kind::Negate(operand) => write!(f, "-({operand})"),
            Kind::Compare(comparison, pair) => infix(f, Infix::Compare(*comparison), pair),
            Kind::Arithmetic(operator, pair) => infix(f, Infix::Arithmetic(*operator), pair),
            Kind::And(operands) => chain(f, Infix::And, operands),
            Kind::Or(operands) => chain(f, Infix::Or, operands),
            Kind::In(subject, members) => {
                write!(f, "{} in (", At(subject, PRIMARY_POWER))?;
                separated(f, members, literal)?;
                f.write_str(")")
            }
            Kind::Call(function, arguments) => call(f, function.name(), arguments),
            Kind::Custom(name, arguments) => call(f, name, arguments),
            Kind::Matches(subject, pattern) => {
                write!(f, "matchesPattern({subject},")?;
                quoted(f, pattern.source())?;
                f.write_str(")")
            }
            Kind::Cast(operand) => write!(f, "cast({operand},{})", self.ty),
            Kind::IsOf(operand, ty) => write!(f, "isof({operand},{ty})"),
            Kind::Case(arms) => {
                f.write_str("case(")?;
                separated(f, arms, |f, (condition, value)| write!(f, "{condition} : {value}"))?;
                f.write_str(")")
            }
            Kind::Lambda(lambda) => lambda.fmt(f),
        }
    }
}

impl Display for Lambda {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = match self.quantifier {
            Quantifier::Any => "any",
            Quantifier::All => "all",
        };
        write!(f, "{}/{name}(", self.collection)?;
        if let Some((variable, predicate)) = &self.body {
            write!(f, "{variable}:{predicate}")?;
        }
        f.write_str(")")
    }
}

impl Display for OrderItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.expr, if self.descending { " desc" } else { "" })
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Paths(paths) => separated(f, paths, |f, path| path.fmt(f)),
        }
    }
}

/// An operand where only what binds at least as tightly as the power can stand bare.
struct At<'a>(&'a Expr, u8);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(expr, least) = self;
        if power(&expr.kind) < *least { write!(f, "({expr})") } else { write!(f, "{expr}") }
    }
}

/// How tightly an expression holds together.
fn power(kind: &Kind) -> u8 {
    match kind {
        Kind::Or(_) => Infix::Or.entry().1,
        Kind::And(_) => Infix::And.entry().1,
        Kind::Compare(comparison, _) => Infix::Compare(*comparison).entry().1,
        Kind::Arithmetic(operator, _) => Infix::Arithmetic(*operator).entry().1,
        Kind::In(..) => IN_POWER,
        Kind::Not(_) | Kind::Negate(_) => PREFIX_POWER,
        Kind::Literal(_)
        | Kind::Property(_)
        | Kind::Count(..)
        | Kind::Call(..)
        | Kind::Matches(..)
        | Kind::Custom(..)
        | Kind::Cast(_)
        | Kind::IsOf(..)
        | Kind::Case(_)
        | Kind::Lambda(_) => PRIMARY_POWER,
    }
}

/// Two operands of a left-associative operator.
fn infix(f: &mut Formatter<'_>, operator: Infix, [left, right]: &[Expr; 2]) -> fmt::Result {
    let (name, binds) = operator.entry();
    if matches!(left.kind, Kind::Not(_)) {
        write!(f, "({left})")?;
    } else {
        At(left, binds).fmt(f)?;
    }
    write!(f, " {name} {}", At(right, binds + 1))
}

fn chain(f: &mut Formatter<'_>, operator: Infix, operands: &[Expr]) -> fmt::Result {
    let (name, binds) = operator.entry();
    for (index, operand) in operands.iter().enumerate() {
        if index > 0 {
            write!(f, " {name} ")?;
        }
        At(operand, binds + 1).fmt(f)?;
    }
    Ok(())
}

fn call(f: &mut Formatter<'_>, name: &str, arguments: &[Expr]) -> fmt::Result {
    write!(f, "{name}(")?;
    separated(f, arguments, |f, argument| argument.fmt(f))?;
    f.write_str(")")
}

fn separated<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    write_item: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        write_item(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\'', "''"))
}

fn literal(f: &mut Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Boolean(truth) => truth.fmt(f),
        Value::Int(number) => number.fmt(f),
        Value::Double(number) => write!(f, "{number:?}"),
        Value::String(text) => quoted(f, text),
        Value::Date(date) => date.fmt(f),
        Value::TimeOfDay(time) => time.format("%H:%M:%S%.f").fmt(f),
        Value::DateTimeOffset(instant) => {
            f.write_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
        }
        Value::Duration(duration) => write_duration(f, *duration),
        Value::Guid(guid) => guid.fmt(f),
        Value::Null | Value::List(_) | Value::Object(_) => f.write_str("null"),
    }
}

/// Seconds only: the shortest form that needs no choice of units.
fn write_duration(f: &mut Formatter<'_>, duration: TimeDelta) -> fmt::Result {
    let sign = if duration < TimeDelta::zero() { "-" } else { "" };
    let duration = duration.abs();
    write!(f, "duration'{sign}PT{}", duration.num_seconds())?;
    let micros = duration.subsec_nanos() / 1_000;
    if micros > 0 {
        write!(f, ".{micros:06}")?;
    }
    f.write_str("S'")
}
