//! The way to a remote: a program whose output we read, or https. I/O, blocking.
//!
//! Keeps: whatever hangs can be ended from outside, together with everything that it started; nobody is ever asked
//! for a password; no helper that a configuration names is run.

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gix::Url;
use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::{Transport, http};
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;
use gix::sec::identity::Account;
use gix::url::Scheme;
use rustix::process::{Pid, Signal, kill_process_group};

use super::RemoteConfig;
use crate::act::private_file::{self, PrivateFileError};

/// What a program may say about its failure; the end counts.
const MAX_WORDS: usize = 2048;
/// A program that has ended says its last words within this.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The user where a token comes without one; the common servers take any.
const TOKEN_USER: &str = "git";

/// Variables that would lead git elsewhere.
const FOREIGN: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
];

/// Why the way could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The program cannot be run.
    #[error("`{program}` cannot be run")]
    Program {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The token cannot be read.
    #[error("the token cannot be read")]
    Token(#[from] PrivateFileError),
    /// The token is empty, or no text.
    #[error("{} contains no token", path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// The way was ended before it began.
    #[error("interrupted")]
    Interrupted,
}

/// Ends a look from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt {
    flag: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Child>>>,
}

impl Interrupt {
    /// What the parts that can look themselves look at.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// Ends it, and all programs that were started for it.
    pub(super) fn end(&self) {
        self.flag.store(true, Ordering::SeqCst);
        if let Some(child) = &*self.child.lock().unwrap_or_else(PoisonError::into_inner) {
            kill(child);
        }
    }

    fn hold(&self, child: Child) {
        let mut held = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        if self.flag.load(Ordering::SeqCst) {
            kill(&child);
        }
        *held = Some(child);
    }

    fn release(&self) {
        // Nobody has waited for it yet, so its number is still its own.
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            kill(&child);
            child.wait().ok();
        }
    }
}

fn kill(child: &Child) {
    // It may have ended by itself, with all that it had started.
    kill_process_group(Pid::from_child(child), Signal::KILL).ok();
}

/// An open way. Dropping it ends what was started for it.
pub(super) struct OpenTransport {
    interrupt: Interrupt,
    words: Option<mpsc::Receiver<Vec<u8>>>,
}

impl OpenTransport {
    /// What the program said about its failure, in one line; empty where there is none, or it said nothing.
    pub(super) fn last_words(&mut self) -> String {
        self.interrupt.release();
        let words = self.words.take().and_then(|words| words.recv_timeout(LAST_WORDS).ok()).unwrap_or_default();
        let text = String::from_utf8_lossy(&words).into_owned();
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for OpenTransport {
    fn drop(&mut self) {
        self.interrupt.release();
    }
}

type Open = (Box<dyn Transport + Send>, Option<Box<dyn Any>>, OpenTransport);

/// Opens the way to a remote; the second part is what the transport is to be configured with.
pub(super) fn open(config: &RemoteConfig, interrupt: &Interrupt) -> Result<Open, TransportError> {
    let url = config.address.url();
    match url.scheme {
        Scheme::File => program(upload_pack(config), url, interrupt),
        Scheme::Ssh => program(ssh(config), &config.address.bare(), interrupt),
        _ => over_http(config, interrupt),
    }
}

fn upload_pack(config: &RemoteConfig) -> Command {
    let mut git = Command::new("git");
    git.args(["upload-pack", "--"]).arg(config.address.folder().unwrap_or_default());
    git
}

fn ssh(config: &RemoteConfig) -> Command {
    let url = config.address.url();
    let mut command = if let Some(line) = &config.ssh_command {
        // As git does it: the shell splits the line, and the arguments follow it.
        let mut script = OsString::from(line);
        script.push(" \"$@\"");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(line);
        shell
    } else {
        let mut ssh = Command::new("ssh");
        // There is nobody to type a passphrase, and a host that takes no connection is not a reason to wait for long.
        ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "SendEnv=GIT_PROTOCOL"]);
        ssh
    };
    if let Some(port) = url.port {
        command.args(["-p", &port.to_string()]);
    }
    let host = url.host().unwrap_or_default();
    command.arg(url.user().map_or_else(|| host.to_owned(), |user| format!("{user}@{host}")));
    let path = gix::url::expand_path::for_shell(url.path.clone());
    command.arg(format!("git-upload-pack {}", gix::quote::single(path.as_ref()).to_str_lossy()));
    command
}

fn program(mut command: Command, url: &Url, interrupt: &Interrupt) -> Result<Open, TransportError> {
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.env("GIT_PROTOCOL", "version=2").env("GIT_TERMINAL_PROMPT", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that it can be ended with all that it starts.
    command.process_group(0);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|source| TransportError::Program { program: name, source })?;
    let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut stderr = child.stderr.take().expect("piped");
    interrupt.hold(child);
    let (sender, words) = mpsc::sync_channel(1);
    let way = OpenTransport { interrupt: interrupt.clone(), words: Some(words) };
    // Ends with the last program that holds the other end, which for a shared ssh connection may be long after.
    let listen = move || {
        let (mut last, mut piece) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = stderr.read(&mut piece) {
            last.extend_from_slice(&piece[..count]);
            let surplus = last.len().saturating_sub(MAX_WORDS);
            last.drain(..surplus);
        }
        // Nobody asks after a look that went well.
        sender.try_send(last).ok();
    };
    let listening = thread::Builder::new().name("git-stderr".to_owned()).spawn(listen);
    listening.map_err(|source| TransportError::Program { program: "a thread".to_owned(), source })?;
    if interrupt.flag.load(Ordering::SeqCst) {
        return Err(TransportError::Interrupted);
    }
    let no_host = None::<(String, Option<u16>)>;
    let connection =
        Connection::new(stdout, stdin, Protocol::V2, url.path.clone(), no_host, ConnectMode::Process, false)
            .custom_url(Some(url.to_bstring()));
    Ok((Box::new(connection), None, way))
}

fn over_http(config: &RemoteConfig, interrupt: &Interrupt) -> Result<Open, TransportError> {
    let mut transport = http::connect::<http::reqwest::Remote>(config.address.bare(), Protocol::V2, false);
    if let Some(account) = account(config)? {
        use gix::protocol::transport::client::TransportWithoutIO;
        transport.set_identity(account).expect("http takes an identity");
    }
    let timeout = config.timeout;
    let backend = http::reqwest::Options {
        // One request: listing references, or receiving the objects.
        configure_client: Some(Box::new(move |client| Ok(client.timeout(timeout)))),
        ..Default::default()
    };
    let options = http::Options {
        backend: Some(Arc::new(Mutex::new(backend))),
        user_agent: Some(concat!("portunus/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..Default::default()
    };
    let way = OpenTransport { interrupt: interrupt.clone(), words: None };
    Ok((Box::new(transport), Some(Box::new(options)), way))
}

/// Who we are over https: the token of the file, else what the URL says.
fn account(config: &RemoteConfig) -> Result<Option<Account>, TransportError> {
    let url = config.address.url();
    let user = url.user().map(str::to_owned);
    let (username, password) = match (&config.token_file, user, url.password()) {
        (Some(path), user, _) => {
            let bytes = private_file::read_private(path)?;
            let token = String::from_utf8(bytes).unwrap_or_default().trim().to_owned();
            if token.is_empty() || token.chars().any(char::is_control) {
                return Err(TransportError::NoToken { path: path.clone() });
            }
            (user.unwrap_or_else(|| TOKEN_USER.to_owned()), token)
        }
        (None, Some(user), password) => (user, password.unwrap_or_default().to_owned()),
        (None, None, _) => return Ok(None),
    };
    Ok(Some(Account { username, password, oauth_refresh_token: None }))
}
