//! Pages that stay open: an apply that goes from wave to wave, figures that move, a server that goes away.

use std::time::Duration;

use crate::peers::answers;
use crate::support::{let_pass, wait_for, wait_until};

use super::browser::Browser;
use super::fleet::Fleet;

const SLOWLY: &str =
    "[rollout]\nwaves = [\n  { edge_labels = { stage = \"canary\" }, soak_secs = 6 },\n  { edge_labels = {} },\n]\n";

#[test]
fn an_apply_is_watched_from_wave_to_wave_without_a_reload() {
    let fleet = Fleet::new();
    let world = &fleet.world;
    let Some(browser) = Browser::start(world) else { return };
    browser.sign_in(&world.token());
    world.write("fleet/portunus.toml", SLOWLY);
    fleet.lists_more();
    wait_until("the first wave", || answers(fleet.port + 3).is_some());
    browser.open("/ui/");
    browser.reads("[aria-labelledby=apply]", "of 2");
    browser.press("Waves and edges");
    browser.arrives_at("/ui/applies/a");
    browser.reads("[data-wave]:nth-of-type(2)", "edge-01");
    browser.run("window.opened = true;");
    browser.reads(".page-head", "applied");
    browser.reads("[data-edge=edge-02]", "done");
    assert_eq!(browser.run("return window.opened"), true, "the page followed the apply by itself");
    assert_eq!(answers(fleet.port + 4), Some(fleet.echo.port));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn figures_move_by_themselves_and_are_stale_once_the_server_is_gone() {
    let fleet = Fleet::new();
    let world = &fleet.world;
    let Some(browser) = Browser::start(world) else { return };
    browser.sign_in(&world.token());
    let mut client = fleet.client();
    browser.open("/ui/rules/edge-01/web");
    browser.reads("[data-live-state]", "live");
    browser.reads("[data-stream] [data-live=active]", "1");
    let bytes = browser.text("[data-stream] [data-live=bytes_in]");
    client.ping(1, 100_000, 300_000).unwrap();
    wait_for("other figures", || match browser.text("[data-stream] [data-live=bytes_in]") {
        same if same == bytes => Err(same),
        _ => Ok(()),
    });
    wait_until("the line of the last minutes", || browser.count("[data-chart]:not([hidden])") == 1);
    // A target that is back is also up on the page.
    let back = fleet.comes_back();
    browser.reads(&format!("[data-target='127.0.0.1:{}'] [data-live=state]", fleet.dead), "up");
    drop(back);
    browser.reads(&format!("[data-target='127.0.0.1:{}'] [data-live=state]", fleet.dead), "down");
    fleet.server.kill();
    browser.reads("[data-live-state]", "stale");
    assert_eq!(browser.count("[data-live-state].is-stale"), 1);
    // What was shown last is still there to read.
    browser.reads("h1", "edge-01/web");
    let_pass(Duration::from_secs(7));
    browser.reads("[data-live-state]", "stale");
}
