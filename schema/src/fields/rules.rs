//! The fields of `[[rule]]` and of its targets. Pure data.

use super::table;
use crate::rule::{Balance, LastResort, MAX_HOST, OnTargetDown, ProxyProtocol};

/// A year: longer than any timeout is meant.
pub(super) const YEAR_SECS: i64 = 31_536_000;
const DAY_SECS: i64 = 86_400;

table! {
    /// `[[rule]]`.
    rule, "rule", "[[rule]]", "One forwarding intent: where to listen and where to forward to.", without OWNER_LIMITS, ACCESS_LISTS;
    NAME = Field::new("name", Kind::Name, "", "\"web\"",
        "The name that identifies the rule on its edges: unique per edge, 1 to 63 characters from a-z, 0-9, `.`, `_`, \
         `-`, starting with a letter or digit.").required();
    DESCRIPTION = Field::new("description", Kind::Text { max: 1024, lines: true }, "\"\"", "\"Public web traffic\"",
        "A description for readers; it has no effect.");
    OWNER = Field::new("owner", Kind::Text { max: 128, lines: false }, "\"\"", "\"team-web\"",
        "The person or team that is responsible for the rule; a label of its metrics.");
    EDGES = Field::new("edges", Kind::Texts { max: 256 }, "[\"local\"]", "[\"edge-*\"]",
        "The edges that run the rule: names or globs. `local` is the edge inside `portunus up` and is always known; \
         globs are matched against the `[[edge]]` inventory. Excludes `edge_labels`.");
    EDGE_LABELS = Field::new("edge_labels", Kind::TextMap, "", "{ region = \"fra\" }",
        "Runs the rule on every edge of the inventory that has all of these labels. Excludes `edges`.");
    ENABLED = Field::new("enabled", Kind::Bool, "true", "false",
        "With `false`, the rule is declared but not deployed; a plan shows it as `remove`.");
    PROTECTED = Field::new("protected", Kind::Bool, "false", "true",
        "With `true` in the last applied tree, the rule may not be removed.");
    PROTOCOL = Field::new("protocol", Kind::Word(&["tcp", "udp"]), "\"tcp\"", "\"tcp\"",
        "The protocol. One port may carry both protocols, in two rules.");
    LISTEN_ADDRESS = Field::new("listen_address", Kind::ListenAddress, "", "\"10.0.0.1\"",
        "The address to listen on. Default: all addresses, IPv4 and IPv6. `0.0.0.0` is IPv4 only and `::` is IPv6 \
         only; a link-local address needs its interface, as in `fe80::1%eth0`.");
    LISTEN_PORT = Field::new("listen_port", Kind::Int { min: 1, max: 65535 }, "", "8443",
        "The port to listen on. Exactly one of `listen_port` and `listen_ports` is required.");
    LISTEN_PORTS = Field::new("listen_ports", Kind::Ports, "", "\"30000-30050\"",
        "The range of ports to listen on, including both ends. It has at most `range_rule_max_ports` ports \
         (server.toml).");
    TARGET = Field::new("target", Kind::Endpoint, "", "\"upstream.internal:443\"",
        "The single upstream: `HOST:PORT`, `HOST:LO-HI` or `[v6]:PORT`, as wide as the listen range. \
         Exactly one of `target` and `targets` is required.");
    TARGETS = Field::new("targets", Kind::Tables(&crate::fields::target::TABLE), "", "[{ host = \"10.0.0.5\", port = 443 }]",
        "1 to 8 upstreams.");
    PROXY_PROTOCOL = Field::new("proxy_protocol", Kind::Word(ProxyProtocol::WORDS), "", "\"v2\"",
        "The version of the PROXY header that is sent to every target of the rule. In `[defaults]` it applies to TCP \
         rules only.");
    PREFER_IPV6 = Field::new("prefer_ipv6", Kind::Bool, "false", "true",
        "Tries the IPv6 addresses of a name first.");
    BALANCE = Field::new("balance", Kind::Word(Balance::WORDS), "\"failover\"", "\"round-robin\"",
        "How a pool of targets of equal priority shares new connections.");
    SRC_IP_STICKY = Field::new("src_ip_sticky", Kind::Bool, "false", "true",
        "Shorthand for `balance = \"source-ip\"`.");
    HEALTH_CHECK_INTERVAL_SECS = Field::new("health_check_interval_secs", Kind::Int { min: 1, max: 3600 }, "", "15",
        "Shorthand for a TCP health check at that interval. Excludes `health`.");
    HEALTH = Field::new("health", Kind::Table(&crate::fields::health::TABLE), "", "{ kind = \"tcp\", interval_secs = 15 }",
        "The active health check of the targets. Excludes `health_check_interval_secs`.");
    LAST_RESORT = Field::new("last_resort", Kind::Word(LastResort::WORDS), "\"top\"", "\"none\"",
        "The targets to try when no target is eligible: the most preferred one, none, or all by priority.");
    CONNECT_TIMEOUT_MS = Field::new("connect_timeout_ms", Kind::Int { min: 1, max: 10_000 }, "3000", "1500",
        "The time limit for connecting to one address. All attempts for a connection together are limited to 10 s.")
        .tcp_only();
    IDLE_TIMEOUT_SECS = Field::new("idle_timeout_secs", Kind::Int { min: 0, max: YEAR_SECS }, "0", "3600",
        "Closes a connection after this time without data; 0 means never.").tcp_only();
    HALF_CLOSED_TIMEOUT_SECS = Field::new("half_closed_timeout_secs", Kind::Int { min: 0, max: YEAR_SECS }, "3600", "30",
        "Closes a half-closed connection after this time without data; 0 means never.").tcp_only();
    STALLED_TIMEOUT_SECS = Field::new("stalled_timeout_secs", Kind::Int { min: 0, max: YEAR_SECS }, "0", "300",
        "Closes a connection if a peer whose host is alive reads none of its pending data for this time; 0 means \
         never.").tcp_only();
    MAX_CONNECTIONS = Field::new("max_connections", Kind::Int { min: 0, max: u32::MAX as i64 }, "0", "5000",
        "The maximum number of concurrent connections; further ones are refused and counted. 0 means no limit.");
    DRAIN_TIMEOUT_SECS = Field::new("drain_timeout_secs", Kind::Int { min: 0, max: DAY_SECS }, "30", "120",
        "How long connections may continue after a change removed their listener or target.");
    ON_TARGET_DOWN = Field::new("on_target_down", Kind::Word(OnTargetDown::WORDS), "\"drain\"", "\"reset\"",
        "The fate of live connections of a target that fails: they continue as long as they can (`drain`), or are \
         reset (`reset`). UDP flows move to an eligible target with their next datagram (`drain`), or end at once.");
    UDP_MAX_FLOWS = Field::new("udp_max_flows", Kind::Int { min: 1, max: 1_048_576 }, "1024", "4096",
        "The maximum number of concurrent flows; `status EDGE/RULE` and `plan` report when new flows found no room. In \
         `[defaults]` it applies to UDP rules only.").udp_only();
    UDP_FLOW_IDLE_SECS = Field::new("udp_flow_idle_secs", Kind::Int { min: 1, max: DAY_SECS }, "60", "120",
        "Ends a flow after this time without a datagram. At the default, flows whose listen port or target \
         port is 53, 123, 1812 or 1813 stop counting once every datagram has its answer, and end 3 s later. In `[defaults]` it applies to UDP \
         rules only.").udp_only();
    SNI = Field::new("sni", Kind::ServerNames, "[]", "[\"www.example.org\", \"*.shop.example.org\"]",
        "The TLS server names that lead to the rule, 1 to 64. `*.` as the first label stands for one label. Rules with \
         `sni` share a port with each other and with at most one rule without it, the fallback; the rule listens on one \
         port.").tcp_only();
    SNI_TIMEOUT_MS = Field::new("sni_timeout_ms", Kind::Int { min: 1, max: 60_000 }, "3000", "1000",
        "How long a client may take to send its whole TLS hello. Of the rules that share a port, the longest applies.")
        .tcp_only();
    ACCEPT_PROXY = Field::new("accept_proxy", Kind::Networks, "[]", "[\"10.1.0.0/16\"]",
        "The networks of load balancers in front of the edge: a connection from one of them must begin with a PROXY \
         header, version 1 or 2.").tcp_only();
    ACCESS = Field::new("access", Kind::Table(&crate::fields::access::TABLE), "", "{ allow = [\"10.0.0.0/8\"] }",
        "Which sources may connect.");
    RATE_LIMIT = Field::new("rate_limit", Kind::Table(&crate::fields::rate_limit::TABLE), "",
        "{ new_connections_per_sec = 200 }", "Limits of bandwidth and of new connections.");
    QUOTA = Field::new("quota", Kind::Table(&crate::fields::quota::TABLE), "",
        "{ bytes = 1000000000000, period = \"month\" }", "How many bytes may be forwarded in a period.");
    OWNER_LIMITS = Field::new("owner_limits", Kind::Table(&crate::fields::owner_limits::TABLE), "", "{}",
        "The limits of the owner of the rule, as its `[[owner]]` entry sets them.");
    ACCESS_LISTS = Field::new("access_lists", Kind::TextMap, "", "{ allow_file = \"sha256:…/1\" }",
        "The digest and the number of the networks of each list file of the rule.");
}

/// A rule as data that programs exchange: the fields of `[[rule]]` with the limits of its owner, which a file states once
/// for all rules of an owner, and with what stands for the content of its list files.
pub mod spec {
    use crate::fields::Table;

    /// The table.
    pub static TABLE: Table = Table { without: &[], ..super::rule::TABLE };
}

table! {
    /// An entry of `targets`.
    target, "rule.targets", "[[rule.targets]]", "One upstream of a rule.";
    HOST = Field::new("host", Kind::Host, "", "\"upstream.internal\"",
        "An IP address (IPv6 without brackets) or a DNS name of at most 253 characters.").required();
    PORT = Field::new("port", Kind::Int { min: 1, max: 65535 }, "", "443",
        "The port. Exactly one of `port` and `ports` is required.");
    PORTS = Field::new("ports", Kind::Ports, "", "\"30000-30050\"",
        "The range of ports, as wide as the rule's listen range.");
    PRIORITY = Field::new("priority", Kind::Int { min: 0, max: 99 }, "0", "10",
        "Lower values are preferred, equal values form a pool, and ties keep the order of the file.");
    WEIGHT = Field::new("weight", Kind::Int { min: 0, max: 100 }, "100", "50",
        "The share of new connections inside the pool; a target with weight 0 receives none.");
    ENABLED = Field::new("enabled", Kind::Bool, "true", "false", "With `false`, the target receives no connections.");
    PROXY_PROTOCOL = Field::new("proxy_protocol", Kind::Word(ProxyProtocol::WORDS), "", "\"v1\"",
        "The version of the PROXY header that is sent to this target; TCP only.");
}

const _: () = assert!(MAX_HOST == 253, "the sentence about hosts names the limit");
