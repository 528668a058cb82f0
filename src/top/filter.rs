//! What a person types behind `/`: a part of a name, or selectors, as parameters of the API. Pure.
//!
//! Keeps: selectors of the command line stay in force; one that is typed takes the place of the same one there.

use super::view::View;

/// Parameters of a query.
pub(crate) type Pairs = Vec<(&'static str, String)>;

/// The selectors that can be typed.
const KNOWN: [&str; 7] = ["edge", "label", "rule", "owner", "state", "health", "port"];

/// How it is written, for the help.
pub(crate) const SYNTAX: &str = "web   fra-1/   fra-1/web   owner=team-a   state=failed   health=down   port=443";

/// The parameters of a text. Words are parts of names: `web` is of the view's own kind, `fra/web` of an edge and a rule.
pub(crate) fn parse(text: &str, view: View) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    for word in text.split_whitespace() {
        let Some((key, value)) = word.split_once('=') else {
            pairs.extend(of_name(word, view));
            continue;
        };
        let Some(known) = KNOWN.iter().find(|known| **known == key) else {
            return Err(format!("`{key}` is not a selector: expected one of {}", KNOWN.join(", ")));
        };
        if !view.understands(known, value) {
            return Err(format!("`{word}` selects no {}s", view.noun()));
        }
        pairs.push((known, value.to_owned()));
    }
    Ok(pairs)
}

fn of_name(word: &str, view: View) -> Pairs {
    let named = match word.split_once('/') {
        Some((edge, rule)) => vec![("edge", edge), ("rule", rule)],
        None if view == View::Edges => vec![("edge", word)],
        None => vec![("rule", word)],
    };
    let is_there = |(key, part): &(&'static str, &str)| !part.is_empty() && view.understands(key, part);
    named.into_iter().filter(is_there).map(|(key, part)| (key, glob(part))).collect()
}

/// A part of a name as a pattern; one that is a pattern already stays.
fn glob(part: &str) -> String {
    if part.contains(['*', '?', '[', '{']) { part.to_owned() } else { format!("*{part}*") }
}

/// The selectors of a view: those of the command line that it understands, and above them what was typed.
pub(crate) fn merged(given: &[(&'static str, String)], typed: &Pairs, view: View) -> Pairs {
    let is_typed = |key: &str| typed.iter().any(|(other, _)| *other == key);
    let kept = given.iter().filter(|(key, value)| view.understands(key, value) && !is_typed(key));
    kept.cloned().chain(typed.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, view: View) -> String {
        match parse(text, view) {
            Ok(pairs) => pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&"),
            Err(error) => error,
        }
    }

    #[test]
    fn words_are_parts_of_names_and_pairs_are_selectors() {
        assert_eq!(words("web", View::Rules), "rule=*web*");
        assert_eq!(words("fra", View::Edges), "edge=*fra*");
        assert_eq!(words("fra-1/", View::Targets), "edge=*fra-1*");
        assert_eq!(words("fra-1/web owner=a", View::Rules), "edge=*fra-1*&rule=*web*&owner=a");
        assert_eq!(words("w?b*", View::Rules), "rule=w?b*");
        assert_eq!(words("fra/web", View::Edges), "edge=*fra*", "an edge has no rule in its list");
        assert_eq!(words("  ", View::Rules), "");
    }

    #[test]
    fn what_selects_nothing_here_is_refused() {
        assert!(words("egde=a", View::Rules).contains("expected one of edge, label"));
        assert_eq!(words("state=down", View::Rules), "`state=down` selects no rules");
        assert_eq!(words("state=down", View::Targets), "state=down");
    }

    #[test]
    fn what_is_typed_takes_the_place_of_a_flag() {
        let given = [("edge", "fra-*".to_owned()), ("owner", "a".to_owned())];
        let typed = parse("owner=b", View::Rules).expect("a selector");
        let merged = merged(&given, &typed, View::Rules);
        assert_eq!(merged, [("edge", "fra-*".to_owned()), ("owner", "b".to_owned())]);
    }
}
