//! Certificates of workloads: who holds which, and new ones, of which many share a transaction.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};

use time::OffsetDateTime;

use super::issuance::Books;
use super::{IssuedRecord, LeafNames, Trust, TrustError, WorkloadCertificate, WorkloadRecord, leaf};

type Issued = Result<Vec<Arc<WorkloadCertificate>>, TrustError>;

/// Certificates that somebody waits for.
#[derive(Debug)]
pub(super) struct Order {
    workloads: Vec<(String, LeafNames)>,
    /// Whether a certificate that is not due yet will do.
    reuse: bool,
    now: OffsetDateTime,
    done: OnceLock<Issued>,
}

impl Trust {
    /// The certificate of the workload `namespace/name` under these names: the one it has, or a new one if there is none, it is due, or
    /// it has other names.
    pub fn workload_certificate(
        &self,
        workload: &str,
        names: impl Into<LeafNames>,
        now: OffsetDateTime,
    ) -> Result<Arc<WorkloadCertificate>, TrustError> {
        let names = names.into();
        if let Some(held) = self.held(workload, &names, now) {
            return Ok(held);
        }
        let issued = self.order(vec![(workload.to_owned(), names)], true, now)?;
        issued.into_iter().next().ok_or_else(|| TrustError::material(workload, "nothing was issued"))
    }

    /// New certificates for all of these, in their order. They are kept in one transaction: all or none.
    pub fn renew_workload_certificates<N: Clone + Into<LeafNames>>(
        &self,
        workloads: &[(String, N)],
        now: OffsetDateTime,
    ) -> Result<Vec<Arc<WorkloadCertificate>>, TrustError> {
        let named = workloads.iter().map(|(workload, names)| (workload.clone(), names.clone().into()));
        self.order(named.collect(), false, now)
    }

    /// The certificate that [`workload_certificate`](Self::workload_certificate) would return without issuing one. Waits for nothing.
    pub fn held(&self, workload: &str, names: &LeafNames, now: OffsetDateTime) -> Option<Arc<WorkloadCertificate>> {
        let issued = self.issued.read().unwrap_or_else(PoisonError::into_inner);
        let good = |held: &&Arc<WorkloadCertificate>| {
            held.is_under(names)
                && now < held.renew_at
                && self.hierarchy.load().is_trusted(&held.issuer)
                && !self.is_revoked(&held.serial)
        };
        issued.get(workload).filter(good).cloned()
    }

    /// The newest certificate of a workload, whether it may still be used or not.
    pub fn newest(&self, workload: &str) -> Option<Arc<WorkloadCertificate>> {
        self.issued.read().unwrap_or_else(PoisonError::into_inner).get(workload).cloned()
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Arc<Order>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn to write. Whoever gets it fills every order that is queued by then in one transaction, so that a fleet which
    /// comes at once waits for the disk a few times and not once for each proxy.
    fn order(&self, workloads: Vec<(String, LeafNames)>, reuse: bool, now: OffsetDateTime) -> Issued {
        let order = Arc::new(Order { workloads, reuse, now, done: OnceLock::new() });
        self.queue().push(Arc::clone(&order));
        let mut books = self.books();
        if order.done.get().is_none() {
            let orders = std::mem::take(&mut *self.queue());
            self.fill(&orders, &mut books);
        }
        drop(books);
        let nothing = || Err(TrustError::material("an order", "it was lost"));
        order.done.get().cloned().unwrap_or_else(nothing)
    }

    fn fill(&self, orders: &[Arc<Order>], books: &mut Books) {
        let mut fresh = HashMap::new();
        let filled: Vec<(&Arc<Order>, Issued)> =
            orders.iter().map(|order| (order, self.sign(order, &mut fresh))).collect();
        let saved = self.keep(&fresh, books);
        if saved.is_ok() {
            self.issued_mut().extend(fresh);
        }
        for (order, issued) in filled {
            // Nobody sees a certificate that a crash could undo.
            let result = saved.clone().and(issued);
            let _ = order.done.set(result);
        }
    }

    fn sign(&self, order: &Order, fresh: &mut HashMap<String, Arc<WorkloadCertificate>>) -> Issued {
        let hierarchy = self.hierarchy.load();
        let mut all = Vec::with_capacity(order.workloads.len());
        let mut made = Vec::new();
        for (workload, names) in &order.workloads {
            let just_made = fresh.get(workload).filter(|made| made.is_under(names)).cloned();
            let enough = if order.reuse { just_made.or_else(|| self.held(workload, names, order.now)) } else { None };
            let certificate = match enough {
                Some(enough) => enough,
                None => {
                    let new = Arc::new(leaf::issue(
                        &hierarchy.signer,
                        &self.settings,
                        names.id(),
                        &names.beside()?,
                        names.lifetime(),
                        order.now,
                    )?);
                    made.push((workload.clone(), Arc::clone(&new)));
                    new
                }
            };
            all.push(certificate);
        }
        fresh.extend(made);
        Ok(all)
    }

    fn keep(&self, fresh: &HashMap<String, Arc<WorkloadCertificate>>, books: &mut Books) -> Result<(), TrustError> {
        let signer = Arc::clone(&self.hierarchy.load().signer);
        if let Some(until) = fresh.values().map(|certificate| certificate.not_after).max()
            && signer.issued_until.load(Ordering::Acquire) < until.unix_timestamp()
        {
            self.reserve(books, &signer, until)?;
        }
        let records = fresh.iter().map(|(workload, certificate)| WorkloadRecord {
            workload: workload.clone(),
            chain_pem: certificate.chain_pem.clone(),
            key_pem: certificate.key_pem.clone(),
            issued_at: certificate.issued_at,
            renew_at: certificate.renew_at,
            not_after: certificate.not_after,
        });
        let records: Vec<_> = records.collect();
        let issued = fresh.values().map(|it| IssuedRecord {
            serial: it.serial.clone(),
            issuer: it.issuer.clone(),
            identity: it.id.to_string(),
            not_after: it.not_after,
        });
        if !records.is_empty() {
            self.store.save_workloads(&records, &issued.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
