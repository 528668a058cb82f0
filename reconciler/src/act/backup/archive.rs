//! The form of a backup: a magic number with the version, entries, and a checksum over all of it. No I/O of its own.
//!
//! An entry is its kind (one byte), a number (eight bytes: the version of a value, the mode of a file), the lengths of
//! its name (four bytes) and content (eight bytes), then both. Numbers are little-endian. The last entry is the SHA-256
//! of everything before it.
//!
//! Keeps: a reader asks for no more memory than an entry can need, and believes nothing before the checksum is right.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNBAK01";
/// The same without the version.
const KIND_OF_FILE: &[u8] = b"PTNBAK";
/// Keys of records and names of files are shorter.
const LONGEST_NAME: u32 = 4096;
/// A record holds a tree at most, as JSON (CONTRACT §8 bounds trees to 256 MiB).
const LONGEST_CONTENT: u64 = 1 << 30;
const CHECKSUM: usize = 32;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fact about the backup itself.
    Fact,
    /// A file of the state directory.
    File,
    /// A record of the store.
    Record,
}

const END: u8 = 0;

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Fact => 1,
            Self::File => 2,
            Self::Record => 3,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Fact),
            2 => Some(Self::File),
            3 => Some(Self::Record),
            _ => None,
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveEntry {
    /// What it is.
    pub kind: Kind,
    /// Its key, or its path inside the state directory.
    pub name: String,
    /// The version of a record, the mode of a file.
    pub number: u64,
    /// What it holds.
    pub content: Vec<u8>,
}

/// Why a file is not a backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidArchive {
    /// It is another kind of file.
    #[error("it is not a backup of portunus")]
    Foreign,
    /// It was written by another version.
    #[error("it has version {0} of the format, and this program reads version 01: use the version that wrote it")]
    Version(String),
    /// It ends too early, goes on too long, or was changed.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Writes entries, and the checksum at the end.
pub struct Writer<W> {
    to: W,
    sum: Context,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(to: W) -> io::Result<Self> {
        let mut writer = Self { to, sum: Context::new(&SHA256) };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Writes one entry.
    pub fn entry(&mut self, kind: Kind, name: &str, number: u64, content: &[u8]) -> io::Result<()> {
        self.raw(kind.byte(), name, number, content)
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        let sum = self.sum.clone().finish();
        self.raw(END, "", 0, sum.as_ref())?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn raw(&mut self, kind: u8, name: &str, number: u64, content: &[u8]) -> io::Result<()> {
        let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "an entry of a backup is too long");
        let length = u32::try_from(name.len()).ok().filter(|length| *length <= LONGEST_NAME).ok_or_else(too_long)?;
        if content.len() as u64 > LONGEST_CONTENT {
            return Err(too_long());
        }
        self.put(&[kind])?;
        self.put(&number.to_le_bytes())?;
        self.put(&length.to_le_bytes())?;
        self.put(&(content.len() as u64).to_le_bytes())?;
        self.put(name.as_bytes())?;
        self.put(content)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.to.write_all(bytes)
    }
}

/// Reads entries, up to the checksum.
pub struct Reader<R> {
    from: R,
    sum: Context,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read a file.
    pub fn new(from: R) -> Result<Self, InvalidArchive> {
        let mut reader = Self { from, sum: Context::new(&SHA256), is_over: false };
        let mut magic = [0; MAGIC.len()];
        match reader.take(&mut magic) {
            Err(InvalidArchive::Damaged(_)) => return Err(InvalidArchive::Foreign),
            other => other?,
        }
        match magic.strip_prefix(KIND_OF_FILE) {
            _ if magic == *MAGIC => Ok(reader),
            Some(version) => Err(InvalidArchive::Version(String::from_utf8_lossy(version).into_owned())),
            None => Err(InvalidArchive::Foreign),
        }
    }

    /// The next entry; `None` once the checksum was right and nothing is left.
    pub fn next_entry(&mut self) -> Result<Option<ArchiveEntry>, InvalidArchive> {
        if self.is_over {
            return Ok(None);
        }
        let before = self.sum.clone().finish();
        let [kind] = self.array()?;
        let number = u64::from_le_bytes(self.array()?);
        let length = u32::from_le_bytes(self.array()?);
        let size = u64::from_le_bytes(self.array()?);
        if kind == END {
            let sum: [u8; CHECKSUM] = self.array()?;
            if number != 0 || length != 0 || size != CHECKSUM as u64 || sum != *before.as_ref() {
                return Err(InvalidArchive::Damaged("its checksum is wrong"));
            }
            if self.from.read(&mut [0])? != 0 {
                return Err(InvalidArchive::Damaged("something follows its end"));
            }
            self.is_over = true;
            return Ok(None);
        }
        let kind = Kind::of(kind).ok_or(InvalidArchive::Damaged("it has an unknown kind of entry"))?;
        if length > LONGEST_NAME || size > LONGEST_CONTENT {
            return Err(InvalidArchive::Damaged("an entry is longer than any can be"));
        }
        let name = self.bytes(length.into())?;
        let name = String::from_utf8(name).map_err(|_| InvalidArchive::Damaged("a name is not text"))?;
        Ok(Some(ArchiveEntry { kind, name, number, content: self.bytes(size)? }))
    }

    /// So many bytes, for which memory is taken as they come.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, InvalidArchive> {
        let mut bytes = Vec::new();
        (&mut self.from).take(count).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != count {
            return Err(InvalidArchive::Damaged("it ends too early"));
        }
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidArchive> {
        let mut bytes = [0; N];
        self.take(&mut bytes)?;
        Ok(bytes)
    }

    fn take(&mut self, bytes: &mut [u8]) -> Result<(), InvalidArchive> {
        match self.from.read_exact(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(InvalidArchive::Damaged("it ends too early"))
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.sum.update(bytes);
                Ok(())
            }
        }
    }
}
