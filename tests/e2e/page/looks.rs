//! Every view: as narrow as a phone, in the dark, with names that would be scripts, and with nothing in the console.

use serde_json::{Value, json};

use crate::support::World;

use super::browser::Browser;
use super::fleet::Fleet;
use super::pictures;

/// Each view of the page, the ones with something to show.
pub(super) const VIEWS: [&str; 21] = [
    "/ui/",
    "/ui/edges",
    "/ui/edges/edge-01",
    "/ui/rules",
    "/ui/rules?state=active&sort=-connections&limit=1",
    "/ui/rules?rule=nothing-is-called-so",
    "/ui/rules/edge-01/web",
    "/ui/rules/edge-02/dns",
    "/ui/rules/edge-01/web/edit",
    "/ui/rules/edge-01/web/add-target",
    "/ui/plan",
    "/ui/plan?revision=no-such-revision",
    "/ui/applies",
    "/ui/history",
    "/ui/history/1",
    "/ui/drift",
    "/ui/quotas",
    "/ui/connections",
    "/ui/audit",
    "/ui/connections/end?rule=edge-01%2Fweb",
    "/ui/no-such-page",
];

/// Shows each view, with all of its details open.
fn each(browser: &Browser, views: &[&str], look: impl Fn(&str)) {
    for view in views {
        browser.open(view);
        browser.run("for (const each of document.querySelectorAll('details')) each.open = true;");
        assert_ne!(browser.place(), "/ui/sign-in", "{view}");
        look(view);
    }
}

/// Keeps a picture of the view, for who wants to look at all of them.
fn keep(browser: &Browser, fleet: &str, view: &str, width: u32, is_dark: bool) {
    if let Some(folder) = pictures::folder() {
        let name: String = view.chars().map(|each| if each.is_ascii_alphanumeric() { each } else { '-' }).collect();
        let name = format!("{fleet}{name}_{width}_{}.png", if is_dark { "dark" } else { "light" });
        std::fs::write(folder.join(name), browser.picture(u32::MAX)).unwrap();
    }
}

const OVERFLOWS: &str = "const wide = document.documentElement.clientWidth;\n\
    return [document.documentElement.scrollWidth, wide, ...[...document.querySelectorAll('body *')]\n\
    .filter((each) => each.getBoundingClientRect().right > wide + 0.5 && !each.closest('.table-box, pre, .nav, .skip, svg'))\n\
    .map((each) => `${each.tagName}.${each.className} ${each.textContent.slice(0, 30)}`).slice(0, 5)];";

#[test]
fn no_view_scrolls_sideways_on_a_phone_or_hides_text_in_the_dark_or_complains() {
    let fleet = Fleet::new();
    let Some(browser) = Browser::start(&fleet.world) else { return };
    let _client = fleet.client();
    browser.sign_in(&fleet.world.token());
    for (width, is_dark) in [(360, false), (1280, true), (360, true), (1280, false)] {
        browser.is_as_wide_as(width);
        browser.is_dark(is_dark);
        each(&browser, &VIEWS, |view| {
            let wide = browser.run(OVERFLOWS);
            assert!(wide[0].as_u64() <= Some(u64::from(width)), "{view} at {width}: {wide}");
            keep(&browser, "full", view, width, is_dark);
            let pale = browser.run(include_str!("contrast.js"));
            assert_eq!(pale, json!([]), "{view}, dark: {is_dark}");
            assert_eq!(browser.complaints(), Vec::<String>::new(), "{view} at {width}, dark: {is_dark}");
        });
    }
}

#[test]
fn an_empty_server_has_something_to_say_in_every_view() {
    let world = World::with_edges(&[]);
    let Some(browser) = Browser::start(&world) else { return };
    browser.sign_in(&world.token());
    let views =
        ["/ui/", "/ui/edges", "/ui/rules", "/ui/applies", "/ui/history", "/ui/drift", "/ui/quotas", "/ui/connections"];
    each(&browser, &views, |view| {
        keep(&browser, "empty", view, 1280, false);
        assert!(browser.count("main .empty") > 0, "{view}: {}", browser.body());
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{view}");
    });
}

#[test]
fn the_policy_lets_no_script_run_that_is_not_the_servers_own() {
    let fleet = Fleet::new();
    let Some(browser) = Browser::start(&fleet.world) else { return };
    browser.sign_in(&fleet.world.token());
    browser.open("/ui/rules/edge-01/web");
    browser.reads(".page-head", "<script>alert(1)</script> & \"x\"");
    // As one that got into the page by a mistake of ours would: the browser refuses it.
    browser.run("const made = document.createElement('div');\nmade.innerHTML = '<img src=x onerror=\"window.ran = true\">';\n\
         document.body.append(made);\nconst script = document.createElement('script');\nscript.textContent = 'window.ran = true';\n\
         document.body.append(script);");
    assert_eq!(browser.run("return window.ran === undefined"), Value::from(true));
    let refused = browser.complaints();
    assert!(refused.iter().any(|line| line.contains("Content Security Policy")), "{refused:?}");
}
