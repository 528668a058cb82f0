//! The fields of `portunus.toml`: what reviewers of a fleet should see. Pure data.

use super::table;

const ANY_COUNT: i64 = u32::MAX as i64;

table! {
/// The top level of `portunus.toml`.
portunus, "portunus.toml", "portunus.toml", "The file `portunus.toml` at the root of a tree.";
TREE = Field::new("tree", Kind::Table(&crate::fields::tree::TABLE), "", "{ ignore = [\"docs/**\"] }",
    "Which files belong to the tree.");
RAILS = Field::new("rails", Kind::Table(&crate::fields::rails::TABLE), "", "{ max_removed_rules = 10 }",
    "Limits of how much one apply may remove. They are read from the last applied tree, so no commit can lift its \
     own guard.");
ROLLOUT = Field::new("rollout", Kind::Table(&crate::fields::rollout::TABLE), "",
    "{ waves = [{ edge_labels = { stage = \"canary\" } }] }", "The order in which the edges of a fleet change."); }

table! {
    /// `[tree]`.
    tree, "tree", "[tree]", "Which files belong to the tree.";
    IGNORE = Field::new("ignore", Kind::Texts { max: 1024 }, "[]", "[\"docs/**\"]",
        "Globs of files, relative to the tree, that are not rule files.");
}

table! {
    /// `[rails]`.
    rails, "rails", "[rails]", "Limits of how much one apply may remove.";
    MAX_REMOVED_PERCENT = Field::new("max_removed_percent", Kind::Int { min: 0, max: 100 }, "30", "10",
        "The percentage of an edge's rules that may be removed; trips only at three removed rules or more.");
    MAX_REMOVED_RULES = Field::new("max_removed_rules", Kind::Int { min: 0, max: ANY_COUNT }, "25", "100",
        "The number of rules that may be removed in total.");
    MAX_REBOUND_PERCENT = Field::new("max_rebound_percent", Kind::Int { min: 0, max: 100 }, "30", "50",
        "The percentage of an edge's rules that may be rebound; trips only at three rebound rules or more.");
    MAX_CONNECTIONS_DROPPED = Field::new("max_connections_dropped", Kind::Int { min: 0, max: ANY_COUNT }, "0", "500",
        "The number of connections that may be cut; 0 means no limit.");
}

table! {
    /// `[rollout]`.
    rollout, "rollout", "[rollout]", "The order in which the edges of a fleet change.";
    WAVES = Field::new("waves", Kind::Tables(&crate::fields::wave::TABLE), "[]",
        "[{ edge_labels = { stage = \"canary\" }, soak_secs = 60 }]", "The waves, in order.");
}

table! {
    /// An entry of `rollout.waves`.
    wave, "rollout.waves", "[[rollout.waves]]", "One wave of a rollout.";
    EDGE_LABELS = Field::new("edge_labels", Kind::TextMap, "", "{ stage = \"canary\" }",
        "The edges of the wave: those that have all of these labels.").required();
    MAX_PARALLEL = Field::new("max_parallel", Kind::Int { min: 1, max: ANY_COUNT }, "1", "10",
        "The number of edges that may change at the same time.");
    MAX_FAILED = Field::new("max_failed", Kind::Int { min: 0, max: ANY_COUNT }, "0", "1",
        "The number of edges that may fail before the rollout stops.");
    SOAK_SECS = Field::new("soak_secs", Kind::Int { min: 0, max: 86_400 }, "0", "60",
        "How long to wait after the wave before the next one.");
}
