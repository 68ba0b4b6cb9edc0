//! Looks at each policy set that is served, after it is served: an analysis of all pairs takes longer than a change may.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use super::blocking;
use super::model::Model;
use super::proxies::Proxies;
use crate::analysis::{self, Finding, Limits, Report, Severity};

/// How often the same set is looked at again: certificates come nearer to their end.
const AGAIN: Duration = Duration::from_secs(3600);
/// How often the certificates in Secrets are measured; when one of them is over, the set is looked at again at once.
const MEASURE: Duration = Duration::from_secs(60);
/// How many findings of one set are logged; `countersign analyze` has all.
const MAX_LOGGED: usize = 50;
/// How many lines `countersign status` shows.
const MAX_SHOWN: usize = 200;

const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

/// What was found in one policy set.
pub(super) struct Analysed {
    generation: u64,
    report: Report,
}

impl Analysed {
    /// Errors and warnings as lines, if it is about the set of this number.
    pub(super) fn lines(&self, generation: u64) -> Option<Vec<String>> {
        let telling = self.report.findings.iter().filter(|finding| finding.severity != Severity::Note);
        let mut lines: Vec<String> = telling.map(ToString::to_string).collect();
        let more = lines.len().saturating_sub(MAX_SHOWN) + self.report.left_out.values().sum::<usize>();
        lines.truncate(MAX_SHOWN);
        if more > 0 {
            lines.push(format!("{more} more: countersign analyze"));
        }
        (self.generation == generation).then_some(lines)
    }
}

/// Follows the sets that are served. One that comes while another is looked at replaces whatever waits.
pub(super) fn start(proxies: Proxies, mut served: watch::Receiver<Option<Arc<Model>>>) -> JoinHandle<()> {
    for severity in SEVERITIES {
        proxies.metrics.policy_findings.set(severity.label(), 0);
    }
    tokio::spawn(async move {
        let mut analyst = Analyst::default();
        loop {
            let model = served.borrow_and_update().clone();
            if let Some(model) = model {
                analyst.pass(&proxies, model).await;
            }
            if matches!(timeout(MEASURE, served.changed()).await, Ok(Err(_))) {
                return;
            }
        }
    })
}

/// Who looks.
#[derive(Default)]
pub(super) struct Analyst {
    looked: Option<Looked>,
    /// What the log has said already: what stays true is said once.
    told: HashSet<Finding>,
}

/// The last look at a set.
struct Looked {
    generation: u64,
    /// How many certificates were over.
    over: usize,
    at: OffsetDateTime,
}

impl Analyst {
    /// Looks at a set that is new, or was looked at long ago, or has a certificate that is over now.
    pub(super) async fn pass(&mut self, proxies: &Proxies, model: Arc<Model>) {
        let (generation, over, at) = (model.generation, measure(proxies, &model), (proxies.clock)());
        let is_fresh = |looked: &Looked| {
            (looked.generation, looked.over) == (generation, over) && looked.at <= at && at - looked.at < AGAIN
        };
        if !self.looked.as_ref().is_some_and(is_fresh) {
            self.looked = Some(Looked { generation, over, at });
            look(proxies, model, &mut self.told).await;
        }
    }
}

/// Tells how near its end the first of the certificates is that operators have given and proxies are served. Returns how many are over: a
/// proxy keeps what it has, and every handshake with it fails.
fn measure(proxies: &Proxies, model: &Model) -> usize {
    let (now, ends) = ((proxies.clock)(), model.secret_ends());
    proxies.metrics.earliest_secret_expiry.set(ends.iter().min().map_or(0, |end| end.unix_timestamp()));
    ends.iter().filter(|end| **end < now).count()
}

/// From when on something counts as too long.
pub(super) fn limits(proxies: &Proxies) -> Limits {
    Limits { workload_ttl: Some(proxies.trust.workload_ttl()), ..Limits::default() }
}

async fn look(proxies: &Proxies, model: Arc<Model>, told: &mut HashSet<Finding>) {
    let (now, generation, limits) = ((proxies.clock)(), model.generation, limits(proxies));
    let (report, parsed) = blocking(move || {
        let parsed: HashSet<String> = model.warnings.0.iter().map(ToString::to_string).collect();
        (analysis::analyze(model.subject(), &limits, now), parsed)
    })
    .await;
    for severity in SEVERITIES {
        proxies.metrics.policy_findings.set(severity.label(), report.count(severity));
    }
    // The source has said what the parser warned of.
    let is_news = |finding: &&Finding| {
        finding.severity != Severity::Note
            && !told.contains(*finding)
            && !parsed.contains(&format!("{}:{}: {}", finding.file, finding.line, finding.message))
    };
    let news: Vec<&Finding> = report.findings.iter().filter(is_news).collect();
    for finding in news.iter().take(MAX_LOGGED) {
        warn!(at = %format!("{}:{}", finding.file, finding.line), code = finding.code, "{}", finding.message);
    }
    if news.len() > MAX_LOGGED {
        warn!(more = news.len() - MAX_LOGGED, "more findings: countersign analyze");
    }
    *told = report.findings.iter().cloned().collect();
    proxies.analysed.store(Some(Arc::new(Analysed { generation, report })));
}
