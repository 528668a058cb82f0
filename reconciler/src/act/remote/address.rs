//! Where a remote tree is: URL, reference and folder, as they are typed. Pure.
//!
//! Keeps: no part can be taken for an option of a program, and what is shown of a URL holds no secret.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use gix::Url;
use gix::bstr::ByteSlice;
use gix::url::Scheme;
use thiserror::Error;

/// The URL of a repository.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

/// Why a text is not a URL that can be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("this is not a valid URL of a git repository")]
    Syntax,
    /// Another scheme.
    #[error("the scheme `{0}` is not supported: expected an https, ssh or file URL")]
    Scheme(String),
    /// Anybody on the way could change the rules.
    #[error(
        "plain http is supported on this machine only, because anyone on the path could change the rules: use https"
    )]
    PlainHttp,
    /// It would be taken for an option.
    #[error("a host, user or path must not start with `-`, because it could be mistaken for an option")]
    Option,
    /// `USER:PASSWORD@HOST:PATH`: ssh would take USER for the host and the rest for the path.
    #[error("`USER@HOST:PATH` cannot hold a password; use `ssh://USER@HOST/PATH` and a key")]
    Password,
    /// There is none where one is needed.
    #[error("the URL has no host")]
    Host,
    /// Servers do not expect one, and a token in it would be shown with the URL.
    #[error("the URL of a git repository cannot have a query or a fragment: use --git-token-file for a token")]
    Query,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(AddressError::Syntax);
        }
        if has_password(text) {
            return Err(AddressError::Password);
        }
        let mut url = gix::url::parse(text).map_err(|_| AddressError::Syntax)?;
        let is_option = |part: Option<&str>| part.is_some_and(|part| part.starts_with('-'));
        if is_option(url.host()) || is_option(url.user()) || url.path.starts_with(b"-") {
            return Err(AddressError::Option);
        }
        match &url.scheme {
            Scheme::File => {
                let path = url.path.to_path_lossy().into_owned();
                // The working directory may change later.
                let path = std::path::absolute(&path).unwrap_or(path);
                url.path = path.into_os_string().into_encoded_bytes().into();
            }
            Scheme::Https | Scheme::Ssh if url.host().is_none_or(str::is_empty) => return Err(AddressError::Host),
            Scheme::Https | Scheme::Http if url.path.find_byteset(b"?#").is_some() => return Err(AddressError::Query),
            Scheme::Http if !url.host().is_some_and(is_this_machine) => return Err(AddressError::PlainHttp),
            Scheme::Https | Scheme::Ssh | Scheme::Http => {}
            other => return Err(AddressError::Scheme(other.as_str().to_owned())),
        }
        Ok(Self(url))
    }
}

/// True for `USER:PASSWORD@HOST:PATH`, without a scheme, and for what is a folder only because its scheme is misspelt:
/// `http//USER:PASSWORD@HOST/PATH`.
fn has_password(text: &str) -> bool {
    let parts = text.rsplit_once('@').filter(|_| !text.contains("://"));
    parts.is_some_and(|(before, after)| before.contains(':') && (after.contains(':') || before.contains('/')))
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Address {
    /// The URL with its secrets.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The same without user and password.
    pub(super) fn bare(&self) -> Url {
        let mut url = self.0.clone();
        url.set_user(None);
        url.set_password(None);
        url
    }

    /// The folder, if it is one of this machine.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        (self.0.scheme == Scheme::File).then(|| self.0.path.to_path_lossy().into_owned())
    }
}

/// Without its password, and over http(s) without its user, who may be a token.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        shown.set_password(None);
        if shown.scheme != Scheme::Ssh {
            shown.set_user(None);
        } else if let Some(at) = shown.path.rfind_byte(b'@') {
            // `USER:PASSWORD@HOST/PATH` means the host USER; what was meant as its password is not shown.
            shown.path = [b"***", &shown.path[at..]].concat().into();
        }
        f.write_str(&shown.to_bstring().to_str_lossy())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// The name of a branch or a tag, or the full name of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefName(String);

/// Why a text is not a name of a reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RefNameError {
    /// Git takes no such name.
    #[error("this is not a valid name of a branch or tag")]
    Invalid,
    /// Nothing would ever change.
    #[error("this is a commit: name a branch or a tag to follow")]
    Commit,
}

impl FromStr for RefName {
    type Err = RefNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RefNameError::Commit);
        }
        let name = Self(text.to_owned());
        let is_valid = |full: &String| gix::refs::FullName::try_from(full.as_str()).is_ok();
        if text == "HEAD" || text.starts_with('-') || !name.candidates().iter().all(is_valid) {
            return Err(RefNameError::Invalid);
        }
        Ok(name)
    }
}

impl RefName {
    /// The full names that it may stand for, the one to prefer first.
    pub(super) fn candidates(&self) -> Vec<String> {
        if self.0.starts_with("refs/") {
            vec![self.0.clone()]
        } else {
            vec![format!("refs/heads/{}", self.0), format!("refs/tags/{}", self.0)]
        }
    }

    /// As plans show it: a branch or a tag by its short name.
    pub fn short(&self) -> &str {
        ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| self.0.strip_prefix(prefix)).unwrap_or(&self.0)
    }
}

/// A folder inside a repository; empty for the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreePath(String);

/// Why a text is not a folder inside a repository.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected the path of a folder inside the repository, without `..`")]
pub struct TreePathError;

impl FromStr for TreePath {
    type Err = TreePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if text.starts_with('/') || parts.contains(&"..") || text.chars().any(char::is_control) {
            return Err(TreePathError);
        }
        Ok(Self(parts.join("/")))
    }
}

impl TreePath {
    /// The path, without `/` at either end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, AddressError> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn what_is_shown_of_a_url_holds_no_secret() {
        assert_eq!(shown("https://ada:s3cret@git.example.org/r.git").as_deref(), Ok("https://git.example.org/r.git"));
        assert_eq!(shown("https://t0ken@git.example.org/r.git").as_deref(), Ok("https://git.example.org/r.git"));
        assert_eq!(shown("ssh://git:s3cret@h:22/r").as_deref(), Ok("ssh://git@h:22/r"));
        assert_eq!(shown("git@git.example.org:fleet/r.git").as_deref(), Ok("git@git.example.org:fleet/r.git"));
        assert_eq!(shown("ada:s3cret@git.example.org:fleet/r.git"), Err(AddressError::Password));
        assert_eq!(shown("ada:s3@cret@git.example.org:r.git"), Err(AddressError::Password));
        assert_eq!(shown("ada:s3cret@git.example.org/r.git").as_deref(), Ok("ada:***@git.example.org/r.git"));
        for misspelt in ["http//ada:s3cret@h/r.git", "https:/ada:s3cret@h/r", "/srv/ada:s3cret@h/r"] {
            assert_eq!(shown(misspelt), Err(AddressError::Password), "{misspelt}");
        }
        assert_eq!(shown("/srv/git@home/r").as_deref(), Ok("/srv/git@home/r"));
        let address: Address = "https://ada:s3cret@git.example.org/r.git".parse().expect("a URL");
        assert!(!format!("{address:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_unsafe_or_unknown_is_refused() {
        assert_eq!(shown("http://git.example.org/r"), Err(AddressError::PlainHttp));
        assert!(shown("http://127.0.0.1:8080/r").is_ok() && shown("http://[::1]/r").is_ok());
        assert_eq!(shown("ssh://-oProxyCommand=x/r"), Err(AddressError::Option));
        for with_query in ["https://h/r?token=s3cret", "https://h/r#s3cret@", "http://127.0.0.1/r?private_token=s3cret"]
        {
            assert_eq!(shown(with_query), Err(AddressError::Query), "{with_query}");
        }
        assert_eq!(shown("ext::sh -c id"), Err(AddressError::Scheme("ext".to_owned())));
        assert_eq!(shown("git://git.example.org/r"), Err(AddressError::Scheme("git".to_owned())));
        for bad in ["", " ", "https://a\n.b/c"] {
            assert_eq!(shown(bad), Err(AddressError::Syntax), "{bad:?}");
        }
    }

    #[test]
    fn references_are_branches_before_tags_and_never_commits() {
        let name = |text: &str| text.parse::<RefName>();
        assert_eq!(name("main").expect("a branch").candidates(), ["refs/heads/main", "refs/tags/main"]);
        let full = name("refs/tags/v1").expect("a tag");
        assert_eq!((full.candidates(), full.short()), (vec!["refs/tags/v1".to_owned()], "v1"));
        assert_eq!(name(&"a".repeat(40)), Err(RefNameError::Commit));
        for bad in ["", "HEAD", "a..b", "a b", "-x", "a:b", "refs/heads/"] {
            assert_eq!(name(bad), Err(RefNameError::Invalid), "{bad:?}");
        }
    }

    #[test]
    fn a_folder_stays_inside_the_repository() {
        let path = |text: &str| text.parse::<TreePath>().map(|path| path.as_str().to_owned());
        assert_eq!(path("./rules.d//prod/").as_deref(), Ok("rules.d/prod"));
        assert_eq!(path(".").as_deref(), Ok(""));
        for bad in ["/etc", "../x", "a/../b"] {
            assert_eq!(path(bad), Err(TreePathError), "{bad}");
        }
    }
}
