//! Envoy's admin interface, as far as the lab reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::LabError;
use super::http;

/// How long one admin request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A client of one Envoy's admin interface.
#[derive(Clone, Debug)]
pub struct EnvoyAdmin {
    name: String,
    address: SocketAddr,
}

/// The certificates that an Envoy holds, each TLS context's once.
#[derive(Clone, Debug, Default)]
pub struct HeldCertificates {
    /// Its own leaf certificates.
    pub leaves: Vec<HeldCertificate>,
    /// The certificates of issuers that follow a leaf in its chain.
    pub intermediates: Vec<HeldCertificate>,
    /// The roots that it trusts.
    pub roots: Vec<HeldCertificate>,
}

impl HeldCertificates {
    /// Whether a leaf with this serial number is in use; hexadecimal, leading zeros, case and colons do not matter.
    pub fn has_leaf(&self, serial: &str) -> bool {
        let wanted = normal_serial(serial);
        self.leaves.iter().any(|leaf| normal_serial(&leaf.serial) == wanted)
    }
}

/// One certificate as `/certs` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Its URI names.
    pub uris: Vec<String>,
    /// `notAfter`, RFC 3339.
    pub expires: String,
}

fn normal_serial(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect();
    digits.trim_start_matches('0').to_owned()
}

impl EnvoyAdmin {
    /// The admin interface at `address`; `name` is for messages.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> Self {
        Self { name: name.into(), address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `GET path`; an answer other than 200 is an error.
    pub async fn get(&self, path: &str) -> Result<String, LabError> {
        let answer = http::get(self.address, "envoy-admin", path, LIMIT).await?;
        match answer.status.is_success() {
            true => Ok(answer.text()),
            false => Err(self.unusable(format!("{path} answered {}: {}", answer.status, answer.text().trim()))),
        }
    }

    /// `None` if Envoy is ready, else its state (`INITIALIZING`, `PRE_INITIALIZING`, `DRAINING`).
    pub async fn ready(&self) -> Result<Option<String>, LabError> {
        let answer = http::get(self.address, "envoy-admin", "/ready", LIMIT).await?;
        Ok(if answer.status.is_success() { None } else { Some(answer.text().trim().to_owned()) })
    }

    /// Counters and gauges whose name begins with `prefix`. Histograms and text readouts are left out.
    pub async fn stats(&self, prefix: &str) -> Result<BTreeMap<String, u64>, LabError> {
        // The filter is a regular expression in a query: everything that means something in either becomes a dot.
        let filter: String =
            prefix.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '.' }).collect();
        let text = self.get(&format!("/stats?filter=^{filter}")).await?;
        let values = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(values.filter(|(name, _): &(String, u64)| name.starts_with(prefix)).collect())
    }

    /// One counter or gauge; 0 if Envoy does not have it (most appear with their first use).
    pub async fn stat(&self, name: &str) -> Result<u64, LabError> {
        Ok(self.stats(name).await?.get(name).copied().unwrap_or(0))
    }

    /// Waits until `done` holds for the value of a counter or gauge, and returns the value.
    pub async fn wait_stat(&self, name: &str, limit: Duration, done: impl Fn(u64) -> bool) -> Result<u64, LabError> {
        let deadline = Instant::now() + limit;
        loop {
            let value = self.stat(name).await?;
            if done(value) {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                return Err(self.unusable(format!("{name} is still {value} after {limit:?}")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What `/certs` shows.
    pub async fn certs(&self) -> Result<HeldCertificates, LabError> {
        let text = self.get("/certs").await?;
        let answer: Certs = serde_json::from_str(&text).map_err(|e| self.unusable(format!("/certs: {e}")))?;
        let mut held = HeldCertificates::default();
        for context in answer.certificates {
            let mut chain = context.cert_chain.into_iter().map(HeldCertificate::from);
            held.leaves.extend(chain.next());
            held.intermediates.extend(chain);
            held.roots.extend(context.ca_cert.into_iter().map(HeldCertificate::from));
        }
        Ok(held)
    }

    /// What `/config_dump?include_eds` shows.
    pub async fn config_dump(&self) -> Result<serde_json::Value, LabError> {
        let text = self.get("/config_dump?include_eds").await?;
        serde_json::from_str(&text).map_err(|e| self.unusable(format!("/config_dump: {e}")))
    }

    fn unusable(&self, reason: String) -> LabError {
        LabError::Admin { name: self.name.clone(), reason }
    }
}

#[derive(Deserialize)]
struct Certs {
    #[serde(default)]
    certificates: Vec<CertsContext>,
}

#[derive(Deserialize)]
struct CertsContext {
    #[serde(default)]
    ca_cert: Vec<CertsEntry>,
    #[serde(default)]
    cert_chain: Vec<CertsEntry>,
}

#[derive(Deserialize)]
struct CertsEntry {
    #[serde(default)]
    serial_number: String,
    #[serde(default)]
    subject_alt_names: Vec<CertsName>,
    #[serde(default)]
    expiration_time: String,
}

#[derive(Deserialize)]
struct CertsName {
    uri: Option<String>,
}

impl From<CertsEntry> for HeldCertificate {
    fn from(entry: CertsEntry) -> Self {
        let uris = entry.subject_alt_names.into_iter().filter_map(|name| name.uri).collect();
        Self { serial: entry.serial_number, uris, expires: entry.expiration_time }
    }
}
