//! Resources that operations share: what ties their causal orders together.
//!
//! An operation names a resource (a database, a board, a file) by a label with the key `resource` or,
//! for further ones, `resource.` and anything; the value is the name of the resource.

use serde_json::Value;

/// The resources that these labels, a JSON object of strings, name: in order, each once.
#[must_use]
pub fn resources(labels: Option<&Value>) -> Vec<&str> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let named = labels.filter(|(key, _)| names_resource(key));
    let mut resources: Vec<&str> = named.filter_map(|(_, name)| name.as_str()).collect();
    resources.sort_unstable();
    resources.dedup();
    resources
}

/// Whether a label of this key names a resource.
fn names_resource(key: &str) -> bool {
    key.strip_prefix("resource").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn some_labels_name_resources() {
        let labels = json!({
            "resource": "shop",
            "resource.file": "/tmp/x",
            "resource.db": "shop",
            "resources": "no",
            "branch": "main",
        });
        assert_eq!(resources(Some(&labels)), ["/tmp/x", "shop"]);
        assert!(resources(None).is_empty());
    }
}
