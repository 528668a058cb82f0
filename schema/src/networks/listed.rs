//! A list file as a rule has it: by its path and the digest of its networks, which may be at hand or not. Pure.
//!
//! A rule is reported, compared and stored without the networks of its files; only a desired state brings them along,
//! once for all rules that have the same. Keeps: two rules with the same digest are the same, whether their networks are
//! at hand or not; a content is held once, whatever the rules that refer to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::NetworkList;
use crate::canonical::Digest;

/// The list file of a rule.
#[derive(Debug, Clone)]
pub struct ListFile {
    /// From the root of the tree.
    pub path: Arc<str>,
    digest: Digest,
    networks: u32,
    list: Option<NetworkList>,
}

impl ListFile {
    /// A file that was read.
    pub fn new(path: impl Into<Arc<str>>, list: NetworkList) -> Self {
        Self { path: path.into(), digest: list.digest(), networks: list.len() as u32, list: Some(list) }
    }

    /// A file that is known by its digest and the number of its networks.
    pub fn referred(path: impl Into<Arc<str>>, digest: Digest, networks: u32) -> Self {
        Self { path: path.into(), digest, networks, list: None }
    }

    /// What makes it the same list.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many networks it has.
    pub fn networks(&self) -> u32 {
        self.networks
    }

    /// Its networks, if they are at hand.
    pub fn list(&self) -> Option<&NetworkList> {
        self.list.as_ref()
    }

    /// The same file with its networks, if they are known.
    #[must_use]
    pub fn resolved(&self, lists: &Lists) -> Self {
        let list = self.list.as_ref().or_else(|| lists.get(self.digest)).cloned();
        Self { list, ..self.clone() }
    }
}

impl PartialEq for ListFile {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.digest) == (&other.path, other.digest)
    }
}

impl Eq for ListFile {}

/// The contents of list files, by digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists(BTreeMap<Digest, NetworkList>);

impl Lists {
    /// The content with this digest.
    pub fn get(&self, digest: Digest) -> Option<&NetworkList> {
        self.0.get(&digest)
    }

    /// Adds a content, unless the same is there.
    pub fn add(&mut self, list: &NetworkList) {
        self.0.entry(list.digest()).or_insert_with(|| list.clone());
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of their digests.
    pub fn iter(&self) -> impl Iterator<Item = &NetworkList> {
        self.0.values()
    }
}

impl<'l> FromIterator<&'l NetworkList> for Lists {
    fn from_iter<I: IntoIterator<Item = &'l NetworkList>>(lists: I) -> Self {
        let mut all = Self::default();
        lists.into_iter().for_each(|list| all.add(list));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_with_its_networks_and_without_and_finds_them_by_their_digest() {
        let list: NetworkList = ["10.0.0.0/8"].iter().map(|text| text.parse().expect("a network")).collect();
        let file = ListFile::new("lists/a.txt", list.clone());
        let referred = ListFile::referred("lists/a.txt", list.digest(), 1);
        assert_eq!(file, referred);
        assert_ne!(referred, ListFile::referred("lists/b.txt", list.digest(), 1));
        assert_eq!(referred.list(), None);
        assert_eq!(referred.resolved(&Lists::default()).list(), None);
        assert_eq!(referred.resolved(&Lists::from_iter([&list, &list])).list(), Some(&list));
    }
}
