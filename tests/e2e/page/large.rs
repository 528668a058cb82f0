//! 10,000 rules: the first view and the list of them stay small, and one is found.

use std::fmt::Write;

use crate::support::World;

use super::browser::Browser;

const EDGES: usize = 100;
const RULES: usize = 100;

/// Rules for edges that are not here: what is declared is shown.
fn tree() -> String {
    let mut text = String::new();
    for edge in 0..EDGES {
        writeln!(text, "[[edge]]\nname = \"edge-{edge:03}\"\n").unwrap();
    }
    for (edge, rule) in (0..EDGES).flat_map(|edge| (0..RULES).map(move |rule| (edge, rule))) {
        let port = 20_000 + rule;
        writeln!(
            text,
            "[[rule]]\nname = \"r{rule:03}\"\nedges = [\"edge-{edge:03}\"]\nlisten_port = {port}\ntarget = \"127.0.0.1:9\"\n"
        )
        .unwrap();
    }
    text
}

/// How long the server took for the page, in ms, and the bytes of everything that it loaded.
const COST: &str = "const page = performance.getEntriesByType('navigation')[0];\n\
    const all = [page, ...performance.getEntriesByType('resource')];\n\
    return [page.responseEnd - page.requestStart, all.reduce((sum, each) => sum + each.encodedBodySize, 0)];";

#[test]
fn ten_thousand_rules_are_read_page_by_page_and_one_is_found() {
    let world = World::with_edges(&[]);
    let Some(browser) = Browser::start(&world) else { return };
    world.edit("a.toml", tree());
    world.apply_with(&["--timeout", "120s"]).exits(5);
    browser.sign_in(&world.token());
    for view in ["/ui/", "/ui/rules", "/ui/edges"] {
        browser.open(view);
        let cost = browser.run(COST);
        assert!(cost[1].as_u64() < Some(200 * 1024), "{view}: {cost}");
        // Far above what a build without optimisation needs on a machine that also does other things.
        assert!(cost[0].as_f64() < Some(10_000.0), "{view}: {cost}");
    }
    browser.open("/ui/rules");
    browser.reads("table caption", "1–100 of 10,000");
    assert_eq!(browser.count("tbody tr"), 100);
    browser.press("Next");
    browser.reads("table caption", "101–200 of 10,000");
    browser.type_in("#f-rule", "r077");
    browser.type_in("#f-edge", "edge-042");
    browser.press("Show");
    browser.reads("tbody tr", "edge-042/r077");
    assert_eq!(browser.count("tbody tr"), 1);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
