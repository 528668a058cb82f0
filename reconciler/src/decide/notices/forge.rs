//! The API of a forge by the web address of a repository, and the body of a status. Pure.

use serde_json::{Value, json};

use super::{CommitState, CommitStatus, Forge};

/// Characters of a description: the least limit of the three.
const DESCRIPTION: usize = 140;

/// Why an address does not name a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the web address of a repository, such as {}", match .0 {
    Forge::GitHub => "https://github.com/OWNER/REPOSITORY",
    Forge::GitLab => "https://gitlab.com/GROUP/PROJECT",
    Forge::Forgejo => "https://codeberg.org/OWNER/REPOSITORY",
})]
pub struct InvalidRepository(pub Forge);

/// A repository in the API of its forge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryApi {
    forge: Forge,
    /// The URL of the repository in the API.
    url: String,
}

impl RepositoryApi {
    /// `origin` is scheme, host and port of the web address; `path` is the rest.
    pub fn new(forge: Forge, origin: &str, path: &str) -> Result<Self, InvalidRepository> {
        let path = path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let segments: Vec<&str> = path.split('/').collect();
        let is_name = |name: &&str| {
            !name.is_empty()
                && !matches!(*name, "." | ".." | "-")
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        let is_complete = if forge == Forge::GitHub { segments.len() == 2 } else { segments.len() >= 2 };
        if !is_complete || !segments.iter().all(is_name) {
            return Err(InvalidRepository(forge));
        }
        let url = match forge {
            Forge::GitHub => format!("{}/repos/{path}", github(origin)),
            Forge::GitLab => format!("{origin}/api/v4/projects/{}", segments.join("%2F")),
            Forge::Forgejo => {
                // A forge below a path of its host has owner and repository at the end of it.
                let (below, repository) = segments.split_at(segments.len() - 2);
                let root = [&[origin], below].concat().join("/");
                format!("{root}/api/v1/repos/{}", repository.join("/"))
            }
        };
        Ok(Self { forge, url })
    }

    /// The forge.
    pub const fn forge(&self) -> Forge {
        self.forge
    }

    /// The repository itself, which answers everyone who may read it.
    pub fn repository(&self) -> &str {
        &self.url
    }

    /// Where the status of a commit is posted.
    pub fn statuses(&self, sha: &str) -> String {
        format!("{}/statuses/{sha}", self.url)
    }
}

/// The root of the API: github.com and hosts of its enterprise cloud have a host for it, others a path.
fn github(origin: &str) -> String {
    match origin {
        "https://github.com" | "https://www.github.com" => "https://api.github.com".to_owned(),
        _ => match origin.strip_prefix("https://").filter(|host| host.ends_with(".ghe.com")) {
            Some(host) => format!("https://api.{host}"),
            None => format!("{origin}/api/v3"),
        },
    }
}

/// The body of a status. The context tells the notifiers of several fleets apart.
pub fn status_body(forge: Forge, notifier: &str, status: &CommitStatus) -> Value {
    let context = format!("portunus/{notifier}");
    let description = described(&status.description);
    let state = match (forge, status.state) {
        (Forge::GitLab, CommitState::Failure) => "failed",
        (_, state) => state.as_str(),
    };
    match forge {
        Forge::GitLab => json!({ "state": state, "name": context, "description": description }),
        Forge::GitHub | Forge::Forgejo => json!({ "state": state, "context": context, "description": description }),
    }
}

fn described(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= DESCRIPTION {
        return line.to_owned();
    }
    line.chars().take(DESCRIPTION - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(forge: Forge, origin: &str, path: &str) -> Option<String> {
        RepositoryApi::new(forge, origin, path).ok().map(|api| api.statuses("abc"))
    }

    #[test]
    fn the_api_follows_from_the_web_address() {
        let cases = [
            (Forge::GitHub, "https://github.com", "/o/r", "https://api.github.com/repos/o/r/statuses/abc"),
            (
                Forge::GitHub,
                "https://git.example.org",
                "/o/r.git",
                "https://git.example.org/api/v3/repos/o/r/statuses/abc",
            ),
            (Forge::GitHub, "https://acme.ghe.com", "/o/r/", "https://api.acme.ghe.com/repos/o/r/statuses/abc"),
            (Forge::GitLab, "https://gitlab.com", "/g/p", "https://gitlab.com/api/v4/projects/g%2Fp/statuses/abc"),
            (
                Forge::GitLab,
                "https://git.example.org:8443",
                "/g/sub/deep/p",
                "https://git.example.org:8443/api/v4/projects/g%2Fsub%2Fdeep%2Fp/statuses/abc",
            ),
            (Forge::Forgejo, "https://codeberg.org", "/o/r", "https://codeberg.org/api/v1/repos/o/r/statuses/abc"),
            (
                Forge::Forgejo,
                "https://example.org",
                "/git/o/r",
                "https://example.org/git/api/v1/repos/o/r/statuses/abc",
            ),
        ];
        for (forge, origin, path, expected) in cases {
            assert_eq!(statuses(forge, origin, path).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_not_a_repository_is_refused() {
        for (forge, path) in [
            (Forge::GitHub, "/"),
            (Forge::GitHub, "/o"),
            (Forge::GitHub, "/o/r/tree/main"),
            (Forge::GitLab, "/p"),
            (Forge::GitLab, "/g//p"),
            (Forge::GitLab, "/g/p/-/commits"),
            (Forge::Forgejo, "/o/.."),
            (Forge::Forgejo, "/o/r%2Fx"),
        ] {
            assert_eq!(statuses(forge, "https://example.org", path), None, "{path}");
        }
    }

    #[test]
    fn a_description_is_one_line_within_the_limit() {
        let status = CommitStatus { sha: String::new(), state: CommitState::Failure, description: "ä".repeat(200) };
        let body = status_body(Forge::GitLab, "ci", &status);
        assert_eq!(body["state"], "failed");
        assert_eq!(body["name"], "portunus/ci");
        assert_eq!(body["description"].as_str().map(|text| text.chars().count()), Some(140));
    }
}
