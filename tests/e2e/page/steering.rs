//! Something is down: it is found, its reason is read, a target is paused; and who may not see no button and get a 403.

use crate::support::{World, rule_of};

use super::browser::Browser;
use super::fleet::{Fleet, NASTY};

fn target_state(world: &World, port: u16) -> String {
    let status = world.status();
    let rule = rule_of(&status, "edge-01", "web").unwrap();
    let target = format!("127.0.0.1:{port}");
    let found = rule["targets"].as_array().unwrap().iter().find(|one| one["target"] == target.as_str());
    found.map(|one| one["state"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[test]
fn what_is_down_is_found_with_its_reason_and_a_target_is_paused_with_one() {
    let fleet = Fleet::new();
    let (world, echo) = (&fleet.world, fleet.echo.port);
    let Some(browser) = Browser::start(world) else { return };
    browser.sign_in(&world.token());
    // The first view names it and leads there.
    browser.reads("[aria-labelledby=attention]", "edge-02/api");
    browser.press("Rules");
    browser.click("#f-state");
    browser.type_in("#f-rule", "web");
    browser.press("Show");
    browser.reads("table caption", "1");
    assert!(browser.place().contains("rule=web"), "the search is in the address: {}", browser.place());
    browser.press("web");
    browser.arrives_at("/ui/rules/edge-01/web");
    let dead = format!("[data-target='127.0.0.1:{}']", fleet.dead);
    browser.reads(&dead, "down");
    browser.reads(&dead, "L4CON");
    browser.reads(".page-head", &NASTY.replace('\\', ""));
    // A pause has to have a reason.
    browser.press(&format!("Pause, disable or weight 127.0.0.1:{echo}"));
    browser.press("Pause");
    assert_eq!(target_state(world, echo), "up", "without a reason nothing is sent");
    let row = format!("[data-target='127.0.0.1:{echo}']");
    browser.type_in(&format!("{row} [name=why]"), "its disk is being replaced");
    browser.press("Pause");
    browser.reads("[role=status]", "");
    browser.reads(&row, "paused");
    browser.reads(&row, "its disk is being replaced");
    assert_eq!(target_state(world, echo), "paused");
    let history = world.cli(&["history"]).exits(0);
    assert!(history.out.contains("its disk is being replaced"), "{history}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_viewer_sees_no_button_and_a_direct_post_is_a_page_that_says_why() {
    let fleet = Fleet::new();
    let viewer = fleet.operator("eve", "viewer");
    let Some(browser) = Browser::start(&fleet.world) else { return };
    browser.sign_in(&viewer);
    for view in ["/ui/", "/ui/rules/edge-01/web", "/ui/edges/edge-01", "/ui/connections", "/ui/quotas", "/ui/history/1"]
    {
        browser.open(view);
        assert_eq!(browser.count("main form[method=post]"), 0, "{view}:\n{}", browser.body());
    }
    browser.open("/ui/rules/edge-01/web");
    browser.run(&format!(
        "const form = document.createElement('form');\nform.method = 'post';\nform.action = '/ui/rules/edge-01/web/targets';\n\
         for (const [name, value] of [['target', '127.0.0.1:{}'], ['operation', 'pause'], ['why', 'because']]) {{\n\
         const field = document.createElement('input');\nfield.name = name;\nfield.value = value;\nform.append(field);\n}}\n\
         document.body.append(form);\nform.submit();",
        fleet.echo.port
    ));
    browser.reads("main .badge", "403");
    browser.reads("main", "applier");
    assert_eq!(target_state(&fleet.world, fleet.echo.port), "up");
}
