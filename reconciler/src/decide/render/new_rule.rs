//! What a plan shows of a new rule: every key that is not at its default, none of them twice. Pure.

use std::collections::BTreeMap;

use crate::decide::plan::PlannedChange;
use schema::spec::FieldChange;
use serde_json::Value;

use super::difference::shown;

/// True where the change begins a rule: its name has nothing before it.
pub fn is_new(change: &PlannedChange) -> bool {
    change.fields.iter().any(|field| field.path == "name" && field.before.is_null())
}

/// Where a new rule forwards to.
pub fn targets(change: &PlannedChange) -> Option<String> {
    if !is_new(change) {
        return None;
    }
    let mut targets: BTreeMap<usize, (String, String)> = BTreeMap::new();
    for field in &change.fields {
        let Some((index, key)) = target_key(&field.path) else { continue };
        match key {
            "host" => targets.entry(index).or_default().0 = text(&field.after),
            "port" | "ports" => targets.entry(index).or_default().1 = text(&field.after),
            _ => {}
        }
    }
    let shown = targets
        .into_values()
        .map(|(host, ports)| if host.contains(':') { format!("[{host}]:{ports}") } else { format!("{host}:{ports}") });
    let shown: Vec<String> = shown.collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

/// Where a new rule would listen that binds nothing, because its edge cannot do it.
pub fn listener(change: &PlannedChange) -> Option<String> {
    let has_listeners = !(change.ports.bind.is_empty() && change.ports.keep.is_empty());
    if has_listeners || !is_new(change) {
        return None;
    }
    let value = |path: &str| change.fields.iter().find(|field| field.path == path).map(|field| text(&field.after));
    let ports = value("listen_port").or_else(|| value("listen_ports"))?;
    let address = value("listen_address").unwrap_or_else(|| "*".to_owned());
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    let protocol = value("protocol").map(|protocol| format!("/{protocol}")).unwrap_or_default();
    Some(format!("{address}:{ports}{protocol}"))
}

/// The fields that are listed one by one: of a new rule those that its name, its listeners and its targets do not say.
pub fn shown_fields(change: &PlannedChange) -> impl Iterator<Item = &FieldChange> {
    let is_new = is_new(change);
    change.fields.iter().filter(move |field| {
        let is_said = match field.path.as_str() {
            "name" | "protocol" | "listen_address" | "listen_port" | "listen_ports" => true,
            path => target_key(path).is_some_and(|(_, key)| matches!(key, "host" | "port" | "ports")),
        };
        !(is_new && is_said)
    })
}

/// `targets[1].weight` is key `weight` of target 1.
fn target_key(path: &str) -> Option<(usize, &str)> {
    let (index, key) = path.strip_prefix("targets[")?.split_once("].")?;
    Some((index.parse().ok()?, key))
}

/// A text without its quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| shown(value), str::to_owned)
}

#[cfg(test)]
mod tests {
    use crate::decide::plan::{Action, Impact, ImpactKind, Ports};
    use schema::name::{EdgeName, RuleName};

    use super::*;

    fn change(fields: &[(&str, Value, Value)], bind: &[&str]) -> PlannedChange {
        let fields = fields.iter().map(|(path, before, after)| FieldChange {
            path: (*path).to_owned(),
            before: before.clone(),
            after: after.clone(),
        });
        PlannedChange {
            edge: EdgeName::new("edge-01").expect("a name"),
            rule: RuleName::new("web").expect("a name"),
            previous_rule: None,
            action: Action::Activate,
            code: None,
            message: None,
            ports: Ports { bind: bind.iter().map(|text| (*text).to_owned()).collect(), ..Ports::default() },
            fields: fields.collect(),
            impact: Impact::new(ImpactKind::None, 0),
            origin: None,
            proof: None,
        }
    }

    #[test]
    fn a_new_rule_says_each_thing_once() {
        let fields = [
            ("listen_port", Value::Null, 1.into()),
            ("name", Value::Null, "web".into()),
            ("targets[0].host", Value::Null, "::1".into()),
            ("targets[0].port", Value::Null, 9.into()),
            ("targets[1].host", Value::Null, "b".into()),
            ("targets[1].ports", Value::Null, "1-2".into()),
            ("targets[1].weight", Value::Null, 5.into()),
        ];
        let paths = |change: &PlannedChange| shown_fields(change).map(|one| one.path.clone()).collect::<Vec<_>>();
        let bound = change(&fields, &["*:1"]);
        assert_eq!(targets(&bound).as_deref(), Some("[::1]:9, b:1-2"));
        assert_eq!((paths(&bound), listener(&bound)), (vec!["targets[1].weight".to_owned()], None));
        // A rejected rule binds nothing.
        assert_eq!(listener(&change(&fields, &[])).as_deref(), Some("*:1"));
    }

    #[test]
    fn of_a_rule_that_runs_every_field_is_listed() {
        let moved = change(&[("name", "a".into(), "web".into()), ("targets[0].port", 1.into(), 2.into())], &[]);
        assert!(!is_new(&moved) && targets(&moved).is_none());
        assert_eq!(shown_fields(&moved).count(), 2);
    }
}
