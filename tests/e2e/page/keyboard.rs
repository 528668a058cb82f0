//! Without a mouse, and without scripts.

use serde_json::Value;

use super::browser::{Browser, ENTER, TAB};
use super::fleet::Fleet;

/// What has the focus: its tag, what it reads, and whether one sees that it has it.
const FOCUS: &str = "const at = document.activeElement;\nconst style = getComputedStyle(at);\n\
    const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;\n\
    return [at.tagName, (at.labels?.[0] ?? at).textContent.trim(), seen];";

/// Tabs until that is reached; each stop on the way can be seen.
fn tab_to(browser: &Browser, tag: &str, text: &str) {
    let mut stops = Vec::new();
    for _ in 0..80 {
        browser.keys(TAB);
        let at = browser.run(FOCUS);
        assert_eq!(at[2], Value::from(true), "the focus is seen: {at}");
        if at[0] == tag && at[1] == text {
            return;
        }
        stops.push(at.to_string());
    }
    panic!("Tab does not reach {tag} `{text}` on {}: {stops:#?}", browser.place());
}

#[test]
fn the_keyboard_alone_reaches_and_does_everything() {
    let fleet = Fleet::new();
    let Some(browser) = Browser::start(&fleet.world) else { return };
    // The field of the token has the focus from the start.
    browser.open("/ui/sign-in");
    browser.keys(&fleet.world.token());
    browser.keys(ENTER);
    browser.arrives_at("/ui/");
    // The first stop leads past the navigation.
    browser.keys(TAB);
    assert_eq!(browser.run(FOCUS)[1], "Skip to the content");
    browser.keys(ENTER);
    assert_eq!(browser.run("return document.activeElement.id"), "main");
    browser.reload();
    tab_to(&browser, "A", "Rules");
    browser.keys(ENTER);
    browser.arrives_at("/ui/rules");
    tab_to(&browser, "INPUT", "Rule");
    browser.keys("web");
    browser.keys(ENTER);
    browser.arrives_at("/ui/rules?");
    assert!(browser.place().contains("rule=web"), "{}", browser.place());
    tab_to(&browser, "A", "web");
    browser.keys(ENTER);
    browser.arrives_at("/ui/rules/edge-01/web");
    tab_to(&browser, "SUMMARY", &format!("Pause, disable or weight 127.0.0.1:{}", fleet.echo.port));
    browser.keys(ENTER);
    tab_to(&browser, "INPUT", "Reason");
    browser.keys("by hand");
    tab_to(&browser, "BUTTON", "Pause");
    browser.keys(ENTER);
    let row = format!("[data-target='127.0.0.1:{}']", fleet.echo.port);
    browser.reads(&row, "by hand");
    browser.reads(&row, "paused");
}

#[test]
fn without_scripts_everything_is_read_and_done() {
    let fleet = Fleet::new();
    let Some(browser) = Browser::start(&fleet.world) else { return };
    browser.has_no_scripts();
    browser.sign_in(&fleet.world.token());
    let _client = fleet.client();
    browser.open("/ui/rules?rule=web");
    browser.press("web");
    browser.reads("h1", "edge-01/web");
    browser.reads("[data-live=total]", "1");
    assert_eq!(browser.text("[data-live-state]").split(' ').next(), Some("as"), "no script says that it is live");
    browser.press(&format!("Pause, disable or weight 127.0.0.1:{}", fleet.echo.port));
    let row = format!("[data-target='127.0.0.1:{}']", fleet.echo.port);
    browser.type_in(&format!("{row} [name=why]"), "without scripts");
    browser.press("Pause");
    browser.reads(&row, "paused");
    browser.open("/ui/rules/edge-01/web/add-target");
    browser.type_in("#host", "127.0.0.1");
    browser.type_in("#ports", "9");
    browser.press("Preview the change");
    browser.reads("pre.diff", "port = 9");
    browser.open("/ui/connections?rule=web");
    browser.press("End all that match…");
    browser.type_in("#why", "the show is over");
    browser.click("main .button-danger");
    browser.reads("main", "ended");
}
