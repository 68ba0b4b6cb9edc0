//! What takes two values to be wrong.

use std::net::IpAddr;

use super::{Certificates, Config, ConfigError, value};

impl Config {
    /// Refuses values that do not go together. [`Config::load`] has done this.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key, message: String| Err(ConfigError::Invalid { key, message });
        let Certificates { workload_ttl, intermediate_ttl, root_ttl, .. } = self.certificates;
        let show = humantime::format_duration;
        if workload_ttl > intermediate_ttl {
            return invalid(
                "certificates.workloadTtl",
                format!(
                    "{} is longer than certificates.intermediateTtl ({}): a certificate cannot outlive its issuer",
                    show(workload_ttl),
                    show(intermediate_ttl)
                ),
            );
        }
        let names_upstream = self.spire.as_ref().is_some_and(|spire| spire.upstream.is_some());
        if self.trust.issuer.is_some() && names_upstream && self.spire_is_named {
            let message = "the server.conf has an UpstreamAuthority, and there is one root: remove one of the two";
            return invalid("trust.issuer", message.to_owned());
        }
        if intermediate_ttl > root_ttl {
            return invalid(
                "certificates.intermediateTtl",
                format!(
                    "{} is longer than certificates.rootTtl ({}): a certificate cannot outlive its issuer",
                    show(intermediate_ttl),
                    show(root_ttl)
                ),
            );
        }
        if self.federates_with.contains(&self.trust_domain) {
            let message = format!("{} is our own trust domain: list the others only", self.trust_domain);
            return invalid("federatesWith", message);
        }
        if let Some(written) = &self.mesh_config.trust_domain
            && written.value != self.trust_domain.as_str()
        {
            return invalid(
                "meshConfig.trustDomain",
                format!(
                    "{} ({}) is not trustDomain, which is {}: make them the same",
                    written.value, written.at, self.trust_domain
                ),
            );
        }
        if self.xds.insecure_plaintext && !self.xds.address.ip().to_canonical().is_loopback() {
            return invalid(
                "xds.insecurePlaintext",
                format!("allowed on a loopback address only, and xds.address is {}", self.xds.address),
            );
        }
        if let Some((key, message)) = self.xds.limits.mistake() {
            return invalid(key, message.to_owned());
        }
        for name in &self.xds.dns_names {
            if name.parse::<IpAddr>().is_err() && value::check_name(name).is_err() {
                return invalid("xds.dnsNames", format!("`{name}` is neither a DNS name nor an IP address"));
            }
        }
        Ok(())
    }
}
