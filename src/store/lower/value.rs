//! Expressions as SQL that yields exactly their value, null included.

use sqlx::{Postgres, QueryBuilder};

use super::analysis::is_constant;
use super::columns::Form;
use super::literal::{bind, bind_all, sql_type};
use super::{Lowering, Unsupported};
use crate::odata::{
    Arithmetic, Comparison, ErrorKind, Expr, Kind, Lambda, Path, Quantifier, Type, Value, eval,
};

/// What a lambda variable stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Item {
    /// The column `item` of the SQL alias, jsonb.
    Json(usize),
    /// The columns `key` and `value` of the alias.
    Entry(usize),
}

impl<'e> Lowering<'_, 'e> {
    /// The value of `expr`.
    pub(super) fn value(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        expr: &'e Expr,
    ) -> Result<(), Unsupported> {
        if is_constant(expr) {
            self.constant(out, expr);
            return Ok(());
        }
        out.push("(");
        match &expr.kind {
            Kind::Literal(value) => bind(out, &expr.ty, value),
            Kind::Property(path) => self.property(out, path, &expr.ty)?,
            Kind::Count(path, ty) => self.count(out, path, ty)?,
            Kind::Not(operand) => {
                out.push("not ");
                self.value(out, operand)?;
            }
            Kind::Negate(operand) => {
                out.push("- ");
                self.value(out, operand)?;
            }
            Kind::Compare(comparison, pair) => self.compare(out, *comparison, pair)?,
            Kind::Arithmetic(operator, pair) => self.arithmetic(out, *operator, pair)?,
            Kind::And(operands) => self.joined(out, operands, " and ")?,
            Kind::Or(operands) => self.joined(out, operands, " or ")?,
            Kind::In(subject, members) => self.membership(out, subject, members)?,
            Kind::Call(function, arguments) => self.call(out, *function, arguments)?,
            Kind::Matches(subject, pattern) => {
                self.value(out, subject)?;
                out.push(" collate \"C\" ~ ").push_bind(format!("(?:{})", pattern.portable()));
            }
            Kind::Custom(name, _) => return Err(Unsupported(format!("the function `{name}`"))),
            Kind::Cast(operand) => self.cast(out, operand, &expr.ty)?,
            Kind::IsOf(operand, ty) => self.is_of(out, operand, ty)?,
            Kind::Case(arms) => {
                out.push("case");
                for (condition, value) in arms {
                    out.push(" when ");
                    self.value(out, condition)?;
                    out.push(" then ");
                    self.value(out, value)?;
                }
                out.push(" end");
            }
            Kind::Lambda(lambda) => self.lambda(out, lambda)?,
        }
        out.push(")");
        Ok(())
    }

    /// A value that is the same for all rows is computed here; where it has none, whoever arrives
    /// at it fails.
    fn constant(&self, out: &mut QueryBuilder<Postgres>, expr: &Expr) {
        match eval::evaluate(expr, &Value::Null, self.now) {
            Ok(value) => bind(out, &expr.ty, &value),
            Err(error) => {
                let code = if error.kind == ErrorKind::DivisionByZero { "22012" } else { "22003" };
                out.push("(odata_fail('").push(code).push("')::").push(sql_type(&expr.ty));
                out.push(")");
            }
        }
    }

    /// At execution PostgreSQL looks at the operands of `and` and `or` from left to right and stops
    /// when the answer is known, as the language does.
    fn joined(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        operands: &'e [Expr],
        link: &str,
    ) -> Result<(), Unsupported> {
        for (at, operand) in operands.iter().enumerate() {
            if at > 0 {
                out.push(link);
            }
            self.value(out, operand)?;
        }
        Ok(())
    }

    pub(super) fn compare(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        comparison: Comparison,
        pair: &'e [Expr; 2],
    ) -> Result<(), Unsupported> {
        if self.by_column(out, comparison, pair) {
            return Ok(());
        }
        let [left, right] = pair;
        if matches!(left.ty, Type::Object(_)) || matches!(right.ty, Type::Object(_)) {
            let object = if is_constant(left) { right } else { left };
            self.value(out, object)?;
            out.push(if comparison == Comparison::Eq { " is not true" } else { " is true" });
            return Ok(());
        }
        let (operator, is_relation) = match comparison {
            Comparison::Eq => (" is not distinct from ", false),
            Comparison::Ne => (" is distinct from ", false),
            Comparison::Gt => (" > ", true),
            Comparison::Ge => (" >= ", true),
            Comparison::Lt => (" < ", true),
            Comparison::Le => (" <= ", true),
        };
        out.push("(");
        self.value(out, left)?;
        out.push(operator);
        self.value(out, right)?;
        if is_relation && left.ty == Type::String {
            out.push(" collate \"C\"");
        }
        out.push(if is_relation { ") is true" } else { ")" });
        Ok(())
    }

    fn membership(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        subject: &'e Expr,
        members: &[Value],
    ) -> Result<(), Unsupported> {
        let has_null = members.iter().any(Value::is_null);
        if let Some((column, codes)) = self.codes_of(subject, members) {
            out.push(&column.sql).push(" = any (").push_bind(codes).push(")");
            return Ok(());
        }
        if members.iter().all(Value::is_null) {
            self.value(out, subject)?;
            out.push(" is null and ").push(has_null);
            return Ok(());
        }
        out.push("coalesce(");
        self.value(out, subject)?;
        out.push(" = any (");
        bind_all(out, &subject.ty, members);
        out.push("), ").push(has_null).push(")");
        Ok(())
    }

    fn arithmetic(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        operator: Arithmetic,
        pair: &'e [Expr; 2],
    ) -> Result<(), Unsupported> {
        let [left, right] = pair;
        let divides = matches!(operator, Arithmetic::Div | Arithmetic::DivBy | Arithmetic::Mod);
        let subtracts = operator == Arithmetic::Sub;
        let around = match (&left.ty, &right.ty) {
            (Type::Duration, Type::Double) if divides => {
                ["odata_round(", "::float8 / ", ")::bigint"]
            }
            (Type::Duration, Type::Double) => ["odata_round(", "::float8 * ", ")::bigint"],
            (Type::Double, Type::Duration) => ["odata_round(", " * ", "::float8)::bigint"],
            (Type::DateTimeOffset, Type::Duration) if subtracts => ["odata_shift(", ", -1, ", ")"],
            (Type::DateTimeOffset, Type::Duration) => ["odata_shift(", ", 1, ", ")"],
            (Type::Date, Type::Duration) if subtracts => {
                ["odata_date(odata_shift(odata_instant(", "), -1, ", "))"]
            }
            (Type::Date, Type::Duration) => {
                ["odata_date(odata_shift(odata_instant(", "), 1, ", "))"]
            }
            (Type::DateTimeOffset, Type::DateTimeOffset) => {
                ["odata_micros(", ") - odata_micros(", ")"]
            }
            (Type::Date, Type::Date) => ["(", " - ", ")::bigint * 86400000000"],
            _ => match operator {
                Arithmetic::Add => ["", " + ", ""],
                Arithmetic::Sub => ["", " - ", ""],
                Arithmetic::Mul => ["", " * ", ""],
                Arithmetic::Div | Arithmetic::DivBy => ["", " / ", ""],
                Arithmetic::Mod => ["", " % ", ""],
            },
        };
        out.push(around[0]);
        self.value(out, left)?;
        out.push(around[1]);
        self.value(out, right)?;
        out.push(around[2]);
        Ok(())
    }

    fn lambda(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        lambda: &'e Lambda,
    ) -> Result<(), Unsupported> {
        let any = lambda.quantifier == Quantifier::Any;
        out.push(if any { "exists (select from " } else { "not exists (select from " });
        self.aliases += 1;
        let alias = self.aliases;
        let (function, item) = if lambda.ty == Type::Map {
            ("jsonb_each_text(odata_json_entries(", Item::Entry(alias))
        } else {
            ("jsonb_array_elements(odata_json_items(", Item::Json(alias))
        };
        out.push(function);
        self.property(out, &lambda.collection, &lambda.ty)?;
        out.push(")) as v").push(alias);
        out.push(if lambda.ty == Type::Map { "(key, value)" } else { "(item)" });
        if let Some((variable, predicate)) = &lambda.body {
            self.scope.push((variable, item));
            out.push(" where ");
            self.value(out, predicate)?;
            // A test of truth is one condition to the planner, so it keeps the order within.
            out.push(if any { " is true" } else { " is not true" });
            self.scope.pop();
        }
        out.push(")");
        Ok(())
    }

    fn count(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        path: &'e Path,
        ty: &Type,
    ) -> Result<(), Unsupported> {
        if *ty == Type::Map {
            out.push("odata_entry_count(");
            self.property(out, path, ty)?;
            out.push(")");
            return Ok(());
        }
        out.push("coalesce(jsonb_array_length(odata_json_items(");
        self.property(out, path, ty)?;
        out.push(")), 0)::bigint");
        Ok(())
    }

    /// What stands at `path`, as the SQL type of `ty`.
    pub(super) fn property(
        &self,
        out: &mut QueryBuilder<Postgres>,
        path: &'e Path,
        ty: &Type,
    ) -> Result<(), Unsupported> {
        let Some(variable) = path.variable() else {
            let unknown = || Unsupported(format!("`{path}`"));
            let (column, below) = self.columns.find(path.as_str()).ok_or_else(unknown)?;
            if below.is_empty() {
                form(out, &column.sql, &column.form, ty);
                return Ok(());
            }
            if column.form != Form::Value {
                return Err(unknown());
            }
            below_json(out, &column.sql, below, ty);
            return Ok(());
        };
        let bound = self.scope.iter().rev().find(|(name, _)| *name == variable);
        let Some((_, item)) = bound else { return Err(Unsupported(format!("`{variable}`"))) };
        match item {
            Item::Entry(alias) if path.as_str().is_empty() => {
                out.push("v").push(alias).push(" is not null");
            }
            Item::Entry(alias) => {
                let field = if path.as_str() == "key" { ".key" } else { ".value" };
                out.push("v").push(alias).push(field);
            }
            Item::Json(alias) => below_json(out, &format!("v{alias}.item"), path.as_str(), ty),
        }
        Ok(())
    }
}

/// A column as the SQL type of its declared type.
fn form(out: &mut QueryBuilder<Postgres>, sql: &str, form: &Form, ty: &Type) {
    match form {
        Form::Value if *ty == Type::Json => out.push("nullif(").push(sql).push(", 'null')"),
        Form::Value | Form::Presence => out.push(sql),
        Form::Codes(members) => {
            out.push("case ").push(sql);
            for (member, codes) in members {
                for code in codes {
                    out.push(" when ").push(code).push(" then ").push_bind((*member).to_owned());
                }
            }
            out.push(" end")
        }
        Form::ShownId => {
            out.push("coalesce(").push(sql).push(".alias, ").push(sql).push(".id::text)")
        }
        Form::IdTime => out.push("created_at(").push(sql).push(")"),
    };
}

/// What stands below a jsonb value, read as a `ty`. The keys are bound.
fn below_json(out: &mut QueryBuilder<Postgres>, sql: &str, path: &str, ty: &Type) {
    out.push(match ty {
        Type::Json => "nullif((",
        Type::Object(_) => "jsonb_typeof((",
        Type::Collection(_) | Type::Map => "((",
        _ => "(((",
    });
    out.push(sql);
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        out.push(" -> ").push_bind(segment.to_owned());
    }
    match ty {
        Type::Json => out.push("), 'null')"),
        Type::Object(_) => out.push(")) = 'object'"),
        Type::Collection(_) | Type::Map => out.push("))"),
        _ => out.push(") #>> '{}')::").push(sql_type(ty)).push(")"),
    };
}
