//! All edges as the server knows them, by name. Pure.
//!
//! Keeps: a copy of the fleet costs a pointer for each edge and not what is known of it. What is changed afterwards is
//! copied then, edge by edge, so that undoing a step or writing a status down costs the driver no copy of everything.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, btree_map};
use std::ops::Index;
use std::sync::Arc;

use schema::name::EdgeName;

use super::view::EdgeView;

/// All edges, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edges(BTreeMap<EdgeName, Arc<EdgeView>>);

/// All edges with their names, in the order of names.
pub type Iter<'a> = std::iter::Map<
    btree_map::Iter<'a, EdgeName, Arc<EdgeView>>,
    fn((&'a EdgeName, &'a Arc<EdgeView>)) -> (&'a EdgeName, &'a EdgeView),
>;

impl Edges {
    /// None.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// One edge.
    pub fn get<Q: Ord + ?Sized>(&self, name: &Q) -> Option<&EdgeView>
    where
        EdgeName: Borrow<Q>,
    {
        self.0.get(name).map(|view| &**view)
    }

    /// One edge, to change it: copied first where a copy of the fleet still shows it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, name: &Q) -> Option<&mut EdgeView>
    where
        EdgeName: Borrow<Q>,
    {
        self.0.get_mut(name).map(Arc::make_mut)
    }

    /// One edge, to change it; made where there is none.
    pub fn get_or_new(&mut self, name: &EdgeName) -> &mut EdgeView {
        if !self.0.contains_key(name) {
            self.0.insert(name.clone(), Arc::default());
        }
        self.get_mut(name).expect("made above where it was missing")
    }

    /// Puts an edge in the place of the one of that name.
    pub fn insert(&mut self, name: EdgeName, view: EdgeView) {
        self.0.insert(name, view.into());
    }

    /// Takes an edge out.
    pub fn remove(&mut self, name: &EdgeName) {
        self.0.remove(name);
    }

    /// True if there is an edge of that name.
    pub fn contains_key<Q: Ord + ?Sized>(&self, name: &Q) -> bool
    where
        EdgeName: Borrow<Q>,
    {
        self.0.contains_key(name)
    }

    /// The names, in their order.
    pub fn keys(&self) -> btree_map::Keys<'_, EdgeName, Arc<EdgeView>> {
        self.0.keys()
    }

    /// All edges, in the order of their names.
    pub fn values(&self) -> impl Iterator<Item = &EdgeView> {
        self.0.values().map(|view| &**view)
    }

    /// The same with their names.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|(name, view)| (name, view))
    }

    /// All edges side by side with what others say of edges, in the order of names: each name once, and one walk
    /// through both instead of a search for each.
    pub fn beside<'a, T>(
        &'a self,
        others: &'a BTreeMap<EdgeName, T>,
    ) -> impl Iterator<Item = (&'a EdgeName, Option<&'a EdgeView>, Option<&'a T>)> {
        let (mut edges, mut others) = (self.iter().peekable(), others.iter().peekable());
        std::iter::from_fn(move || {
            let order = match (edges.peek(), others.peek()) {
                (Some((edge, _)), Some((other, _))) => edge.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let edge = if order.is_le() { edges.next() } else { None };
            let other = if order.is_ge() { others.next() } else { None };
            let name = edge.map(|(name, _)| name).or_else(|| other.map(|(name, _)| name))?;
            Some((name, edge.map(|(_, view)| view), other.map(|(_, said)| said)))
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Edges {
    type Item = (&'a EdgeName, &'a EdgeView);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Index<&EdgeName> for Edges {
    type Output = EdgeView;

    fn index(&self, name: &EdgeName) -> &EdgeView {
        &self.0[name]
    }
}

impl FromIterator<(EdgeName, EdgeView)> for Edges {
    fn from_iter<I: IntoIterator<Item = (EdgeName, EdgeView)>>(edges: I) -> Self {
        Self(edges.into_iter().map(|(name, view)| (name, view.into())).collect())
    }
}

impl<const N: usize> From<[(EdgeName, EdgeView); N]> for Edges {
    fn from(edges: [(EdgeName, EdgeView); N]) -> Self {
        edges.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_by_side_each_name_comes_once_and_in_order() {
        let name = |text: &str| EdgeName::new(text).expect("a name");
        let edges: Edges = ["a", "b", "d"].map(|text| (name(text), EdgeView::default())).into();
        let others = BTreeMap::from(["b", "c", "e"].map(|text| (name(text), text)));
        let all: Vec<_> =
            edges.beside(&others).map(|(name, edge, other)| (name.as_str(), edge.is_some(), other.copied())).collect();
        let expected = [
            ("a", true, None),
            ("b", true, Some("b")),
            ("c", false, Some("c")),
            ("d", true, None),
            ("e", false, Some("e")),
        ];
        assert_eq!(all, expected);
        assert_eq!(Edges::new().beside(&others).count(), 3);
    }

    #[test]
    fn a_copy_shares_every_edge_that_is_not_changed_afterwards() {
        let name = |number: usize| EdgeName::new(&format!("edge-{number}")).expect("a name");
        let mut edges: Edges = (0..100).map(|number| (name(number), EdgeView::default())).collect();
        let before = edges.clone();
        edges.get_mut(&name(7)).expect("there").connected = true;
        edges.get_or_new(&name(100)).connected = true;
        assert!(!before[&name(7)].connected && !before.contains_key(&name(100)));
        let is_shared =
            |number| before.0.get(&name(number)).is_some_and(|view| Arc::ptr_eq(view, &edges.0[&name(number)]));
        let shared = (0..101).filter(|number| is_shared(*number)).count();
        assert_eq!(shared, 99);
    }
}
