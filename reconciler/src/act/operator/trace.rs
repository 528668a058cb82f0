//! `/v1/trace`: what would happen to a connection, among the rules that serve. I/O.

use std::net::IpAddr;

use axum::extract::{Query, State as Extract};
use axum::{Extension, Json};
use jiff::Timestamp;
use schema::name::EdgeName;
use schema::net::{ListenAddress, Protocol};
use schema::sni::ServerName;
use serde::{Deserialize, Serialize};

use super::heavy::heavy;
use super::identity::Who;
use super::{Failure, State};
use crate::decide::codes::ProblemCode;
use crate::decide::status::edge_status;
use crate::decide::trace::{Trace, TraceQuestion, Untraceable, of_edge, trace};

/// The parameters of the question.
pub(super) const PARAMETERS: &[&str] = &["edge", "from", "port", "protocol", "sni", "listen_address"];

/// What is asked; all but the first three may be absent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TraceQuery {
    edge: String,
    from: String,
    port: String,
    protocol: String,
    sni: String,
    listen_address: String,
}

impl TraceQuery {
    fn question(&self) -> Result<TraceQuestion, String> {
        let bad = |name: &str, value: &str, what: &str| match value {
            "" => format!("`{name}` is missing: expected {what}"),
            _ => format!("{value} is not a valid `{name}`: expected {what}"),
        };
        let given = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let (protocol, protocols) = (self.protocol.as_str(), "tcp or udp");
        let sni = given(&self.sni).map(|text| {
            let name = ServerName::parse(&text).map_err(|error| error.to_string())?;
            name.wildcard().is_none().then_some(name).ok_or_else(|| bad("sni", &text, "a name without a wildcard"))
        });
        let address = given(&self.listen_address);
        let address = address
            .map(|text| ListenAddress::parse(&text).ok_or_else(|| bad("listen_address", &text, "an IP address")));
        let port = self.port.parse().ok().filter(|port| *port > 0);
        Ok(TraceQuestion {
            edge: EdgeName::new(&self.edge).map_err(|_| bad("edge", &self.edge, "the name of an edge"))?,
            from: self.from.parse::<IpAddr>().map_err(|_| bad("from", &self.from, "an IP address"))?,
            protocol: match protocol {
                "" | "tcp" => Protocol::Tcp,
                "udp" if self.sni.is_empty() => Protocol::Udp,
                "udp" => return Err("`sni` is for TCP only".to_owned()),
                _ => return Err(bad("protocol", protocol, protocols)),
            },
            port: port.ok_or_else(|| bad("port", &self.port, "1 to 65535"))?,
            listen_address: address.transpose()?,
            server_name: sni.transpose()?,
        })
    }
}

/// `GET /v1/trace`
pub(super) async fn get(
    Extract(state): Extract<State>,
    Extension(who): Extension<Who>,
    Query(query): Query<TraceQuery>,
) -> Result<Json<Trace>, Failure> {
    let bad = |detail: String| Failure::new(400, ProblemCode::BadRequest, "Bad Request", detail);
    let question = query.question().map_err(bad)?;
    let edges = state.context.fleet.read(|view| view.fleet.edges().clone()).await?;
    let answer = move || {
        let unknown = || Failure::not_found(format!("edge {} is unknown", question.edge));
        let view = edges.get(&question.edge).filter(|_| who.caller.limits.has_edge(&question.edge));
        let view = view.ok_or_else(unknown)?;
        let rules = of_edge(view, &edge_status(&question.edge, view, Timestamp::now()))
            .map_err(|error| Failure::new(500, ProblemCode::Internal, "Internal error", error.to_string()))?;
        let found = trace(&rules, &question).map_err(|error| match error {
            Untraceable::Ambiguous { .. } => {
                Failure::new(409, ProblemCode::AmbiguousPort, "Several rules listen on that port", error.to_string())
            }
            Untraceable::Unread { .. } => {
                Failure::new(409, ProblemCode::UnreadList, "A list is not at hand", error.to_string())
            }
        })?;
        match &found.rule {
            Some(rule) if !who.sees(&edges, &question.edge, rule) => {
                Err(Failure::not_found(format!("no rule that you may see has port {} of {}", found.port, found.edge)))
            }
            _ => Ok(Json(found)),
        }
    };
    heavy(answer).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut TraceQuery);

    #[test]
    fn a_question_names_what_is_missing_and_what_is_wrong() {
        let query = |change: Change| {
            let text = |text: &str| text.to_owned();
            let mut query =
                TraceQuery { edge: text("fra-01"), from: text("192.0.2.7"), port: text("443"), ..Default::default() };
            change(&mut query);
            query.question().map(|question| question.protocol).map_err(|why| why.split(':').take(1).collect::<String>())
        };
        assert_eq!(query(|_| ()), Ok(Protocol::Tcp));
        assert_eq!(query(|query| query.protocol = "udp".into()), Ok(Protocol::Udp));
        let cases: [(Change, &str); 7] = [
            (|query| query.edge = String::new(), "`edge` is missing"),
            (|query| query.from = "here".into(), "here is not a valid `from`"),
            (|query| query.port = "0".into(), "0 is not a valid `port`"),
            (|query| query.protocol = "sctp".into(), "sctp is not a valid `protocol`"),
            (|query| query.sni = "*.example.org".into(), "*.example.org is not a valid `sni`"),
            (|query| query.listen_address = "x".into(), "x is not a valid `listen_address`"),
            (|query| (query.protocol, query.sni) = ("udp".into(), "a.example".into()), "`sni` is for TCP only"),
        ];
        for (change, expected) in cases {
            assert_eq!(query(change), Err(expected.to_owned()));
        }
    }
}
