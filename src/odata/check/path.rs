//! Paths: from the row or a lambda variable, property by property.

use super::Checker;
use crate::odata::error::{Error, ErrorKind, did_you_mean};
use crate::odata::expr::{Expr, Kind, Path};
use crate::odata::model::{Model, Type};
use crate::odata::syntax::Span;

impl Checker<'_> {
    /// The value at a path, or how many items are there (`/$count`).
    pub(super) fn property(&self, text: &str, span: Span) -> Result<Expr, Error> {
        if let Some(text) = text.strip_suffix("/$count") {
            let (path, ty) = self.resolve(text, span)?;
            if !matches!(ty, Type::Collection(_) | Type::Map | Type::Json) {
                let message = format!("`{text}` is no collection, so it has no `$count`");
                return Err(self.error(ErrorKind::Type, span, message));
            }
            return Ok(Expr { kind: Kind::Count(path, ty), ty: Type::Int, span });
        }
        let (path, ty) = self.resolve(text, span)?;
        Ok(Expr { kind: Kind::Property(path), ty, span })
    }

    /// What `text` (segments joined by `/`) names, and its type.
    pub(in crate::odata) fn resolve(&self, text: &str, span: Span) -> Result<(Path, Type), Error> {
        let from_row = text.strip_prefix("$it/");
        let start = span.start + from_row.map_or(0, |rest| text.len() - rest.len());
        let text = from_row.unwrap_or(text);
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        let at = Span { start, end: start + first.len() };
        let variable = self.scope.iter().find(|(variable, _)| *variable == first);
        if let (None, Some((variable, ty))) = (from_row, variable) {
            let ty = self.descend(ty.clone(), first, rest, at.end)?;
            return Ok((Path::new(Some((*variable).to_owned()), rest.to_owned()), ty));
        }
        let ty = self.declared(self.model, first, at)?;
        let ty = self.descend(ty, first, rest, at.end)?;
        Ok((Path::new(None, text.to_owned()), ty))
    }

    /// The type at `rest` below a value of type `ty`; `rest` starts one byte after `end`.
    fn descend(&self, mut ty: Type, of: &str, rest: &str, mut end: usize) -> Result<Type, Error> {
        let mut parent = of;
        for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
            let at = Span { start: end + 1, end: end + 1 + segment.len() };
            ty = match &ty {
                Type::Object(model) => self.declared(model, segment, at)?,
                Type::Json => Type::Json,
                Type::Map => Type::String,
                Type::Collection(_) => {
                    let message = format!("`{parent}` is a collection: use `any` or `all`");
                    return Err(self.error(ErrorKind::UnknownProperty, at, message));
                }
                Type::Null
                | Type::Boolean
                | Type::Int
                | Type::Double
                | Type::String
                | Type::Date
                | Type::TimeOfDay
                | Type::DateTimeOffset
                | Type::Duration
                | Type::Guid
                | Type::Enum(_) => {
                    let message = format!("`{parent}` ({ty}) has no property `{segment}`");
                    return Err(self.error(ErrorKind::UnknownProperty, at, message));
                }
            };
            end = at.end;
            parent = segment;
        }
        Ok(ty)
    }

    /// The type of a property that `model` has to declare.
    fn declared(&self, model: &Model, name: &str, at: Span) -> Result<Type, Error> {
        if let Some(property) = model.find(name) {
            return Ok(property.ty.clone());
        }
        let names = model.properties().iter().map(|property| property.name.as_str());
        let near = did_you_mean(name, names);
        let message = format!("there is no property `{name}`{near}");
        Err(self.error(ErrorKind::UnknownProperty, at, message))
    }
}
