//! The styled texts of the tool as cells: the few styles become tones. Pure.

use super::table::{Cell, Tone};

/// The lines of a text.
pub(crate) fn lines(text: &str) -> Vec<Vec<Cell>> {
    text.trim_end_matches('\n').split('\n').map(line).collect()
}

/// The cells of a line, which follow each other without a gap.
fn line(text: &str) -> Vec<Cell> {
    let (mut cells, mut tone) = (Vec::new(), Tone::Plain);
    for (index, part) in text.split("\u{1b}[").enumerate() {
        let letters = match (index, part.split_once('m')) {
            (0, _) | (_, None) => part,
            (_, Some((codes, letters))) => {
                tone = with(tone, codes);
                letters
            }
        };
        if !letters.is_empty() {
            cells.push(Cell::new(letters, tone));
        }
    }
    cells
}

/// The tone after a sequence: bold and a colour come in sequences of their own.
fn with(before: Tone, codes: &str) -> Tone {
    match codes {
        "" | "0" => Tone::Plain,
        "1" if before == Tone::Plain => Tone::Strong,
        "2" => Tone::Faint,
        "31" => Tone::Bad,
        "32" => Tone::Good,
        "33" => Tone::Warn,
        "36" => Tone::Strong,
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::style;

    #[test]
    fn every_style_of_the_tool_has_a_tone() {
        let text = format!(
            "{} a {}{}{}{}{}{}\n{}\n\nend\n",
            style::error("b"),
            style::warning("c"),
            style::added("d"),
            style::removed("e"),
            style::changed("f"),
            style::help("g"),
            style::faint("h"),
            style::strong("i"),
        );
        let lines = lines(&text);
        let tones: Vec<Tone> = lines[0].iter().map(|cell| cell.tone).collect();
        let expected =
            [Tone::Bad, Tone::Plain, Tone::Warn, Tone::Good, Tone::Bad, Tone::Warn, Tone::Strong, Tone::Faint];
        assert_eq!(tones, expected, "{lines:?}");
        assert_eq!(lines[1], [Cell::new("i", Tone::Strong)]);
        assert_eq!((lines[2].len(), lines.len()), (0, 4));
    }
}
