//! What an attempt may use and what contains it, as it stands in a document.

use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::definition::{ResourceLimits, Wall};
use crate::domain::size;

/// What the processes of an attempt may use, all together unless said otherwise.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsDocument {
    /// Memory. What asks for more is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<SizeText>,
    /// Processor time per time, in cores: `0.5` is half of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.01, maximum = 4096)]
    pub cpu: Option<f64>,
    /// Descriptors that one process may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 8, maximum = 1_048_576)]
    pub files: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 4_194_304)]
    pub processes: Option<u64>,
    /// The size of a file that one of them writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<SizeText>,
}

impl LimitsDocument {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn into_limits(self) -> ResourceLimits {
        let Self { memory, cpu, files, processes, file_size } = self;
        let (memory, file_size) = (memory.map(|text| text.0), file_size.map(|text| text.0));
        ResourceLimits { memory, cpu, files, processes, file_size }
    }
}

/// A number of bytes, or a text with a unit: `512MiB`, `1.5GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SizeText(pub u64);

impl<'de> Deserialize<'de> for SizeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number of bytes or a text such as `512MiB`")]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => bytes.to_string(),
            Written::Text(text) => text,
        };
        size::parse(&text).map(Self).map_err(de::Error::custom)
    }
}

impl PartialSchema for SizeText {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^[0-9]{1,6}(\.[0-9]{1,3})?(B|kB|MB|GB|KiB|MiB|GiB)$"));
        OneOfBuilder::new()
            .description(Some("A number of bytes, or a text with a unit: `512MiB`, `1.5GB`."))
            .item(number.maximum(Some(size::SIZE_MAX)))
            .item(text)
            .into()
    }
}

impl ToSchema for SizeText {}

/// What stands between a step and the rest of its host.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum WallDocument {
    /// A control group of its own.
    Cgroup,
    /// Namespaces of its own.
    Namespaces,
    /// Access rules of the kernel's Landlock module.
    Landlock,
}

impl WallDocument {
    pub(super) const fn into_wall(self) -> Wall {
        match self {
            Self::Cgroup => Wall::Cgroup,
            Self::Namespaces => Wall::Namespaces,
            Self::Landlock => Wall::Landlock,
        }
    }
}
