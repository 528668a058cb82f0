//! The comments of a TOML text. Pure.

/// Every comment, in order, without spaces at its end. The text must be valid TOML.
pub(super) fn comments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['#', '"', '\'']) {
        rest = &rest[at..];
        rest = match rest.as_bytes()[0] {
            b'#' => {
                let end = rest.find('\n').unwrap_or(rest.len());
                found.push(rest[..end].trim_end());
                &rest[end..]
            }
            _ => after_string(rest),
        };
    }
    found
}

/// What follows the string that the text begins with.
fn after_string(text: &str) -> &str {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let delimiter = if text.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = delimiter.len();
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest[0] == b'\\' && quote == "\"" {
            at += 2;
        } else if rest.starts_with(delimiter.as_bytes()) {
            at += delimiter.len();
            // A multi-line string may end in up to two quotes of its own.
            while delimiter.len() == 3 && text.as_bytes().get(at) == Some(&quote.as_bytes()[0]) {
                at += 1;
            }
            return &text[at..];
        } else {
            at += 1;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_inside_a_string_is_no_comment() {
        let text = "a = \"# no\" # one  \nb = '# \\' # two\nc = \"\"\"\n# no \\\"\"\" # no\"\"\"\" # three\n\
                    d = '''\n# no''' # four\ne = \"\" # five";
        assert_eq!(comments(text), ["# one", "# two", "# three", "# four", "# five"]);
    }
}
