//! Every code a person can meet, each with the sentences that `explain` prints. Pure.
//!
//! Two closed sets: [`TreeCode`] for what is wrong in the files, [`RuleCode`] for what an edge cannot do
//! or did not manage.

/// What `explain CODE` shows.
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

            /// The code that is written so.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
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
    /// What can be wrong with the files of a tree (CONTRACT §2).
    TreeCode {
        Syntax = "syntax", "The file is not valid TOML, YAML or JSON.",
            "Mend the file at the place shown; every syntax error of a TOML file is listed in one run.";
        UnknownKey = "unknown_key", "The key does not exist in this table.",
            "Check the spelling against `portunus explain rule`; keys of other tools are never ignored silently.";
        MissingKey = "missing_key", "A key that is required here is not set.",
            "Add the key; `portunus explain KEY` shows what it takes.";
        WrongType = "wrong_type", "The value has another type than the key takes.",
            "Write the value as `portunus explain KEY` shows it, for example a number without quotes.";
        OutOfRange = "out_of_range", "The number is outside the range that the key takes.",
            "Choose a value inside the range that the message names.";
        ConflictingKeys = "conflicting_keys", "Two keys that exclude each other are both set.",
            "Keep one of the two places that the message shows.";
        DuplicateRule = "duplicate_rule", "Two rules of one edge have the same name.",
            "Rename one of them: the name is the identity of the rule on its edges.";
        DuplicateEdge = "duplicate_edge", "The inventory lists an edge twice.",
            "Keep one `[[edge]]` entry and give it all its labels.";
        DuplicateTarget = "duplicate_target", "A rule lists the same host and port twice.",
            "Remove one of the two; for a larger share raise its `weight`.";
        UnknownEdge = "unknown_edge", "The tree has an inventory, and the named edge is not in it.",
            "Add an `[[edge]]` entry or mend the name; `local` is always known.";
        NoEdgeMatches = "no_edge_matches", "A glob or label selector matches no edge of the inventory.",
            "Globs and labels are looked up in the `[[edge]]` entries of the tree: add the edge or mend the selector.";
        PortClash = "port_clash", "Two rules of one edge listen on the same protocol, port and address.",
            "Move one of them; an address that is not given, `0.0.0.0` and `::` overlap every address of their family.";
        RangeTooWide = "range_too_wide", "The port range is wider than `range_rule_max_ports` allows.",
            "Split the range into several rules, or raise the limit in server.toml (default 1024).";
        RangeWidthMismatch = "range_width_mismatch", "A target's port range is not as wide as the listen range.",
            "Give both ranges the same number of ports: the first listen port goes to the first target port, and so on.";
        TooManyTargets = "too_many_targets", "A rule has more than eight targets.",
            "Keep at most eight, or put a balancer of its own behind the rule.";
        InvalidValue = "invalid_value", "The text does not have the form that the key takes.",
            "Write it as `portunus explain KEY` shows it.";
        NotApplicable = "not_applicable", "The key cannot concern this rule.",
            "Remove the key: it would have no effect here.";
        InvalidHost = "invalid_host", "The host is neither an IP address nor a DNS name.",
            "Write an IPv4 address, an IPv6 address in brackets, or a DNS name of at most 253 characters.";
        ProxyProtocolOnUdp = "proxy_protocol_on_udp", "The PROXY protocol exists for TCP only.",
            "Remove `proxy_protocol` or make the rule a TCP rule.";
        ReservedKey = "reserved_key", "The key is part of the language, but this version does not act on it yet.",
            "Remove it for now: a key that is accepted is always enforced.";
        EmptyTree = "empty_tree", "The tree holds no rule.",
            "Check the directory; an empty tree never removes anything unless `--allow-empty` says so.";
        UnreadableFile = "unreadable_file", "The file or folder cannot be read, or a link leads out of the tree or in a loop.",
            "Check permissions and links; links are followed inside the tree only.";
        NotUtf8 = "not_utf8", "The file is not UTF-8 text.",
            "Save it as UTF-8.";
        EmptyFile = "empty_file", "The file has zero bytes.",
            "Delete the file, or write a line into it, such as a comment: a file that was emptied by mistake removes no \
             rule.";
        FileTooLarge = "file_too_large", "The file is larger than 8 MiB, or the whole upload larger than 256 MiB.",
            "Split the file.";
        SelfLockout = "self_lockout", "The rule takes a port of the edge itself, or forwards to a listener of its own edge.",
            "Choose another port or target: an edge does not connect to its own listeners.";
    }
}

codes! {
    /// What an edge cannot do, or did not manage (CONTRACT §6).
    RuleCode {
        UnsupportedProtocol = "unsupported_protocol", "The edge does not forward this protocol.",
            "Place the rule on an edge whose capabilities (`portunus status EDGE`) list the protocol.";
        PortRangeUnsupported = "port_range_unsupported_by_client", "The edge does not take port ranges.",
            "Upgrade the edge or write one rule per port.";
        MultiTargetUnsupported = "multi_target_unsupported_by_client", "The edge does not take several targets.",
            "Upgrade the edge or keep one target.";
        ActiveHealthUnsupported = "active_health_unsupported_by_client", "The edge does not probe targets.",
            "Upgrade the edge, grant it what the check needs, or remove the check.";
        ProxyProtocolUnsupported = "proxy_protocol_unsupported_by_client", "The edge does not send PROXY headers.",
            "Upgrade the edge or remove `proxy_protocol`.";
        SourceIpUnsupported = "source_ip_unsupported_by_client", "The edge does not balance by source address.",
            "Upgrade the edge or choose another `balance`.";
        FdBudgetExceeded = "fd_budget_exceeded", "The listeners would not fit into the edge's file descriptors.",
            "Raise the edge's limit (`ulimit -n`, LimitNOFILE=) or spread the rules over more edges.";
        PrivilegedPort = "privileged_port", "The edge may not bind ports below its privileged limit.",
            "Grant CAP_NET_BIND_SERVICE to the edge or choose a higher port.";
        SelfLockout = "self_lockout", "The rule takes a port of the edge itself, or forwards to a listener of its own edge.",
            "Choose another port or target: an edge does not connect to its own listeners.";
        ForbiddenByPolicy = "forbidden_by_policy", "The edge's own policy file forbids the rule.",
            "Ask the owner of the edge, or choose a permitted port and target.";
        InvalidRule = "invalid_rule", "The edge could not validate the rule that it was sent.",
            "Upgrade the older of server and edge: they disagree about the rule language.";
        PortInUse = "port_in_use", "The port is bound already, by another process or by a rule that must keep it.",
            "Stop the other process (`ss -ltnp`); the rule is retried and heals by itself.";
        PermissionDenied = "permission_denied", "The operating system refused the bind for lack of permission.",
            "Grant CAP_NET_BIND_SERVICE to the edge; the rule is retried.";
        AddressNotAvailable = "address_not_available", "The listen address does not exist on the edge.",
            "Add the address to the host or mend `listen_address`; the rule is retried.";
        BindFailed = "bind_failed", "The listener could not be made for another reason.",
            "See the message for the operating system's words; the rule is retried.";
        StaleGeneration = "stale_generation", "The edge holds a newer generation than it was sent.",
            "Nothing to do: the server sends a newer one. Two servers on one edge cause it for good.";
        StaleBase = "stale_base", "The edge changed between the plan and its application.",
            "Plan again.";
        ClientNotConnected = "client_not_connected", "The edge has no session with the server.",
            "Start the edge or mend its way to the server; it takes the newest state when it comes back.";
        AckTimeout = "ack_timeout", "The edge did not report in time; what it runs is not known.",
            "Look at `portunus status EDGE`: the next report settles it.";
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
