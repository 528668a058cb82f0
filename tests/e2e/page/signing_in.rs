//! In by a token or by the link of `up`, and out again.

use crate::support::{World, ports, rule, wait_for};

use super::browser::Browser;

#[test]
fn a_token_signs_in_and_a_wrong_one_does_not() {
    let world = World::with_edges(&["edge-01"]);
    let Some(browser) = Browser::start(&world) else { return };
    browser.open("/");
    browser.arrives_at("/ui/sign-in");
    browser.type_in("#token", "not-a-token");
    browser.press("Sign in");
    browser.reads("[role=alert]", "This token is not valid.");
    browser.type_in("#token", &world.token());
    browser.press("Sign in");
    browser.arrives_at("/ui/");
    browser.reads("h1", "Fleet");
    browser.reads(".who", "admin");
    assert_eq!(browser.run("return document.cookie"), "", "no script reads the session");
    browser.press("Sign out");
    browser.arrives_at("/ui/sign-in");
    // Neither the button back nor an address shows the page again.
    browser.open("/ui/rules?state=active");
    browser.arrives_at("/ui/sign-in");
    browser.type_in("#token", &world.token());
    browser.press("Sign in");
    browser.arrives_at("/ui/rules?state=active");
    let audit = world.cli(&["audit"]).exits(0).out;
    assert!(audit.contains("POST /ui/sign-in      unauthorized"), "{audit}");
}

#[test]
fn the_link_that_up_prints_signs_in_once() {
    let world = World::new();
    world.edit("a.toml", rule("local", "a", ports(1), 9, ""));
    let up = world.up(&[&world.tree_arg()]);
    let log = wait_for("the link", || {
        let log = up.log();
        if log.contains("/ui/sign-in?once=") { Ok(log) } else { Err(log) }
    });
    let link = log.split_whitespace().find(|word| word.contains("/ui/sign-in?once=")).unwrap();
    let path = &link[link.find("/ui/").unwrap()..];
    let Some(browser) = Browser::start(&world) else { return };
    browser.open(path);
    browser.reads("h1", "Fleet");
    assert_eq!(browser.place(), "/ui/", "the code does not stay in the address");
    browser.press("Sign out");
    browser.arrives_at("/ui/sign-in");
    browser.open(path);
    browser.reads("[role=alert]", "used or has expired");
}
