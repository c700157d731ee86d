//! Jobset vectors: values with interval tree clocks, as the programs that the names come from write
//! them (DaveWelling/itcDiagram), and their conversion to and from [`crate::itc`].

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::Problem;
use crate::itc::{Causality, Content, Event, Id, Node, Stamp};

/// How many levels a stamp may have that is answered as trees. Many parsers of JSON, ours among them,
/// go no deeper than 128; the text form has no levels.
pub const TREE_DEPTH_MAX: usize = 100;

/// What `value` says while there is a conflict.
const NO_VALUE: i32 = -1;

/// What the first node is made of: `POST /v1.0/jvvset/nodes`. An empty body means value 1.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NewNodeRequest {
    /// Its value, any JSON. Default: 1.
    #[serde(deserialize_with = "any", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// A value and the stamp that tells what it knows of. Of a request only `stamp` is needed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeDocument {
    /// Its name, a UUID. It means nothing to the clock.
    #[serde(default)]
    pub id: Option<String>,
    /// Its value, any JSON; -1 while there is a conflict.
    #[serde(default)]
    pub value: Value,
    /// Whether it was joined from two that had both changed. An event with a value decides.
    #[serde(default)]
    pub has_conflict: bool,
    /// The value of the first of the two.
    #[serde(default)]
    pub conflict_value1: Value,
    /// The value of the second of the two.
    #[serde(default)]
    pub conflict_value2: Value,
    /// What it owns and what it knows.
    pub stamp: StampDocument,
}

/// A node that changes: `POST /v1.0/jvvset/event`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventRequest {
    /// As in a node.
    #[serde(default)]
    pub id: Option<String>,
    /// As in a node.
    #[serde(default)]
    pub value: Value,
    /// As in a node.
    #[serde(default)]
    pub has_conflict: bool,
    /// As in a node.
    #[serde(default)]
    pub conflict_value1: Value,
    /// As in a node.
    #[serde(default)]
    pub conflict_value2: Value,
    /// As in a node.
    pub stamp: StampDocument,
    /// What the value becomes, any JSON. Default: one more than it was, if it was a whole number.
    #[serde(default, deserialize_with = "any", skip_serializing_if = "Option::is_none")]
    pub new_value: Option<Value>,
}

impl EventRequest {
    /// The node, and what its value becomes.
    #[must_use]
    pub fn into_parts(self) -> (NodeDocument, Option<Value>) {
        let Self { id, value, has_conflict, conflict_value1, conflict_value2, stamp, new_value } =
            self;
        let node =
            NodeDocument { id, value, has_conflict, conflict_value1, conflict_value2, stamp };
        (node, new_value)
    }
}

/// Two nodes that a fork made, or that are to be joined.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePair {
    /// The first.
    pub node1: NodeDocument,
    /// The second.
    pub node2: NodeDocument,
}

/// Two nodes that are to be compared; only their stamps matter.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// The first.
    pub first: NodeDocument,
    /// The second.
    pub second: NodeDocument,
}

/// How the first of two nodes relates to the second.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CausalityDocument {
    /// The second knows all of the first, and more.
    Before,
    /// The first knows all of the second, and more.
    After,
    /// Both know the same.
    Equal,
    /// Each knows something that the other one does not.
    Concurrent,
}

/// Which of two nodes know something that the other one does not.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ChangedDocument {
    /// None.
    Neither,
    /// Only the first.
    First,
    /// Only the second.
    Second,
    /// Each.
    Both,
}

/// What a comparison found, in three vocabularies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// How the first relates to the second.
    pub result: CausalityDocument,
    /// Which of them changed since they last knew the same (`changeEvaluator` of itcDiagram).
    pub changed: ChangedDocument,
    /// As `result`, but equal stamps are `concurrent` (`stampCompare` of Haskell's
    /// interval-tree-clock).
    pub stamp_compare: CausalityDocument,
}

impl From<Causality> for Compared {
    fn from(causality: Causality) -> Self {
        use CausalityDocument::{After, Before, Concurrent, Equal};
        let (result, changed) = match causality {
            Causality::Before => (Before, ChangedDocument::Second),
            Causality::After => (After, ChangedDocument::First),
            Causality::Equal => (Equal, ChangedDocument::Neither),
            Causality::Concurrent => (Concurrent, ChangedDocument::Both),
        };
        let stamp_compare = if result == Equal { Concurrent } else { result };
        Self { result, changed, stamp_compare }
    }
}

/// Whether the first of two nodes happened before the second.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub struct HappenedBefore {
    /// Whether the second knows all of the first, and more.
    pub result: bool,
}

/// A stamp: its text, as `((1,0),(0,1,0))`, or its trees.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum StampDocument {
    /// `(id,event)`.
    Text(String),
    /// The two trees.
    Trees(StampTrees),
}

/// The two trees of a stamp.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StampTrees {
    /// What it owns: leaves are 0 or 1.
    pub itc_id: TreeDocument,
    /// What it knows: a branch adds its value to those of its children.
    pub itc_event: TreeDocument,
}

/// A tree in normal form.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TreeDocument {
    /// Whether it has no children.
    pub is_leaf: bool,
    /// The number; 0 in a branch of an id. At most 2^53 - 1.
    #[serde(default)]
    pub value: Option<u64>,
    /// The left child of a branch.
    #[serde(default)]
    #[schema(no_recursion)]
    pub left: Option<Box<TreeDocument>>,
    /// The right child of a branch.
    #[serde(default)]
    #[schema(no_recursion)]
    pub right: Option<Box<TreeDocument>>,
}

/// `null` is a value, too.
fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// By hand: an untagged enum would not say what is wrong, and where.
impl<'de> Deserialize<'de> for StampDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = StampDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stamp: a text, or an object with `itcId` and `itcEvent`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<StampDocument, E> {
                Ok(StampDocument::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StampDocument, A::Error> {
                StampTrees::deserialize(MapAccessDeserializer::new(map)).map(StampDocument::Trees)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl StampDocument {
    /// The stamp that is meant, if it has up to `nodes_max` nodes. `place` is where it stands in the
    /// request.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn read(&self, place: &str, nodes_max: usize) -> Result<Stamp, Problem> {
        match self {
            Self::Text(text) => Stamp::parse(text, nodes_max)
                .map_err(|error| Problem::new(place, format!("not the text of a stamp: {error}"))),
            Self::Trees(trees) => {
                let mut reader = Reader { way: vec![place, "itcId"], nodes_left: nodes_max };
                let id = reader.id(&trees.itc_id)?;
                reader.way[1] = "itcEvent";
                let events = reader.event(&trees.itc_event)?;
                Ok(Stamp::new(id, events))
            }
        }
    }

    /// The same as trees. `None` if it has more than [`TREE_DEPTH_MAX`] levels.
    #[must_use]
    pub fn trees(stamp: &Stamp) -> Option<Self> {
        let depth = stamp.id().depth().max(stamp.events().depth());
        (depth <= TREE_DEPTH_MAX).then(|| {
            Self::Trees(StampTrees {
                itc_id: TreeDocument::of_id(stamp.id()),
                itc_event: TreeDocument::of_event(stamp.events()),
            })
        })
    }

    /// The same as text.
    #[must_use]
    pub fn text(stamp: &Stamp) -> Self {
        Self::Text(stamp.to_string())
    }
}

impl TreeDocument {
    fn new(value: u64, children: Option<(Self, Self)>) -> Self {
        let (left, right) = children.unzip();
        Self {
            is_leaf: left.is_none(),
            value: Some(value),
            left: left.map(Box::new),
            right: right.map(Box::new),
        }
    }

    fn of_id(id: &Id) -> Self {
        let children = id.children();
        let children = children.map(|(left, right)| (Self::of_id(left), Self::of_id(right)));
        Self::new(u64::from(id.is_one()), children)
    }

    fn of_event(event: &Event) -> Self {
        let children = event.children();
        let children = children.map(|(left, right)| (Self::of_event(left), Self::of_event(right)));
        Self::new(event.base(), children)
    }
}

struct Reader<'a> {
    /// Where the tree stands that is read.
    way: Vec<&'a str>,
    nodes_left: usize,
}

impl Reader<'_> {
    fn wrong(&self, message: impl Into<String>) -> Problem {
        let way: Vec<&str> = self.way.iter().copied().filter(|part| !part.is_empty()).collect();
        Problem::new(way.join("."), message)
    }

    /// The children of a branch.
    fn children<'t>(
        &mut self,
        tree: &'t TreeDocument,
    ) -> Result<Option<(&'t TreeDocument, &'t TreeDocument)>, Problem> {
        let left = self.nodes_left.checked_sub(1);
        self.nodes_left = left.ok_or_else(|| self.wrong("the stamp has too many nodes"))?;
        match (tree.is_leaf, &tree.left, &tree.right) {
            (true, None, None) => Ok(None),
            (false, Some(left), Some(right)) => Ok(Some((left, right))),
            (true, _, _) => Err(self.wrong("a leaf has no children")),
            (false, _, _) => Err(self.wrong("a branch has `left` and `right`")),
        }
    }

    fn below<T>(
        &mut self,
        side: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.way.push(side);
        let read = read(self)?;
        self.way.pop();
        Ok(read)
    }

    fn id(&mut self, tree: &TreeDocument) -> Result<Id, Problem> {
        let Some((left, right)) = self.children(tree)? else {
            return match tree.value {
                Some(0) => Ok(Id::ZERO),
                Some(1) => Ok(Id::ONE),
                _ => Err(self.wrong("the `value` of a leaf of an id is 0 or 1")),
            };
        };
        if tree.value.is_some_and(|value| value != 0) {
            return Err(self.wrong("the `value` of a branch of an id is 0"));
        }
        let left = self.below("left", |reader| reader.id(left))?;
        let right = self.below("right", |reader| reader.id(right))?;
        Id::branch(left, right).map_err(|error| self.wrong(error.to_string()))
    }

    fn event(&mut self, tree: &TreeDocument) -> Result<Event, Problem> {
        let children = self.children(tree)?;
        let Some(value) = tree.value else { return Err(self.wrong("`value` is a whole number")) };
        let event = match children {
            None => Event::leaf(value),
            Some((left, right)) => {
                let left = self.below("left", |reader| reader.event(left))?;
                let right = self.below("right", |reader| reader.event(right))?;
                Event::branch(value, left, right)
            }
        };
        event.map_err(|error| self.wrong(error.to_string()))
    }
}

/// A place in what stands at `place`.
fn inside(place: &str, field: &str) -> String {
    if place.is_empty() { field.to_owned() } else { format!("{place}.{field}") }
}

impl NodeDocument {
    /// The node that is meant, if its stamp has up to `nodes_max` nodes. `place` is where it stands in
    /// the request.
    ///
    /// # Errors
    /// Says what is wrong, and where.
    pub fn read(self, place: &str, nodes_max: usize) -> Result<Node<Value>, Problem> {
        let stamp = self.stamp.read(&inside(place, "stamp"), nodes_max)?;
        let fields =
            [("conflictValue1", &self.conflict_value1), ("conflictValue2", &self.conflict_value2)];
        let content = if self.has_conflict {
            Content::Conflict { first: self.conflict_value1, second: self.conflict_value2 }
        } else if let Some((field, _)) = fields.iter().find(|(_, value)| !value.is_null()) {
            let message = "stands there, but `hasConflict` is not true";
            return Err(Problem::new(inside(place, field), message));
        } else {
            Content::Value(self.value)
        };
        Ok(Node { stamp, content })
    }

    /// A node with a name and a stamp that is written already.
    #[must_use]
    pub fn new(id: String, stamp: StampDocument, content: Content<Value>) -> Self {
        let id = Some(id);
        match content {
            Content::Value(value) => Self {
                id,
                value,
                has_conflict: false,
                conflict_value1: Value::Null,
                conflict_value2: Value::Null,
                stamp,
            },
            Content::Conflict { first, second } => Self {
                id,
                value: NO_VALUE.into(),
                has_conflict: true,
                conflict_value1: first,
                conflict_value2: second,
                stamp,
            },
        }
    }
}
