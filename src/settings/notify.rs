//! The `[[notify]]` tables of `server.toml`: who receives notices, of what, and how often. Pure.
//!
//! Keeps: an error names the line and the key, and never the URL, which may be a secret.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reconciler::act::notify::ReceiverAddress;
use reconciler::decide::notices::{Forge, NewsFilter, Notifier, NotifierKind, Topic, UrlSource};
use serde::Deserialize;
use toml::Spanned;

/// The longest name of a notifier.
const LONGEST_NAME: usize = 63;
/// The longest interval: a day.
pub(crate) const LONGEST_INTERVAL: u64 = 86_400;

/// One table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyTable {
    name: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    url_file: Option<Spanned<PathBuf>>,
    token_file: Option<Spanned<PathBuf>>,
    secret_file: Option<Spanned<PathBuf>>,
    forge: Option<Spanned<String>>,
    events: Option<Spanned<Vec<Spanned<String>>>>,
    edges: Option<Spanned<Vec<String>>>,
    owners: Option<Spanned<Vec<String>>>,
    min_interval_secs: Option<Spanned<u64>>,
}

/// Something wrong, at a place of the text.
struct NotifyFinding(Range<usize>, String);

/// The notifiers of a file; the error says what is wrong and in which line.
pub(super) fn notifiers(tables: Vec<Spanned<NotifyTable>>, text: &str) -> Result<Vec<Notifier>, String> {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for table in tables {
        let at = table.span();
        let table = table.into_inner();
        let place = table.name.as_ref().map_or_else(|| at.clone(), Spanned::span);
        let notifier =
            notifier(table, &at).map_err(|NotifyFinding(at, why)| format!("line {}: {why}", line(at.start)))?;
        let here = line(place.start);
        if let Some(first) = names.insert(notifier.name.clone(), here) {
            let name = &notifier.name;
            return Err(format!("line {here}: the notifier `{name}` is already defined in line {first}"));
        }
        all.push(notifier);
    }
    Ok(all)
}

/// Relative paths belong to the file that says them.
pub(super) fn resolve(notifiers: &mut [Notifier], folder: &Path) {
    for notifier in notifiers {
        let url = if let UrlSource::InFile(path) = &mut notifier.url { Some(path) } else { None };
        for path in [url, notifier.token_file.as_mut(), notifier.secret_file.as_mut()].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

fn notifier(table: NotifyTable, at: &Range<usize>) -> Result<Notifier, NotifyFinding> {
    let needs = |key: &str| NotifyFinding(at.clone(), format!("a `[[notify]]` table needs a `{key}`"));
    let name = name(table.name.as_ref().ok_or_else(|| needs("name"))?)?;
    let kind =
        word(table.kind.as_ref().ok_or_else(|| needs("kind"))?, "kind", &NotifierKind::ALL.map(NotifierKind::as_str))?;
    refuse_foreign_keys(kind, &table)?;
    let forge = table.forge.as_ref().map(|forge| word(forge, "forge", &Forge::ALL.map(Forge::as_str))).transpose()?;
    let missing = |key: &str| {
        NotifyFinding(at.clone(), format!("the notifier `{name}` of kind `{}` needs a `{key}`", kind.as_str()))
    };
    if matches!(kind, NotifierKind::Matrix | NotifierKind::CommitStatus) && table.token_file.is_none() {
        return Err(missing("token_file"));
    }
    if kind == NotifierKind::CommitStatus && forge.is_none() {
        return Err(missing("forge"));
    }
    let url = match (table.url, table.url_file) {
        (Some(url), None) => {
            let address = ReceiverAddress::parse(kind, forge, url.get_ref());
            address
                .map_err(|problem| NotifyFinding(url.span(), format!("`url` of the notifier `{name}`: {problem}")))?;
            UrlSource::Inline(url.into_inner())
        }
        (None, Some(file)) => UrlSource::InFile(file.into_inner()),
        (None, None) => {
            return Err(NotifyFinding(at.clone(), format!("the notifier `{name}` needs a `url` or a `url_file`")));
        }
        (Some(_), Some(file)) => {
            let why = format!("the notifier `{name}` has both `url` and `url_file`: keep one of them");
            return Err(NotifyFinding(file.span(), why));
        }
    };
    let topics = topics(kind, table.events)?;
    let edges = list(table.edges, "edges")?;
    let owners = list(table.owners, "owners")?;
    let (edges_at, edges) = edges.map_or_else(|| (at.clone(), Vec::new()), |(at, edges)| (at, edges));
    let owners = owners.map_or_else(Vec::new, |(_, owners)| owners);
    let filter = NewsFilter::new(topics, &edges, owners).map_err(|glob| {
        NotifyFinding(edges_at, format!("`edges`: `{glob}` is neither the name of an edge nor a glob such as `fra-*`"))
    })?;
    Ok(Notifier {
        name,
        kind,
        url,
        token_file: table.token_file.map(Spanned::into_inner),
        secret_file: table.secret_file.map(Spanned::into_inner),
        forge,
        filter,
        min_interval: interval(table.min_interval_secs)?,
    })
}

fn name(name: &Spanned<String>) -> Result<String, NotifyFinding> {
    let text = name.get_ref();
    let is_valid = (1..=LONGEST_NAME).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if is_valid {
        return Ok(text.clone());
    }
    let why = format!("`name`: expected up to {LONGEST_NAME} letters, digits, `-`, `_` and `.`");
    Err(NotifyFinding(name.span(), why))
}

/// A word of a closed set.
fn word<T: std::str::FromStr>(value: &Spanned<String>, key: &str, known: &[&str]) -> Result<T, NotifyFinding> {
    value.get_ref().parse().map_err(|_| {
        NotifyFinding(
            value.span(),
            format!("`{key}`: unknown value `{}`; expected one of {}", value.get_ref(), known.join(", ")),
        )
    })
}

/// A key that the kind does not take would be without effect.
fn refuse_foreign_keys(kind: NotifierKind, table: &NotifyTable) -> Result<(), NotifyFinding> {
    let is_commit = kind == NotifierKind::CommitStatus;
    let takes_token = is_commit || kind == NotifierKind::Matrix;
    let keys = [
        ("token_file", table.token_file.as_ref().map(Spanned::span), takes_token),
        ("secret_file", table.secret_file.as_ref().map(Spanned::span), kind == NotifierKind::Webhook),
        ("forge", table.forge.as_ref().map(Spanned::span), is_commit),
        ("events", table.events.as_ref().map(Spanned::span), !is_commit),
        ("edges", table.edges.as_ref().map(Spanned::span), !is_commit),
        ("owners", table.owners.as_ref().map(Spanned::span), !is_commit),
        ("min_interval_secs", table.min_interval_secs.as_ref().map(Spanned::span), !is_commit),
    ];
    let foreign = keys.into_iter().find_map(|(key, at, is_taken)| at.filter(|_| !is_taken).map(|at| (key, at)));
    match foreign {
        Some((key, at)) => {
            Err(NotifyFinding(at, format!("a notifier of kind `{}` does not take `{key}`", kind.as_str())))
        }
        None => Ok(()),
    }
}

fn topics(kind: NotifierKind, events: Option<Spanned<Vec<Spanned<String>>>>) -> Result<Vec<Topic>, NotifyFinding> {
    let Some(events) = events else {
        return Ok(if kind == NotifierKind::CommitStatus { Vec::new() } else { Topic::ALL.to_vec() });
    };
    if events.get_ref().is_empty() {
        return Err(NotifyFinding(
            events.span(),
            "`events`: an empty list sends nothing: name events, or leave it out for all".to_owned(),
        ));
    }
    events.get_ref().iter().map(|event| word(event, "events", &Topic::ALL.map(Topic::as_str))).collect()
}

/// Names, and where they stand in the file.
type PlacedNames = (Range<usize>, Vec<String>);

/// A list that is there and empty looks as if it allowed nothing, and would not limit anything.
fn list(list: Option<Spanned<Vec<String>>>, key: &str) -> Result<Option<PlacedNames>, NotifyFinding> {
    let Some(list) = list else { return Ok(None) };
    let at = list.span();
    if list.get_ref().iter().any(|one| one.trim().is_empty()) || list.get_ref().is_empty() {
        return Err(NotifyFinding(at, format!("`{key}`: expected at least one name; leave it out for all")));
    }
    Ok(Some((at, list.into_inner())))
}

fn interval(secs: Option<Spanned<u64>>) -> Result<Duration, NotifyFinding> {
    let Some(secs) = secs else { return Ok(Duration::ZERO) };
    if *secs.get_ref() > LONGEST_INTERVAL {
        let why = format!("`min_interval_secs` is outside 0..={LONGEST_INTERVAL}");
        return Err(NotifyFinding(secs.span(), why));
    }
    Ok(Duration::from_secs(*secs.get_ref()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::parse_file;

    fn error(text: &str) -> String {
        parse_file(text).map(|_| ()).expect_err(text)
    }

    const SLACK: &str =
        "[[notify]]\nname = \"ops\"\nkind = \"slack\"\nurl = \"https://hooks.slack.com/services/T0/B0/abcdefgh\"\n";

    #[test]
    fn every_example_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/notify");
        let mut kinds = std::collections::BTreeSet::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("text");
            let file = parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            kinds.extend(file.notifiers.iter().map(|notifier| notifier.kind));
        }
        assert_eq!(kinds.len(), reconciler::decide::notices::NotifierKind::ALL.len(), "each kind has an example");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line_and_without_the_url() {
        for (text, expected) in [
            (SLACK.replace("slack\"", "slak\""), "line 3: `kind`: unknown value `slak`; expected one of slack, "),
            (format!("{SLACK}events = [\"apply\", \"aply\"]\n"), "line 5: `events`: unknown value `aply`"),
            (format!("{SLACK}events = []\n"), "line 5: `events`: an empty list"),
            (format!("{SLACK}edges = []\n"), "line 5: `edges`: expected at least one name"),
            (format!("{SLACK}edges = [\"fra-[\"]\n"), "line 5: `edges`: `fra-[` is neither"),
            (format!("{SLACK}min_interval_secs = 90000\n"), "line 5: `min_interval_secs` is outside 0..=86400"),
            (format!("{SLACK}url_file = \"x\"\n"), "line 5: the notifier `ops` has both `url` and `url_file`"),
            (format!("{SLACK}secret_file = \"x\"\n"), "line 5: a notifier of kind `slack` does not take `secret_file`"),
            (format!("{SLACK}forge = \"github\"\n"), "line 5: a notifier of kind `slack` does not take `forge`"),
            (format!("{SLACK}colour = 1\n"), "line 5: unknown field `colour`"),
            (format!("{SLACK}\n{SLACK}"), "line 7: the notifier `ops` is already defined in line 2"),
            (
                SLACK.replace("https", "http"),
                "line 4: `url` of the notifier `ops`: plain http is supported on this machine",
            ),
            (SLACK.replace("name = \"ops\"", "name = \"a/b\""), "line 2: `name`: expected up to 63 letters"),
            (
                "[[notify]]\nkind = \"slack\"\nurl = \"https://x.org\"\n".to_owned(),
                "line 1: a `[[notify]]` table needs a `name`",
            ),
            (
                "[[notify]]\nname = \"a\"\nkind = \"slack\"\n".to_owned(),
                "line 1: the notifier `a` needs a `url` or a `url_file`",
            ),
        ] {
            let error = error(&text);
            assert!(error.starts_with(expected), "{error}\n{text}");
            assert!(!error.contains("abcdefgh"), "{error}");
        }
    }

    #[test]
    fn a_commit_status_needs_forge_and_token_and_takes_no_filter() {
        let text = "[[notify]]\nname = \"a\"\nkind = \"commit-status\"\nurl = \"https://github.com/o/r\"\n";
        assert!(error(text).contains("needs a `token_file`"));
        assert!(error(&format!("{text}token_file = \"t\"\n")).contains("needs a `forge`"));
        let text = format!("{text}token_file = \"t\"\nforge = \"github\"\n");
        assert!(parse_file(&text).is_ok());
        assert!(error(&format!("{text}events = [\"apply\"]\n")).contains("does not take `events`"));
        assert!(error(&text.replace("/o/r", "/o")).contains("expected the web address of a repository"));
    }
}
