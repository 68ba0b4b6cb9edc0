//! An authority that somebody else replaces when it is time, such as the one in the Secret of the mesh's issuer: what is to be done for it
//! to be the one that signs.

use time::OffsetDateTime;

use super::authority::Authority;
use super::brought::{certificates, checked, refused};
use super::certificate::pem_of;
use super::{AuthorityState, Brought, Change, RotationRecord, Serial, Standing, Trust, TrustError};

/// How an authority that is brought stands to the one that signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It signs, or will as soon as it may.
    Same,
    /// It is another one below the same root: whoever trusts that trusts it, so it may sign at once ([`Trust::import_authority`]).
    Intermediate,
    /// It is below another root, which nobody trusts yet: that takes a rotation ([`Trust::prepare_brought_root`]).
    Root,
}

/// The certificate at the end of a chain, as PEM: the root, where the chain has it.
///
/// # Errors
/// There is no certificate, or what there is cannot be read.
pub fn last_of(chain: &str) -> Result<String, TrustError> {
    Ok(certificates("the chain", chain)?.last().map(pem_of).unwrap_or_default())
}

impl Trust {
    /// How this authority stands to the one that signs.
    ///
    /// # Errors
    /// It cannot be read, or it is a root that had no key here when the mesh began, and so is not one that intermediates are made below.
    pub fn relation(&self, brought: &Brought<'_>) -> Result<Relation, TrustError> {
        let (chain, root) = (certificates("the chain", brought.chain)?, certificates("the root", brought.root)?);
        let hierarchy = self.hierarchy();
        if root.first() != Some(&hierarchy.root.der) {
            return Ok(Relation::Root);
        }
        let own = chain.first();
        if own == root.first() {
            let reason = "the mesh began with an intermediate below it, and takes other intermediates only";
            return if hierarchy.root.can_mint() { Ok(Relation::Same) } else { Err(refused("the root", reason)) };
        }
        let known = hierarchy.intermediates().find(|it| Some(&it.der) == own).map(|it| it.standing.state);
        Ok(match known {
            None => Relation::Intermediate,
            // One that has given way to another may come back, unless that was one of ours, which follow one another by themselves.
            Some(AuthorityState::Retired) if !hierarchy.root.can_mint() => Relation::Intermediate,
            Some(_) => Relation::Same,
        })
    }

    /// [`Trust::prepare_root`] with a root that is brought: with its key, and then an intermediate is made here, or with an intermediate
    /// below it. A root that the store knows already is refused.
    ///
    /// # Errors
    /// It would not be verified, or its intermediate is too near its end to sign when the rotation comes so far.
    pub fn prepare_brought_root(
        &self,
        brought: Brought<'_>,
        now: OffsetDateTime,
        record: impl FnOnce(Serial, Serial) -> RotationRecord,
    ) -> Result<RotationRecord, TrustError> {
        let mut books = self.books();
        let (mut root, mut below) = checked(&*self.store, &self.settings, brought, now)?;
        let intermediate = Authority::from_record(&below)?;
        if !self.has_time(&intermediate, now) {
            let reason =
                format!("it ends at {}, too soon to sign when the rotation is there", intermediate.info.not_after);
            return Err(refused(&intermediate.info.subject, reason));
        }
        if books.records.iter().any(|it| it.serial == root.serial) {
            return Err(refused("the root", "the store has, or had, a root with this serial number: make a new one"));
        }
        root.standing = Standing { state: AuthorityState::Prepared, trusted: false };
        below.standing.state = AuthorityState::Prepared;
        let rotation = record(self.root(), root.serial.clone());
        let change = Change { add: vec![root, below], rotation: Some(rotation.clone()), ..Change::default() };
        self.apply(&mut books, change)?;
        self.refresh_lists(&mut books, now)?;
        Ok(rotation)
    }
}
