//! Whom a command acts for, as the ledger shows it beside the operator that the server authenticated. I/O: reads the
//! environment and the account of the process.
//!
//! Keeps: it is a label, which nothing proves; it is one line of a bounded length, whatever the environment holds.

use std::env;

use nix::unistd::{Uid, User, gethostname};
use reconciler::decide::plan::LONGEST_LABEL;

/// What `--actor` names, else the run of a CI job, else the user of this process and its host.
pub(crate) fn of(named: Option<&str>) -> Option<String> {
    let found = named.map(str::to_owned).or_else(|| ci_run(|name| env::var(name).ok())).unwrap_or_else(user_at_host);
    let line: String = found.chars().filter(|letter| !letter.is_control()).take(LONGEST_LABEL).collect();
    Some(line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// `octocat (https://github.com/o/r/actions/runs/7)`; Forgejo and Gitea use the variables of GitHub.
fn ci_run(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let with_url = |name: String, url: Option<String>| match url {
        Some(url) => format!("{name} ({url})"),
        None => name,
    };
    if let Some(name) = variable("GITHUB_ACTOR") {
        let is_numbered = variable("GITEA_ACTIONS").is_some() || variable("FORGEJO_ACTIONS").is_some();
        let run = variable(if is_numbered { "GITHUB_RUN_NUMBER" } else { "GITHUB_RUN_ID" });
        let parts = variable("GITHUB_SERVER_URL").zip(variable("GITHUB_REPOSITORY")).zip(run);
        let url = parts.map(|((server, repository), run)| format!("{server}/{repository}/actions/runs/{run}"));
        return Some(with_url(name, url));
    }
    variable("GITLAB_USER_LOGIN").map(|name| with_url(name, variable("CI_JOB_URL")))
}

/// `ann@laptop`; of somebody who became root by sudo, their own name.
fn user_at_host() -> String {
    let host = gethostname().ok().and_then(|host| host.into_string().ok()).unwrap_or_default();
    let uid = Uid::current();
    let sudo = env::var("SUDO_USER").ok().filter(|name| uid.is_root() && !name.is_empty() && name != "root");
    let (name, note) = match sudo {
        Some(name) => (name, " (sudo)"),
        None => (User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name), ""),
    };
    format!("{name}@{host}{note}")
}

/// The value of `--actor`.
pub(crate) fn parse(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name on one line, without control characters".to_owned());
    }
    if text.chars().count() > LONGEST_LABEL {
        return Err(format!("expected at most {LONGEST_LABEL} characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<String> {
        ci_run(|wanted| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_ci_run_is_named_with_its_address() {
        let github = [
            ("GITHUB_ACTOR", "octocat"),
            ("GITHUB_SERVER_URL", "https://git.example.org"),
            ("GITHUB_REPOSITORY", "team/rules"),
            ("GITHUB_RUN_ID", "4711"),
            ("GITHUB_RUN_NUMBER", "7"),
        ];
        let url = "https://git.example.org/team/rules/actions/runs";
        assert_eq!(found(&github), Some(format!("octocat ({url}/4711)")));
        let forgejo: Vec<_> = github.iter().copied().chain([("FORGEJO_ACTIONS", "true")]).collect();
        assert_eq!(found(&forgejo), Some(format!("octocat ({url}/7)")));
        assert_eq!(found(&github[..1]), Some("octocat".to_owned()));
        let gitlab = [("GITLAB_USER_LOGIN", "ann"), ("CI_JOB_URL", "https://gitlab.example.org/-/jobs/1")];
        assert_eq!(found(&gitlab), Some("ann (https://gitlab.example.org/-/jobs/1)".to_owned()));
        assert_eq!(found(&[("GITHUB_ACTOR", "")]), None);
    }

    #[test]
    fn a_label_is_one_short_line() {
        assert_eq!(of(Some("ann")), Some("ann".to_owned()));
        assert_eq!(of(Some("a\u{1b}[31m\nb")), Some("a[31mb".to_owned()));
        assert_eq!(of(Some(&"x".repeat(500))).map(|text| text.len()), Some(LONGEST_LABEL));
        assert!(of(None).is_some_and(|text| text.contains('@')));
        for wrong in ["", " ", "a\nb", "a\u{9b}b", &"x".repeat(201)] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse(" ann "), Ok("ann".to_owned()));
    }
}
