//! Resources that operations share: what ties their causal orders together.
//!
//! An operation names a resource (a database, a board, a file) by a label with the key `resource` or,
//! for further ones, `resource.` and anything; the value is the name of the resource.

use serde_json::Value;

/// The label that names a resource; so do those that begin with it and a dot.
const RESOURCE: &str = "resource";

/// Those of these labels, a JSON object of strings, that name resources: keys and values, in the order
/// of the keys.
#[must_use]
pub fn resources(labels: Option<&Value>) -> Vec<(&str, &str)> {
    let labels = labels.and_then(Value::as_object).into_iter().flatten();
    let named = labels.filter(|(key, _)| {
        let rest = key.strip_prefix(RESOURCE);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    let mut found: Vec<(&str, &str)> =
        named.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn some_labels_name_resources() {
        let labels = json!({
            "resource.file": "/tmp/x",
            "resource": "shop",
            "resources": "no",
            "branch": "main",
        });
        let named = [("resource", "shop"), ("resource.file", "/tmp/x")];
        assert_eq!(resources(Some(&labels)), named);
        assert!(resources(None).is_empty());
    }
}
