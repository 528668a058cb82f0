//! Every code that a user can see, each with the sentences that `explain` prints. Pure.
//!
//! There are three closed sets: [`TreeCode`] for errors in the files, [`RuleCode`] for rules that an edge cannot run or
//! failed to run, and [`MembershipCode`] for edges that the server does not admit.

/// The explanation that `explain CODE` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeDoc {
    /// The code as it is written.
    pub code: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal, $meaning:literal, $remedy:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $(#[doc = $meaning] $variant,)* }

        impl $name {
            /// Every code, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Meaning and remedy.
            pub const fn doc(self) -> CodeDoc {
                match self {
                    $(Self::$variant => CodeDoc { code: $text, meaning: $meaning, remedy: $remedy },)*
                }
            }

            /// The code with this text.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text)
                    .ok_or_else(|| serde::de::Error::custom(format!("unknown code `{text}`")))
            }
        }
    };
}

codes! {
    /// Errors in the files of a tree (CONTRACT §2).
    TreeCode {
        Syntax = "syntax", "The file is not valid TOML, YAML or JSON.",
            "Fix the file at the position shown; one run lists every syntax error of a TOML file.";
        UnknownKey = "unknown_key", "The key does not exist in this table.",
            "Check the spelling against `portunus explain rule`; unknown keys are never ignored silently.";
        MissingKey = "missing_key", "A required key is missing.",
            "Add the key; `portunus explain KEY` shows the values that it accepts.";
        WrongType = "wrong_type", "The value does not have the type that the key requires.",
            "Write the value as `portunus explain KEY` shows it, for example a number without quotes.";
        OutOfRange = "out_of_range", "The number is outside the range that the key accepts.",
            "Choose a value within the range that the message shows.";
        ConflictingKeys = "conflicting_keys", "Two keys that exclude each other are both set.",
            "Remove one of the two keys; the message shows both places.";
        DuplicateRule = "duplicate_rule", "Two rules of one edge have the same name.",
            "Rename one of the rules: the name identifies a rule on its edges.";
        DuplicateEdge = "duplicate_edge", "The inventory lists an edge twice.",
            "Keep one `[[edge]]` entry with all of the labels.";
        DuplicateOwner = "duplicate_owner", "The tree lists an owner twice.",
            "Keep one `[[owner]]` entry with all of the limits.";
        DuplicateTarget = "duplicate_target", "A rule lists the same host and port twice.",
            "Remove one of the two targets; to give a target a larger share, raise its `weight`.";
        UnknownEdge = "unknown_edge", "The tree has an inventory that does not contain the named edge.",
            "Add an `[[edge]]` entry or fix the name; `local` is always known.";
        NoEdgeMatches = "no_edge_matches", "A glob or label selector matches no edge of the inventory.",
            "Globs and labels are matched against the `[[edge]]` entries of the tree: add the edge or fix the \
             selector.";
        PortClash = "port_clash", "Two rules of one edge listen on the same protocol, port and address.",
            "Change the port of one rule; `0.0.0.0` and `::` overlap every address of their family, and a rule without \
             a listen address overlaps all addresses. Rules with `sni` share a port with each other and with one rule \
             without it, unless they name the same server.";
        RangeTooWide = "range_too_wide", "The port range is wider than `range_rule_max_ports` allows.",
            "Split the range into several rules, or raise the limit in server.toml (default 1024).";
        RangeWidthMismatch = "range_width_mismatch", "A target's port range is not as wide as the listen range.",
            "Give both ranges the same number of ports: the first listen port goes to the first target port, and so \
             on.";
        TooManyTargets = "too_many_targets", "A rule has more than eight targets.",
            "Keep at most eight targets, or put a separate load balancer behind the rule.";
        InvalidValue = "invalid_value", "The text does not have the form that the key requires.",
            "Write the value as `portunus explain KEY` shows it.";
        NotApplicable = "not_applicable", "The key does not apply to this rule.",
            "Remove the key: it would have no effect here.";
        InvalidHost = "invalid_host", "The host is neither an IP address nor a DNS name.",
            "Write an IPv4 address, an IPv6 address in brackets, or a DNS name of at most 253 characters.";
        ProxyProtocolOnUdp = "proxy_protocol_on_udp", "The PROXY protocol exists for TCP only.",
            "Remove `proxy_protocol` or set `protocol = \"tcp\"`.";
        ReservedKey = "reserved_key", "The key is part of the rule language, but this version does not implement it \
            yet.",
            "Remove the key for now: a key that is accepted is always enforced.";
        EmptyTree = "empty_tree", "The tree contains no rules.",
            "Check the directory; an empty tree never removes anything unless `--allow-empty` is given.";
        UnreadableFile = "unreadable_file", "The file or folder cannot be read, or a symbolic link leads out of the \
            tree or forms a loop.",
            "Check permissions and links; links are followed only inside the tree.";
        NotUtf8 = "not_utf8", "The file is not UTF-8 text.",
            "Save the file as UTF-8.";
        EmptyFile = "empty_file", "The file is empty: it has no bytes, or only blanks.",
            "Delete the file, or add a line to it, such as a comment: a file that was emptied by mistake removes no \
             rules.";
        FileTooLarge = "file_too_large", "The file is larger than 8 MiB or has more than 1,000,000 values (in YAML: \
            more than 250,000 brackets and commas), or the tree is larger than 256 MiB or has more than 200,000 \
            rules, counted once for each of their edges.",
            "Split the file, or the fleet.";
        SelfLockout = "self_lockout", "The rule listens on a port of the edge itself, or forwards to a listener of its \
            own edge.",
            "Choose another port or target: an edge never connects to its own listeners.";
    }
}

codes! {
    /// Reasons why an edge does not run a rule (CONTRACT §6).
    RuleCode {
        UnsupportedProtocol = "unsupported_protocol", "The edge does not forward this protocol.",
            "Assign the rule to an edge whose capabilities (`portunus status EDGE`) include the protocol.";
        PortRangeUnsupported = "port_range_unsupported_by_client", "The edge does not support port ranges.",
            "Upgrade the edge, or write one rule per port.";
        MultiTargetUnsupported = "multi_target_unsupported_by_client", "The edge does not support several targets per \
            rule.",
            "Upgrade the edge, or keep one target.";
        ActiveHealthUnsupported = "active_health_unsupported_by_client", "The edge does not support the health check \
            of the rule.",
            "Upgrade the edge, grant it the permission that the check needs, or remove the check.";
        ProxyProtocolUnsupported = "proxy_protocol_unsupported_by_client", "The edge does not support PROXY headers.",
            "Upgrade the edge, or remove `proxy_protocol`.";
        SourceIpUnsupported = "source_ip_unsupported_by_client", "The edge does not support balancing by source \
            address.",
            "Upgrade the edge, or choose another `balance`.";
        SniUnsupported = "sni_unsupported_by_client", "The edge does not support routing by server name.",
            "Upgrade the edge, or give the rule a port of its own and remove `sni`.";
        AccessUnsupported = "access_unsupported_by_client", "The edge does not support access lists.",
            "Upgrade the edge, or remove `access`.";
        RateLimitUnsupported = "rate_limit_unsupported_by_client", "The edge does not support rate limits.",
            "Upgrade the edge, or remove `rate_limit` from the rule and from its owner.";
        QuotaUnsupported = "quota_unsupported_by_client", "The edge does not support quotas.",
            "Upgrade the edge, or remove `quota` from the rule and from its owner.";
        AcceptProxyUnsupported = "accept_proxy_unsupported_by_client", "The edge does not read PROXY headers.",
            "Upgrade the edge, or remove `accept_proxy`.";
        FdBudgetExceeded = "fd_budget_exceeded", "The listeners would exceed the edge's limit of file descriptors.",
            "Raise the edge's limit (`ulimit -n`, LimitNOFILE=), or spread the rules over more edges.";
        PrivilegedPort = "privileged_port", "The edge is not permitted to bind privileged ports.",
            "Grant CAP_NET_BIND_SERVICE to the edge, or choose a higher port.";
        SelfLockout = "self_lockout", "The rule listens on a port of the edge itself, or forwards to a listener of its \
            own edge.",
            "Choose another port or target: an edge never connects to its own listeners.";
        ForbiddenByPolicy = "forbidden_by_policy", "The edge's own policy forbids the rule; no server \
            can change it.",
            "Choose a listener and targets that the policy allows (`portunus status EDGE`), or ask the owner of the edge to \
             extend the file given with `portunus edge --policy`.";
        InvalidRule = "invalid_rule", "The edge could not validate the rule that it received.",
            "Upgrade the older one of the server and the edge: they disagree about the rule language.";
        PortInUse = "port_in_use", "The port is already bound by another process, or by a rule that must keep it.",
            "Stop the other process (`ss -ltnp`); the rule is retried and heals by itself.";
        PermissionDenied = "permission_denied", "The operating system refused the bind because the edge lacks \
            permission.",
            "Grant CAP_NET_BIND_SERVICE to the edge; the rule is retried.";
        AddressNotAvailable = "address_not_available", "The listen address does not exist on the edge.",
            "Add the address to the host, or fix `listen_address`; the rule is retried.";
        BindFailed = "bind_failed", "The listener could not be created for another reason.",
            "See the message for the operating system's error; the rule is retried.";
        StaleGeneration = "stale_generation", "The edge has a newer generation than the one that it received.",
            "No action is needed: the server sends a newer generation. If the code persists, two servers control this \
             edge.";
        StaleBase = "stale_base", "The edge changed between the plan and its apply.",
            "Plan again, and apply the new plan.";
        ClientNotConnected = "client_not_connected", "The edge has no session with the server.",
            "Start the edge, or fix its connection to the server; it receives the newest state when it reconnects.";
        AckTimeout = "ack_timeout", "The edge did not report in time, so its running state is unknown.",
            "Check `portunus status EDGE`: the next report settles the result.";
    }
}

codes! {
    /// Why the certificate of an edge admits nobody, as a server tells it the edge.
    MembershipCode {
        UnknownEdge = "unknown_edge", "The server does not know the edge.",
            "Join again with a new code from `portunus edge-token create`.";
        Revoked = "revoked", "An operator revoked the edge.",
            "Join again with a new code from `portunus edge-token create`.";
        Superseded = "superseded", "Another edge has joined under the name since.",
            "Give each edge a name of its own.";
        CertificateExpired = "certificate_expired", "The certificate has expired and is good for renewal only.",
            "No action is needed: the edge renews it. If the code persists, compare the clocks of both hosts.";
    }
}

/// The documentation of a code of either kind.
pub fn explain(code: &str) -> Option<CodeDoc> {
    TreeCode::parse(code).map(TreeCode::doc).or_else(|| RuleCode::parse(code).map(RuleCode::doc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_parses_back_and_no_code_has_two_meanings() {
        for code in TreeCode::ALL {
            assert_eq!(TreeCode::parse(code.as_str()), Some(*code));
            // One that both find means the same to both.
            if let Some(other) = RuleCode::parse(code.as_str()) {
                assert_eq!(other.doc(), code.doc());
            }
        }
        for code in RuleCode::ALL {
            assert_eq!(RuleCode::parse(code.as_str()), Some(*code));
        }
    }
}
