//! Filters by truth: SQL that an index can serve.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::analysis::{can_fail, is_constant};
use super::columns::{Column, Form};
use super::literal::bind_all;
use super::{Lowering, Unsupported};
use crate::odata::{Comparison, Expr, Kind, Type, Value};
use crate::store::own_id;

impl<'e> Lowering<'_, 'e> {
    /// True where `filter` is true.
    pub(super) fn condition(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        filter: &'e Expr,
    ) -> Result<(), Unsupported> {
        let conjuncts = match &filter.kind {
            Kind::And(operands) => operands.as_slice(),
            _ => std::slice::from_ref(filter),
        };
        let safe = conjuncts.iter().take_while(|conjunct| !can_fail(conjunct)).count();
        for (at, conjunct) in conjuncts[..safe].iter().enumerate() {
            out.push(if at > 0 { " and " } else { "" });
            self.truth(out, conjunct)?;
        }
        if safe < conjuncts.len() {
            out.push(if safe > 0 { " and " } else { "" }).push("case when ");
            self.value(out, filter)?;
            out.push(" then true else false end");
        }
        Ok(())
    }

    /// True where `expr`, which cannot fail, is true; false or null elsewhere.
    fn truth(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        expr: &'e Expr,
    ) -> Result<(), Unsupported> {
        if is_constant(expr) {
            return self.value(out, expr);
        }
        let (operands, link) = match &expr.kind {
            Kind::And(operands) => (operands, " and "),
            Kind::Or(operands) => (operands, " or "),
            Kind::Compare(comparison, pair) => return self.true_comparison(out, *comparison, pair),
            Kind::In(subject, members)
                if !members.iter().any(Value::is_null)
                    && self.codes_of(subject, members).is_none() =>
            {
                self.value(out, subject)?;
                out.push(" = any (");
                bind_all(out, &subject.ty, members);
                out.push(")");
                return Ok(());
            }
            _ => return self.value(out, expr),
        };
        out.push("(");
        for (at, operand) in operands.iter().enumerate() {
            out.push(if at > 0 { link } else { "" });
            self.truth(out, operand)?;
        }
        out.push(")");
        Ok(())
    }

    fn true_comparison(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        comparison: Comparison,
        pair: &'e [Expr; 2],
    ) -> Result<(), Unsupported> {
        out.push("(");
        let operator = match comparison {
            Comparison::Gt => " > ",
            Comparison::Ge => " >= ",
            Comparison::Lt => " < ",
            Comparison::Le => " <= ",
            Comparison::Eq | Comparison::Ne => " = ",
        };
        let [left, right] = pair;
        let has_value =
            |expr: &Expr| matches!(&expr.kind, Kind::Literal(value) if !value.is_null());
        let plain = match comparison {
            Comparison::Eq => has_value(left) || has_value(right),
            Comparison::Ne => false,
            Comparison::Gt | Comparison::Ge | Comparison::Lt | Comparison::Le => true,
        };
        if !plain || self.has_form(left) || self.has_form(right) {
            self.compare(out, comparison, pair)?;
        } else if comparison != Comparison::Eq || !self.label(out, pair) {
            self.value(out, left)?;
            out.push(operator);
            self.value(out, right)?;
            if operator != " = " && left.ty == Type::String {
                out.push(" collate \"C\"");
            }
        }
        out.push(")");
        Ok(())
    }

    fn has_form(&self, expr: &Expr) -> bool {
        self.column_of(expr).is_some_and(|column| column.form != Form::Value)
    }

    /// `labels/branch eq 'main'` as containment, which an index over all labels can serve.
    fn label(&self, out: &mut QueryBuilder<Postgres>, pair: &[Expr; 2]) -> bool {
        let [left, right] = pair;
        let ((Kind::Property(path), Kind::Literal(Value::String(text)))
        | (Kind::Literal(Value::String(text)), Kind::Property(path))) = (&left.kind, &right.kind)
        else {
            return false;
        };
        let column = self.columns.find(path.as_str()).filter(|_| path.variable().is_none());
        match column {
            Some((column, key)) if !key.is_empty() && !key.contains('/') => {
                out.push(&column.sql).push(" @> ").push_bind(json!({ key: text }));
                true
            }
            Some(_) | None => false,
        }
    }

    /// The column that `expr` names, and nothing below it.
    fn column_of(&self, expr: &Expr) -> Option<&Column> {
        let Kind::Property(path) = &expr.kind else { return None };
        let (column, below) = self.columns.find(path.as_str())?;
        (path.variable().is_none() && below.is_empty()).then_some(column)
    }

    /// The codes of the members, if `subject` is a column of codes.
    pub(super) fn codes_of(
        &self,
        subject: &Expr,
        members: &[Value],
    ) -> Option<(&Column, Vec<i16>)> {
        let column = self.column_of(subject)?;
        let Form::Codes(known) = &column.form else { return None };
        let codes = members
            .iter()
            .filter_map(Value::as_str)
            .filter_map(|member| known.iter().find(|(name, _)| *name == member))
            .flat_map(|(_, codes)| codes.iter().copied())
            .collect();
        Some((column, codes))
    }

    /// Comparisons of a column that is kept in another form with a constant. The columns are never
    /// null, so true and false are all there is. False: there is no such form for this one.
    pub(super) fn by_column(
        &self,
        out: &mut QueryBuilder<Postgres>,
        comparison: Comparison,
        pair: &'e [Expr; 2],
    ) -> bool {
        let [left, right] = pair;
        let (column, constant, comparison) = match (self.column_of(left), self.column_of(right)) {
            (Some(column), None) if is_constant(right) => (column, right, comparison),
            (None, Some(column)) if is_constant(left) => (column, left, flipped(comparison)),
            _ => return false,
        };
        let Ok(value) = crate::odata::eval::evaluate(constant, &Value::Null, self.now) else {
            return false;
        };
        match (&column.form, &value) {
            (Form::Codes(_), Value::String(_)) => {
                let subject = if std::ptr::eq(constant, left) { right } else { left };
                if let Some((column, codes)) = self.codes_of(subject, std::slice::from_ref(&value))
                {
                    // A code without a member is a null, which differs from all of them.
                    out.push(if comparison == Comparison::Eq { "" } else { "not " });
                    out.push(&column.sql).push(" = any (").push_bind(codes).push(")");
                }
            }
            (Form::ShownId, Value::String(text)) if comparison == Comparison::Eq => {
                shown_id(out, &column.sql, text);
            }
            (Form::IdTime, Value::DateTimeOffset(instant)) => {
                created(out, &column.sql, comparison, *instant);
            }
            (Form::Codes(_) | Form::ShownId | Form::IdTime | Form::Value | Form::Presence, _) => {
                return false;
            }
        }
        true
    }
}

const fn flipped(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Gt => Comparison::Lt,
        Comparison::Ge => Comparison::Le,
        Comparison::Lt => Comparison::Gt,
        Comparison::Le => Comparison::Ge,
        Comparison::Eq | Comparison::Ne => comparison,
    }
}

/// One row by its key, whichever of the two ids this is.
fn shown_id(out: &mut QueryBuilder<Postgres>, table: &str, text: &str) {
    out.push(table).push(".id = ");
    match own_id(text) {
        Some(id) => out.push_bind(id).push(" and ").push(table).push(".alias is null"),
        None => out
            .push("(select operation from idempotency_key where kind = 0 and key = ")
            .push_bind(text.to_owned())
            .push(")"),
    };
}

/// A bound for the time of an id becomes one for the id. Ids know milliseconds.
fn created(
    out: &mut QueryBuilder<Postgres>,
    sql: &str,
    comparison: Comparison,
    instant: DateTime<Utc>,
) {
    let floor = instant.timestamp_micros().div_euclid(1_000);
    let ceiling = -(-instant.timestamp_micros()).div_euclid(1_000);
    let mut bound = |operator: &str, millis: i64| {
        out.push(sql).push(operator).push_bind(first_id_at(millis));
    };
    match comparison {
        Comparison::Gt => bound(" >= ", floor + 1),
        Comparison::Ge => bound(" >= ", ceiling),
        Comparison::Lt => bound(" < ", ceiling),
        Comparison::Le => bound(" < ", floor + 1),
        Comparison::Eq => {
            bound(" >= ", ceiling);
            out.push(" and ").push(sql).push(" < ").push_bind(first_id_at(floor + 1));
        }
        Comparison::Ne => {
            bound(" < ", ceiling);
            out.push(" or ").push(sql).push(" >= ").push_bind(first_id_at(floor + 1));
        }
    }
}

/// The least id of that millisecond; the least of all before 1970.
fn first_id_at(millis: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(millis).unwrap_or(0) << 80)
}
