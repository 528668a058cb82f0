//! The bodies as each receiver documents them, with names that would be markup, and with too much for one message.

use schema::name::{EdgeName, RuleName};

use super::super::NewsKind;
use super::*;

fn at() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

fn single(text: &str) -> LetterContent {
    LetterContent::news(vec![News::new(Topic::Apply, at(), text.to_owned())], 0)
}

fn down(number: usize) -> News {
    let (edge, rule) =
        (EdgeName::new("fra-1").expect("a name"), RuleName::new(&format!("rule-{number:02}")).expect("a name"));
    News::new(Topic::Health, at(), format!("fra-1/{rule} is down: refused"))
        .of(&edge, &rule, "web")
        .like(NewsKind::RuleDown)
}

const NASTY: &str = "<!channel> & *bold* _it_ `code` [x](http://evil) @everyone </at> \"quoted\"";

#[test]
fn slack_gets_text_in_which_nothing_is_markup() {
    let body = message(NotifierKind::Slack, &single(NASTY));
    assert_eq!(body["mrkdwn"], false);
    let text = body["text"].as_str().expect("a text");
    assert!(text.starts_with("&lt;!channel&gt; &amp; *bold*"), "{text}");
    assert!(!text.contains('<'));
}

#[test]
fn discord_gets_content_without_mentions_and_markup() {
    let body = message(NotifierKind::Discord, &single(NASTY));
    assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    assert!(body["content"].as_str().expect("a text").contains("\\*bold\\* \\_it\\_ \\`code\\` \\[x\\]"));
}

#[test]
fn teams_gets_an_adaptive_card_with_a_block_a_line() {
    let body = message(NotifierKind::Teams, &single("first\nsecond *x*"));
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!((card["type"].as_str(), card["version"].as_str()), (Some("AdaptiveCard"), Some("1.4")));
    assert_eq!(
        card["body"][1],
        json!({ "type": "TextBlock", "text": "second \\*x\\*", "wrap": true, "spacing": "None" })
    );
}

#[test]
fn the_signs_of_a_plan_are_no_list_and_a_name_calls_no_function() {
    let text = "Apply of abc: applied\n- fra-1/old  remove\n+ fra-1/new  activate\n~ fra-1/web\n12. x\n10.0.0.1:80 {{DATE(1)}}";
    let discord = message(NotifierKind::Discord, &single(text));
    assert_eq!(
        discord["content"],
        "Apply of abc: applied\n\\- fra-1/old  remove\n\\+ fra-1/new  activate\n\\~ fra-1/web\n12\\. x\n10.0.0.1:80 {{DATE(1)}}"
    );
    let teams = message(NotifierKind::Teams, &single(text));
    let lines = teams["attachments"][0]["content"]["body"].as_array().expect("blocks");
    let lines: Vec<&str> = lines.iter().filter_map(|block| block["text"].as_str()).collect();
    assert_eq!(lines[1..4], ["\\- fra-1/old  remove", "\\+ fra-1/new  activate", "\\~ fra-1/web"]);
    assert_eq!(lines[4..], ["12\\. x", "10.0.0.1:80 \\{\\{DATE(1)}}"]);
}

#[test]
fn matrix_and_telegram_get_plain_text() {
    assert_eq!(message(NotifierKind::Matrix, &single(NASTY)), json!({ "msgtype": "m.text", "body": NASTY }));
    let body = message(NotifierKind::Telegram, &single(NASTY));
    assert_eq!(body, json!({ "text": NASTY, "link_preview_options": { "is_disabled": true } }));
}

#[test]
fn a_program_gets_nine_keys_whatever_is_known() {
    let body = message(NotifierKind::Webhook, &LetterContent::news(vec![down(1)], 0));
    let expected = json!({
        "event": "health", "at": at(), "edge": "fra-1", "rule": "rule-01", "owner": "web", "commit": null, "actor": null,
        "why": null, "text": "fra-1/rule-01 is down: refused",
    });
    assert_eq!(body, expected);
    let merged = message(NotifierKind::Webhook, &LetterContent::news(vec![down(1), down(2)], 0));
    assert_eq!((&merged["edge"], &merged["rule"], &merged["event"]), (&json!("fra-1"), &Value::Null, &json!("health")));
    assert_eq!(merged["merged"].as_array().map(Vec::len), Some(2));
    assert_eq!(merged["merged"][1]["rule"], "rule-02");
    let several = vec![down(1), News::new(Topic::Apply, at(), "x".to_owned())];
    assert_eq!(message(NotifierKind::Webhook, &LetterContent::news(several, 0))["event"], "several");
}

#[test]
fn thirty_rules_that_go_down_are_one_sentence() {
    let body = message(NotifierKind::Telegram, &LetterContent::news((1..=30).map(down).collect(), 0));
    let text = body["text"].as_str().expect("a text");
    assert!(text.starts_with("30 rules on 1 edge are down: fra-1/rule-01, "), "{text}");
    assert!(text.ends_with("… and 22 more"), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn what_is_too_long_is_cut_within_the_limit_and_counted() {
    let line = "<ä😀> & _x_ *y* \\".repeat(12);
    for count in [1, 2, 40] {
        let lines = vec![line.clone(); 400].join("\n");
        let items = (0..count).map(|_| News::new(Topic::Apply, at(), lines.clone())).collect();
        let content = LetterContent::news(items, 7);
        let text = |kind, pointer: &str| {
            message(kind, &content).pointer(pointer).and_then(Value::as_str).expect("a text").to_owned()
        };
        assert!(text(NotifierKind::Slack, "/text").chars().count() <= SLACK);
        assert!(text(NotifierKind::Discord, "/content").encode_utf16().count() <= DISCORD);
        assert!(text(NotifierKind::Telegram, "/text").encode_utf16().count() <= TELEGRAM);
        assert!(message(NotifierKind::Matrix, &content).to_string().len() < 65_536);
        assert!(message(NotifierKind::Teams, &content).to_string().len() < 28 * 1024);
        for (kind, pointer) in [(NotifierKind::Slack, "/text"), (NotifierKind::Discord, "/content")] {
            assert!(text(kind, pointer).lines().last().expect("a line").starts_with("… and "), "{kind:?}");
        }
    }
    let one_line = single(&"x".repeat(10_000));
    let body = message(NotifierKind::Discord, &one_line);
    let text = body["content"].as_str().expect("a text");
    assert!(text.len() < 2000 && text.ends_with("x…"), "{}", text.len());
}
