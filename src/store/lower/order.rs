//! `$orderby` and the place where a page begins.
//!
//! Null is less than everything: first ascending, last descending. The key of the row comes last, so
//! that no two rows are equal.

use sqlx::{Postgres, QueryBuilder};

use super::analysis::can_fail;
use super::columns::Form;
use super::literal::sql_type;
use super::{Lowering, Unsupported};
use crate::odata::{Kind, OrderItem, Type};

/// What rows are sorted by. The expressions are the columns `k0`, `k1`, .. of a relation `k`, which
/// stands beside the rows.
#[derive(Debug)]
pub struct Sorting<'e> {
    items: Vec<&'e OrderItem>,
    id_descending: bool,
}

impl<'e> Sorting<'e> {
    pub(super) fn new(lowering: &Lowering<'_, 'e>, items: &'e [OrderItem]) -> Self {
        let mut sorting = Self { items: Vec::new(), id_descending: false };
        for (at, item) in items.iter().enumerate() {
            let form = match &item.expr.kind {
                Kind::Property(path) => lowering.columns.find(path.as_str()),
                _ => None,
            };
            let is_id = form.is_some_and(|(column, _)| match column.form {
                // Ids are in the order of creation.
                Form::IdTime => at + 1 == items.len(),
                Form::ShownId | Form::Value | Form::Codes(_) | Form::Presence => false,
            });
            if is_id {
                sorting.id_descending = item.descending;
                break;
            }
            sorting.items.push(item);
        }
        sorting
    }

    /// How many keys there are beside the id.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.items.len()
    }

    /// Whether a key has no value for some rows, so that it must not be asked for other rows than
    /// those that the filter keeps.
    #[must_use]
    pub fn can_fail(&self) -> bool {
        self.items.iter().any(|item| can_fail(&item.expr))
    }

    /// The keys as a list of columns: `.. as k0, .. as k1`.
    ///
    /// # Errors
    /// As [`Lowering::filter`].
    pub fn columns(
        &self,
        lowering: &mut Lowering<'_, 'e>,
        out: &mut QueryBuilder<Postgres>,
    ) -> Result<(), crate::store::StoreError> {
        for (at, item) in self.items.iter().enumerate() {
            out.push(if at > 0 { ", " } else { "" });
            column(lowering, out, item)?;
            out.push(" as k").push(at);
        }
        Ok(())
    }

    /// The keys of a row as an array of texts, from which [`after`](Self::after) goes on.
    pub fn place(&self, out: &mut QueryBuilder<Postgres>) {
        out.push("array[");
        for at in 0..self.items.len() {
            out.push(if at > 0 { ", k.k" } else { "k.k" }).push(at).push("::text");
        }
        out.push("]::text[]");
    }

    /// The list behind `order by`, where `id` is the key of the rows in SQL.
    pub fn order_by(&self, out: &mut QueryBuilder<Postgres>, id: &str) {
        for (at, item) in self.items.iter().enumerate() {
            out.push("k.k").push(at);
            out.push(if item.expr.ty == Type::String { " collate \"C\"" } else { "" });
            out.push(if item.descending { " desc nulls last, " } else { " asc nulls first, " });
        }
        out.push(id).push(if self.id_descending { " desc" } else { " asc" });
    }

    /// A condition that is true for the rows behind the one that had these keys and this id.
    pub fn after<'t>(
        &self,
        out: &mut QueryBuilder<Postgres>,
        keys: &[Option<String>],
        id: &str,
        last: impl sqlx::Encode<'t, Postgres> + sqlx::Type<Postgres>,
    ) {
        // Equal up to a key and behind in that key; or equal in all and behind in the id.
        let mut links = 0;
        for (at, (item, key)) in self.items.iter().zip(keys).enumerate() {
            out.push("(");
            behind(out, at, item, key.as_deref());
            out.push(" or (k.k").push(at).push(" is not distinct from ");
            bind_key(out, item, key.as_deref());
            out.push(" and ");
            links += 1;
        }
        out.push(id).push(if self.id_descending { " < " } else { " > " }).push_bind(last);
        for _ in 0..links {
            out.push("))");
        }
    }
}

fn column<'e>(
    lowering: &mut Lowering<'_, 'e>,
    out: &mut QueryBuilder<Postgres>,
    item: &'e OrderItem,
) -> Result<(), Unsupported> {
    let Type::Enum(enumeration) = &item.expr.ty else {
        return lowering.value(out, &item.expr);
    };
    out.push("array_position(").push_bind(enumeration.members.clone()).push(", ");
    lowering.value(out, &item.expr)?;
    out.push(")");
    Ok(())
}

fn behind(out: &mut QueryBuilder<Postgres>, at: usize, item: &OrderItem, key: Option<&str>) {
    match (item.descending, key) {
        (false, None) => {
            out.push("k.k").push(at).push(" is not null");
            return;
        }
        (true, None) => {
            out.push("false");
            return;
        }
        (descending, Some(_)) => {
            out.push("k.k").push(at).push(if descending { " < " } else { " > " });
        }
    }
    bind_key(out, item, key);
    out.push(if item.expr.ty == Type::String { " collate \"C\"" } else { "" });
    if item.descending {
        out.push(" or k.k").push(at).push(" is null");
    }
}

fn bind_key(out: &mut QueryBuilder<Postgres>, item: &OrderItem, key: Option<&str>) {
    let ty =
        if matches!(item.expr.ty, Type::Enum(_)) { "integer" } else { sql_type(&item.expr.ty) };
    out.push_bind(key.map(str::to_owned)).push("::").push(ty);
}
