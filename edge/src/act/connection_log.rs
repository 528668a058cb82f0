//! The log of connections: a line for each that ends, written by a thread of its own. I/O.
//!
//! Keeps: a worker never waits for it. A record that finds no room in the queue, and a line that cannot be written, are
//! dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use schema::net::{Listener, Protocol};
use schema::rule::{Host, Rule};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::act::listing::target_text;
use crate::act::workers::Source;
use crate::decide::endings::{ConnectionEnd, ConnectionLine};

/// Records that may wait for the disk: half a second of more connections than a host opens.
const QUEUE: usize = 16_384;
/// Who may read it beside its owner: addresses of clients are for the group at most.
const MODE: u32 = 0o640;
/// How long the end of an edge waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What is written of one connection or flow.
#[derive(Debug)]
pub(crate) struct ConnectionRecord {
    /// When it ended, in milliseconds since 1970.
    pub(crate) ended_ms: u64,
    pub(crate) duration: Duration,
    /// None where no rule of the port was for it.
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) source: Source,
    pub(crate) listener: Listener,
    pub(crate) target: Option<(Host, u16)>,
    pub(crate) moved: (u64, u64),
    pub(crate) end: ConnectionEnd,
}

enum LogMessage {
    Record(Box<ConnectionRecord>),
    /// Look at the flag.
    Look,
    /// Everything before this is written.
    Flush(oneshot::Sender<()>),
    /// Panic.
    #[cfg(feature = "testing")]
    Panic,
}

/// Where the lines go.
enum Out {
    Stdout(BufWriter<File>),
    File(BufWriter<File>, PathBuf),
}

/// Where a log is written.
#[derive(Debug, Clone)]
pub struct ConnectionLogFile {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Counts records and lines that were dropped.
    pub dropped: Arc<AtomicU64>,
}

/// A log that is open, and not written to yet.
pub struct OpenLog {
    out: Out,
    log: ConnectionLog,
    records: Receiver<LogMessage>,
}

/// The way to the log.
#[derive(Clone)]
pub struct ConnectionLog {
    sender: SyncSender<LogMessage>,
    dropped: Arc<AtomicU64>,
    reopens: Arc<AtomicBool>,
}

/// Opens a log.
pub fn open(file: &ConnectionLogFile) -> io::Result<OpenLog> {
    let path = file.path.as_path();
    let out = if path == Path::new("-") {
        use std::os::fd::AsFd;
        // A descriptor of its own: the one of the standard library has a lock.
        Out::Stdout(BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    } else {
        Out::File(BufWriter::new(append(path)?), path.to_owned())
    };
    let (sender, records) = sync_channel(QUEUE);
    let log = ConnectionLog { sender, dropped: file.dropped.clone(), reopens: Arc::default() };
    Ok(OpenLog { out, log, records })
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

impl OpenLog {
    /// The way to it.
    pub fn log(&self) -> ConnectionLog {
        self.log.clone()
    }

    /// Writes until nobody is left that could send a record.
    pub(crate) fn write(self) {
        let Self { mut out, log, records } = self;
        let ConnectionLog { dropped, reopens, sender } = log;
        drop(sender);
        let mut is_failing = false;
        while let Some(message) = next(&records, &mut out, &mut is_failing) {
            if reopens.swap(false, Ordering::AcqRel) {
                out.reopen();
            }
            match message {
                LogMessage::Record(record) => {
                    if let Err(error) = write_line(out.writer(), &record) {
                        dropped.fetch_add(1, Ordering::Relaxed);
                        note_failure(&error, &mut is_failing);
                    }
                }
                LogMessage::Look => {}
                #[cfg(feature = "testing")]
                LogMessage::Panic => panic!("killed by a test"),
                LogMessage::Flush(done) => {
                    flush(&mut out, &mut is_failing);
                    // Who waited may have gone.
                    _ = done.send(());
                }
            }
        }
        flush(&mut out, &mut is_failing);
    }
}

/// The next message. What was written reaches the file before the thread waits.
fn next(records: &Receiver<LogMessage>, out: &mut Out, is_failing: &mut bool) -> Option<LogMessage> {
    if let Ok(message) = records.try_recv() {
        return Some(message);
    }
    flush(out, is_failing);
    records.recv().ok()
}

fn flush(out: &mut Out, is_failing: &mut bool) {
    match out.writer().flush() {
        Ok(()) => {
            if std::mem::take(is_failing) {
                tracing::info!("the connection log is written again");
            }
        }
        Err(error) => {
            note_failure(&error, is_failing);
            out.discard();
        }
    }
}

fn note_failure(error: &io::Error, is_failing: &mut bool) {
    if !std::mem::replace(is_failing, true) {
        tracing::error!(%error, "the connection log cannot be written, lines are lost");
    }
}

impl Out {
    fn writer(&mut self) -> &mut BufWriter<File> {
        match self {
            Self::Stdout(writer) | Self::File(writer, _) => writer,
        }
    }

    /// Opens the file again, which somebody may have moved. One that cannot be opened leaves the former one in use.
    fn reopen(&mut self) {
        let Self::File(writer, path) = self else { return };
        match append(path) {
            Ok(file) => {
                if let Err(error) = writer.flush() {
                    tracing::error!(%error, "the last lines of the former connection log are lost");
                }
                *writer = BufWriter::new(file);
                tracing::info!(file = %path.display(), "the connection log was opened again");
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "the connection log cannot be opened again, the former \
                    file is still written");
            }
        }
    }

    /// Forgets what could not be written, so that it is not tried for ever.
    fn discard(&mut self) {
        let writer = self.writer();
        if let Ok(file) = writer.get_ref().try_clone() {
            let former = std::mem::replace(writer, BufWriter::new(file));
            drop(former.into_parts());
        }
    }
}

fn write_line(out: &mut impl Write, record: &ConnectionRecord) -> io::Result<()> {
    let duration_ms = record.duration.as_millis() as u64;
    let started_ms = record.ended_ms.saturating_sub(duration_ms);
    let started_at = i64::try_from(started_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let target = record.target.as_ref().map(|(host, port)| target_text(host, *port));
    let Listener { protocol, address, port } = record.listener;
    let line = ConnectionLine {
        started_at: &started_at.unwrap_or_default().to_string(),
        duration_ms,
        rule: record.rule.as_ref().map(|rule| rule.name.as_str()),
        owner: record.rule.as_ref().map_or("", |rule| &rule.owner),
        protocol: if protocol == Protocol::Udp { "udp" } else { "tcp" },
        source: &record.source.to_string(),
        listener: &format!("{address}:{port}"),
        target: target.as_deref(),
        bytes_in: record.moved.0,
        bytes_out: record.moved.1,
        end: record.end.as_str(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

impl ConnectionLog {
    /// Queues a record, or drops it.
    pub(crate) fn push(&self, record: ConnectionRecord) {
        if self.sender.try_send(LogMessage::Record(Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the file opened again: somebody moved it.
    pub fn reopen(&self) {
        self.reopens.store(true, Ordering::Release);
        match self.sender.try_send(LogMessage::Look) {
            // It looks with the next record, of which there are enough.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => tracing::error!("the connection log has ended"),
        }
    }

    /// Makes the writer panic.
    #[cfg(feature = "testing")]
    pub(crate) fn kill(&self) {
        _ = self.sender.try_send(LogMessage::Panic);
    }

    /// Waits until what was queued is written, for a while at most.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.try_send(LogMessage::Flush(done)).is_err() || timeout(LAST_LINES, wait).await.is_err() {
            tracing::warn!("the last lines of the connection log may be lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::SocketAddr;

    use schema::counters::SniMiss;
    use schema::net::ListenAddress;
    use schema::testing::rule;

    use super::*;

    fn record(end: ConnectionEnd) -> ConnectionRecord {
        let source: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        ConnectionRecord {
            ended_ms: 1_767_340_801_500,
            duration: Duration::from_millis(1_500),
            rule: Some(rule("web", 443, 443)),
            source: source.into(),
            listener: Listener { protocol: Protocol::Tcp, address: ListenAddress::Any, port: 443 },
            target: Some((Host::parse("10.0.0.5").unwrap(), 8443)),
            moved: (10, 20),
            end,
        }
    }

    fn file(path: &Path) -> ConnectionLogFile {
        ConnectionLogFile { path: path.to_owned(), dropped: Arc::default() }
    }

    fn started(path: &Path) -> (ConnectionLog, std::thread::JoinHandle<()>) {
        let open = open(&file(path)).unwrap();
        (open.log(), std::thread::spawn(move || open.write()))
    }

    #[test]
    fn each_record_is_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connections.log");
        let (log, thread) = started(&path);
        log.push(record(ConnectionEnd::Closed));
        log.push(ConnectionRecord { target: None, ..record(ConnectionEnd::NoTarget) });
        log.push(ConnectionRecord { rule: None, target: None, ..record(ConnectionEnd::Missed(SniMiss::NoMatch)) });
        drop(log);
        thread.join().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"started_at\":\"2026-01-02T08:00:00Z\",\"duration_ms\":1500,\"rule\":\"web\",\"owner\":\"\",\
             \"protocol\":\"tcp\",\"source\":\"192.0.2.7:5000\",\"listener\":\"*:443\",\"target\":\"10.0.0.5:8443\",\
             \"bytes_in\":10,\"bytes_out\":20,\"end\":\"closed\"}"
        );
        assert!(lines[1].contains("\"target\":null") && lines[1].ends_with("\"end\":\"no_target\"}"), "{}", lines[1]);
        assert!(lines[2].contains("\"rule\":null,\"owner\":\"\","), "{}", lines[2]);
        assert!(lines[2].ends_with("\"end\":\"sni_no_match\"}"), "{}", lines[2]);
    }

    #[test]
    fn a_file_that_was_moved_is_opened_again_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let (log, thread) = started(&path);
        log.push(record(ConnectionEnd::Closed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(log.flush());
        fs::rename(&path, &moved).unwrap();
        log.reopen();
        log.push(record(ConnectionEnd::NoTarget));
        drop(log);
        thread.join().unwrap();
        assert!(fs::read_to_string(&moved).unwrap().contains("closed"));
        assert!(fs::read_to_string(&path).unwrap().contains("no_target"));
    }

    #[test]
    fn records_beyond_the_queue_are_dropped_and_counted_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder.path().join("log"));
        let open = open(&file).unwrap();
        let log = open.log();
        for _ in 0..QUEUE + 5 {
            log.push(record(ConnectionEnd::Closed));
        }
        assert_eq!(file.dropped.load(Ordering::Relaxed), 5);
        drop((log, open));
    }
}
