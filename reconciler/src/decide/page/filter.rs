//! The filters above a list, and the pages below it. Pure.

use super::query::ViewQuery;
use super::words::{count, grouped};

/// Rows of a page where nobody says how many.
pub const PAGE_ROWS: u64 = 100;
/// The most rows of a page: what a browser shows at once.
const MOST_ROWS: u64 = 500;

/// A line of text of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextField {
    /// The parameter.
    pub name: &'static str,
    /// What people read.
    pub label: &'static str,
    /// What is asked for now.
    pub value: String,
    /// An example.
    pub example: &'static str,
}

/// One of several words of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectField {
    /// The parameter.
    pub name: &'static str,
    /// What people read.
    pub label: &'static str,
    /// The words.
    pub options: Vec<SelectOption>,
}

/// A word that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectOption {
    /// The value; empty for any.
    pub value: String,
    /// What people read.
    pub label: String,
    /// True if it is asked for.
    pub is_chosen: bool,
}

/// The form above a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterForm {
    /// The view.
    pub path: &'static str,
    /// Lines of text.
    pub texts: Vec<TextField>,
    /// Words to choose from.
    pub selects: Vec<SelectField>,
    /// True if something is asked for.
    pub is_used: bool,
    /// Why the list cannot be made.
    pub problem: Option<FilterProblem>,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterProblem {
    /// The parameter of the field; empty where the form has no such field.
    pub field: String,
    /// A sentence of the API.
    pub text: String,
}

/// In the place of rows where the filter has a problem.
const REFUSED: &str = "Nothing is listed, because the filter cannot be used. Correct or clear it.";

impl FilterForm {
    /// A form without fields; `order` names the parameters that leave every row in the list.
    pub fn new(path: &'static str, query: &ViewQuery, order: &[&str]) -> Self {
        Self { path, texts: Vec::new(), selects: Vec::new(), is_used: !query.has_only(order), problem: None }
    }

    /// The same with a line of text: parameter, label and example.
    #[must_use]
    pub fn text(
        mut self,
        query: &ViewQuery,
        (name, label, example): (&'static str, &'static str, &'static str),
    ) -> Self {
        self.texts.push(TextField { name, label, value: query.get(name).to_owned(), example });
        self
    }

    /// The same with words to choose from: each a value and what people read.
    #[must_use]
    pub fn select(
        mut self,
        query: &ViewQuery,
        (name, label): (&'static str, &'static str),
        words: &[(&str, &str)],
    ) -> Self {
        let now = query.get(name);
        let mut options: Vec<SelectOption> = words
            .iter()
            .map(|(value, label)| SelectOption {
                value: (*value).to_owned(),
                label: (*label).to_owned(),
                is_chosen: *value == now,
            })
            .collect();
        // A value that an address carries and the form does not offer stays, so that the form shows what is asked for.
        if !now.is_empty() && !options.iter().any(|option| option.is_chosen) {
            options.push(SelectOption { value: now.to_owned(), label: now.to_owned(), is_chosen: true });
        }
        self.selects.push(SelectField { name, label, options });
        self
    }

    /// Shows why the API refuses what is asked for, if it does, at the field that it is about; `empty` stands in the
    /// place of rows.
    pub fn refuse(&mut self, why: Option<&str>, empty: &mut String) {
        let Some(why) = why else { return };
        // An answer about a parameter begins with its name, one about the list with the path of the API.
        let mut words = why.splitn(2, ' ');
        let first = words.next().unwrap_or_default();
        let text = match words.next() {
            Some(rest) if first.starts_with('/') => format!("This list {rest}"),
            _ => why.to_owned(),
        };
        let name = first.trim_end_matches(':');
        let mut fields = self.texts.iter().map(|text| text.name).chain(self.selects.iter().map(|select| select.name));
        let field = fields.find(|field| *field == name).unwrap_or_default().to_owned();
        self.problem = Some(FilterProblem { field, text });
        self.is_used = true;
        REFUSED.clone_into(empty);
    }

    /// True for the field that the problem is about.
    pub fn is_wrong(&self, name: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.field == name)
    }
}

/// How many rows a page has: as many as are asked for, within reason.
pub fn rows_of(query: &ViewQuery) -> u64 {
    query.number("limit").unwrap_or(PAGE_ROWS).clamp(1, MOST_ROWS)
}

/// Where the other pages of a list are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pager {
    /// `Rules 101–200 of 10,000`
    pub text: String,
    /// The page before.
    pub previous: Option<String>,
    /// The page after.
    pub next: Option<String>,
}

impl Pager {
    /// The pages of a list of which so many rows are shown; `row` names one of them.
    pub fn new(path: &str, query: &ViewQuery, (shown, total): (u64, u64), row: &str) -> Self {
        let (rows, offset) = (rows_of(query), query.number("offset").unwrap_or_default());
        let last = offset + shown;
        let at = |offset: u64| {
            let offset = if offset == 0 { String::new() } else { offset.to_string() };
            query.with("offset", &offset).on(path)
        };
        let text = if shown == total {
            count(total, row)
        } else if shown == 0 {
            format!("no {row} after the first {}", grouped(total))
        } else {
            format!("{row}s {}–{} of {}", grouped(offset + 1), grouped(last), grouped(total))
        };
        Self {
            text,
            previous: (offset > 0).then(|| at(offset.min(total).saturating_sub(rows))),
            next: (last < total && shown > 0).then(|| at(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_lead_to_each_other_and_keep_what_is_asked_for() {
        let pager =
            |query: &str, shown, total| Pager::new("/ui/rules", &ViewQuery::parse(query), (shown, total), "rule");
        let first = pager("owner=x", 100, 10_000);
        assert_eq!((first.text.as_str(), first.previous), ("rules 1–100 of 10,000", None));
        assert_eq!(first.next.as_deref(), Some("/ui/rules?owner=x&offset=100"));
        let second = pager("owner=x&offset=100", 100, 10_000);
        assert_eq!(second.previous.as_deref(), Some("/ui/rules?owner=x"));
        assert_eq!(second.next.as_deref(), Some("/ui/rules?owner=x&offset=200"));
        assert_eq!(pager("offset=9900", 100, 10_000).next, None);
        assert_eq!(pager("", 3, 3), Pager { text: "3 rules".to_owned(), ..Pager::default() });
        let behind = pager("offset=500", 0, 42);
        assert_eq!(behind.text, "no rule after the first 42");
        assert_eq!((behind.previous.as_deref(), behind.next), (Some("/ui/rules"), None));
    }

    #[test]
    fn a_form_shows_what_an_address_asks_for() {
        let query = ViewQuery::parse("state=asleep&limit=100000");
        let form = FilterForm::new("/ui/rules", &query, &["limit"]).select(&query, ("state", "State"), &[("", "any")]);
        let chosen: Vec<&str> =
            form.selects[0].options.iter().filter(|option| option.is_chosen).map(|option| &*option.value).collect();
        assert_eq!((chosen, form.is_used), (vec!["asleep"], true));
        assert_eq!((rows_of(&query), rows_of(&ViewQuery::default())), (500, 100));
    }

    #[test]
    fn what_the_api_refuses_is_shown_at_its_field() {
        let query = ViewQuery::parse("state=asleep&colour=blue");
        let form = FilterForm::new("/ui/rules", &query, &[]).select(&query, ("state", "State"), &[("", "any")]);
        let refused = |why: &str| {
            let (mut form, mut empty) = (form.clone(), String::new());
            form.refuse(Some(why), &mut empty);
            assert!(empty.starts_with("Nothing is listed"), "{empty}");
            (form.is_wrong("state"), form.problem.expect("a problem").text)
        };
        assert!(refused("state `asleep`: expected one of up, down").0);
        assert!(refused("state: unknown variant").0);
        let (is_at_state, text) = refused("/v1/rules does not support the query parameter `colour`");
        assert_eq!((is_at_state, &*text), (false, "This list does not support the query parameter `colour`"));
    }
}
