//! What is kept here of a remote repository: a bare clone in the state directory, brought up to date by each look.
//! I/O, blocking.
//!
//! Keeps: the clone can be thrown away at any time, for the remote is the truth; one that cannot be used is. It is
//! opened isolated, so that nothing outside of it changes what is fetched.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gix::hash::Kind as HashKind;
use gix::protocol::fetch::Tags;
use gix::protocol::fetch::refmap::Source;
use gix::protocol::handshake::Ref;
use gix::remote::Direction;
use gix::{ObjectId, Repository};
use schema::canonical::Digest;
use thiserror::Error;

use super::RemoteConfig;
use super::transport::{self, Interrupt, TransportError};

/// References of ours in the clone.
const REFS: &str = "refs/portunus";
/// With more packs than this it is cloned anew: each look that brings something adds one, and nothing joins them.
const MAX_PACKS: usize = 256;

/// Why a look brought nothing.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// There is no way to the remote.
    #[error("{address} cannot be reached")]
    Transport {
        /// The remote.
        address: String,
        /// Why.
        source: TransportError,
    },
    /// The remote, or what stands in between, refused or broke off.
    #[error("{address} cannot be fetched{}", in_words(words))]
    Exchange {
        /// The remote.
        address: String,
        /// What the program on the way said.
        words: String,
        /// Where the exchange ended.
        source: Box<gix::Error>,
    },
    /// The remote has no such branch or tag.
    #[error("{address} has no branch or tag `{reference}`")]
    NoReference {
        /// The remote.
        address: String,
        /// The reference.
        reference: String,
    },
    /// The reference names something else.
    #[error("`{reference}` does not point to a commit")]
    NoCommit {
        /// The reference.
        reference: String,
        /// What it is instead.
        source: Box<gix::Error>,
    },
    /// The clone cannot be made.
    #[error("the clone in {} cannot be created", dir.display())]
    Make {
        /// Its folder.
        dir: PathBuf,
        /// Why.
        source: Box<gix::Error>,
    },
    /// The clone cannot be removed.
    #[error("the unusable clone in {} cannot be removed", dir.display())]
    Remove {
        /// Its folder.
        dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn in_words(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// Asks the remote what the reference names, and fetches what is missing here. Removes a clone that cannot be used.
pub(super) fn look(
    config: &RemoteConfig,
    dir: &Path,
    interrupt: &Interrupt,
) -> Result<(Repository, ObjectId), RemoteError> {
    let usable = open(dir).filter(|repository| packs(dir) <= MAX_PACKS && is_sound(config, repository));
    let mut repository = match usable {
        Some(repository) => repository,
        None => make(dir, HashKind::default())?,
    };
    let mut seen = asked(config, &repository, interrupt)?;
    if let Exchanged::OtherHashes(hashes) = seen {
        repository = make(dir, hashes)?;
        seen = asked(config, &repository, interrupt)?;
    }
    let reference = || config.reference.short().to_owned();
    let address = || config.address.to_string();
    let Exchanged::Object(seen) = seen else {
        return Err(RemoteError::NoReference { address: address(), reference: reference() });
    };
    let commit = repository
        .find_object(seen)
        .and_then(gix::Object::peel_to_commit)
        .map_err(|source| RemoteError::NoCommit { reference: reference(), source: Box::new(source) })?
        .id;
    Ok((repository, commit))
}

/// What the remote holds, fetched over a connection of its own.
fn asked(config: &RemoteConfig, repository: &Repository, interrupt: &Interrupt) -> Result<Exchanged, RemoteError> {
    let address = || config.address.to_string();
    let (transport, options, mut way) =
        transport::open(config, interrupt).map_err(|source| RemoteError::Transport { address: address(), source })?;
    exchange(config, repository, transport, options, interrupt).map_err(|source| {
        let words = way.last_words();
        RemoteError::Exchange { address: address(), words, source: Box::new(source) }
    })
}

/// What an exchange with the remote found.
enum Exchanged {
    /// The object that the reference names; it was fetched.
    Object(ObjectId),
    /// No such reference.
    Nothing,
    /// The remote's hashes are not the clone's, one being SHA-1 and the other SHA-256. Nothing was fetched.
    OtherHashes(HashKind),
}

/// The commit that the reference named when it was fetched last, for when the remote cannot be reached.
pub(super) fn cached(config: &RemoteConfig, dir: &Path) -> Option<(Repository, ObjectId)> {
    let repository = open(dir)?;
    let commit = (0..config.reference.candidates().len()).find_map(|number| {
        let mut reference = repository.try_find_reference(&tracking(config, number)).ok()??;
        reference.peel_to_commit().ok().map(|commit| commit.id)
    })?;
    Some((repository, commit))
}

/// Throws away what a server that was killed left half done. To be called before the first look.
pub(super) fn sweep(dir: &Path) {
    let is_left_over = |path: &Path| {
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        is_lock || name.starts_with(b".tmp") || name.starts_with(b"tmp")
    };
    let mut folders = vec![dir.to_owned(), dir.join("objects/pack")];
    folders.extend(fs::read_dir(dir.join(REFS)).into_iter().flatten().flatten().map(|entry| entry.path()));
    for entry in folders.iter().flat_map(fs::read_dir).flatten().flatten() {
        let path = entry.path();
        if is_left_over(&path) {
            // What cannot be removed shows in the next look.
            fs::remove_file(path).ok();
        }
    }
}

/// Removes the clone; the next look makes it anew.
pub(super) fn discard(dir: &Path) -> Result<(), RemoteError> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RemoteError::Remove { dir: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn open(dir: &Path) -> Option<Repository> {
    gix::open_opts(dir, gix::open::Options::isolated().open_path_as_is(true)).ok()
}

/// False if what was fetched before is named here and cannot be read.
fn is_sound(config: &RemoteConfig, repository: &Repository) -> bool {
    (0..config.reference.candidates().len()).all(|number| {
        match repository.try_find_reference(&tracking(config, number)) {
            Ok(Some(mut reference)) => reference.peel_to_commit().is_ok_and(|commit| commit.tree().is_ok()),
            Ok(None) => true,
            Err(_) => false,
        }
    })
}

fn make(dir: &Path, hashes: HashKind) -> Result<Repository, RemoteError> {
    discard(dir)?;
    let options = gix::create::Options { object_hash: Some(hashes), ..gix::create::Options::default() };
    let kind = gix::create::Kind::Bare;
    let made = gix::ThreadSafeRepository::init_opts(dir, kind, options, gix::open::Options::isolated());
    let made = made.map_err(|source| RemoteError::Make { dir: dir.to_owned(), source: Box::new(source) })?;
    Ok(made.to_thread_local())
}

fn packs(dir: &Path) -> usize {
    let is_pack = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|extension| extension == "pack");
    fs::read_dir(dir.join("objects/pack")).into_iter().flatten().flatten().filter(is_pack).count()
}

/// Where the clone keeps what a remote's reference named: apart for each remote, so that one is never taken for
/// another.
fn tracking(config: &RemoteConfig, number: usize) -> String {
    let whose = format!("{}\n{:?}", config.address, config.reference.candidates());
    let digest = Digest::of(whose.as_bytes()).to_string();
    let (_, hex) = digest.split_once(':').unwrap_or(("", &digest));
    format!("{REFS}/{}/{number}", &hex[..16])
}

/// Fetches the object that the reference names.
fn exchange(
    config: &RemoteConfig,
    repository: &Repository,
    transport: Box<dyn gix::protocol::transport::client::blocking_io::Transport + Send>,
    options: Option<Box<dyn std::any::Any>>,
    interrupt: &Interrupt,
) -> Result<Exchanged, gix::Error> {
    let candidates = config.reference.candidates();
    // With a plus: whether a step back is allowed is decided where it would be applied.
    let specs = candidates.iter().enumerate().map(|(number, full)| format!("+{full}:{}", tracking(config, number)));
    let specs: Vec<gix::bstr::BString> = specs.map(Into::into).collect();
    let remote = repository
        .remote_at_without_url_rewrite(config.address.bare())?
        .with_fetch_tags(Tags::None)
        .with_refspecs(specs.iter(), Direction::Fetch)?;
    // Whoever refuses what we came with is not asked twice.
    let mut connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
    if let Some(options) = options {
        connection = connection.with_transport_options(options);
    }
    let prepared = connection.prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())?;
    let named = |full: &String| {
        prepared.ref_map().mappings.iter().find_map(|mapping| match &mapping.remote {
            Source::Ref(
                Ref::Peeled { full_ref_name, object, .. }
                | Ref::Direct { full_ref_name, object }
                | Ref::Symbolic { full_ref_name, object, .. },
            ) if full_ref_name == full.as_str() => Some(*object),
            Source::Ref(_) | Source::ObjectId(_) => None,
        })
    };
    let Some(seen) = candidates.iter().find_map(named) else { return Ok(Exchanged::Nothing) };
    let hashes = prepared.ref_map().object_hash;
    if hashes != repository.object_hash() {
        return Ok(Exchanged::OtherHashes(hashes));
    }
    prepared.receive(gix::progress::Discard, interrupt.flag())?;
    Ok(Exchanged::Object(seen))
}
