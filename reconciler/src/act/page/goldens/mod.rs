//! What the views look like as HTML: each state of each view beside its golden file.
//!
//! `PORTUNUS_UPDATE_GOLDEN=1` writes the files anew.

mod change;
mod connections;
mod edges;
mod quotas;
mod rule;
mod rules;

use std::path::Path;

use askama::Template;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::layout::Layout;
use crate::decide::page::head::FleetLine;
use crate::decide::page::words::Badge;

/// What a name would do in a page that did not escape it.
const NASTY: &str = "<script>alert(\"x\")</script> & 'y'";

fn layout(title: &str) -> Layout {
    Layout {
        title: title.to_owned(),
        line: FleetLine { verdict: Badge::up("In sync"), marks: Vec::new(), parts: Vec::new() },
        nav: Vec::new(),
        who: "ada".to_owned(),
        role: "applier",
        now: "2026-01-02T08:00:00Z".to_owned(),
        note: None,
        style: "style.css".to_owned(),
        script: "main.js".to_owned(),
        icon: "icon.svg".to_owned(),
    }
}

fn now() -> Timestamp {
    "2026-01-02T08:00:00Z".parse().expect("a time")
}

fn of<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).expect("a document of the API")
}

/// Compares the view inside of a page with its file. What surrounds it is not the view's.
fn golden(name: &str, page: &impl Template) {
    let page = page.render().expect("a page");
    let begin = page.find("<main").expect("a view");
    let end = page.find("</main>").expect("its end");
    let view = format!("{}\n", page[begin..end].trim_end());
    assert!(!view.contains("<script>alert"), "{name}: a name is not escaped");
    assert!(!view.contains("style="), "{name}: the policy of the page forbids inline styles");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/page").join(name).with_extension("html");
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, &view).expect("the file is written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(view, known, "{} is old: run the tests with PORTUNUS_UPDATE_GOLDEN=1", path.display());
}
