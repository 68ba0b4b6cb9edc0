//! The hierarchy at work: who signs now, who holds what, and new certificates, durably.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::SanType;
use time::OffsetDateTime;

use super::authority::Authority;
use super::{
    AuthorityInfo, AuthorityKind, AuthorityRecord, IssuedChain, Settings, Store, StoreError, TrustBundle, TrustError,
    WorkloadCertificate, WorkloadRecord, csr, leaf, server_identity,
};
use crate::identity::SpiffeId;

/// Certificates that have expired are forgotten this often.
const FORGET: time::Duration = time::Duration::HOUR;

/// The certificate hierarchy of one trust domain, in one cluster. `Debug` shows no key.
#[derive(Debug)]
pub struct Trust {
    settings: Settings,
    pub(super) store: Box<dyn Store>,
    signing: ArcSwap<Signing>,
    /// The newest certificate of each workload (`namespace/name`). It is in the store too.
    issued: RwLock<HashMap<String, Arc<WorkloadCertificate>>>,
    queue: Mutex<Vec<Arc<Order>>>,
    /// Held by whoever writes to the store; with when expired certificates were last forgotten.
    writer: Mutex<Option<OffsetDateTime>>,
}

/// Who signs now, and what peers are verified against.
#[derive(Debug)]
struct Signing {
    root: Arc<Authority>,
    intermediate: Authority,
    cluster: String,
    bundle: Arc<TrustBundle>,
}

impl Signing {
    /// The newest authority of each kind signs.
    fn from_records(records: &[AuthorityRecord], settings: &Settings) -> Result<Self, TrustError> {
        let newest = |kind, what: &str| {
            let record = records.iter().rev().find(|record| record.kind == kind);
            record.ok_or_else(|| TrustError::material("the store", format!("it has no {what}")))
        };
        let (root, intermediate) =
            (newest(AuthorityKind::Root, "root")?, newest(AuthorityKind::Intermediate, "intermediate")?);
        let root = Authority::from_record(root)?;
        let bundle = TrustBundle::new(settings.trust_domain.clone(), vec![root.der.clone()])?;
        Ok(Self {
            root: Arc::new(root),
            intermediate: Authority::from_record(intermediate)?,
            cluster: intermediate.cluster.clone(),
            bundle: Arc::new(bundle),
        })
    }
}

type Issued = Result<Vec<Arc<WorkloadCertificate>>, TrustError>;

/// Certificates that somebody waits for.
#[derive(Debug)]
struct Order {
    workloads: Vec<(String, SpiffeId)>,
    /// Whether a certificate that is not due yet will do.
    reuse: bool,
    now: OffsetDateTime,
    done: OnceLock<Issued>,
}

impl Trust {
    /// Opens the hierarchy that the store holds. An empty store gets a root and an intermediate.
    pub fn open(store: Box<dyn Store>, settings: Settings, now: OffsetDateTime) -> Result<Self, TrustError> {
        let mut contents = store.load()?;
        match &contents.trust_domain {
            Some(stored) if *stored != settings.trust_domain => {
                let (stored, configured) = (stored.clone(), settings.trust_domain.clone());
                return Err(TrustError::TrustDomain { stored, configured });
            }
            Some(_) => {}
            None => {
                let root = Authority::new_root(&settings, now)?;
                let intermediate = Authority::from_record(&root)?.new_intermediate(&settings, now)?;
                contents.authorities = vec![root, intermediate];
                store.found(&settings.trust_domain, &contents.authorities)?;
            }
        }
        let signing = Signing::from_records(&contents.authorities, &settings)?;
        let issued = contents.workloads.into_iter().map(|record| {
            let WorkloadRecord { workload, chain_pem, key_pem, issued_at, renew_at, .. } = record;
            Ok((workload, Arc::new(WorkloadCertificate::from_pem(chain_pem, key_pem, issued_at, renew_at)?)))
        });
        let trust = Self {
            issued: RwLock::new(issued.collect::<Result<_, TrustError>>()?),
            settings,
            store,
            signing: ArcSwap::from_pointee(signing),
            queue: Mutex::default(),
            writer: Mutex::default(),
        };
        trust.maintain(now)?;
        Ok(trust)
    }

    /// Keeps the hierarchy fit to sign: an intermediate at half of its life, or of another cluster, gets a successor. Returns whether it
    /// did. Certificates below the older one stay good, since both chain to the same root.
    pub fn maintain(&self, now: OffsetDateTime) -> Result<bool, TrustError> {
        let mut forgotten_at = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if forgotten_at.is_none_or(|at| at + FORGET <= now) {
            if self.store.forget_expired(now)? > 0 {
                self.issued_mut().retain(|_, certificate| certificate.not_after > now);
            }
            *forgotten_at = Some(now);
        }
        let signing = self.signing.load();
        let AuthorityInfo { not_before, not_after, .. } = signing.intermediate.info;
        let due = not_before + (not_after - not_before) / 2 <= now && not_after < signing.root.info.not_after;
        // Where the root's key is elsewhere, a successor is brought by an operator; until then there is nothing to be done here.
        let due = due && signing.root.has_key();
        if !due && signing.cluster == self.settings.cluster {
            return Ok(false);
        }
        let record = signing.root.new_intermediate(&self.settings, now)?;
        self.store.add_authority(&record)?;
        let intermediate = Authority::from_record(&record)?;
        let (root, bundle) = (Arc::clone(&signing.root), Arc::clone(&signing.bundle));
        self.signing.store(Arc::new(Signing { root, intermediate, cluster: record.cluster, bundle }));
        Ok(true)
    }

    /// The certificate of the workload `namespace/name` under this identity: the one it has, or a new one if there is none, it is due, or
    /// the identity is another.
    pub fn workload_certificate(
        &self,
        workload: &str,
        id: &SpiffeId,
        now: OffsetDateTime,
    ) -> Result<Arc<WorkloadCertificate>, TrustError> {
        if let Some(held) = self.held(workload, id, now) {
            return Ok(held);
        }
        let issued = self.order(vec![(workload.to_owned(), id.clone())], true, now)?;
        issued.into_iter().next().ok_or_else(|| TrustError::material(workload, "nothing was issued"))
    }

    /// New certificates for all of these, in their order. They are kept in one transaction: all or none.
    pub fn renew_workload_certificates(
        &self,
        workloads: &[(String, SpiffeId)],
        now: OffsetDateTime,
    ) -> Result<Vec<Arc<WorkloadCertificate>>, TrustError> {
        self.order(workloads.to_vec(), false, now)
    }

    /// A certificate for the key of a request, under this identity, whatever the request says. It lives as long as any workload's, or
    /// shorter if `lifetime` is. It is not kept: its key is not ours.
    pub fn sign_csr(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        lifetime: Option<Duration>,
        now: OffsetDateTime,
    ) -> Result<IssuedChain, TrustError> {
        let key = csr::checked_key(csr_pem, id)?;
        let lifetime = lifetime.map_or(self.settings.workload_ttl, |wish| wish.min(self.settings.workload_ttl));
        leaf::issue_for(&self.signing.load().intermediate, &self.settings, id, &key, lifetime, now)
    }

    /// A certificate for our own listener, under [`server_identity`] and these DNS names and addresses. It is not kept: each start makes
    /// its own.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Arc<WorkloadCertificate>, TrustError> {
        let names = names.iter().map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => name
                .as_str()
                .try_into()
                .map(SanType::DnsName)
                .map_err(|error| TrustError::material(name.as_str(), error)),
        });
        let names = names.collect::<Result<Vec<_>, TrustError>>()?;
        let id = server_identity(&self.settings.trust_domain);
        leaf::issue(&self.signing.load().intermediate, &self.settings, &id, &names, now).map(Arc::new)
    }

    /// What peers are verified against.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.signing.load().bundle)
    }

    /// Who signs workload certificates now.
    pub fn intermediate(&self) -> AuthorityInfo {
        self.signing.load().intermediate.info.clone()
    }

    fn held(&self, workload: &str, id: &SpiffeId, now: OffsetDateTime) -> Option<Arc<WorkloadCertificate>> {
        let issued = self.issued.read().unwrap_or_else(PoisonError::into_inner);
        issued.get(workload).filter(|held| held.id == *id && now < held.renew_at).cloned()
    }

    fn issued_mut(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<String, Arc<WorkloadCertificate>>> {
        self.issued.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Arc<Order>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn to write. Whoever gets it fills every order that is queued by then in one transaction, so that a fleet which
    /// comes at once waits for the disk a few times and not once for each proxy.
    fn order(&self, workloads: Vec<(String, SpiffeId)>, reuse: bool, now: OffsetDateTime) -> Issued {
        let order = Arc::new(Order { workloads, reuse, now, done: OnceLock::new() });
        self.queue().push(Arc::clone(&order));
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if order.done.get().is_none() {
            let orders = std::mem::take(&mut *self.queue());
            self.fill(&orders);
        }
        drop(writer);
        let nothing = || Err(TrustError::material("an order", "it was lost"));
        order.done.get().cloned().unwrap_or_else(nothing)
    }

    fn fill(&self, orders: &[Arc<Order>]) {
        let mut fresh = HashMap::new();
        let filled: Vec<(&Arc<Order>, Issued)> =
            orders.iter().map(|order| (order, self.sign(order, &mut fresh))).collect();
        let saved = self.keep(&fresh);
        if saved.is_ok() {
            self.issued_mut().extend(fresh);
        }
        for (order, issued) in filled {
            // Nobody sees a certificate that a crash could undo.
            let result = saved.clone().map_err(TrustError::from).and(issued);
            let _ = order.done.set(result);
        }
    }

    fn sign(&self, order: &Order, fresh: &mut HashMap<String, Arc<WorkloadCertificate>>) -> Issued {
        let signing = self.signing.load();
        let mut all = Vec::with_capacity(order.workloads.len());
        let mut made = Vec::new();
        for (workload, id) in &order.workloads {
            let just_made = fresh.get(workload).filter(|made| made.id == *id).cloned();
            let enough = if order.reuse { just_made.or_else(|| self.held(workload, id, order.now)) } else { None };
            let certificate = match enough {
                Some(enough) => enough,
                None => {
                    let new = Arc::new(leaf::issue(&signing.intermediate, &self.settings, id, &[], order.now)?);
                    made.push((workload.clone(), Arc::clone(&new)));
                    new
                }
            };
            all.push(certificate);
        }
        fresh.extend(made);
        Ok(all)
    }

    fn keep(&self, fresh: &HashMap<String, Arc<WorkloadCertificate>>) -> Result<(), StoreError> {
        let records = fresh.iter().map(|(workload, certificate)| WorkloadRecord {
            workload: workload.clone(),
            chain_pem: certificate.chain_pem.clone(),
            key_pem: certificate.key_pem.clone(),
            issued_at: certificate.issued_at,
            renew_at: certificate.renew_at,
            not_after: certificate.not_after,
        });
        let records: Vec<_> = records.collect();
        if records.is_empty() { Ok(()) } else { self.store.save_workloads(&records) }
    }
}
