//! Live connections, as the server asks for them: listed, or ended. Values from the status, and questions to workers.
//!
//! Keeps: a selector that cannot be read selects nothing, so that nothing is ended by mistake.

use std::sync::Arc;
use std::time::Duration;

use schema::bounds::MAX_LISTED;
use schema::codes::TreeCode;
use schema::net::Protocol;
use schema::policy::Network;
use schema::proto;
use schema::rule::Host;

use crate::act::runtime::RuntimeHandle;
use crate::act::workers::{ConnectionQuery, LiveConnection, Meter, QueryResult};
use crate::decide::live::ConnectionId;

/// What this edge says in its hello if it can list connections.
pub(crate) const CONNECTIONS_FEATURE: &str = "connections";

/// Does what the request asks for.
pub(crate) async fn answer(runtime: RuntimeHandle, request: proto::ConnectionsRequest) -> proto::ConnectionsReport {
    let request_id = request.request_id;
    let status = runtime.status();
    let is_asked = |name: &str| request.all_rules || request.rules.iter().any(|rule| rule == name);
    let meters = status.rules.iter().filter_map(|rule| Some((rule.name.clone(), rule.meter.clone()?)));
    let (names, rules): (Vec<String>, Vec<Arc<Meter>>) = meters.filter(|(name, _)| is_asked(name)).unzip();
    let ends = request.end;
    let wanted = match wanted(&request, rules) {
        Ok(wanted) => wanted,
        Err(message) => {
            let refused = Some(proto::Refusal { code: TreeCode::InvalidValue.as_str().to_owned(), message });
            return proto::ConnectionsReport { request_id, refused, ..proto::ConnectionsReport::default() };
        }
    };
    let QueryResult { matched, connections } = runtime.connections().survey(wanted).await;
    if ends {
        tracing::info!(connections = matched.values().sum::<u64>(), "an operator ended connections");
    }
    let mut rules: Vec<proto::RuleConnections> = matched
        .into_iter()
        .map(|(rule, connections)| proto::RuleConnections { rule: names[rule].clone(), connections })
        .collect();
    rules.sort_by(|one, other| one.rule.cmp(&other.rule));
    let connections = connections.iter().map(|live| to_wire(live, &names[live.rule])).collect();
    proto::ConnectionsReport { request_id, refused: None, rules, connections }
}

fn wanted(request: &proto::ConnectionsRequest, rules: Vec<Arc<Meter>>) -> Result<ConnectionQuery, String> {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let id = given(&request.id)
        .map(|id| ConnectionId::parse(&id).ok_or_else(|| format!("`{id}` is not the id of a connection")))
        .transpose()?;
    let source = given(&request.source)
        .map(|text| text.parse::<Network>().map(|network| [network].into_iter().collect()))
        .transpose()
        .map_err(|error| error.to_string())?;
    let target = given(&request.target).map(|text| place(&text)).transpose()?;
    let listen_port = u16::try_from(request.listen_port).map_err(|_| "a port is too large".to_owned())?;
    Ok(ConnectionQuery {
        rules,
        id,
        source,
        target,
        listen_port: Some(listen_port).filter(|port| *port > 0),
        older: Duration::from_millis(request.older_ms),
        younger: Some(request.younger_ms).filter(|most| *most > 0).map(Duration::from_millis),
        order: request.order(),
        limit: (request.limit as usize).min(MAX_LISTED),
        ends: request.end,
    })
}

/// `HOST:PORT`
fn place(text: &str) -> Result<(Host, u16), String> {
    let wrong = || format!("`{text}` is not a target: expected HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = Host::parse(host.trim_start_matches('[').trim_end_matches(']')).map_err(|_| wrong())?;
    Ok((host, port.parse().map_err(|_| wrong())?))
}

fn to_wire(live: &LiveConnection, rule: &str) -> proto::LiveConnection {
    let protocol = match live.listener.protocol {
        Protocol::Tcp => proto::Protocol::Tcp,
        Protocol::Udp => proto::Protocol::Udp,
    };
    let millis = |time: Duration| time.as_millis() as u64;
    proto::LiveConnection {
        id: live.id.to_string(),
        rule: rule.to_owned(),
        protocol: protocol.into(),
        source: live.source.to_string(),
        listener: format!("{}:{}", live.listener.address, live.listener.port),
        target: target_text(&live.host, live.port),
        age_ms: millis(live.age),
        idle_ms: millis(live.idle),
        bytes_in: live.bytes_in,
        bytes_out: live.bytes_out,
        drains: live.drains,
    }
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(crate) fn target_text(host: &Host, port: u16) -> String {
    let host = host.to_string();
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read_as_it_is_shown() {
        for text in ["10.0.0.5:443", "[2001:db8::1]:80", "upstream.local:8080"] {
            let (host, port) = place(text).expect("a target");
            assert_eq!(target_text(&host, port), text);
        }
        for wrong in ["10.0.0.5", "host:99999", ":80", "a b:1"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let request = |id: &str, source: &str| proto::ConnectionsRequest {
            id: id.to_owned(),
            source: source.to_owned(),
            ..proto::ConnectionsRequest::default()
        };
        assert!(wanted(&request("", "10.0.0.0/8"), Vec::new()).is_ok());
        for (id, source) in [("7", ""), ("", "10.0.0.1/8"), ("", "home")] {
            assert!(wanted(&request(id, source), Vec::new()).is_err(), "{id} {source}");
        }
    }
}
