//! The query of a view, as the address has it. Pure.
//!
//! Keeps: what was left empty in a form is not asked for; every value is encoded where a link carries it on.

use form_urlencoded::{Serializer, byte_serialize, parse};

/// Names with values, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ViewQuery(Vec<(String, String)>);

impl ViewQuery {
    /// Reads a query or the body of a form. Of a name that is there twice, the last value is meant.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in parse(text.as_bytes()) {
            query.set(&name, value.trim());
        }
        query
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The value; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The value as a number, where it is one.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).parse().ok()
    }

    /// The same with another value.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut query = self.clone();
        query.set(name, value);
        query
    }

    /// The same with a value where it has none.
    #[must_use]
    pub fn or(&self, name: &str, value: &str) -> Self {
        if self.get(name).is_empty() { self.with(name, value) } else { self.clone() }
    }

    /// The same without these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// True if nothing is asked for but these names.
    pub fn has_only(&self, names: &[&str]) -> bool {
        self.without(names).0.is_empty()
    }

    /// All names with their values.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The path with the query.
    pub fn on(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let query = Serializer::new(String::new()).extend_pairs(&self.0).finish();
        format!("{path}?{query}")
    }
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_without_what_is_empty_and_written_encoded() {
        let query = ViewQuery::parse("edge=fra-*&owner=&label=a%3Db&rule=x&rule=%3Cscript%3E");
        assert_eq!((query.get("edge"), query.get("owner"), query.get("rule")), ("fra-*", "", "<script>"));
        assert_eq!(query.on("/ui/rules"), "/ui/rules?edge=fra-*&label=a%3Db&rule=%3Cscript%3E");
        assert_eq!(query.with("edge", "").without(&["label", "rule"]).on("/ui/rules"), "/ui/rules");
        assert_eq!(query.or("limit", "100").or("edge", "x").number("limit"), Some(100));
        assert!(query.has_only(&["edge", "label", "rule"]) && !query.has_only(&["edge"]));
    }

    #[test]
    fn a_target_is_one_segment() {
        assert_eq!(segment("[::1]:80"), "%5B%3A%3A1%5D%3A80");
        assert_eq!(segment("a b/c"), "a%20b%2Fc");
    }
}
