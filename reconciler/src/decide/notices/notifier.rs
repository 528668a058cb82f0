//! A receiver of notices as `server.toml` names it, and which news are for it. Pure.
//!
//! Keeps: no URL with a secret in it is shown by `Debug`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use schema::name::EdgeName;
use serde::{Deserialize, Serialize};

use super::{News, Topic};

/// What a notifier speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifierKind {
    /// An incoming webhook of Slack.
    Slack,
    /// A workflow of Microsoft Teams that a webhook starts.
    Teams,
    /// A webhook of Discord.
    Discord,
    /// A room of a Matrix home server.
    Matrix,
    /// A chat of Telegram.
    Telegram,
    /// A program of one's own.
    Webhook,
    /// The status of commits on a forge.
    CommitStatus,
}

impl NotifierKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Slack, Self::Teams, Self::Discord, Self::Matrix, Self::Telegram, Self::Webhook, Self::CommitStatus];

    /// As in `server.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Matrix => "matrix",
            Self::Telegram => "telegram",
            Self::Webhook => "webhook",
            Self::CommitStatus => "commit-status",
        }
    }

    /// The least time between two messages: chats refuse more than one a second.
    pub const fn pause(self) -> Duration {
        match self {
            Self::Webhook | Self::CommitStatus => Duration::ZERO,
            Self::Slack | Self::Teams | Self::Discord | Self::Matrix | Self::Telegram => Duration::from_secs(1),
        }
    }
}

impl FromStr for NotifierKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// A host of repositories that shows the status of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forge {
    /// github.com, or GitHub Enterprise.
    GitHub,
    /// gitlab.com, or one's own.
    GitLab,
    /// Forgejo, and Gitea.
    Forgejo,
}

impl Forge {
    /// Every forge.
    pub const ALL: [Self; 3] = [Self::GitHub, Self::GitLab, Self::Forgejo];

    /// As in `server.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Forgejo => "forgejo",
        }
    }
}

impl FromStr for Forge {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|forge| forge.as_str() == text).ok_or(())
    }
}

/// Where the URL of a receiver is written.
#[derive(Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// In `server.toml`.
    Inline(String),
    /// In a file that nobody else can read.
    InFile(PathBuf),
}

impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("Inline(…)"),
            Self::InFile(path) => write!(f, "InFile({})", path.display()),
        }
    }
}

/// Which news a notifier receives.
#[derive(Debug, Clone, Default)]
pub struct NewsFilter {
    topics: BTreeSet<Topic>,
    edges: Option<GlobSet>,
    owners: BTreeSet<String>,
}

impl NewsFilter {
    /// A filter; no edges and no owners do not limit. The error is the glob that cannot be read.
    pub fn new(
        topics: impl IntoIterator<Item = Topic>,
        edges: &[String],
        owners: impl IntoIterator<Item = String>,
    ) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for edge in edges {
            let glob = (!edge.is_empty() && edge.trim() == edge).then(|| GlobBuilder::new(edge).build().ok()).flatten();
            set.add(glob.ok_or_else(|| edge.clone())?);
        }
        let edges = if edges.is_empty() { None } else { Some(set.build().map_err(|_| edges.join(", "))?) };
        Ok(Self { topics: topics.into_iter().collect(), edges, owners: owners.into_iter().collect() })
    }

    /// True if the notifier is to hear of the topic at all.
    pub fn wants(&self, topic: Topic) -> bool {
        self.topics.contains(&topic)
    }

    /// The topics.
    pub fn topics(&self) -> impl Iterator<Item = Topic> + '_ {
        self.topics.iter().copied()
    }

    /// True if the news are for this notifier. News of the whole fleet pass every filter of edges and none of owners.
    pub fn passes(&self, news: &News) -> bool {
        let is_of_edge = |edge: &EdgeName| self.edges.as_ref().is_none_or(|globs| globs.is_match(edge.as_str()));
        self.wants(news.event)
            && news.edge.as_ref().is_none_or(is_of_edge)
            && (self.owners.is_empty() || news.owner.as_ref().is_some_and(|owner| self.owners.contains(owner)))
    }
}

/// A notifier as `server.toml` describes it.
#[derive(Debug, Clone)]
pub struct Notifier {
    /// Its name, unique among them.
    pub name: String,
    /// What it speaks.
    pub kind: NotifierKind,
    /// Where it is; of a commit status, the web address of the repository.
    pub url: UrlSource,
    /// The file of the token, of those that need one.
    pub token_file: Option<PathBuf>,
    /// The file of the secret that signs the bodies of a webhook.
    pub secret_file: Option<PathBuf>,
    /// Of a commit status, the forge.
    pub forge: Option<Forge>,
    /// What it receives.
    pub filter: NewsFilter,
    /// The least time between two messages; what comes in between is merged into one. Zero merges nothing.
    pub min_interval: Duration,
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use schema::name::RuleName;

    use super::*;

    #[test]
    fn news_of_the_whole_fleet_pass_every_filter_of_edges_and_none_of_owners() {
        let (fra, ams) = (EdgeName::new("fra-1").expect("a name"), EdgeName::new("ams-1").expect("a name"));
        let rule = RuleName::new("web").expect("a name");
        let news = |topic| News::new(topic, Timestamp::UNIX_EPOCH, String::new());
        let edges = ["fra-*".to_owned()];
        let of_edges = NewsFilter::new([Topic::Apply, Topic::Health], &edges, []).expect("a glob");
        assert!(of_edges.passes(&news(Topic::Apply)));
        assert!(of_edges.passes(&news(Topic::Health).of(&fra, &rule, "")));
        assert!(!of_edges.passes(&news(Topic::Health).of(&ams, &rule, "")));
        assert!(!of_edges.passes(&news(Topic::Freeze)), "another topic");
        let of_owner = NewsFilter::new(Topic::ALL, &[], ["team-web".to_owned()]).expect("no glob");
        assert!(!of_owner.passes(&news(Topic::Apply)));
        assert!(!of_owner.passes(&news(Topic::Edge).on(&fra)));
        assert!(of_owner.passes(&news(Topic::Health).of(&fra, &rule, "team-web")));
        assert!(!of_owner.passes(&news(Topic::Health).of(&fra, &rule, "team-mail")));
        assert_eq!(NewsFilter::new([], &["fra-[".to_owned()], []).err().as_deref(), Some("fra-["));
    }
}
