//! What a notice of the fleet says to people elsewhere. Pure.
//!
//! Keeps: a state is reported once, and its end if it was reported; what begins well is not reported.

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::health::{RuleHealth, TargetState};
use schema::name::{EdgeName, RuleName};

use super::told::{Told, lasted};
use super::{News, NewsKind, Topic};
use crate::decide::certificate_ends::CertificateStage;
use crate::decide::drift::{Drift, DriftKind};
use crate::decide::fleet::{Fleet, Notice, Verdict};
use crate::decide::held::held;
use crate::decide::quota::QuotaLevel;
use crate::decide::render::words::short_hash;
use crate::decide::status::rule_state;
use crate::decide::target;

/// Looks at one notice after another.
pub(super) struct NoticeReader<'a> {
    pub(super) told: &'a mut Told,
    pub(super) fleet: &'a Fleet,
    pub(super) now: Timestamp,
}

/// A target that has another state.
struct TargetNews<'n> {
    edge: &'n EdgeName,
    rule: &'n RuleName,
    target: &'n str,
    from: Option<TargetState>,
    to: TargetState,
    why: &'n str,
}

/// A quota that has another level; of an owner where it names no rule.
struct QuotaNews<'n> {
    edge: &'n EdgeName,
    rule: Option<&'n RuleName>,
    owner: &'n str,
    level: QuotaLevel,
    used: u64,
    limit: u64,
    ends: Option<Timestamp>,
}

impl NoticeReader<'_> {
    /// The news of a notice, if there are any. Applies are reported from their line of the ledger.
    pub(super) fn of(&mut self, notice: &Notice, plan: impl FnOnce() -> Vec<String>) -> Option<News> {
        match notice {
            Notice::Edge { edge, connected, .. } => self.edge(edge, *connected),
            Notice::Health { edge, rule, to, .. } => self.health(edge, rule, *to),
            Notice::Target { edge, rule, target, from, to, code, detail, .. } => {
                let why = if detail.is_empty() { code.clone() } else { format!("{code}: {detail}") };
                self.target(&TargetNews { edge, rule, target, from: *from, to: *to, why: &why })
            }
            Notice::Certificate { edge, stage, expires_at } => self.certificate(edge.as_ref(), *stage, *expires_at),
            Notice::Quota { edge, rule, owner, state, used, limit, ends } => {
                let (rule, level, used, limit, ends) = (rule.as_ref(), *state, *used, *limit, *ends);
                self.quota(&QuotaNews { edge, rule, owner, level, used, limit, ends })
            }
            Notice::Freeze { frozen, by, why } => {
                let until = frozen.as_ref().and_then(|freeze| freeze.until);
                let until = until.map_or_else(String::new, |until| format!(" until {until:.0}"));
                let text = if frozen.is_some() {
                    format!("{by} stopped applying{until}: {why}")
                } else {
                    format!("{by} allowed applying again: {why}")
                };
                Some(News::new(Topic::Freeze, self.now, text).by(by).because(why))
            }
            Notice::Tree { digest, commit, verdict } => self.tree(*digest, commit.as_deref(), verdict, plan),
            Notice::Remote { url, reference, commit, error } => {
                self.remote(url, reference, commit.as_deref(), error.as_deref())
            }
            Notice::Unsettled { edge, code, message } => {
                let is_news = self.told.begins(&format!("drift/{edge}/-/unsettled"), code, self.now);
                let text = format!("{edge} does not settle: {message}");
                is_news.then(|| News::new(Topic::Drift, self.now, text).on(edge).because(message))
            }
            Notice::Rule { .. }
            | Notice::Balance { .. }
            | Notice::Weights { .. }
            | Notice::TargetOverride { .. }
            | Notice::Override { .. }
            | Notice::Hold { .. }
            | Notice::Apply { .. } => None,
        }
    }

    fn owner(&self, edge: &EdgeName, rule: &RuleName) -> String {
        let status = self.fleet.edges().get(edge).and_then(|view| rule_state(view, rule));
        status.and_then(|status| status.rule.map(|rule| rule.owner.clone())).unwrap_or_default()
    }

    pub(super) fn edge(&mut self, edge: &EdgeName, connected: bool) -> Option<News> {
        let key = format!("edge/{edge}");
        if connected {
            let since = self.told.ends(&key)?;
            let text = format!("{edge} is connected again after {}", lasted(since, self.now));
            return Some(News::new(Topic::Edge, self.now, text).on(edge).like(NewsKind::EdgeBack));
        }
        if !self.told.begins(&key, "", self.now) {
            return None;
        }
        let text = format!("{edge} is offline; it continues to forward by its last state");
        Some(News::new(Topic::Edge, self.now, text).on(edge).like(NewsKind::EdgeOffline))
    }

    fn health(&mut self, edge: &EdgeName, rule: &RuleName, to: Option<RuleHealth>) -> Option<News> {
        let key = format!("health/{edge}/{rule}");
        match to {
            Some(RuleHealth::Down) => {
                if !self.told.begins(&key, "", self.now) {
                    return None;
                }
                let view = self.fleet.edges().get(edge).and_then(|view| view.rule(rule));
                let down = view.into_iter().flat_map(|view| &view.targets);
                let down: Vec<String> =
                    down.filter(|one| one.state == TargetState::Down).take(3).map(target::in_words).collect();
                let why = down.join("; ");
                let because = if why.is_empty() { String::new() } else { format!(": {why}") };
                let news = News::new(Topic::Health, self.now, format!("{edge}/{rule} is down{because}"));
                Some(news.of(edge, rule, &self.owner(edge, rule)).like(NewsKind::RuleDown).because(&why))
            }
            Some(RuleHealth::Up) => {
                let since = self.told.ends(&key)?;
                let text = format!("{edge}/{rule} is up again after {}", lasted(since, self.now));
                let news = News::new(Topic::Health, self.now, text);
                Some(news.of(edge, rule, &self.owner(edge, rule)).like(NewsKind::RuleUp))
            }
            // It does not serve any more: what it did not do then is over, and its targets are gone with it.
            None => {
                self.told.ends(&key);
                None
            }
            Some(_) => None,
        }
    }

    fn target(&mut self, of: &TargetNews<'_>) -> Option<News> {
        let TargetNews { edge, rule, target, from, to, why } = *of;
        let key = format!("target/{edge}/{rule}/{target}");
        let place = format!("{edge}/{rule}");
        let news = match to {
            TargetState::Down => {
                if !self.told.begins(&key, "", self.now) {
                    return None;
                }
                let because = if why.is_empty() { String::new() } else { format!(": {why}") };
                let text = format!("{target} of {place} is down{because}");
                News::new(Topic::Health, self.now, text).like(NewsKind::TargetDown).because(why)
            }
            TargetState::Up if from != Some(TargetState::Up) => {
                let since = self.told.ends(&key)?;
                let text = format!("{target} of {place} is up again after {}", lasted(since, self.now));
                News::new(Topic::Health, self.now, text).like(NewsKind::TargetUp)
            }
            TargetState::Removed => {
                self.told.ends(&key);
                return None;
            }
            _ => return None,
        };
        let news = news.of(edge, rule, &self.owner(edge, rule));
        Some(News { target: Some(target.to_owned()), ..news })
    }

    fn certificate(&mut self, edge: Option<&EdgeName>, stage: CertificateStage, end: Timestamp) -> Option<News> {
        let of =
            edge.map_or_else(|| "the certificate authority".to_owned(), |edge| format!("the certificate of {edge}"));
        let key = format!("certificate/{}", edge.map_or("", EdgeName::as_str));
        let text = match stage {
            CertificateStage::Valid => {
                self.told.ends(&key)?;
                format!("{of} was renewed and ends at {end:.0}")
            }
            CertificateStage::Ending | CertificateStage::Ended => {
                if !self.told.begins(&key, stage.as_str(), self.now) {
                    return None;
                }
                let verb = if stage == CertificateStage::Ended { "ended" } else { "was not renewed and ends" };
                format!("{of} {verb} at {end:.0}")
            }
        };
        let news = News::new(Topic::Certificate, self.now, capitalised(&text));
        Some(edge.map_or(news.clone(), |edge| news.on(edge)))
    }

    fn quota(&mut self, of: &QuotaNews<'_>) -> Option<News> {
        let QuotaNews { edge, rule, owner, level, used, limit, ends } = *of;
        let of = rule.map_or_else(|| format!("owner {owner} on {edge}"), |rule| format!("{edge}/{rule}"));
        let key = format!("quota/{edge}/{}/{owner}", rule.map_or("", |rule| rule.as_str()));
        let percent = u128::from(used) * 100 / u128::from(limit.max(1));
        let ends = ends.map_or_else(String::new, |ends| format!("; the period ends at {ends:.0}"));
        let text = match level {
            QuotaLevel::Available => {
                self.told.ends(&key)?;
                format!("The quota of {of} is available again{ends}")
            }
            QuotaLevel::Warning | QuotaLevel::Exhausted => {
                if !self.told.begins(&key, level.as_str(), self.now) {
                    return None;
                }
                let how = if level == QuotaLevel::Exhausted { "is used up" } else { "is nearly used up" };
                format!("The quota of {of} {how}: {used} of {limit} bytes ({percent} %){ends}")
            }
        };
        let news = News::new(Topic::Quota, self.now, text);
        Some(match rule {
            Some(rule) => news.of(edge, rule, owner),
            None => News { owner: (!owner.is_empty()).then(|| owner.to_owned()), ..news.on(edge) },
        })
    }

    fn tree(
        &mut self,
        digest: Digest,
        commit: Option<&str>,
        verdict: &Verdict,
        plan: impl FnOnce() -> Vec<String>,
    ) -> Option<News> {
        if *verdict == Verdict::Applied {
            self.told.ends("tree");
            return None;
        }
        let reason = held(self.fleet).1;
        let level = format!("{digest} {} {} {reason}", commit.unwrap_or("-"), verdict.as_str());
        // The same tree is read again after a start.
        if !self.told.begins("tree", &level, self.now) {
            return None;
        }
        let what =
            commit.map_or_else(|| "The followed tree".to_owned(), |commit| format!("Commit {}", short_hash(commit)));
        let head = if *verdict == Verdict::Waiting {
            format!("{what} waits for an apply")
        } else {
            format!("{what} is not applied: {reason}")
        };
        let findings = self.fleet.attempt().into_iter().flat_map(|attempt| &attempt.diagnostics);
        let findings = findings.take(5).map(|one| one.message.clone());
        let lines: Vec<String> = std::iter::once(head).chain(findings).chain(plan()).collect();
        let news = News::new(Topic::Held, self.now, lines.join("\n")).because(&reason);
        Some(News { commit: commit.map(str::to_owned), ..news })
    }

    fn remote(&mut self, url: &str, reference: &str, commit: Option<&str>, error: Option<&str>) -> Option<News> {
        let key = "remote";
        let Some(error) = error else {
            let since = self.told.ends(key)?;
            let text = format!("{url} ({reference}) can be fetched again after {}", lasted(since, self.now));
            let news = News::new(Topic::Held, self.now, text);
            return Some(News { commit: commit.map(str::to_owned), ..news });
        };
        let is_news = self.told.begins(key, "", self.now);
        let text = format!("{url} ({reference}) cannot be fetched, so that nothing newer is applied: {error}");
        is_news.then(|| News::new(Topic::Held, self.now, text).because(error))
    }

    /// What began and ended of the drift of an edge, compared with what was reported of it.
    pub(super) fn drift(&mut self, edge: &EdgeName, found: &[Drift]) -> Vec<News> {
        let key_of = |drift: &Drift| {
            let rule = drift.rule.as_ref().map_or("-", |rule| rule.as_str());
            format!("drift/{edge}/{rule}/{}", drift.kind.as_str())
        };
        let mut all = Vec::new();
        let before = self.told.below(&format!("drift/{edge}/"));
        for drift in found {
            if !self.told.begins(&key_of(drift), "", self.now) {
                continue;
            }
            let news = News::new(Topic::Drift, self.now, sentence(edge, drift)).because(&drift.message);
            let news = match &drift.rule {
                Some(rule) => news.of(edge, rule, &self.owner(edge, rule)),
                None => news.on(edge),
            };
            all.push(if drift.kind == DriftKind::Override { news } else { news.like(NewsKind::DriftBegan) });
        }
        let is_found = |key: &String| found.iter().any(|drift| key_of(drift) == **key);
        for key in before.iter().filter(|key| !is_found(key) && !key.ends_with("/unsettled")) {
            let since = self.told.ends(key).unwrap_or(self.now);
            let rule = key.split('/').nth(2).and_then(|rule| RuleName::new(rule).ok());
            let Some(rule) = rule.filter(|_| !key.ends_with("/override")) else { continue };
            let text = format!("{edge}/{rule} is as applied again after {}", lasted(since, self.now));
            let news = News::new(Topic::Drift, self.now, text).of(edge, &rule, &self.owner(edge, &rule));
            all.push(news.like(NewsKind::DriftEnded));
        }
        all
    }
}

/// The kinds of drift that are reported: an edge that is offline, or on its way to a state, has its own news.
pub(super) const fn is_reported(kind: DriftKind) -> bool {
    !matches!(kind, DriftKind::EdgeOffline | DriftKind::StaleGeneration | DriftKind::Unsettled)
}

fn sentence(edge: &EdgeName, drift: &Drift) -> String {
    let place = drift.rule.as_ref().map_or_else(|| edge.to_string(), |rule| format!("{edge}/{rule}"));
    let message = if drift.message.is_empty() { drift.code.clone() } else { drift.message.clone() };
    match drift.kind {
        DriftKind::Override => format!("{place} deviates from the tree: {message}"),
        kind => format!("{place} is not as applied ({}): {message}", kind.as_str()),
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}
