//! The pages of `docs/` that are made from the program itself, each compared with what is committed. Tests only.

mod configuration;
mod editors;
mod http_api;
mod sections;
mod structs;

use std::fs;
use std::path::Path;

/// Compares a page with the committed one, or writes it with `PORTUNUS_UPDATE_GOLDEN=1`.
fn assert_page(name: &str, page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&path, page).expect("the page is written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/{name} is old: run the tests with PORTUNUS_UPDATE_GOLDEN=1");
}

#[test]
fn every_page_is_reached_from_the_readme() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README");
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("the folder");
    for page in docs {
        let name = page.expect("an entry").file_name().into_string().expect("a name");
        // Pictures have a folder of their own.
        if Path::new(&name).extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        assert!(readme.contains(&format!("](docs/{name})")), "README.md does not link docs/{name}");
    }
}

/// Text as the cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace("[`", "`").replace("`]", "`")
}
