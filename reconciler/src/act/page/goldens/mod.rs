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
use crate::decide::operators::Role;
use crate::decide::page::head::{FleetLine, line, navigation};
use crate::decide::page::words::Badge;
use crate::decide::summary::FleetSummary;

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

/// What surrounds the view of a fleet: nothing in it depends on the time or on the content of style sheet and scripts.
pub(super) fn layout_of(title: &str, path: &str, role: Role, summary: &FleetSummary) -> Layout {
    Layout {
        line: line(summary),
        nav: navigation(role, path),
        who: "ann".to_owned(),
        role: role.as_str(),
        now: "2026-01-02T10:00:00Z".to_owned(),
        style: "/ui/assets/style.css".to_owned(),
        script: "/ui/assets/main.js".to_owned(),
        icon: "/ui/assets/icon.svg".to_owned(),
        ..layout(title)
    }
}

fn now() -> Timestamp {
    "2026-01-02T08:00:00Z".parse().expect("a time")
}

fn of<T: DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).expect("a document of the API")
}

/// Compares the view inside of a page with its file. What surrounds it is not the view's.
#[track_caller]
fn golden(name: &str, page: &impl Template) {
    let page = page.render().expect("a page");
    let begin = page.find("<main").expect("a view");
    let end = page.find("</main>").expect("its end");
    compare(name, &format!("{}\n", page[begin..end].trim_end()));
}

/// Compares a page with its file, with what surrounds the view.
#[track_caller]
pub(super) fn whole(name: &str, page: &impl Template) {
    compare(name, &page.render().expect("a page"));
}

#[track_caller]
fn compare(name: &str, html: &str) {
    assert!(!html.contains("<script>alert"), "{name}: a name is not escaped");
    let inline = ["style=", "<style", "onclick"];
    assert!(!inline.iter().any(|text| html.contains(text)), "{name}: the policy of the page forbids what is inline");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/page").join(name).with_extension("html");
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, html).expect("the file is written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = known.lines().zip(html.lines()).find(|(before, now)| before != now);
    let path = path.display();
    assert!(known == html, "{path} is old, from {differing:?} on: run the tests with PORTUNUS_UPDATE_GOLDEN=1");
}
