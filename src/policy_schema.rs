//! The JSON Schema of an edge's policy file. Pure.
//!
//! Keeps: it has the keys that the edge reads, no more and no fewer; a test asks the reader for them.

use serde_json::{Map, Value, json};

/// The schema of the file of `portunus edge --policy`.
pub(crate) fn policy_schema() -> Value {
    let ports = |about: &str| {
        json!({
            "type": "array",
            "maxItems": schema::policy::MAX_ENTRIES,
            "items": { "oneOf": [
                { "type": "integer", "minimum": 1, "maximum": 65535 },
                { "type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$" },
            ] },
            "description": about,
        })
    };
    let networks = |about: &str| {
        json!({
            "type": "array",
            "maxItems": schema::policy::MAX_ENTRIES,
            "items": { "type": "string", "minLength": 2 },
            "description": about,
        })
    };
    let number = |about: &str| json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": about });
    let properties: Map<String, Value> = [
        ("listen_ports", ports("Ports that rules may listen on, such as `[443, \"8000-8999\"]`.")),
        (
            "listen_addresses",
            networks(
                "Networks of the addresses that rules may listen on, such as `[\"10.0.0.0/8\"]`. `0.0.0.0` needs all of \
                 IPv4, `::` all of IPv6, and a rule without a listen address both.",
            ),
        ),
        (
            "target_networks",
            networks(
                "Networks of the addresses that the edge may connect to, checks included. Of a name, the allowed addresses \
                 are used. Without this key every address is allowed, except for metadata addresses of clouds.",
            ),
        ),
        ("target_ports", ports("Ports that the edge may connect to, checks included.")),
        ("max_rules", number("The most rules that the edge serves.")),
        ("max_connections", number("The most connections and UDP flows of all rules together.")),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:portunus:schema:policy.toml",
        "title": "The policy of an edge of portunus",
        "description": "What the owner of an edge allows on it (`portunus edge --policy FILE`). A key that is absent limits \
            nothing; an empty list allows nothing.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use edge::decide::policy::parse;

    use super::*;

    #[test]
    fn the_schema_has_the_keys_that_the_edge_reads() {
        let error = parse("nothing_of_the_kind = 1\n").expect_err("an unknown key");
        let (_, listed) = error.split_once("expected one of").expect("serde lists the keys");
        let read: BTreeSet<&str> = listed.split('`').skip(1).step_by(2).collect();
        let schema = policy_schema();
        let keys: BTreeSet<&str> = schema["properties"].as_object().expect("keys").keys().map(String::as_str).collect();
        assert_eq!(read, keys);
    }
}
