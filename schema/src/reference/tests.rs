//! What the reference promises: nothing of the language is missing, and the committed page is the program's.

use super::*;

#[test]
fn every_key_table_and_code_can_be_explained() {
    for table in TABLES {
        assert!(explain(table.name).is_ok(), "{}", table.name);
        for (_, field) in table.own_fields() {
            assert!(explain(field.key).is_ok(), "{}", field.key);
            if table.name != "defaults" {
                let path = path_of(table, field);
                assert!(explain(&path).is_ok_and(|text| text.contains(field.doc)), "{path}");
            }
        }
    }
    for code in TreeCode::ALL {
        assert!(explain(code.as_str()).is_ok_and(|text| text.contains(code.doc().remedy)));
    }
    for code in RuleCode::ALL {
        assert!(explain(code.as_str()).is_ok());
    }
}

#[test]
fn a_path_picks_one_field_and_a_bare_key_all_of_that_name() {
    let one = explain("targets[].weight").expect("a field");
    assert!(one.starts_with("rule.targets[].weight\n"), "{one}");
    assert!(one.contains("default  100"), "{one}");
    assert_eq!(explain("health.rise"), explain("rule.health.rise"));
    let several = explain("host").expect("two fields");
    assert!(several.contains("rule.targets[].host\n") && several.contains("rule.health.host\n"), "{several}");
    assert_eq!(explain("[[rule]]"), explain("rule"));
}

#[test]
fn a_typing_error_gets_suggestions() {
    assert_eq!(explain("listen_prot").map_err(|alike| alike[0].clone()), Err("listen_port".to_owned()));
    assert_eq!(explain("port_clahs").map_err(|alike| alike[0].clone()), Err("port_clash".to_owned()));
    assert_eq!(explain("qqq"), Err(Vec::new()));
}

#[test]
fn the_schema_is_closed_at_every_level_and_has_every_key() {
    let schema = json_schema();
    let rule = &schema["properties"]["rule"]["items"];
    for (_, field) in crate::fields::rule::TABLE.own_fields() {
        assert!(rule["properties"].get(field.key).is_some(), "{}", field.key);
        let default = rule["properties"][field.key].get("default");
        assert_eq!(default.is_some(), !field.default.is_empty(), "{}", field.key);
    }
    assert_eq!(rule["additionalProperties"], false);
    assert_eq!(rule["properties"]["health"]["additionalProperties"], false);
    assert_eq!(rule["properties"]["targets"]["items"]["additionalProperties"], false);
    assert_eq!(schema["properties"]["defaults"]["properties"].get("name"), None);
    assert_eq!(rule["properties"]["listen_port"]["maximum"], 65535);
}

#[test]
fn the_committed_page_is_what_the_program_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
    let page = markdown();
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(path, &page).expect("docs/ can be written");
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == page, "docs/reference.md is old: run the tests with PORTUNUS_UPDATE_GOLDEN=1");
}
