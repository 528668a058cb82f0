//! The bodies of messages, in the form that each receiver documents. Pure.
//!
//! Keeps: a name in a message is never taken for markup, a mention or a link; a body is within its receiver's limit.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::{cut, paragraphs};
use super::{LetterContent, News, NotifierKind, Topic};

/// Slack splits longer texts into several messages.
const SLACK: usize = 4000;
/// Characters of the `content` of Discord.
const DISCORD: usize = 2000;
/// Characters of a message of Telegram.
const TELEGRAM: usize = 4096;
/// Bytes of a message of Teams are 28 KiB, with the card around it.
const TEAMS: usize = 27_000;
/// What the card has around each line.
const TEAMS_LINE: usize = 80;
/// Bytes of an event of Matrix are 64 KiB, with what the home server adds.
const MATRIX: usize = 48_000;
/// Bytes of the text for a program.
const WEBHOOK: usize = 64_000;
/// Discord: do not unfold links.
const SUPPRESS_EMBEDS: u64 = 4;

/// The body of a message to a chat or a program; empty for a commit, whose body is that of its forge.
pub fn message(kind: NotifierKind, content: &LetterContent) -> Value {
    let LetterContent::News { items, more } = content else { return Value::Null };
    let paragraphs = paragraphs(items, *more);
    let json_size = |text: &str| Value::from(text).to_string().len();
    let utf16 = |text: &str| text.encode_utf16().count();
    match kind {
        NotifierKind::Slack => {
            let text = cut(&paragraphs, SLACK, |text| text.chars().count(), slack);
            json!({ "text": text, "mrkdwn": false })
        }
        NotifierKind::Discord => {
            let text = cut(&paragraphs, DISCORD, utf16, |text| escaped(text, "\\*_~`|><#[]"));
            json!({ "content": text, "allowed_mentions": { "parse": [] }, "flags": SUPPRESS_EMBEDS })
        }
        NotifierKind::Telegram => {
            let text = cut(&paragraphs, TELEGRAM, utf16, str::to_owned);
            json!({ "text": text, "link_preview_options": { "is_disabled": true } })
        }
        NotifierKind::Matrix => {
            let text = cut(&paragraphs, MATRIX, json_size, str::to_owned);
            json!({ "msgtype": "m.text", "body": text })
        }
        NotifierKind::Teams => {
            let size = |text: &str| json_size(text) + TEAMS_LINE * (1 + text.matches('\n').count());
            card(&cut(&paragraphs, TEAMS, size, |text| escaped(text, "\\*_~`[]#{")))
        }
        NotifierKind::Webhook => webhook(items, *more, &cut(&paragraphs, WEBHOOK, json_size, str::to_owned)),
        NotifierKind::CommitStatus => Value::Null,
    }
}

/// What `notify test` sends: an ordinary message that says what it is.
pub fn test_message(name: &str, by: &str, at: Timestamp) -> LetterContent {
    let text = format!("This is a test of the notifier {name}, sent by {by}. Nothing happened.");
    LetterContent::news(vec![News::new(Topic::Apply, at, text).by(by).because("test")], 0)
}

fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A text with a backslash in front of what would be markup: the marks wherever they are, and what makes an item of a list
/// at the beginning of a line, such as the signs of a plan.
fn escaped(text: &str, marks: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let item = item_mark(line);
        for (at, letter) in line.char_indices() {
            if marks.contains(letter) || item == Some(at) {
                out.push('\\');
            }
            out.push(letter);
        }
    }
    out
}

/// Where the mark of an item of a list is in a line that would be one: `- x`, `+ x`, `12. x` or `12) x`.
fn item_mark(line: &str) -> Option<usize> {
    let begin = line.len() - line.trim_start().len();
    let digits = line[begin..].bytes().take_while(u8::is_ascii_digit).count();
    let at = begin + digits;
    let is_mark = match line.as_bytes().get(at)? {
        b'-' | b'+' => digits == 0,
        b'.' | b')' => digits > 0,
        _ => false,
    };
    let is_apart = line.as_bytes().get(at + 1).is_none_or(u8::is_ascii_whitespace);
    (is_mark && (is_apart || digits == 0)).then_some(at)
}

/// A card with a block for each line.
fn card(text: &str) -> Value {
    let block = |(place, line): (usize, &str)| {
        let spacing = if place == 0 { "Default" } else { "None" };
        json!({ "type": "TextBlock", "text": line, "wrap": true, "spacing": spacing })
    };
    let body: Vec<Value> = text.lines().enumerate().map(block).collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

/// The body for a program. A single thing has the nine keys; several that were merged have those that they share, and each
/// of them is in `merged`.
fn webhook(items: &[News], more: u64, text: &str) -> Value {
    let Some(first) = items.first() else { return Value::Null };
    if let ([one], 0) = (items, more) {
        return fields(one, text);
    }
    let mut all = fields(first, text);
    let others: Vec<Value> = items.iter().map(|one| fields(one, &one.text)).collect();
    for key in ["event", "edge", "rule", "owner", "commit", "actor", "why"] {
        if others.iter().any(|other| other[key] != all[key]) {
            all[key] = if key == "event" { json!("several") } else { Value::Null };
        }
    }
    all["merged"] = others.into();
    if more > 0 {
        all["more"] = more.into();
    }
    all
}

fn fields(news: &News, text: &str) -> Value {
    json!({
        "event": news.event,
        "at": news.at,
        "edge": news.edge,
        "rule": news.rule,
        "owner": news.owner,
        "commit": news.commit,
        "actor": news.actor,
        "why": news.why,
        "text": text,
    })
}

#[cfg(test)]
mod tests;
