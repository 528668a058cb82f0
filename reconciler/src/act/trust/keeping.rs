//! The directory `ca/`: the keys of the certificate authority, and the change from one to the next. I/O, blocking.
//!
//! Keeps: a key is created exclusively with mode 0600 and before the certificate that makes it count; while two
//! authorities are trusted the newer one signs, and a peer that knows only one of them can verify the server.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use schema::canonical::Digest;
use tokio::sync::watch;

use super::TrustError;
use super::authority::{Authority, pem};
use crate::act::private_file::{self, PrivateFileError};

/// The directory inside the state directory.
pub const DIR: &str = "ca";
/// The file that says which format the directory has.
const FORMAT_FILE: &str = "format";
/// The format that this version reads and writes. A higher number is refused.
const FORMAT: u32 = 1;
/// Largest certificate file of an operator.
const LARGEST: u64 = 1 << 20;

/// The authorities as they change.
pub type Watched = watch::Receiver<Arc<Authorities>>;

/// The authorities that are trusted now.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// The one that signs.
    pub current: Arc<Authority>,
    /// The one before it, until it is retired.
    pub previous: Option<Arc<Authority>>,
    /// The current one as the previous one vouches for it.
    bridge: Option<CertificateDer<'static>>,
    /// True if the operator gave it.
    pub is_given: bool,
}

impl Authorities {
    fn of(current: Authority, previous: Option<Authority>, now: u64) -> Result<Self, TrustError> {
        let bridge = previous.as_ref().map(|previous| previous.vouch_for(&current, now)).transpose()?;
        Ok(Self { current: current.into(), previous: previous.map(Into::into), bridge, is_given: false })
    }

    /// All of them, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&*self.current).chain(self.previous.as_deref())
    }

    /// Their certificates: what an edge trusts.
    pub fn bundle(&self) -> Vec<CertificateDer<'static>> {
        self.all().map(|authority| authority.certificate.clone()).collect()
    }

    /// What follows a certificate of the current one, so that a peer that trusts any of them can verify it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let current = std::iter::once(self.current.certificate.clone());
        let previous = self.previous.iter().map(|previous| previous.certificate.clone());
        current.chain(self.bridge.iter().cloned()).chain(previous).collect()
    }

    /// True if one of them has this pin.
    pub fn has(&self, pin: Digest) -> bool {
        self.all().any(|authority| authority.pin == pin)
    }
}

/// Opens the directory below a state directory; where `is_first`, an authority is made if there is none.
pub fn open(state_dir: &Path, is_first: bool, now: u64) -> Result<Authorities, TrustError> {
    let dir = state_dir.join(DIR);
    private_file::ensure_private_dir(&dir)?;
    check_format(&dir)?;
    let numbers = numbers(&dir)?;
    let mut found = Vec::new();
    for number in numbers {
        found.extend(read(&dir, number)?);
    }
    // The newest ones; more than two were never kept.
    let current = found.pop();
    let previous = found.pop();
    match current {
        Some(current) => Authorities::of(current, previous, now),
        None if is_first => Authorities::of(create(&dir, 1, now)?, None, now),
        None => Err(TrustError::Unusable {
            path: dir,
            reason: "the certificate authority is missing, and edges have certificates from it: restore the directory \
                     from a backup, or give an authority with --ca-cert and --ca-key, after which every edge joins \
                     again"
                .to_owned(),
        }),
    }
}

/// The authority that an operator gave.
pub fn given(certificate: &Path, key: &Path) -> Result<Authorities, TrustError> {
    let unusable = |reason: &str| TrustError::Unusable { path: certificate.to_owned(), reason: reason.to_owned() };
    let meta = fs::metadata(certificate).map_err(|error| unusable(&error.to_string()))?;
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(unusable("expected a PEM file with the certificate of the authority"));
    }
    let pem = fs::read(certificate).map_err(|error| unusable(&error.to_string()))?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| unusable("no PEM certificate was found in it"))?;
    let authority = Authority::new(0, der, read_key(key)?)?;
    if !authority.is_consistent() {
        return Err(unusable(&format!("it is not the certificate of an authority with the key {}", key.display())));
    }
    Ok(Authorities { current: authority.into(), previous: None, bridge: None, is_given: true })
}

/// Makes the next authority. The one before stays trusted.
pub fn rotate(state_dir: &Path, authorities: &Authorities, now: u64) -> Result<Authorities, TrustError> {
    if authorities.is_given {
        return Err(TrustError::Given);
    }
    if authorities.previous.is_some() {
        return Err(TrustError::Overlap);
    }
    let next = create(&state_dir.join(DIR), authorities.current.number + 1, now)?;
    let bridge = authorities.current.vouch_for(&next, now)?;
    let previous = Some(Arc::clone(&authorities.current));
    Ok(Authorities { current: next.into(), previous, bridge: Some(bridge), is_given: false })
}

/// Ends the previous authority: its key is removed.
pub fn retire(state_dir: &Path, authorities: &Authorities) -> Result<Authorities, TrustError> {
    if authorities.is_given {
        return Err(TrustError::Given);
    }
    let previous = authorities.previous.as_ref().ok_or(TrustError::Single)?;
    remove(&state_dir.join(DIR), previous.number)?;
    Ok(Authorities { current: Arc::clone(&authorities.current), previous: None, bridge: None, is_given: false })
}

fn check_format(dir: &Path) -> Result<(), TrustError> {
    let path = dir.join(FORMAT_FILE);
    match private_file::read_private(&path) {
        Ok(bytes) => {
            let unusable = |reason: String| TrustError::Unusable { path: path.clone(), reason };
            let found = String::from_utf8_lossy(&bytes).trim().parse::<u32>();
            match found {
                Ok(found) if found <= FORMAT => Ok(()),
                Ok(found) => Err(unusable(format!("it says format {found}; this version reads up to {FORMAT}"))),
                Err(_) => Err(unusable("it is damaged: restore the directory from a backup".to_owned())),
            }
        }
        Err(PrivateFileError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(private_file::create_private(&path, format!("{FORMAT}\n").as_bytes())?)
        }
        Err(error) => Err(error.into()),
    }
}

fn certificate_file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("ca-{number}.crt"))
}

fn key_file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("ca-{number}.key"))
}

/// The numbers of what is in the directory, in order.
fn numbers(dir: &Path) -> Result<Vec<u32>, TrustError> {
    let failed = |source: std::io::Error| TrustError::Unusable { path: dir.to_owned(), reason: source.to_string() };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix("ca-"));
        let number = name.and_then(|name| name.strip_suffix(".crt").or_else(|| name.strip_suffix(".key")));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// One authority; `None` where its making or its end was interrupted, which is completed.
fn read(dir: &Path, number: u32) -> Result<Option<Authority>, TrustError> {
    let (certificate, key) = (certificate_file(dir, number), key_file(dir, number));
    let is_newest = numbers(dir)?.last() == Some(&number);
    match (certificate.exists(), key.exists()) {
        (true, true) => {}
        // The certificate is written last, and the key is removed first.
        (false, true) => return remove(dir, number).map(|()| None),
        _ if !is_newest => return remove(dir, number).map(|()| None),
        _ => {
            let reason = "it is missing: restore the directory from a backup".to_owned();
            return Err(TrustError::Unusable { path: key, reason });
        }
    }
    let damaged = |path: &Path| TrustError::Unusable {
        path: path.to_owned(),
        reason: "it is damaged: restore the directory from a backup".to_owned(),
    };
    let pem = private_file::read_private(&certificate)?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| damaged(&certificate))?;
    let authority = Authority::new(number, der, read_key(&key)?).map_err(|_| damaged(&certificate))?;
    if authority.is_consistent() { Ok(Some(authority)) } else { Err(damaged(&certificate)) }
}

fn read_key(path: &Path) -> Result<KeyPair, TrustError> {
    let pem = private_file::read_private(path)?;
    // What rcgen says about a key could quote it.
    let unusable =
        || TrustError::Unusable { path: path.to_owned(), reason: "no usable PEM private key is in it".to_owned() };
    KeyPair::from_pem(std::str::from_utf8(&pem).map_err(|_| unusable())?).map_err(|_| unusable())
}

fn create(dir: &Path, number: u32, now: u64) -> Result<Authority, TrustError> {
    let authority = Authority::generate(number, now)?;
    private_file::create_private(&key_file(dir, number), authority.key_pem().as_bytes())?;
    let certificate = pem([&authority.certificate]);
    private_file::create_private(&certificate_file(dir, number), certificate.as_bytes())?;
    Ok(authority)
}

fn remove(dir: &Path, number: u32) -> Result<(), TrustError> {
    for path in [key_file(dir, number), certificate_file(dir, number)] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(TrustError::Unusable { path, reason: format!("it cannot be removed: {error}") });
            }
            _ => {}
        }
    }
    private_file::sync_folder_of(&key_file(dir, number))
        .map_err(|error| TrustError::Unusable { path: dir.to_owned(), reason: error.to_string() })
}

/// What a store remembers of its authority, so that a lost directory is noticed.
pub fn check(authorities: &Authorities, remembered: Option<Digest>, dir: &Path) -> Result<(), TrustError> {
    match remembered {
        Some(pin) if !authorities.is_given && !authorities.has(pin) => {
            let reason = format!(
                "it holds the authority {}, but this server signed with {pin} before: restore the directory from the \
                 newest backup, or give an authority with --ca-cert and --ca-key, after which every edge joins again",
                authorities.current.pin
            );
            Err(TrustError::Unusable { path: dir.to_owned(), reason })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn opened(dir: &Path) -> Authorities {
        open(dir, true, NOW).expect("opens")
    }

    #[test]
    fn an_authority_is_made_once_with_files_that_only_its_user_reads() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = opened(dir.path());
        assert_eq!(opened(dir.path()).current.pin, first.current.pin);
        for entry in fs::read_dir(dir.path().join(DIR)).expect("there") {
            let meta = entry.expect("a file").metadata().expect("there");
            assert_eq!(meta.mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(dir.path().join(DIR)).expect("there").mode() & 0o777, 0o700);
    }

    #[test]
    fn a_rotation_keeps_both_until_the_first_is_retired() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = opened(dir.path());
        assert!(matches!(retire(dir.path(), &first), Err(TrustError::Single)));
        let both = rotate(dir.path(), &first, NOW).expect("rotates");
        assert!(both.has(first.current.pin) && both.current.pin != first.current.pin);
        assert!(matches!(rotate(dir.path(), &both, NOW), Err(TrustError::Overlap)));
        let again = opened(dir.path());
        assert_eq!(again.bundle(), both.bundle());
        assert_eq!(again.chain().len(), 3);
        retire(dir.path(), &again).expect("retires");
        let last = opened(dir.path());
        assert_eq!((last.current.pin, last.previous.is_none()), (both.current.pin, true));
        assert_eq!(last.chain().len(), 1);
    }

    #[test]
    fn what_was_interrupted_is_completed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, ca) = (opened(dir.path()), dir.path().join(DIR));
        // A key without a certificate has signed nothing.
        private_file::create_private(&ca.join("ca-2.key"), b"half").expect("made");
        assert_eq!(opened(dir.path()).current.pin, first.current.pin);
        assert!(!ca.join("ca-2.key").exists());
        let both = rotate(dir.path(), &first, NOW).expect("rotates");
        // The end of the first one had begun.
        fs::remove_file(ca.join("ca-1.key")).expect("there");
        let last = opened(dir.path());
        assert_eq!((last.current.pin, last.previous.is_none()), (both.current.pin, true));
        assert!(!ca.join("ca-1.crt").exists());
    }

    #[test]
    fn what_is_lost_or_damaged_or_newer_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let (first, ca) = (opened(dir.path()), dir.path().join(DIR));
        let error = |what: &str| open(dir.path(), true, NOW).expect_err(what).to_string();
        let key = fs::read(ca.join("ca-1.key")).expect("there");
        fs::write(ca.join("ca-1.key"), "no key").expect("written");
        assert!(error("damaged").contains("no usable PEM private key"));
        fs::remove_file(ca.join("ca-1.key")).expect("there");
        assert!(error("lost").contains("restore the directory from a backup"));
        fs::write(ca.join("ca-1.key"), &key).expect("written");
        assert!(error("open to others").contains("accessible to other users"));
        fs::set_permissions(ca.join("ca-1.key"), fs::Permissions::from_mode(0o600)).expect("mode");
        fs::write(ca.join("format"), "2\n").expect("written");
        assert!(error("newer").contains("format 2; this version reads up to 1"));
        fs::write(ca.join("format"), "1\n").expect("written");
        // Another server's directory, or an older copy.
        let other = Authority::generate(1, NOW).expect("made");
        check(&first, Some(first.current.pin), &ca).expect("the same");
        assert!(check(&first, Some(other.pin), &ca).expect_err("another").to_string().contains("newest backup"));
    }

    #[test]
    fn an_authority_of_files_is_used_and_neither_rotated_nor_retired() {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::generate(1, NOW).expect("made");
        let (crt, key) = (dir.path().join("x.crt"), dir.path().join("x.key"));
        fs::write(&crt, pem([&authority.certificate])).expect("written");
        private_file::create_private(&key, authority.key_pem().as_bytes()).expect("written");
        let used = given(&crt, &key).expect("usable");
        assert_eq!(used.current.pin, authority.pin);
        assert!(matches!(rotate(dir.path(), &used, NOW), Err(TrustError::Given)));
        assert!(matches!(retire(dir.path(), &used), Err(TrustError::Given)));
        let other = Authority::generate(1, NOW).expect("made");
        fs::write(&crt, pem([&other.certificate])).expect("written");
        assert!(
            given(&crt, &key).expect_err("another key").to_string().contains("not the certificate of an authority")
        );
    }
}
