//! A state as a frame: two lines about the fleet, the views, a list, the rates of the selected rule, and the keys. Pure.
//!
//! Keeps: whatever the size of the screen, nothing is drawn outside of it; a state has a word and a shape, and
//! the selected row by a mark, so that a frame reads without colours.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Sparkline, Widget};
use reconciler::decide::page::head;
use reconciler::decide::status::StatusDocument;
use reconciler::decide::summary::FleetSummary;
use unicode_width::UnicodeWidthStr;

use super::filter;
use super::keys::{HELP, SHORT};
use super::list::List;
use super::rates::{RuleRates, Sample};
use super::rows::columns;
use super::state::{Mode, State};
use super::table::{Cell, TextPage, Tone, cut, fitted, widths, wrapped};
use super::view::View;
use crate::render::summary;
use crate::render::words::{bytes, time};

/// A screen with fewer columns or rows shows that it is too small.
const LEAST: (u16, u16) = (30, 8);
/// Above the list: the fleet, its revision, the views.
const ABOVE: u16 = 3;
/// Below it: how many rows there are, and the keys.
const BELOW: u16 = 2;
/// The lines of the rates, on screens that have room for them.
const RATES: u16 = 3;
/// Screens with so many rows have it.
const TALL: u16 = 20;

/// One of the rates of a sample.
type Rate = fn(&Sample) -> f64;

/// A part of a line.
type Part = (String, Style);

/// How many rows of the list fit.
pub(crate) fn height(state: &State, area: Rect) -> usize {
    let heading = u16::from(!columns(state.view).is_empty());
    let rates = if has_rates(state, area) { RATES } else { 0 };
    usize::from(area.height.saturating_sub(ABOVE + BELOW + heading + rates))
}

/// True if the rates of a rule have room below the list.
fn has_rates(state: &State, area: Rect) -> bool {
    area.height >= TALL && matches!(state.view, View::Rules | View::Targets | View::Connections)
}

/// Draws frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Painter {
    /// Colours are used, beside words and shapes.
    pub(crate) is_colored: bool,
    /// The time of the frame.
    pub(crate) now: Timestamp,
}

impl Painter {
    /// The whole screen.
    pub(crate) fn draw(self, state: &State, area: Rect, to: &mut Buffer) {
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let size =
                format!("{}×{} is too small: at least {}×{} are needed", area.width, area.height, LEAST.0, LEAST.1);
            return Self::line(to, area, 0, &[(size, Style::new())]);
        }
        self.top(state, area, to);
        let rates = if has_rates(state, area) { RATES } else { 0 };
        let body = Rect { y: area.y + ABOVE, height: area.height - ABOVE - BELOW - rates, ..area };
        match &state.mode {
            Mode::Help(first) => self.lines(to, body, &TextPage { title: "Keys", lines: &help(), first: *first }),
            Mode::Details(first) => match state.details(self.now) {
                Some((title, lines)) => self.lines(to, body, &TextPage { title: &title, lines: &lines, first: *first }),
                None => self.list(state, body, to),
            },
            Mode::List | Mode::Typing { .. } => self.list(state, body, to),
        }
        if rates > 0 {
            let below = Rect { y: body.bottom(), height: rates, ..area };
            self.rates(state.rates.as_ref().filter(|rates| state.watched().as_ref() == Some(&rates.rule)), below, to);
        }
        self.bottom(state, area, to);
    }

    /// The style of a tone. Without colours, what asks for attention is bold.
    fn style(self, tone: Tone) -> Style {
        let color = |color: Color| if self.is_colored { Style::new().fg(color) } else { Style::new() };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => color(Color::Green),
            Tone::Warn => color(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Bad => color(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
        }
    }

    /// Parts one behind the other, cut at the end of the line.
    fn line(to: &mut Buffer, area: Rect, row: u16, parts: &[Part]) {
        if row >= area.height {
            return;
        }
        let (mut x, y) = (area.x, area.y + row);
        for (text, style) in parts {
            let room = usize::from(area.right().saturating_sub(x));
            let text = cut(text, room);
            to.set_stringn(x, y, &text, room, *style);
            x += text.width() as u16;
        }
    }

    /// The same, with one part that ends at the right; it gives way to the others.
    fn line_with(to: &mut Buffer, area: Rect, row: u16, parts: &[Part], right: Part) {
        Self::line(to, area, row, parts);
        let used: usize = parts.iter().map(|(text, _)| text.width()).sum();
        let width = right.0.width();
        if used + width < usize::from(area.width) {
            let at = Rect { x: area.right() - width as u16, width: width as u16, ..area };
            Self::line(to, at, row, &[right]);
        }
    }

    /// The fleet, its revision, and the views.
    fn top(self, state: &State, area: Rect, to: &mut Buffer) {
        let (verdict, tone) = match &state.fleet {
            Some(summary) => verdict(summary),
            None => ("Asking the server …".to_owned(), Tone::Faint),
        };
        let provenance = state.fleet.as_ref().and_then(|summary| provenance(summary, self.now)).unwrap_or_default();
        let right = match &state.stale {
            Some(stale) => (format!(" stale since {}", time(stale.since)), self.style(Tone::Bad)),
            None => (state.server.clone(), self.style(Tone::Faint)),
        };
        // That nothing is new matters more than the end of a long line.
        let room = usize::from(area.width).saturating_sub(right.0.width() + 1);
        let first = cut(&verdict, if state.stale.is_some() { room } else { usize::from(area.width) });
        Self::line_with(to, area, 0, &[(first, self.style(tone))], right);
        Self::line(to, area, 1, &[(Self::attention(state).unwrap_or(provenance), self.style(Tone::Faint))]);
        let mut tabs = Vec::new();
        for (index, view) in View::ALL.iter().enumerate() {
            let style = if *view == state.view { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            let brackets = if *view == state.view { ["[", "]"] } else { [" ", " "] };
            tabs.push((format!("{}{} {}{}", brackets[0], index + 1, view.title(), brackets[1]), style));
        }
        let order = state.view.orders().get(state.list().order).map(|order| format!("by {order}")).unwrap_or_default();
        Self::line_with(to, area, 2, &tabs, (order, self.style(Tone::Faint)));
    }

    /// What takes the place of the revision: why the server is silent, a freeze, or why a revision is held.
    fn attention(state: &State) -> Option<String> {
        if let Some(stale) = &state.stale {
            return Some(format!("Retrying: {}", crate::output::clean(&stale.why)));
        }
        let fleet = state.fleet.as_ref()?;
        if let Some(frozen) = &fleet.frozen {
            let words = format!("Frozen by {} since {}: {}", frozen.by, time(frozen.since), frozen.why);
            return Some(crate::output::clean(&words).into_owned());
        }
        let held = fleet.revision.held && !fleet.revision.reason.is_empty();
        held.then(|| format!("Held: {}", crate::output::clean(&fleet.revision.reason)))
    }

    /// The list of the view, or why there is none.
    fn list(self, state: &State, area: Rect, to: &mut Buffer) {
        let list = state.list();
        if let Some(lines) = Self::instead(state, list) {
            for (row, line) in lines.iter().enumerate() {
                Self::line(to, area, row as u16 + 1, &[("  ".to_owned(), Style::new()), self.part(line)]);
            }
            return;
        }
        let columns = columns(state.view);
        let heading = u16::from(!columns.is_empty());
        let shown = usize::from(area.height - heading).min(list.total.saturating_sub(list.first));
        let rows: Vec<Vec<Cell>> = (list.first..list.first + shown)
            .map(|row| row.checked_sub(list.offset).map(|index| list.rows.cells(index, self.now)).unwrap_or_default())
            .collect();
        let room = usize::from(area.width).saturating_sub(2);
        if columns.is_empty() {
            for (index, cells) in rows.iter().enumerate() {
                let is_selected = state.view == View::Events && list.first + index == list.cursor;
                let parts: Vec<Part> = cells.iter().map(|cell| self.part(cell)).collect();
                Self::row(to, area, index as u16, &parts, is_selected);
            }
            return;
        }
        let widths = widths(columns, &rows, room);
        let fit = |cells: &[Part]| -> Vec<Part> {
            let mut parts: Vec<Part> = Vec::new();
            for (index, width) in widths.iter().enumerate().filter_map(|(index, width)| Some((index, (*width)?))) {
                let gap = if parts.is_empty() { "" } else { "  " };
                let (text, style) = cells.get(index).cloned().unwrap_or_default();
                parts.extend([(gap.to_owned(), Style::new()), (fitted(&text, width, columns[index].is_number), style)]);
            }
            parts
        };
        let headings: Vec<Part> =
            columns.iter().map(|column| (column.heading.to_owned(), self.style(Tone::Strong))).collect();
        Self::row(to, area, 0, &fit(&headings), false);
        for (index, cells) in rows.iter().enumerate() {
            let cells: Vec<Part> = cells.iter().map(|cell| self.part(cell)).collect();
            Self::row(to, area, index as u16 + heading, &fit(&cells), list.first + index == list.cursor);
        }
    }

    fn part(self, cell: &Cell) -> Part {
        (cell.text.clone(), self.style(cell.tone))
    }

    /// A row with the mark of the selected one before it.
    fn row(to: &mut Buffer, area: Rect, row: u16, parts: &[Part], is_selected: bool) {
        let mark = if is_selected { "▸ " } else { "  " };
        let marked: Vec<Part> = [(mark.to_owned(), Style::new())].into_iter().chain(parts.iter().cloned()).collect();
        Self::line(to, area, row, &marked);
        if is_selected && row < area.height {
            let line = Rect { y: area.y + row, height: 1, ..area };
            // Without the colours of its cells, which reversed would be a patchwork; words and shapes give the states.
            let plain = Style::new().fg(Color::Reset).remove_modifier(Modifier::DIM);
            to.set_style(line, plain.add_modifier(Modifier::REVERSED));
        }
    }

    /// What is shown where there are no rows.
    fn instead(state: &State, list: &List) -> Option<Vec<Cell>> {
        if let Err(problem) = state.selectors(state.view) {
            return Some(vec![Cell::new(&problem, Tone::Bad), Cell::new(filter::SYNTAX, Tone::Faint)]);
        }
        if let Some(problem) = &list.problem {
            let mut lines = vec![Cell::new(problem, Tone::Warn)];
            lines.extend((!list.filter.is_empty()).then(|| Cell::new("Esc drops the filter.", Tone::Faint)));
            return Some(lines);
        }
        if list.at.is_none() {
            return Some(vec![Cell::new("Asking the server …", Tone::Faint)]);
        }
        (list.total == 0).then(|| {
            let empty = match state.view {
                View::Edges => "No edge has joined yet: `portunus edge-token create NAME` invites one.",
                View::Rules => "No edge has any rules.",
                View::Targets => "No rule has any targets.",
                View::Connections => "There are no live connections.",
                View::Plan => "There is no plan.",
                View::Events => "There are no events yet.",
            };
            vec![Cell::plain(empty)]
        })
    }

    /// A text that can be longer than the screen.
    fn lines(self, to: &mut Buffer, area: Rect, page: &TextPage<'_>) {
        let TextPage { title, lines, first } = *page;
        Self::line(to, area, 0, &[("  ".to_owned(), Style::new()), (cut(title, 200), self.style(Tone::Strong))]);
        let room = usize::from(area.height.saturating_sub(1));
        let width = usize::from(area.width).saturating_sub(2);
        let lines: Vec<_> = lines.iter().flat_map(|line| wrapped(std::slice::from_ref(line), width)).collect();
        let first = first.min(lines.len().saturating_sub(room));
        for (row, line) in lines.iter().skip(first).take(room).enumerate() {
            let parts: Vec<Part> = line.iter().map(|cell| self.part(cell)).collect();
            Self::row(to, area, row as u16 + 1, &parts, false);
        }
        let more = lines.len().saturating_sub(first + room);
        if more > 0 && room > 0 {
            let row = area.height - 1;
            let words = format!("  and {more} more lines: ↓");
            to.set_stringn(
                area.x,
                area.y + row,
                " ".repeat(usize::from(area.width)),
                usize::from(area.width),
                Style::new(),
            );
            Self::line(to, area, row, &[(words, self.style(Tone::Faint))]);
        }
    }

    /// The rates of the selected rule: numbers, and a line for the last minutes.
    fn rates(self, rates: Option<&RuleRates>, area: Rect, to: &mut Buffer) {
        let Some(rates) = rates else { return };
        let title = format!("  {} over the last minutes", rates.rule);
        let right = match &rates.problem {
            Some(problem) => Cell::new(problem, Tone::Warn),
            None => Cell::new(&rates.last().map(connections).unwrap_or_default(), Tone::Faint),
        };
        Self::line_with(to, area, 0, &[(title, self.style(Tone::Strong))], self.part(&right));
        let lines: [(&str, Rate); 2] =
            [("in", |rates| rates.bytes_in_per_sec), ("out", |rates| rates.bytes_out_per_sec)];
        for (row, (name, of)) in lines.into_iter().enumerate() {
            let now =
                rates.last().map_or_else(|| "–".to_owned(), |last| format!("{}/s", bytes(of(last).max(0.0) as u64)));
            let label = format!("  {name:<4}{}  ", fitted(&now, 12, true));
            let width = label.width() as u16;
            Self::line(to, area, row as u16 + 1, &[(label, Style::new())]);
            let room = Rect {
                x: area.x + width,
                y: area.y + row as u16 + 1,
                width: area.width.saturating_sub(width),
                height: 1,
            };
            let data = rates.line(of, usize::from(room.width));
            Sparkline::default().data(&data).style(self.style(Tone::Good)).render(room.intersection(area), to);
        }
    }

    /// How many rows there are, or the filter that is being typed; and the keys.
    fn bottom(self, state: &State, area: Rect, to: &mut Buffer) {
        let list = state.list();
        let row = area.height - BELOW;
        if let Mode::Typing { .. } = state.mode {
            let text = format!(" /{}▏", crate::output::clean(&list.filter));
            Self::line_with(to, area, row, &[(text, self.style(Tone::Strong))], (String::new(), Style::new()));
            let syntax = format!(" {}", filter::SYNTAX);
            return Self::line(to, area, row + 1, &[(syntax, self.style(Tone::Faint))]);
        }
        let mut left = position(state, list);
        for more in [filtered(list), state.unused().join(", ")].into_iter().filter(|more| !more.is_empty()) {
            left.extend([" · ", &more]);
        }
        if !state.unused().is_empty() {
            left.push_str(" selects nothing here");
        }
        if let Some(note) = &list.note {
            left.extend([" · ", &crate::output::clean(note)]);
        }
        let clock = (self.now.strftime("%H:%M:%SZ ").to_string(), self.style(Tone::Faint));
        Self::line_with(to, area, row, &[(left, self.style(Tone::Faint))], clock);
        let keys: Vec<Part> = SHORT
            .iter()
            .flat_map(|(key, does)| {
                [(format!(" {key}"), self.style(Tone::Strong)), (format!(" {does} "), Style::new())]
            })
            .collect();
        Self::line(to, area, row + 1, &keys);
    }
}

/// `▲ In sync · 3 edges · 30 rules · 27 of 27 targets up`
fn verdict(summary: &FleetSummary) -> (String, Tone) {
    let line = head::line(summary);
    let is_well = summary.in_sync && summary.rules.down == 0 && summary.targets.down == 0;
    let (mark, tone) = if is_well { ("▲", Tone::Good) } else { ("●", Tone::Warn) };
    let words = [line.verdict.word.clone()].into_iter().chain(line.marks.iter().map(|mark| mark.word.clone()));
    let parts: Vec<String> = words.chain(line.parts.into_iter().map(|part| part.text)).collect();
    (format!("{mark} {}", parts.join(" · ")), tone)
}

/// `Revision 0a1b2c3d4e5f, commit … by …, applied by ci 3m ago`
fn provenance(summary: &FleetSummary, now: Timestamp) -> Option<String> {
    let status = StatusDocument { revision: summary.revision.clone(), ..StatusDocument::default() };
    summary::provenance(&status, now).map(|text| anstream::adapter::strip_str(&text).to_string())
}

/// ` rows 1–12 of 10,000`
fn position(state: &State, list: &List) -> String {
    if list.total == 0 {
        return String::new();
    }
    let last = (list.first + state.height).min(list.total);
    let hidden = if list.hidden > 0 { format!(", {} more outside of your limits", list.hidden) } else { String::new() };
    let noun = state.view.noun();
    let total = thousands(list.total);
    let is_cut = list.matching > list.total;
    let of = if is_cut { format!("the first {total} of {}", thousands(list.matching)) } else { total };
    format!(" {noun}s {}–{} of {of}{hidden}", thousands(list.first + 1), thousands(last))
}

/// `filter web`
fn filtered(list: &List) -> String {
    if list.filter.is_empty() { String::new() } else { format!("filter {}", crate::output::clean(&list.filter)) }
}

/// `1.5 connections/s`
fn connections(rates: &Sample) -> String {
    format!("{:.1} connections/s ", rates.connections_per_sec)
}

/// `10,000`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn help() -> Vec<Cell> {
    let keys = HELP.iter().map(|(keys, does)| Cell::plain(&format!("{keys:<16} {does}")));
    let syntax = [Cell::default(), Cell::plain("Filters are names and selectors:"), Cell::plain(filter::SYNTAX)];
    keys.chain(syntax).collect()
}
