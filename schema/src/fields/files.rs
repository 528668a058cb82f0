//! The top of a rule file, its inventory entries, and the two tables of upstream's standalone files. Pure data.

use super::rules::YEAR_SECS;
use super::table;

table! {
    /// The top level of a rule file.
    root, "file", "a rule file", "The tables of a rule file.";
    EDGE = Field::new("edge", Kind::Tables(&crate::fields::edge::TABLE), "", "[{ name = \"edge-01\" }]",
        "The inventory of edges (optional). If the tree has one, naming an unknown edge is an error.");
    OWNER = Field::new("owner", Kind::Tables(&crate::fields::owner::TABLE), "",
        "[{ name = \"team-web\", quota = { bytes = 5000000000000 } }]",
        "Limits of all rules of an owner together (optional); a tree names each owner once.");
    DEFAULTS = Field::new("defaults", Kind::Table(&crate::fields::defaults::TABLE), "", "{ owner = \"team-web\" }",
        "Defaults for the rules of this file: any key of `[[rule]]` except `name`, `listen_*`, `target` and \
         `targets`.");
    RULE = Field::new("rule", Kind::Tables(&crate::fields::rule::TABLE), "",
        "[{ name = \"web\", listen_port = 8443, target = \"10.0.0.5:443\" }]", "The rules.");
    GLOBAL = Field::new("global", Kind::Table(&crate::fields::global::TABLE), "", "{ label = \"edge-1\" }",
        "Settings of the process that `portunus up` runs, as in a standalone file of upstream Portunus.");
    STATS = Field::new("stats", Kind::Table(&crate::fields::stats::TABLE), "", "{ enabled = true }",
        "Accepted so that standalone files of upstream Portunus are valid without changes; has no effect.");
}

table! {
    /// `[[edge]]`.
    edge, "edge", "[[edge]]", "One edge of the inventory.";
    NAME = Field::new("name", Kind::Name, "", "\"edge-01\"",
        "The name under which the edge connects: 1 to 63 characters from a-z, 0-9, `.`, `_`, `-`, starting with a \
         letter or digit.").required();
    LABELS = Field::new("labels", Kind::TextMap, "", "{ region = \"fra\", stage = \"canary\" }",
        "The labels that `edge_labels` of rules and rollout waves select by.");
}

/// `[defaults]`: the fields of `[[rule]]`, so that a draft of either is read by the same indices.
pub mod defaults {
    use crate::fields::Table;
    use crate::fields::rule;

    /// The table.
    pub static TABLE: Table = Table {
        name: "defaults",
        header: "[defaults]",
        doc: "Default values for the rules of this file.",
        fields: crate::fields::rules::rule::FIELDS,
        without: &[
            rule::NAME,
            rule::LISTEN_ADDRESS,
            rule::LISTEN_PORT,
            rule::LISTEN_PORTS,
            rule::TARGET,
            rule::TARGETS,
            rule::OWNER_LIMITS,
            rule::ACCESS_LISTS,
        ],
    };
}

table! {
    /// `[global]`.
    global, "global", "[global]", "Settings of the process that `portunus up` runs.";
    LABEL = Field::new("label", Kind::Text { max: 253, lines: false }, "", "\"edge-1\"", "A name for display.");
    LOG_LEVEL = Field::new("log_level", Kind::Text { max: 1024, lines: false }, "", "\"info\"",
        "`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `portunus=debug,info`.");
    LOG_FORMAT = Field::new("log_format", Kind::Word(&["text", "json", "pretty"]), "", "\"json\"",
        "The form of log lines; `pretty` is upstream's word for `text`.");
    SHUTDOWN_DRAIN_SECS = Field::new("shutdown_drain_secs", Kind::Int { min: 0, max: YEAR_SECS }, "30", "60",
        "How long connections may continue after the process was asked to end.");
}

table! {
    /// `[stats]`.
    stats, "stats", "[stats]", "The statistics socket of upstream's standalone process. Has no effect here.";
    ENABLED = Field::new("enabled", Kind::Bool, "", "true", "Has no effect.");
    SOCKET_PATH = Field::new("socket_path", Kind::Text { max: 4096, lines: false }, "",
        "\"/run/portunus/standalone.sock\"", "Has no effect.");
    REFRESH_MS = Field::new("refresh_ms", Kind::Int { min: 0, max: u32::MAX as i64 }, "", "1000", "Has no effect.");
}
