//! Remembers when rules were used last, over restarts, and says who used them. I/O: one file of the state folder.
//!
//! Keeps: workers wait for nothing here; what is remembered is written at most once a minute, and at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use guard::Supervisor;
use prost::Message;
use schema::canonical::Digest;
use schema::proto;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::folder;
use super::last_good::StateError;
use super::parts::Part;
use super::runtime::Stopped;
use super::status::Status;
use super::workers::Meter;
use crate::decide::sketch::busiest;
use crate::decide::uses::{RuleUses, UseBook};

/// What this edge says in its hello if it remembers uses.
pub(crate) const USAGE_FEATURE: &str = "usage";
/// First bytes of the file; the last two digits are the version of what follows.
const MAGIC: &[u8; 8] = b"PTNUSE01";
const FILE: &str = "last-used";
const TEMPORARY: &str = "last-used.tmp";
const DIGEST: usize = 32;
/// How often uses are written, if there were any: a crash forgets so much.
const WRITE: Duration = Duration::from_mins(1);
/// Networks that an answer names for each rule.
const SOURCES: usize = 16;
/// Questions that may wait: each session has a few.
const QUESTIONS: usize = 16;

enum UsageQuestion {
    Report(proto::UsageRequest, oneshot::Sender<proto::UsageReport>),
    /// Write what there is, and no more after that.
    Leave(oneshot::Sender<()>),
}

/// The way to what is remembered.
#[derive(Clone)]
pub(crate) struct UsageHandle(mpsc::Sender<UsageQuestion>);

impl UsageHandle {
    /// Starts to remember; with a folder, over restarts.
    pub(crate) fn start(
        folder: Option<PathBuf>,
        status: watch::Receiver<Arc<Status>>,
        supervisor: &Supervisor,
    ) -> Self {
        let (sender, questions) = mpsc::channel(QUESTIONS);
        let book = folder.as_deref().map(read).unwrap_or_default();
        let keeper = UsageKeeper { folder, status, written: book.clone(), book, meters: BTreeMap::new() };
        tokio::spawn(supervisor.lasting(Part::Usage, keeper.run(questions)));
        Self(sender)
    }

    /// What is known of the rules that are asked about.
    pub(crate) async fn report(&self, request: proto::UsageRequest) -> Result<proto::UsageReport, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.0.send(UsageQuestion::Report(request, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Leaves the folder to the next edge.
    pub(crate) async fn leave(&self) {
        let (done, wait) = oneshot::channel();
        if self.0.send(UsageQuestion::Leave(done)).await.is_ok() {
            // It has ended with what it had.
            _ = wait.await;
        }
    }
}

struct UsageKeeper {
    /// None once it was left.
    folder: Option<PathBuf>,
    status: watch::Receiver<Arc<Status>>,
    book: UseBook,
    written: UseBook,
    /// Whose meters were seen last.
    meters: BTreeMap<String, Arc<Meter>>,
}

impl UsageKeeper {
    async fn run(mut self, mut questions: mpsc::Receiver<UsageQuestion>) {
        let mut ticks = interval(WRITE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                question = questions.recv() => match question {
                    Some(UsageQuestion::Report(request, reply)) => {
                        self.look();
                        // Who asked may have gone.
                        _ = reply.send(self.answer(&request));
                    }
                    Some(UsageQuestion::Leave(done)) => {
                        self.look();
                        self.write().await;
                        self.folder = None;
                        _ = done.send(());
                    }
                    None => return,
                },
                _ = ticks.tick() => {
                    self.look();
                    self.write().await;
                }
            }
        }
    }

    /// Takes over what the meters of all rules say now.
    fn look(&mut self) {
        let status = self.status.borrow().clone();
        if status.rules.is_empty() && status.accepted.generation == 0 {
            return;
        }
        let now_ms = super::workers::wall_clock();
        let meters: BTreeMap<String, Arc<Meter>> =
            status.rules.iter().filter_map(|rule| Some((rule.name.clone(), rule.meter.clone()?))).collect();
        // Meters go with their rules, whatever those are called.
        let vanished = self.meters.iter().filter(|(name, _)| !meters.contains_key(*name));
        for (from, meter) in vanished {
            let is_it =
                |(name, other): &(&String, &Arc<Meter>)| Arc::ptr_eq(meter, other) && !self.meters.contains_key(*name);
            if let Some((to, _)) = meters.iter().find(is_it) {
                self.book.rename(from, to);
            }
        }
        for (name, meter) in &meters {
            let (last_ms, ports) = meter.last_uses(now_ms);
            self.book.note(name, now_ms, last_ms, ports);
        }
        self.book.retain(|name| status.rule(name).is_some());
        self.meters = meters;
    }

    fn answer(&self, request: &proto::UsageRequest) -> proto::UsageReport {
        let is_asked = |name: &str| request.rules.is_empty() || request.rules.iter().any(|rule| rule == name);
        let now_ms = super::workers::wall_clock();
        let uses = |(name, meter): (&String, &Arc<Meter>)| {
            let known = self.book.get(name).cloned().unwrap_or_else(RuleUses::default);
            let mut usage = known.to_wire(name, request.per_port);
            if request.sources {
                usage.sources = busiest(meter.sources(now_ms), SOURCES)
                    .iter()
                    .map(|one| proto::SourceUsage {
                        network: one.network(),
                        connections: one.connections,
                        last_ms: one.last_ms,
                    })
                    .collect();
            }
            usage
        };
        let rules = self.meters.iter().filter(|(name, _)| is_asked(name)).map(uses).collect();
        proto::UsageReport { request_id: request.request_id, rules }
    }

    async fn write(&mut self) {
        let Some(folder) = self.folder.clone().filter(|_| self.book != self.written) else { return };
        let (book, bytes) = (self.book.clone(), encode(&self.book));
        let written = spawn_blocking(move || folder::replace(&folder, FILE, TEMPORARY, &bytes)).await;
        match written.expect("writing does not panic") {
            Ok(()) => self.written = book,
            Err(error) => tracing::warn!(%error, "when rules were used last was not written"),
        }
    }
}

fn encode(book: &UseBook) -> Vec<u8> {
    let payload = book.to_wire().encode_to_vec();
    [&MAGIC[..], Digest::of(&payload).as_bytes(), &payload].concat()
}

/// What was written last; nothing where that cannot be read.
fn read(folder: &Path) -> UseBook {
    let bytes: Result<Option<Vec<u8>>, StateError> = folder::read(folder, FILE);
    match bytes {
        Ok(None) => UseBook::default(),
        Ok(Some(bytes)) => decode(&bytes).unwrap_or_else(|| {
            tracing::warn!("the file of when rules were used last is damaged, and begins anew");
            UseBook::default()
        }),
        Err(error) => {
            tracing::warn!(%error, "the file of when rules were used last is not read");
            UseBook::default()
        }
    }
}

fn decode(bytes: &[u8]) -> Option<UseBook> {
    let (digest, payload) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    let is_whole = Digest::of(payload).as_bytes() == digest;
    is_whole.then(|| proto::UsageReport::decode(payload).ok())?.map(UseBook::from_wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_not_taken_for_uses() {
        let mut book = UseBook::default();
        book.note("web", 1, 2, [(80, 2)]);
        let mut bytes = encode(&book);
        assert_eq!(decode(&bytes), Some(book));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(b"PTNUSE01"), None);
    }
}
