//! Which apply put a port on an edge: back through the ledger for as long as the same rule owns the port. Pure.

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::{EdgeName, RuleName};
use schema::net::Protocol;
use schema::ruleset::{EdgeRules, Origin, Placed};
use serde::{Deserialize, Serialize};

use super::ledger::Entry;

/// A port on an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The edge.
    pub edge: EdgeName,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// Who put a port there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// The edge.
    pub edge: EdgeName,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The rule that owns it.
    pub rule: RuleName,
    /// Where the rule stood in the tree of that apply.
    pub file: Option<String>,
    /// Line from 1.
    pub line: Option<u32>,
    /// Where it stands now.
    pub current: Option<Origin>,
    /// The commit of that apply.
    pub commit: Option<String>,
    /// Who wrote the commit.
    pub author: Option<String>,
    /// Digest of the tree.
    pub digest: Digest,
    /// True if the tree differed from its commit.
    pub dirty: bool,
    /// The apply.
    pub apply_id: String,
    /// Its entry in the ledger.
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// Who applied it.
    pub actor: String,
    /// False where older revisions are kept no longer: the rule may own the port since before.
    pub complete: bool,
}

impl Port {
    /// The rule of a set that owns the port.
    pub fn owner<'a>(&self, rules: &'a EdgeRules) -> Option<&'a Placed> {
        let listens = |placed: &&Placed| {
            let listen = &placed.rule.listen;
            listen.protocol == self.protocol && listen.ports.contains(self.port)
        };
        rules.values().find(listens)
    }
}

/// Walks back from the newest apply. `owner` is the rule that owns the port now; `owner_in` tells the rule that owned
/// it in a revision: `None` where nobody did, an error where the revision is kept no longer. `None` if no apply is
/// known that has it.
pub fn blame<E>(
    port: &Port,
    owner: &Placed,
    entries: &[Entry],
    mut owner_in: impl FnMut(&Entry) -> Result<Option<Placed>, E>,
) -> Option<Blame> {
    let mut first: Option<(&Entry, Placed)> = None;
    let mut complete = true;
    for entry in entries.iter().rev().filter(|entry| entry.is_start()) {
        let Ok(found) = owner_in(entry) else {
            complete = false;
            break;
        };
        match found.filter(|found| found.rule.name == owner.rule.name) {
            Some(found) => first = Some((entry, found)),
            // A newer version that the edge rejects may have other ports; the one that serves is older.
            None if first.is_none() => {}
            None => break,
        }
    }
    let (entry, placed) = first?;
    Some(Blame {
        edge: port.edge.clone(),
        port: port.port,
        protocol: port.protocol.as_str().to_owned(),
        rule: placed.rule.name.clone(),
        file: placed.origin.as_ref().map(|origin| origin.file.to_string()),
        line: placed.origin.as_ref().map(|origin| origin.line),
        current: owner.origin.clone(),
        commit: entry.commit.clone(),
        author: entry.author.clone(),
        digest: entry.digest,
        dirty: entry.dirty,
        apply_id: entry.apply_id.clone(),
        entry: entry.id,
        at: entry.at,
        actor: entry.actor.clone(),
        complete,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use schema::testing::rule_with;

    use super::*;

    fn placed(name: &str, first: u16, last: u16) -> Placed {
        Placed { rule: rule_with(name, first, last, |_| {}), origin: None }
    }

    fn port(number: u16) -> Port {
        Port { edge: EdgeName::new("a").expect("a name"), port: number, protocol: Protocol::Tcp }
    }

    fn entries(count: u64) -> Vec<Entry> {
        let entry = |id| Entry { id, apply_id: format!("a{id}"), ..Entry::default() };
        (1..=count).map(entry).collect()
    }

    /// What each apply put in force, oldest first; who is to blame for port 80 now.
    fn since(revisions: &[Option<Placed>]) -> Option<u64> {
        let owner = revisions.last()?.clone()?;
        let all = entries(revisions.len() as u64);
        let owner_in = |entry: &Entry| {
            let rules: EdgeRules = revisions[entry.id as usize - 1]
                .iter()
                .map(|placed| (placed.rule.name.clone(), placed.clone()))
                .collect();
            Ok::<_, Infallible>(port(80).owner(&rules).cloned())
        };
        blame(&port(80), &owner, &all, owner_in).map(|blame| blame.entry)
    }

    #[test]
    fn the_first_apply_since_which_the_rule_owns_the_port_is_to_blame() {
        let web = || Some(placed("web", 80, 80));
        let wide = || Some(placed("web", 79, 90));
        let away = || Some(placed("web", 81, 81));
        let other = || Some(placed("other", 80, 80));
        assert_eq!(since(&[web()]), Some(1));
        assert_eq!(since(&[web(), wide(), web()]), Some(1), "changes that keep the port do not count");
        assert_eq!(since(&[web(), away(), web()]), Some(3), "it was somewhere else in between");
        assert_eq!(since(&[web(), None, wide()]), Some(3), "it was gone in between");
        assert_eq!(since(&[web(), other(), web(), web()]), Some(3), "another rule had it in between");
    }

    #[test]
    fn revisions_that_are_kept_no_longer_end_the_walk() {
        let owner = placed("web", 80, 80);
        let owner_in = |entry: &Entry| if entry.id > 2 { Ok(Some(placed("web", 80, 80))) } else { Err(()) };
        let found = blame(&port(80), &owner, &entries(4), owner_in).expect("two are kept");
        assert_eq!((found.entry, found.complete), (3, false));
        assert_eq!(blame(&port(80), &owner, &entries(4), |_| Err(())), None);
    }

    #[test]
    fn a_port_is_owned_on_its_protocol_only() {
        let rules: EdgeRules = [placed("web", 80, 80)].map(|placed| (placed.rule.name.clone(), placed)).into();
        let udp = Port { protocol: Protocol::Udp, ..port(80) };
        assert!(port(80).owner(&rules).is_some());
        assert!(udp.owner(&rules).is_none() && port(81).owner(&rules).is_none());
    }
}
