//! Conditions, as they stand in a jobset document.
//!
//! Read by hand: what serde makes of alternatives forgets the place and the words of an error, and
//! keeps the last of two equal names.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::definition::ClauseDefinition;

/// A condition: an object asks for all its steps to be in one of the states listed (or for at
/// least `$atLeast` of them); a list asks for one of its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum WhenDocument {
    /// All of it.
    One(ClauseDocument),
    /// One of them.
    AnyOf(Vec<ClauseDocument>),
}

impl Default for WhenDocument {
    fn default() -> Self {
        Self::AnyOf(Vec::new())
    }
}

impl WhenDocument {
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::AnyOf(clauses) if clauses.is_empty())
    }

    pub(super) fn into_definition(self) -> Vec<ClauseDefinition> {
        match self {
            Self::One(clause) => vec![clause.into_definition()],
            Self::AnyOf(clauses) => {
                clauses.into_iter().map(ClauseDocument::into_definition).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for WhenDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct When;
        impl<'de> Visitor<'de> for When {
            type Value = WhenDocument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "an object of step names with lists of states, or a list of such objects",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                ClauseDocument::deserialize(MapAccessDeserializer::new(map)).map(WhenDocument::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(WhenDocument::AnyOf)
            }
        }
        deserializer.deserialize_any(When)
    }
}

/// Step names with the states that satisfy the condition, and perhaps `$atLeast`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClauseDocument {
    at_least: Option<u32>,
    terms: BTreeMap<String, Vec<String>>,
}

const AT_LEAST: &str = "$atLeast";

impl PartialSchema for ClauseDocument {
    fn schema() -> RefOr<Schema> {
        let at_least = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("How many of the others must hold. Default: all."))
            .minimum(Some(1));
        let states = ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(Type::String))
            .min_items(Some(1));
        ObjectBuilder::new()
            .description(Some("Step names with the states that satisfy the condition."))
            .property(AT_LEAST, at_least)
            .additional_properties(Some(states))
            .examples([json!({"unit": ["Failed", "TimedOut"], "diagnose": ["Succeeded"]})])
            .into()
    }
}

impl ToSchema for ClauseDocument {}

impl<'de> Deserialize<'de> for ClauseDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Clause;
        impl<'de> Visitor<'de> for Clause {
            type Value = ClauseDocument;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of step names with lists of states")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut clause = ClauseDocument::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == AT_LEAST {
                        clause.at_least = Some(map.next_value()?);
                    } else {
                        match clause.terms.entry(key) {
                            Entry::Vacant(place) => _ = place.insert(map.next_value()?),
                            Entry::Occupied(place) => {
                                let message = format!("`{}` stands twice", place.key());
                                return Err(de::Error::custom(message));
                            }
                        }
                    }
                }
                Ok(clause)
            }
        }
        deserializer.deserialize_map(Clause)
    }
}

impl Serialize for ClauseDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(number) = self.at_least {
            map.serialize_entry(AT_LEAST, &number)?;
        }
        for (name, states) in &self.terms {
            map.serialize_entry(name, states)?;
        }
        map.end()
    }
}

impl ClauseDocument {
    fn into_definition(self) -> ClauseDefinition {
        ClauseDefinition { at_least: self.at_least, terms: self.terms.into_iter().collect() }
    }
}
