//! What is remembered of a Certificate besides its Secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::request::Request;

/// How many events are remembered.
const MAX_EVENTS: usize = 20;

/// It is in the store as JSON, beside the Secret's entries. There is no secret in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Rises by one with each certificate.
    pub(super) revision: u64,
    /// The Secret that holds it.
    pub(super) secret: String,
    /// What was asked for. Empty: it was not issued here.
    pub(super) request: Request,
    /// `Kind/name` of who has issued it.
    pub(super) issuer: String,
    /// The fingerprint of the authority that has signed it. Empty: it was not issued here.
    pub(super) authority: String,
    /// Of the Secret.
    pub(super) annotations: BTreeMap<String, String>,
    /// Of the Secret.
    pub(super) labels: BTreeMap<String, String>,
    /// The digest of the directory's Secret of this name that was last looked at.
    pub(super) seen: Option<String>,
    /// Whether the Secret is the directory's.
    pub(super) is_adopted: bool,
    /// Failures since the last success.
    pub(super) failures: u32,
    /// The last of them.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(super) failed_at: Option<OffsetDateTime>,
    /// What was tried then; another spec or authority is tried at once.
    pub(super) failed_with: String,
    /// An operator wants another one.
    pub(super) wanted: bool,
    /// `Ready`, and `Issuing` while there is something to say about it.
    pub(super) conditions: Vec<Condition>,
    /// The last ones.
    pub(super) events: Vec<Event>,
}

/// What is so, and since when: as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready` or `Issuing`.
    pub r#type: String,
    /// Whether it is so.
    pub status: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When `status` last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether it needs somebody's attention.
    pub is_warning: bool,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// `Ready`.
pub(super) const READY: &str = "Ready";
/// `Issuing`.
pub(super) const ISSUING: &str = "Issuing";

impl State {
    /// What is so from now on; since when, if that was so before.
    pub(super) fn set(&mut self, r#type: &str, status: bool, reason: &str, message: &str, now: OffsetDateTime) {
        let before = self.conditions.iter().find(|it| it.r#type == r#type);
        let since = before.filter(|it| it.status == status).map_or(now, |it| it.since);
        let (reason, message) = (reason.to_owned(), message.to_owned());
        let condition = Condition { r#type: r#type.to_owned(), status, reason, message, since };
        match self.conditions.iter_mut().find(|it| it.r#type == r#type) {
            Some(place) => *place = condition,
            None => self.conditions.push(condition),
        }
    }

    /// Nothing is said of it any more.
    pub(super) fn unset(&mut self, r#type: &str) {
        self.conditions.retain(|it| it.r#type != r#type);
    }

    /// One more event, unless it is what the last one said.
    pub(super) fn tell(&mut self, is_warning: bool, reason: &str, message: &str, now: OffsetDateTime) {
        if self.events.last().is_some_and(|last| last.reason == reason && last.message == message) {
            return;
        }
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.events.push(Event { at: now, is_warning, reason, message });
        let over = self.events.len().saturating_sub(MAX_EVENTS);
        self.events.drain(..over);
    }
}
