//! The allow-list: what the properties of a collection are in SQL.

/// What SQL expression a property has, and how it stands to the type that the model declares.
#[derive(Debug, Clone)]
pub struct Column {
    /// The property: `error/code`. What lies below a JSON or map column needs no entry.
    pub path: &'static str,
    /// A constant of the code, never a text of a client.
    pub sql: String,
    /// How to read it.
    pub form: Form,
}

/// How the SQL expression of a column is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// As the SQL type of its declared type: boolean, bigint, double precision, text (strings and
    /// enumerations), date, time, timestamptz, bigint (durations, in microseconds), uuid; jsonb for
    /// JSON, maps, and collections.
    Value,
    /// An enumeration kept as smallint, never null: each member with the codes that it stands for.
    Codes(Vec<(&'static str, Vec<i16>)>),
    /// The id that an operation shows, never null; the expression is the alias of its table in SQL.
    ShownId,
    /// An instant that is the time of a uuid of version 7, never null, in milliseconds.
    IdTime,
    /// A nested object, of which nothing but its presence can be asked: a boolean.
    Presence,
}

/// The columns of one collection.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    columns: Vec<Column>,
}

impl Columns {
    /// A list without columns.
    #[must_use]
    pub const fn new() -> Self {
        Self { columns: Vec::new() }
    }

    /// Adds a column.
    #[must_use]
    pub fn add(mut self, path: &'static str, sql: impl Into<String>, form: Form) -> Self {
        self.columns.push(Column { path, sql: sql.into(), form });
        self
    }

    /// Adds a column of the form [`Form::Value`].
    #[must_use]
    pub fn value(self, path: &'static str, sql: impl Into<String>) -> Self {
        self.add(path, sql, Form::Value)
    }

    /// The column that holds `path`, and the segments that remain below it.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(&Column, &'p str)> {
        let mut end = path.len();
        loop {
            if let Some(column) = self.columns.iter().find(|column| column.path == &path[..end]) {
                return Some((column, path[end..].trim_start_matches('/')));
            }
            end = path[..end].rfind('/')?;
        }
    }
}
