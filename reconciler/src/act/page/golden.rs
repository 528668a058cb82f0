//! The pages of tests, each compared with what is committed. Tests only.

use std::path::Path;

use askama::Template;

use super::layout::Layout;
use crate::decide::operators::Role;
use crate::decide::page::head::{line, navigation};
use crate::decide::summary::FleetSummary;

/// What surrounds a view in tests: nothing in it depends on the time or on the content of style sheet and scripts.
pub(super) fn layout(title: &str, path: &str, role: Role, summary: &FleetSummary) -> Layout {
    Layout {
        title: title.to_owned(),
        line: line(summary),
        nav: navigation(role, path),
        who: "ann".to_owned(),
        role: role.as_str(),
        now: "2026-01-02T10:00:00Z".to_owned(),
        note: None,
        style: "/ui/assets/style.css".to_owned(),
        script: "/ui/assets/main.js".to_owned(),
        icon: "/ui/assets/icon.svg".to_owned(),
    }
}

/// Compares a page with `tests/golden/page/NAME.html`, or writes it with `PORTUNUS_UPDATE_GOLDEN=1`.
#[track_caller]
pub(super) fn check(name: &str, page: &impl Template) {
    let html = page.render().expect("it can be rendered");
    assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("onclick"), "nothing is inline");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/page/{name}.html"));
    if std::env::var_os("PORTUNUS_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, &html).expect("the page is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = committed.lines().zip(html.lines()).find(|(before, now)| before != now);
    assert!(
        committed == html,
        "{} is old, from {differing:?} on: look at it and run the tests with PORTUNUS_UPDATE_GOLDEN=1",
        path.display()
    );
}
