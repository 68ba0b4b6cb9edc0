//! What a step waits for, and who is late.

use time::OffsetDateTime;

use crate::trust::Serial;

/// What is known of a secret of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<T> {
    /// It has acknowledged the newest, and nothing newer is on its way.
    Acknowledged(T),
    /// It has not answered yet, or nothing is known.
    Pending,
    /// It refused the newest, with these words.
    Rejected(String),
    /// It does not use the secret.
    Unused,
}

/// What is known of one proxy that is connected, or was within the time that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyView {
    /// `namespace/name` of its workload.
    pub name: String,
    /// `None`: it is connected. Else when it was last.
    pub away_since: Option<OffsetDateTime>,
    /// The roots it trusts.
    pub trusts: Held<Vec<Serial>>,
    /// The root above the certificate that it shows to its peers.
    pub shows: Held<Serial>,
    /// The root above the certificate that it shows to us, if it is connected and that is known. Its roots for our certificate are as
    /// old as that certificate, since both are written together.
    pub shows_us: Option<Serial>,
}

/// Everything that a step's end depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The proxies.
    pub proxies: &'a [ProxyView],
    /// Nothing that was signed for a workload below the old root is valid after this.
    pub old_until: OffsetDateTime,
    /// The same for the new root.
    pub new_until: OffsetDateTime,
    /// The time.
    pub now: OffsetDateTime,
}

/// Who or what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// `namespace/name`; `None`: no proxy in particular.
    pub proxy: Option<String>,
    /// Why.
    pub reason: String,
}

/// Every proxy trusts exactly the roots that it should.
#[derive(Debug)]
pub struct EveryoneTrusts(());

/// Every proxy shows a certificate below the root that signs, and nothing below the other one is valid.
#[derive(Debug)]
pub struct EveryoneShows(());

/// Whether all have acknowledged this bundle.
pub(super) fn everyone_trusts(
    situation: &Situation<'_>,
    bundle: &[Serial],
    force: bool,
) -> Result<EveryoneTrusts, Vec<Stuck>> {
    let late = |proxy: &ProxyView| match &proxy.trusts {
        Held::Unused => None,
        Held::Acknowledged(roots) if same(roots, bundle) => None,
        Held::Acknowledged(_) | Held::Pending => Some("it has not acknowledged the trust bundle".to_owned()),
        Held::Rejected(error) => Some(format!("it refuses the trust bundle: {error}")),
    };
    match stuck(situation, force, late) {
        stuck if stuck.is_empty() => Ok(EveryoneTrusts(())),
        stuck => Err(stuck),
    }
}

/// Whether all show certificates below `signing`, and nothing is valid below the other root, which ends at `other_until`.
pub(super) fn everyone_shows(
    situation: &Situation<'_>,
    signing: &Serial,
    other_until: OffsetDateTime,
    force: bool,
) -> Result<EveryoneShows, Vec<Stuck>> {
    let late = |proxy: &ProxyView| {
        match &proxy.shows {
        Held::Acknowledged(root) if root != signing => Some("it shows a certificate below the other root".to_owned()),
        Held::Pending => Some("it has not acknowledged its new certificate".to_owned()),
        Held::Rejected(error) => Some(format!("it refuses its new certificate: {error}")),
        Held::Unused | Held::Acknowledged(_) => match &proxy.shows_us {
            Some(root) if root != signing && !force => Some(
                "the credentials of its xDS connection are below the other root: write new ones on its machine with `countersign \
                 bootstrap`"
                    .to_owned(),
            ),
            _ => None,
        },
    }
    };
    let mut stuck = stuck(situation, force, late);
    if !force && situation.now <= other_until {
        let reason = format!("certificates below the other root may be valid until {other_until}");
        stuck.push(Stuck { proxy: None, reason });
    }
    if stuck.is_empty() { Ok(EveryoneShows(())) } else { Err(stuck) }
}

/// A proxy that is away counts by what it had when it left. `force` counts those that are connected only.
fn stuck(situation: &Situation<'_>, force: bool, late: impl Fn(&ProxyView) -> Option<String>) -> Vec<Stuck> {
    let counted = situation.proxies.iter().filter(|proxy| !force || proxy.away_since.is_none());
    counted
        .filter_map(|proxy| {
            let reason = late(proxy)?;
            let reason = match proxy.away_since {
                Some(at) => format!("it is not connected, and was last at {at}; {reason}"),
                None => reason,
            };
            Some(Stuck { proxy: Some(proxy.name.clone()), reason })
        })
        .collect()
}

fn same(left: &[Serial], right: &[Serial]) -> bool {
    left.len() == right.len() && left.iter().all(|serial| right.contains(serial))
}
