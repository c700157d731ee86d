//! What may be asked about: the properties of a row, their types, and extra functions.

use std::fmt;
use std::sync::{Arc, LazyLock};

/// The type of a property or of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// The literal `null` where nothing beside it gives it a type.
    Null,
    /// `Edm.Boolean`
    Boolean,
    /// `Edm.Int64`
    Int,
    /// `Edm.Double`; literals with a point or an exponent are of this type too.
    Double,
    /// `Edm.String`
    String,
    /// `Edm.Date`
    Date,
    /// `Edm.TimeOfDay`
    TimeOfDay,
    /// `Edm.DateTimeOffset`
    DateTimeOffset,
    /// `Edm.Duration`
    Duration,
    /// `Edm.Guid`
    Guid,
    /// One of a few named members.
    Enum(Arc<EnumType>),
    /// JSON of any shape. What stands beside it decides what it is read as.
    Json,
    /// A nested object with properties of its own.
    Object(Arc<Model>),
    /// A collection of primitives or objects. It is never null.
    Collection(Arc<Self>),
    /// Strings by name, as labels are: `labels/branch`, or `labels/any(l:l/key eq 'branch')`.
    Map,
}

impl Type {
    /// A collection of `item`.
    #[must_use]
    pub fn collection(item: Self) -> Self {
        Self::Collection(Arc::new(item))
    }

    /// A nested object.
    #[must_use]
    pub fn object(model: Model) -> Self {
        Self::Object(Arc::new(model))
    }

    /// An enumeration.
    #[must_use]
    pub fn enumeration(name: &str, members: &[&str]) -> Self {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        Self::Enum(Arc::new(EnumType { name: name.to_owned(), members }))
    }

    /// The primitive type with the name `Edm.…`, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        PRIMITIVES.iter().find(|primitive| primitive.name().eq_ignore_ascii_case(name)).cloned()
    }

    /// The name of the type in `cast` and in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Boolean => "Edm.Boolean",
            Self::Int => "Edm.Int64",
            Self::Double => "Edm.Double",
            Self::String => "Edm.String",
            Self::Date => "Edm.Date",
            Self::TimeOfDay => "Edm.TimeOfDay",
            Self::DateTimeOffset => "Edm.DateTimeOffset",
            Self::Duration => "Edm.Duration",
            Self::Guid => "Edm.Guid",
            Self::Enum(enumeration) => &enumeration.name,
            Self::Json => "JSON",
            Self::Object(_) => "an object",
            Self::Collection(_) => "a collection",
            Self::Map => "a map of strings",
        }
    }

    /// Whether values of the type have an order (`gt`, `$orderby`).
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        match self {
            Self::Null
            | Self::Boolean
            | Self::Int
            | Self::Double
            | Self::String
            | Self::Date
            | Self::TimeOfDay
            | Self::DateTimeOffset
            | Self::Duration
            | Self::Guid => true,
            Self::Enum(_) | Self::Json | Self::Object(_) | Self::Collection(_) | Self::Map => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The types that `cast` and `isof` can name.
pub(super) static PRIMITIVES: [Type; 9] = [
    Type::Boolean,
    Type::Int,
    Type::Double,
    Type::String,
    Type::Date,
    Type::TimeOfDay,
    Type::DateTimeOffset,
    Type::Duration,
    Type::Guid,
];

/// The members of an enumeration, in the order `$orderby` sorts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnumType {
    /// For messages.
    pub name: String,
    /// Each member in the spelling that rows hold; a query may use any case.
    pub members: Vec<String>,
}

impl EnumType {
    /// The declared spelling of `text`, if it is a member in any case.
    #[must_use]
    pub fn member(&self, text: &str) -> Option<&str> {
        self.members.iter().map(String::as_str).find(|member| member.eq_ignore_ascii_case(text))
    }

    /// Where `member` (in its declared spelling) stands in the order.
    #[must_use]
    pub fn position(&self, member: &str) -> Option<usize> {
        self.members.iter().position(|declared| declared == member)
    }
}

/// One property of a row or of a nested object.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Matched with regard to case.
    pub name: String,
    /// What its values are.
    pub ty: Type,
    /// Whether a row may have no value. The check does not need to know; a lowering does.
    pub nullable: bool,
}

/// A function beyond the standard ones, evaluated by [`Row::call`](super::Row::call).
#[derive(Debug, Clone, PartialEq)]
pub struct CustomFunction {
    /// Matched without regard to case.
    pub name: String,
    /// The types of its arguments, all of which are required.
    pub parameters: Vec<Type>,
    /// The type of its answer. It is null when an argument is.
    pub result: Type,
}

/// What a query may name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    properties: Vec<Property>,
    functions: Vec<CustomFunction>,
}

impl Model {
    /// A model without properties.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a property that every row has a value for.
    #[must_use]
    pub fn property(self, name: &str, ty: Type) -> Self {
        self.add(name, ty, false)
    }

    /// Adds a property that may be null.
    #[must_use]
    pub fn nullable(self, name: &str, ty: Type) -> Self {
        self.add(name, ty, true)
    }

    fn add(mut self, name: &str, ty: Type, nullable: bool) -> Self {
        self.properties.push(Property { name: name.to_owned(), ty, nullable });
        self
    }

    /// Adds a function. It cannot replace a standard one.
    #[must_use]
    pub fn function(mut self, name: &str, parameters: &[Type], result: Type) -> Self {
        let parameters = parameters.to_vec();
        self.functions.push(CustomFunction { name: name.to_owned(), parameters, result });
        self
    }

    /// All properties, in the order they were added.
    #[must_use]
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// The functions beyond the standard ones.
    #[must_use]
    pub fn functions(&self) -> &[CustomFunction] {
        &self.functions
    }

    /// The property with exactly this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// The extra function with this name, in any case.
    #[must_use]
    pub fn find_function(&self, name: &str) -> Option<&CustomFunction> {
        self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name))
    }

    /// The name of a property whose enumeration has `text` as a member.
    pub(super) fn property_with_member(&self, text: &str) -> Option<&str> {
        let has_member = |property: &&Property| matches!(&property.ty, Type::Enum(enumeration) if enumeration.member(text).is_some());
        self.properties.iter().find(has_member).map(|property| property.name.as_str())
    }
}

/// What a lambda over a [`Type::Map`] sees: objects with a `key` and a `value`.
pub(super) fn map_entry() -> Type {
    static ENTRY: LazyLock<Arc<Model>> = LazyLock::new(|| {
        let entry = Model::new().property("key", Type::String).nullable("value", Type::String);
        Arc::new(entry)
    });
    Type::Object(Arc::clone(&ENTRY))
}
