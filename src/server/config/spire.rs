//! What a SPIRE `server.conf` sets, beside the server's own configuration file.
//!
//! `--spire-config` names one; without it, the ConfigMap `spire-server` of the policy directory is one. Flags go before both. Where the
//! configuration file says something else than the file of `--spire-config`, that is an error that names both places. A ConfigMap is part of
//! the policy, and keeps no server from starting: there the configuration file counts, and a ConfigMap for another trust domain counts for
//! nothing.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::{Config, ConfigError, MINIMUM_TTL, Overrides};
use crate::policy::{self, CaKeyType, Located, LogLevel, Origin, PolicyError, SpireServer, UpstreamDisk, Warning};
use crate::source;
use crate::trust::KeyAlgorithm;

/// The keys of the configuration file that a `server.conf` has too.
pub(super) const SHARED: [&str; 6] = [
    "trustDomain",
    "dataDir",
    "xds.address",
    "certificates.intermediateTtl",
    "certificates.workloadTtl",
    "certificates.authorityKey",
];

/// Where they stand in the configuration file.
pub(super) type Places = BTreeMap<&'static str, Origin>;

/// The file of `--spire-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpireFile {
    /// The file.
    pub path: PathBuf,
    /// `--expand-env`: variables of the environment in it are replaced by their values.
    pub expand_env: bool,
}

impl SpireFile {
    fn read(&self) -> Result<(SpireServer, Vec<Warning>), ConfigError> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|source| ConfigError::Read { path: self.path.clone(), source })?;
        let variable = |name: &str| std::env::var(name).ok();
        let environment: Option<policy::Environment<'_>> = if self.expand_env { Some(&variable) } else { None };
        policy::parse_spire_config(&self.path.display().to_string(), &text, environment).map_err(ConfigError::Parse)
    }
}

impl Config {
    /// Takes the `server.conf` in, if there is one. The flags have been applied; `written` is what the configuration file says.
    pub(super) fn take_spire(&mut self, overrides: &Overrides, written: &Places) -> Result<(), ConfigError> {
        match &overrides.spire {
            Some(file) => {
                let (server, warnings) = file.read()?;
                self.warnings.extend(warnings);
                self.put_spire(server, overrides, written, true)
            }
            None => match source::spire_server(&self.policy.directory).map_err(ConfigError::Parse)? {
                Some(server) => self.put_spire(server, overrides, written, false),
                None => Ok(()),
            },
        }
    }

    fn put_spire(
        &mut self,
        server: SpireServer,
        overrides: &Overrides,
        written: &Places,
        strict: bool,
    ) -> Result<(), ConfigError> {
        let mut put = Put { written, strict, warnings: Vec::new() };
        let domain = &server.trust_domain;
        let is_said = overrides.trust_domain.is_some() || written.contains_key("trustDomain");
        if !strict && is_said && self.trust_domain.as_str() != domain.value {
            let message = format!(
                "nothing of this server.conf is applied: it is for the trust domain {}, and this server's is {}",
                domain.value, self.trust_domain
            );
            self.warnings.push(Warning::new(domain.at.clone(), message));
            return Ok(());
        }
        let trust_domain = domain.value.parse().map_err(|error| Put::wrong(&domain.at, format!("{error}")))?;
        let trust_domain = Located::new(trust_domain, domain.at.clone());
        put.one("trustDomain", overrides.trust_domain.is_some(), &mut self.trust_domain, Some(trust_domain), None)?;
        let data_dir = Located::new(PathBuf::from(&server.data_dir.value), server.data_dir.at.clone());
        put.one("dataDir", overrides.data_dir.is_some(), &mut self.data_dir, Some(data_dir), None)?;
        if overrides.xds.is_none() {
            let (place, is_written) = place_of_bind(&server);
            let address = Located::new(resolve(server.bind(), place)?, place.clone());
            let (value, default) = if is_written { (Some(address), None) } else { (None, Some(address.value)) };
            put.one("xds.address", false, &mut self.xds.address, value, default)?;
        }
        let key = server.ca_key_type.as_ref().map(|it| Located::new(algorithm(it.value), it.at.clone()));
        put.one("certificates.authorityKey", false, &mut self.certificates.authority_key, key, None)?;
        if let Some(ttl) = [&server.ca_ttl, &server.svid_ttl].into_iter().flatten().find(|it| it.value < MINIMUM_TTL) {
            let least = humantime::format_duration(MINIMUM_TTL);
            let message = format!("this leaves no time to renew: a certificate lives at least {least}");
            return Err(Put::wrong(&ttl.at, message));
        }
        let (ca, svid) = (server.ca_ttl.clone(), server.svid_ttl.clone());
        let certificates = &mut self.certificates;
        put.one(
            "certificates.intermediateTtl",
            false,
            &mut certificates.intermediate_ttl,
            ca,
            Some(SpireServer::CA_TTL),
        )?;
        put.one("certificates.workloadTtl", false, &mut certificates.workload_ttl, svid, Some(SpireServer::SVID_TTL))?;
        // SPIRE cuts an SVID short where its CA does not live as long, and says so at the start.
        certificates.workload_ttl = certificates.workload_ttl.min(certificates.intermediate_ttl);
        certificates.root_ttl = certificates.root_ttl.max(certificates.intermediate_ttl);
        for other in &server.federates_with {
            let other = other.value.parse().map_err(|error| Put::wrong(&other.at, format!("{error}")))?;
            if !self.federates_with.contains(&other) && other != self.trust_domain {
                self.federates_with.push(other);
            }
        }
        if let (Some(upstream), Some(issuer), false) = (&server.upstream, &self.trust.issuer, strict) {
            let message = format!("the UpstreamAuthority has no effect: the root is that of trust.issuer, {issuer}");
            put.warnings.push(Warning::new(upstream.at.clone(), message));
        }
        self.warnings.append(&mut put.warnings);
        (self.spire, self.spire_is_named) = (Some(server), strict);
        Ok(())
    }

    /// The file of the store: that of SPIRE's `DataStore`, or one in the data directory.
    pub(in crate::server) fn store_file(&self, name: &str) -> PathBuf {
        match &self.spire {
            Some(spire) => PathBuf::from(&spire.store.value),
            None => self.data_dir.join(name),
        }
    }

    /// SPIRE's `UpstreamAuthority`. Where the mesh's root is an issuer's, that of a ConfigMap is not asked: there is one root.
    pub(in crate::server) fn upstream(&self) -> Option<&Located<UpstreamDisk>> {
        self.spire.as_ref()?.upstream.as_ref().filter(|_| self.trust.issuer.is_none())
    }

    /// The log level of a `server.conf`, as a filter.
    pub fn log_level(&self) -> Option<&'static str> {
        let level = self.spire.as_ref()?.log_level.as_ref()?;
        Some(match level.value {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        })
    }
}

fn algorithm(kind: CaKeyType) -> KeyAlgorithm {
    match kind {
        CaKeyType::EcP256 => KeyAlgorithm::P256,
        CaKeyType::EcP384 => KeyAlgorithm::P384,
        CaKeyType::Rsa2048 => KeyAlgorithm::Rsa2048,
        CaKeyType::Rsa4096 => KeyAlgorithm::Rsa4096,
    }
}

fn place_of_bind(server: &SpireServer) -> (&Origin, bool) {
    let places = [server.bind_port.as_ref().map(|it| &it.at), server.bind_address.as_ref().map(|it| &it.at)];
    let written = places.into_iter().flatten().next();
    (written.unwrap_or(&server.at), written.is_some())
}

fn resolve((host, port): (&str, u16), at: &Origin) -> Result<SocketAddr, ConfigError> {
    let found = (host, port).to_socket_addrs().map(|mut all| all.next());
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Put::wrong(at, format!("bind_address: {host} has no address"))),
        Err(error) => Err(Put::wrong(at, format!("bind_address: {host} cannot be resolved: {error}"))),
    }
}

/// Settings on their way from a `server.conf` into a configuration.
struct Put<'a> {
    written: &'a Places,
    /// Whether a disagreement is an error.
    strict: bool,
    warnings: Vec<Warning>,
}

/// A setting's text in messages.
trait Shown {
    fn shown(&self) -> String;
}

impl Put<'_> {
    fn wrong(at: &Origin, message: String) -> ConfigError {
        ConfigError::Parse(vec![PolicyError::new(at.clone(), "", message)])
    }

    /// Puts one value where neither a flag nor the configuration file has said another. `default` is SPIRE's own, which gives way to both.
    fn one<T: PartialEq + Shown>(
        &mut self,
        key: &'static str,
        is_flag: bool,
        into: &mut T,
        value: Option<Located<T>>,
        default: Option<T>,
    ) -> Result<(), ConfigError> {
        if is_flag {
            return Ok(());
        }
        match (value, self.written.get(key)) {
            (Some(new), Some(place)) if new.value != *into => {
                let (ours, theirs) = (into.shown(), new.value.shown());
                if self.strict {
                    let message = format!(
                        "{key} is {ours} at {place}, and {theirs} here: make them the same, or leave one of them out"
                    );
                    return Err(Self::wrong(&new.at, message));
                }
                let message = format!("{theirs} has no effect: {key} is {ours} at {place}");
                self.warnings.push(Warning::new(new.at, message));
            }
            (Some(new), _) => *into = new.value,
            (None, Some(_)) => {}
            (None, None) => {
                if let Some(default) = default {
                    *into = default;
                }
            }
        }
        Ok(())
    }
}

impl Shown for crate::identity::TrustDomain {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for SocketAddr {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for KeyAlgorithm {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}
