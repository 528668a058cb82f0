//! `docs/editors.md` is written by hand; what it says to type must exist.

use clap::ValueEnum;

use crate::cli::SchemaOf;

const PAGE: &str = include_str!("../../docs/editors.md");

#[test]
fn the_page_of_the_editors_names_every_schema_and_every_shell() {
    for schema in SchemaOf::value_variants() {
        let value = schema.to_possible_value().expect("shown");
        assert!(PAGE.contains(&format!("portunus schema {} >", value.get_name())), "{}", value.get_name());
    }
    for shell in clap_complete::Shell::value_variants().iter().filter(|shell| **shell != clap_complete::Shell::Elvish) {
        assert!(PAGE.contains(&format!("portunus completions {shell}")), "{shell}");
    }
}
