//! A change from the page to git and back: proposed, downloaded, applied by git, in force in waves, and rolled back.

use std::fs;

use crate::peers::{Echo, answers};
use crate::support::{wait_for, wait_until};

use super::browser::Browser;
use super::fleet::Fleet;

#[test]
fn a_target_is_proposed_goes_live_by_git_and_is_rolled_back_with_a_reason() {
    let fleet = Fleet::new();
    let (world, other) = (&fleet.world, Echo::start());
    let Some(browser) = Browser::start(world) else { return };
    browser.sign_in(&world.token());
    browser.open("/ui/rules/edge-02/api");
    browser.press("Add another target");
    browser.arrives_at("/ui/rules/edge-02/api/add-target");
    // What is wrong is said, and what was typed stays.
    browser.type_in("#host", "127.0.0.1");
    browser.type_in("#ports", "70000");
    browser.press("Preview the change");
    browser.reads("[role=alert]", "70000");
    browser.type_in("#ports", &other.port.to_string());
    browser.press("Preview the change");
    browser.reads("pre.diff", &format!("port = {}", other.port));
    browser.reads("pre.plan-text", "api");
    assert_eq!(world.git(&["status", "--porcelain"]), "", "the page writes nothing");
    let download = browser.downloads().join("api.patch");
    browser.press("Download api.patch");
    let patch = wait_for("the download", || {
        fs::read_to_string(&download).map_err(|error| format!("{error}, on {}:\n{}", browser.place(), browser.body()))
    });
    assert!(patch.contains("a/fleet/web.toml"), "paths are those of the repository: {patch}");

    world.git(&["apply", download.to_str().unwrap()]);
    let commit = world.commit();
    wait_until("the new target to serve", || answers(fleet.port + 1) == Some(other.port));
    fleet.is_in_force();
    browser.open("/ui/");
    browser.reads("[aria-labelledby=in-force]", &commit[..7]);

    // Back to what was, with a reason, after a look at what that does.
    browser.press("History");
    browser.arrives_at("/ui/history");
    browser.open("/ui/history/1");
    browser.type_in("#why", "it answers too slowly");
    browser.press("Show the rollback plan");
    browser.reads("pre.plan-text", "api");
    assert_eq!(answers(fleet.port + 1), Some(other.port), "a plan changes nothing");
    browser.click("main form .button-danger");
    wait_until("the target to be gone", || answers(fleet.port + 1).is_none());
    browser.open("/ui/");
    browser.reads("main", "it answers too slowly");
    browser.reads(".fleet-line", "held");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
