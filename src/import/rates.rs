//! The rate limits of upstream by our keys. Pure.

use serde_json::{Map, Value};

/// What becomes of a table of rate limits.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// By our keys.
    pub(super) table: Map<String, Value>,
    /// Connections at once, which is a key of the rule here.
    pub(super) connections: Option<Value>,
    /// What is not quite as it was.
    pub(super) changed: Option<String>,
}

/// Keys of upstream, and ours. Both count bandwidths in bytes per second.
const KEYS: [(&str, &str); 2] =
    [("bandwidth_in_bps", "bandwidth_in_bytes_per_sec"), ("bandwidth_out_bps", "bandwidth_out_bytes_per_sec")];
const BURSTS: [&str; 2] = ["bandwidth_in_burst", "bandwidth_out_burst"];

/// Reads a table; keys that upstream does not have stay as they are.
pub(super) fn read(given: &Map<String, Value>) -> Rates {
    let mut rates = Rates::default();
    for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        match key.as_str() {
            "concurrent_connections" => rates.connections = Some(value.clone()),
            burst if BURSTS.contains(&burst) => {}
            key => {
                let ours = KEYS.iter().find(|(theirs, _)| *theirs == key).map_or(key, |(_, ours)| ours);
                rates.table.insert(ours.to_owned(), value.clone());
            }
        }
    }
    let bursts: Vec<Option<u64>> = BURSTS.iter().map(|key| given.get(*key).and_then(Value::as_u64)).collect();
    if let Some(burst) = bursts.iter().flatten().max() {
        rates.table.insert("bandwidth_burst_bytes".to_owned(), (*burst).into());
        let limited = KEYS.iter().filter(|(_, ours)| rates.table.contains_key(*ours)).count();
        if limited == 2 && bursts[0] != bursts[1] {
            rates.changed = Some(format!("one burst of {burst} bytes holds in both directions"));
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: &Value) -> Rates {
        read(value.as_object().expect("a table"))
    }

    #[test]
    fn keys_of_upstream_become_ours_and_connections_at_once_stand_apart() {
        let rates = of(&json!({ "bandwidth_in_bps": 10, "new_connections_per_sec": 5, "new_connections_burst": 6,
            "concurrent_connections": 7, "bandwidth_out_bps": null, "bandwidth_in_burst": 20 }));
        let table = json!({ "bandwidth_in_bytes_per_sec": 10, "new_connections_per_sec": 5, "new_connections_burst": 6,
            "bandwidth_burst_bytes": 20 });
        assert_eq!((Value::Object(rates.table), rates.connections, rates.changed), (table, Some(json!(7)), None));
    }

    #[test]
    fn two_bursts_become_the_larger_one_and_it_is_said() {
        let both = |one: u64, other: u64| {
            of(&json!({ "bandwidth_in_bps": 10, "bandwidth_out_bps": 10, "bandwidth_in_burst": one,
                "bandwidth_out_burst": other }))
        };
        assert_eq!(both(20, 30).table["bandwidth_burst_bytes"], 30);
        assert!(both(20, 30).changed.is_some() && both(20, 20).changed.is_none());
    }
}
