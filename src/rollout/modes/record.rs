//! What every port serves, as it is kept: JSON that an operator can read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Left, ModeRollout, Port};
use crate::mesh::{Step, WorkloadKey, decide::InboundMode};

/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// Why a record is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadModeRecord {
    /// It is cut off, or was changed by somebody.
    #[error("it is not a record of modes: {0}")]
    Json(#[from] serde_json::Error),
    /// A newer server has written it.
    #[error("it has format {0}, and this version knows format {FORMAT}")]
    Format(u32),
    /// A name in it is none.
    #[error("`{0}` is not NAMESPACE/NAME")]
    Workload(String),
}

/// What every port serves, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModeRecord {
    format: u32,
    /// Times are for people: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step_at: Option<String>,
    ports: BTreeMap<String, BTreeMap<u16, KeptPort>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    left: BTreeMap<String, KeptLeft>,
}

/// Unix seconds: this time is not for people alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptLeft {
    at: i64,
    ports: BTreeMap<u16, KeptPort>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum KeptPort {
    Settled(InboundMode),
    Moving { from: InboundMode, to: InboundMode, step: Step },
}

impl From<Port> for KeptPort {
    fn from(port: Port) -> Self {
        match port {
            Port::Settled(mode) => Self::Settled(mode),
            Port::Moving { from, to, step } => Self::Moving { from, to, step },
        }
    }
}

impl From<KeptPort> for Port {
    fn from(kept: KeptPort) -> Self {
        match kept {
            KeptPort::Settled(mode) => Self::Settled(mode),
            KeptPort::Moving { from, to, step } => Self::Moving { from, to, step },
        }
    }
}

impl ModeRecord {
    /// Reads what [`ModeRecord::to_json`] has written.
    pub fn from_json(text: &[u8]) -> Result<Self, BadModeRecord> {
        let record: Self = serde_json::from_slice(text)?;
        if record.format == FORMAT { Ok(record) } else { Err(BadModeRecord::Format(record.format)) }
    }

    /// As text.
    pub fn to_json(&self) -> Vec<u8> {
        // A map of text and numbers is always JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl From<&ModeRollout> for ModeRecord {
    fn from(rollout: &ModeRollout) -> Self {
        let of = |ports: &BTreeMap<u16, Port>| ports.iter().map(|(number, port)| (*number, (*port).into())).collect();
        let ports = rollout.ports.iter().map(|(workload, ports)| (workload.to_string(), of(ports)));
        let left = rollout.left.iter().map(|(workload, left)| {
            (workload.to_string(), KeptLeft { at: left.at.unix_timestamp(), ports: of(&left.ports) })
        });
        Self {
            format: FORMAT,
            started_at: rollout.started_at.and_then(|at| at.format(&Rfc3339).ok()),
            step_at: rollout.step_at.and_then(|at| at.format(&Rfc3339).ok()),
            ports: ports.collect(),
            left: left.collect(),
        }
    }
}

impl TryFrom<ModeRecord> for ModeRollout {
    type Error = BadModeRecord;

    fn try_from(record: ModeRecord) -> Result<Self, BadModeRecord> {
        let key = |name: String| name.parse::<WorkloadKey>().map_err(|_| BadModeRecord::Workload(name));
        let of = |kept: BTreeMap<u16, KeptPort>| kept.into_iter().map(|(number, port)| (number, port.into())).collect();
        let (mut all, mut left) = (BTreeMap::new(), BTreeMap::new());
        for (name, kept) in record.ports {
            all.insert(key(name)?, of(kept));
        }
        for (name, kept) in record.left {
            // What is out of range was long ago.
            let at = OffsetDateTime::from_unix_timestamp(kept.at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            left.insert(key(name)?, Left { at, ports: of(kept.ports) });
        }
        let time = |text: Option<String>| OffsetDateTime::parse(&text?, &Rfc3339).ok();
        Ok(Self { ports: Arc::new(all), left, started_at: time(record.started_at), step_at: time(record.step_at) })
    }
}
