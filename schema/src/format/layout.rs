//! What stands between the items of a file: blank lines and comments, made canonical. Pure.

/// What to do about blank lines before a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    /// None: the item comes first.
    None,
    /// One where there was any.
    AsIs,
    /// Exactly one.
    One,
}

/// The lines between two items: comments at the margin, never two blank lines in a row.
pub(super) fn block(raw: &str, blank: Blank) -> String {
    let mut lines: Vec<&str> = raw.split('\n').map(str::trim).collect();
    // What follows the last line break is the indentation of the item, unless the file ends inside a comment.
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let leading = lines.iter().take_while(|line| line.is_empty()).count();
    let mut text = match blank {
        Blank::One => "\n".to_owned(),
        Blank::AsIs if leading > 0 => "\n".to_owned(),
        Blank::AsIs | Blank::None => String::new(),
    };
    let mut was_blank = true;
    for line in &lines[leading..] {
        if !(line.is_empty() && was_blank) {
            text.push_str(line);
            text.push('\n');
        }
        was_blank = line.is_empty();
    }
    text
}

/// The comment beside an item, if there is one.
pub(super) fn beside(raw: &str) -> String {
    match raw.trim() {
        "" => String::new(),
        comment => format!(" {comment}"),
    }
}
