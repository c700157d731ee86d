//! Functions, `cast` and `isof` as SQL.

use sqlx::{Postgres, QueryBuilder};

use super::{Lowering, Unsupported};
use crate::odata::{Expr, Function, Type, WHITE_SPACE};

/// What stands before the arguments, between them and behind them.
type Around = [&'static str; 3];

impl<'e> Lowering<'_, 'e> {
    /// A standard function. All of them are null when an argument is.
    pub(super) fn call(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        function: Function,
        arguments: &'e [Expr],
    ) -> Result<(), Unsupported> {
        if function == Function::Trim {
            out.push("btrim(");
            self.value(out, &arguments[0])?;
            out.push(", ").push_bind(WHITE_SPACE).push(")");
            return Ok(());
        }
        let first = arguments.first().map_or(&Type::Null, |argument| &argument.ty);
        let [before, between, behind] = around(function, first);
        out.push(before);
        for (at, argument) in arguments.iter().enumerate() {
            if at > 0 {
                out.push(between);
            }
            self.value(out, argument)?;
        }
        out.push(behind);
        Ok(())
    }

    pub(super) fn cast(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        operand: &'e Expr,
        to: &Type,
    ) -> Result<(), Unsupported> {
        let (before, behind) = conversion(&operand.ty, to);
        out.push(before);
        self.value(out, operand)?;
        out.push(behind);
        Ok(())
    }

    pub(super) fn is_of(
        &mut self,
        out: &mut QueryBuilder<Postgres>,
        operand: &'e Expr,
        ty: &Type,
    ) -> Result<(), Unsupported> {
        if operand.ty == Type::Json {
            self.cast(out, operand, ty)?;
            out.push(" is not null");
        } else {
            self.value(out, operand)?;
            out.push(if operand.ty == *ty { " is not null" } else { " is not null and false" });
        }
        Ok(())
    }
}

fn around(function: Function, first: &Type) -> Around {
    let (is_date, is_time) = (*first == Type::Date, *first == Type::TimeOfDay);
    let is_double = *first == Type::Double;
    match function {
        Function::Contains => ["strpos(", ", ", ") > 0"],
        Function::StartsWith => ["starts_with(", ", ", ")"],
        Function::EndsWith => ["odata_endswith(", ", ", ")"],
        Function::Length => ["char_length(", "", ")::bigint"],
        Function::IndexOf => ["strpos(", ", ", ")::bigint - 1"],
        Function::Substring => ["odata_substring(", ", ", ")"],
        Function::ToLower => ["odata_lower(", "", ")"],
        Function::ToUpper => ["odata_upper(", "", ")"],
        Function::Trim => ["btrim(", "", ")"],
        Function::Concat => ["", " || ", ""],
        Function::Year if is_date => ["extract(year from ", "", ")::bigint"],
        Function::Month if is_date => ["extract(month from ", "", ")::bigint"],
        Function::Day if is_date => ["extract(day from ", "", ")::bigint"],
        Function::Year => ["extract(year from odata_date(", "", "))::bigint"],
        Function::Month => ["extract(month from odata_date(", "", "))::bigint"],
        Function::Day => ["extract(day from odata_date(", "", "))::bigint"],
        Function::Hour if is_time => ["extract(hour from ", "", ")::bigint"],
        Function::Minute if is_time => ["extract(minute from ", "", ")::bigint"],
        Function::Second if is_time => ["floor(extract(second from ", "", "))::bigint"],
        Function::FractionalSeconds if is_time => {
            ["extract(microseconds from ", "", ")::bigint % 1000000 / 1e6::float8"]
        }
        Function::Hour => ["extract(hour from odata_time(", "", "))::bigint"],
        Function::Minute => ["extract(minute from odata_time(", "", "))::bigint"],
        Function::Second => ["floor(extract(second from odata_time(", "", ")))::bigint"],
        Function::FractionalSeconds => {
            ["extract(microseconds from odata_time(", "", "))::bigint % 1000000 / 1e6::float8"]
        }
        Function::Date if is_date => ["", "", ""],
        Function::Date => ["odata_date(", "", ")"],
        Function::Time => ["odata_time(", "", ")"],
        Function::TotalOffsetMinutes => ["odata_micros(", "", ") * 0"],
        Function::TotalSeconds => ["", "", "::float8 / 1e6::float8"],
        Function::Round if is_double => ["odata_round(", "", ")"],
        Function::Floor if is_double => ["floor(", "", ")"],
        Function::Ceiling if is_double => ["ceiling(", "", ")"],
        // Constants never come here; an integer is its own rounding.
        Function::Round
        | Function::Floor
        | Function::Ceiling
        | Function::Now
        | Function::MinDateTime
        | Function::MaxDateTime => ["", "", ""],
    }
}

/// The conversions that `cast` has; any other pair yields null.
fn conversion(from: &Type, to: &Type) -> (&'static str, &'static str) {
    match (from, to) {
        (Type::Json, Type::String) => ("odata_json_text(", ")"),
        (Type::Json, Type::Boolean) => ("odata_json_boolean(", ")"),
        (Type::Json, Type::Double) => ("odata_json_double(", ")"),
        (Type::Json, Type::Int) => ("odata_json_integer(", ")"),
        (Type::Json, Type::Date) => ("odata_text_date(odata_json_text(", "))"),
        (Type::Json, Type::TimeOfDay) => ("odata_text_time(odata_json_text(", "))"),
        (Type::Json, Type::DateTimeOffset) => ("odata_text_instant(odata_json_text(", "))"),
        (Type::Json, Type::Duration) => ("odata_text_duration(odata_json_text(", "))"),
        (Type::Json, Type::Guid) => ("odata_text_guid(odata_json_text(", "))"),
        (Type::String, Type::Boolean) => ("odata_text_boolean(", ")"),
        (Type::String, Type::Int) => ("odata_text_integer(", ")"),
        (Type::String, Type::Double) => ("odata_text_double(", ")"),
        (Type::String, Type::Date) => ("odata_text_date(", ")"),
        (Type::String, Type::TimeOfDay) => ("odata_text_time(", ")"),
        (Type::String, Type::DateTimeOffset) => ("odata_text_instant(", ")"),
        (Type::String, Type::Duration) => ("odata_text_duration(", ")"),
        (Type::String, Type::Guid) => ("odata_text_guid(", ")"),
        (Type::Int, Type::Double) => ("", "::double precision"),
        (Type::Double, Type::Int) => ("odata_integer(", ")"),
        (Type::Date, Type::DateTimeOffset) => ("odata_instant(", ")"),
        (Type::DateTimeOffset, Type::Date) => ("odata_date(", ")"),
        (Type::DateTimeOffset, Type::TimeOfDay) => ("odata_time(", ")"),
        (Type::Date, Type::String) => ("to_char(", "::timestamp, 'YYYY-MM-DD')"),
        (_, Type::String) => ("", "::text"),
        (_, _) => ("nullif(null, ", ")"),
    }
}
