//! What was used of quotas reaches the disk: in the edge's own file, and once it has left its folder, in the one for the
//! edge that has the folder next. I/O towards the state folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::actor::Actor;
use super::quotas::{QuotaEntry, Quotas, STORE};
use crate::act::last_good::StateError;
use crate::act::quota_file::{self, StoredQuotas};
use crate::act::quota_spool::{self, Spooled};
use crate::decide::quotas::{QuotaOf, Usage};

impl Quotas {
    /// Counts what other edges have forwarded since they left the folder.
    fn count(&mut self, used: StoredQuotas) {
        for (of, _, usage) in used.into_kept() {
            let of = self.name_now(of);
            let entry = self.entries.entry(of).or_insert_with(|| QuotaEntry::restored(Usage::default(), None));
            let (before, all) = (entry.usage(), entry.usage().and(usage));
            entry.usage = all;
            let Some(count) = &entry.count else { continue };
            if all.within.starts > before.within.starts {
                count.forget(before.used);
                count.add(all.used);
            } else {
                count.add(all.used - before.used);
            }
        }
    }

    /// A rule that was renamed since has another name here than where it drains.
    fn name_now(&self, of: QuotaOf) -> QuotaOf {
        let QuotaOf::Rule(name) = &of else { return of };
        if self.entries.contains_key(&of) {
            return of;
        }
        let renamed = self.entries.iter().find(|(_, entry)| entry.former.as_ref() == Some(name));
        renamed.map_or(of.clone(), |(now, _)| now.clone())
    }

    /// What is used by now, and how much of it since the folder was left or this was asked last, where that is something.
    fn used_since(&self, before: &BTreeMap<QuotaOf, Usage>) -> Vec<(QuotaOf, Usage, Usage)> {
        let since = |(of, entry): (&QuotaOf, &QuotaEntry)| {
            let usage = entry.usage();
            let since = before.get(of).map_or(usage, |before| usage.since(*before));
            (since.used > 0).then(|| (of.clone(), usage, since))
        };
        self.entries.iter().filter_map(since).collect()
    }
}

impl Actor {
    /// Leaves the folder to another edge: from now on what is used is added to what that one counts.
    pub(super) async fn leave_quotas(&mut self) {
        self.store_quotas().await;
        let Some(store) = &self.store else { return };
        let stored = self.quotas.stored.clone().unwrap_or_else(|| self.quotas.to_store());
        let used = stored.into_kept().map(|(of, _, usage)| (of, usage)).collect();
        self.quotas.left = Some((store.folder().to_owned(), used));
    }

    /// Writes what was used, if that changed.
    pub(super) async fn store_quotas(&mut self) {
        self.quotas.store_due = Instant::now() + STORE;
        if let Some((folder, before)) = self.quotas.left.take() {
            return self.spool_quotas(folder, before).await;
        }
        let Some(store) = self.store.clone() else { return };
        let folder = store.clone();
        let spooled = blocking(move || quota_spool::take(folder.folder())).await;
        let spooled: Option<Spooled> = spooled.unwrap_or_else(|error| {
            log("what drained connections have used cannot be counted", &error);
            None
        });
        if let Some(spooled) = &spooled {
            self.quotas.count(spooled.used());
        }
        let stored = self.quotas.to_store();
        if self.quotas.stored.as_ref().unwrap_or(&StoredQuotas::default()) != &stored {
            let copy = stored.clone();
            match blocking(move || quota_file::write(store.folder(), &copy)).await {
                Ok(()) => self.quotas.stored = Some(stored),
                Err(error) => {
                    self.quotas.stored = None;
                    log("the counts of quotas were not stored", &error);
                }
            }
        }
        // After they are stored: a crash in between counts them twice, and forgets none.
        if let Some(spooled) = spooled {
            spawn_blocking(|| spooled.remove()).await.expect("removing does not panic");
        }
    }

    async fn spool_quotas(&mut self, folder: PathBuf, mut before: BTreeMap<QuotaOf, Usage>) {
        let used = self.quotas.used_since(&before);
        if !used.is_empty() {
            let more = StoredQuotas::new(used.iter().map(|(of, _, since)| (of.clone(), None, *since)));
            let path = folder.clone();
            match blocking(move || quota_spool::add(&path, more)).await {
                Ok(()) => before.extend(used.into_iter().map(|(of, usage, _)| (of, usage))),
                Err(error) => log("what drained connections have used was not stored", &error),
            }
        }
        self.quotas.left = Some((folder, before));
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    spawn_blocking(work).await.expect("reading and writing do not panic")
}

fn log(what: &'static str, error: &StateError) {
    tracing::error!(error = error as &dyn std::error::Error, "{what}");
}
