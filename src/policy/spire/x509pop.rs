//! `NodeAttestor "x509pop"`: a node proves that it has the key of a certificate of a known authority, and is called after it.

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, Origin};
use super::plugins::shown;
use super::scalar::{Number, Text};
use super::template::{Piece, pieces};
use crate::identity::{SpiffeId, TrustDomain};

/// `NodeAttestor "x509pop"` in the mode `external_pki`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X509Pop {
    /// `ca_bundle_path` and `ca_bundle_paths`: PEM files.
    pub bundles: Vec<Located<String>>,
    /// `agent_path_template`. SPIRE's default is `/{{ .PluginName }}/{{ .Fingerprint }}`.
    pub agent_path: AgentPath,
}

/// What a node is called behind `spiffe://TRUST_DOMAIN/spire/agent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPath(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    PluginName,
    TrustDomain,
    Fingerprint,
    SerialNumber,
    CommonName,
}

/// What an [`AgentPath`] may name of a node's certificate.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// `.Fingerprint`: the SHA-1 of the certificate, in lower-case hexadecimal digits.
    pub fingerprint: &'a str,
    /// `.SerialNumberHex`: in lower-case hexadecimal digits.
    pub serial: &'a str,
    /// `.Subject.CommonName`; empty where there is none.
    pub common_name: &'a str,
}

const NAME: &str = "x509pop";

const FIELDS: [(&str, Field); 5] = [
    (".PluginName", Field::PluginName),
    (".TrustDomain", Field::TrustDomain),
    (".Fingerprint", Field::Fingerprint),
    (".SerialNumberHex", Field::SerialNumber),
    (".Subject.CommonName", Field::CommonName),
];

impl Default for AgentPath {
    fn default() -> Self {
        let text = |text: &str| Part::Text(text.to_owned());
        Self(vec![text("/"), Part::Field(Field::PluginName), text("/"), Part::Field(Field::Fingerprint)])
    }
}

impl AgentPath {
    /// Reads a template. The error says what in it is not known.
    fn parse(text: &str) -> Result<Self, String> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.to_owned())),
            Piece::Action(action) => {
                let known = FIELDS.iter().find(|(name, _)| *name == action);
                known.map(|(_, field)| Part::Field(*field)).ok_or_else(|| {
                    let fields = FIELDS.map(|(name, _)| name).join(", ");
                    format!("`{}` is not known here: what is, is {fields}", shown(action))
                })
            }
        };
        let parts: Vec<_> = pieces(text)?.into_iter().map(part).collect::<Result<_, _>>()?;
        match parts.first() {
            Some(Part::Text(first)) if first.starts_with('/') => Ok(Self(parts)),
            _ => Err("a path begins with `/`".to_owned()),
        }
    }

    /// The node's SPIFFE ID.
    ///
    /// # Errors
    /// What the certificate says does not make one: a part is empty, or has a `/` or another character that none may have.
    pub fn agent_id(&self, trust_domain: &TrustDomain, node: &NodeFacts<'_>) -> Result<SpiffeId, String> {
        let mut id = format!("{}/spire/agent", trust_domain.uri());
        for part in &self.0 {
            let text = match part {
                Part::Text(text) => text,
                Part::Field(Field::PluginName) => NAME,
                Part::Field(Field::TrustDomain) => trust_domain.as_str(),
                Part::Field(Field::Fingerprint) => node.fingerprint,
                Part::Field(Field::SerialNumber) => node.serial,
                Part::Field(Field::CommonName) => node.common_name,
            };
            // Whoever signs for one place in a path is not to be able to name another.
            if matches!(part, Part::Field(_)) && (text.is_empty() || text.contains('/')) {
                return Err(format!("agent_path_template: {:?} cannot be a part of a path", shown(text)));
            }
            id.push_str(text);
        }
        id.parse()
            .map_err(|error| format!("agent_path_template makes {:?}, which is no SPIFFE ID: {error}", shown(&id)))
    }
}

#[derive(Deserialize)]
pub(super) struct Raw {
    mode: Option<Located<Text>>,
    spiffe_prefix: Option<Located<Text>>,
    ca_bundle_path: Option<Located<Text>>,
    ca_bundle_paths: Option<Vec<Located<Text>>>,
    agent_path_template: Option<Located<Text>>,
    max_intermediates: Option<Located<Number>>,
    max_rsa_key_size: Option<Located<Number>>,
    verify_client_ip: Option<Located<bool>>,
}

/// Checks the plugin that begins at `at`.
pub(super) fn read(raw: Raw, at: &Origin, field: &str, report: &Report) -> Option<X509Pop> {
    if let Some(mode) = raw.mode.filter(|it| it.value.0 != "external_pki") {
        let help = "external_pki is, with ca_bundle_path";
        let message = format!("the mode {:?} is not served here", shown(&mode.value.0));
        report.error_with_help(&mode.at, field, message, help);
        return None;
    }
    let plain = |it: Located<Text>| Located::new(it.value.0, it.at);
    let (single, several) = (raw.ca_bundle_path.map(plain), raw.ca_bundle_paths.unwrap_or_default());
    // SPIRE refuses both too: it cannot be known which was meant.
    if let (Some(single), false) = (&single, several.is_empty()) {
        report.error(&single.at, field, "only one of ca_bundle_path and ca_bundle_paths can be used");
        return None;
    }
    let bundles: Vec<_> = single.into_iter().chain(several.into_iter().map(plain)).collect();
    if bundles.is_empty() {
        report.error(at, field, "ca_bundle_path or ca_bundle_paths must be set");
        return None;
    }
    let limits = [("max_intermediates", raw.max_intermediates), ("max_rsa_key_size", raw.max_rsa_key_size)];
    for (key, limit) in limits.into_iter().filter_map(|(key, it)| Some((key, it?))) {
        report.warn(&limit.at, format!("{key} has no effect here: the limits are this server's own"));
    }
    if let Some(verify) = raw.verify_client_ip.filter(|it| it.value) {
        report.error(&verify.at, field, "verify_client_ip is not served here");
    }
    if let Some(prefix) = raw.spiffe_prefix {
        report.warn(&prefix.at, "spiffe_prefix has no effect here: it belongs to the mode spiffe");
    }
    let agent_path = match raw.agent_path_template {
        None => AgentPath::default(),
        Some(text) => match AgentPath::parse(&text.value.0) {
            Ok(path) => path,
            Err(reason) => {
                report.error(&text.at, field, format!("agent_path_template: {reason}"));
                return None;
            }
        },
    };
    Some(X509Pop { bundles, agent_path })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeFacts<'_> = NodeFacts { fingerprint: "0a1b", serial: "7f", common_name: "node-1" };

    fn id(template: &str, node: &NodeFacts<'_>) -> Result<String, String> {
        let trust_domain = "example.org".parse().unwrap();
        AgentPath::parse(template)?.agent_id(&trust_domain, node).map(|id| id.to_string())
    }

    #[test]
    fn a_node_is_called_as_spire_calls_it() {
        let default = AgentPath::default().agent_id(&"example.org".parse().unwrap(), &NODE).unwrap();
        assert_eq!(default.to_string(), "spiffe://example.org/spire/agent/x509pop/0a1b");
        assert_eq!(AgentPath::parse("/{{ .PluginName }}/{{ .Fingerprint }}").unwrap(), AgentPath::default());
        let all = "/{{.TrustDomain}}/{{ .SerialNumberHex }}/cn/{{ .Subject.CommonName }}";
        assert_eq!(id(all, &NODE).unwrap(), "spiffe://example.org/spire/agent/example.org/7f/cn/node-1");
    }

    #[test]
    fn threat_04_a_name_in_a_certificate_reaches_no_other_place_of_the_path() {
        for common_name in ["", "a/b", "..", "../admin", "a b", "é", "a%2fb"] {
            let refused = id("/cn/{{ .Subject.CommonName }}", &NodeFacts { common_name, ..NODE });
            assert!(refused.is_err(), "{common_name:?}: {refused:?}");
        }
    }

    #[test]
    fn what_is_not_known_in_a_template_is_an_error() {
        assert_eq!(id("{{ .Fingerprint }}", &NODE).unwrap_err(), "a path begins with `/`");
        let error = id("/{{ .Subject.Country }}", &NODE).unwrap_err();
        assert!(error.starts_with("`.Subject.Country` is not known here: what is, is .PluginName,"), "{error}");
        assert!(id("/{{ .Fingerprint", &NODE).unwrap_err().contains("does not end"));
    }
}
