//! `plugins { TYPE "NAME" { plugin_data { … } } }`.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::super::decode::decode;
use super::super::document::{Entry, Node, Value};
use super::super::fields::Entries;
use super::super::report::Report;
use super::super::{Located, Origin};
use super::scalar::Text;
use super::x509pop::{self, X509Pop};

/// Where the keys of authorities are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyManager {
    /// In memory: a restart makes new ones.
    Memory,
    /// On disk.
    Disk,
}

/// `UpstreamAuthority "disk"`: who signs the server's authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamDisk {
    /// `cert_file_path`: its certificate, and behind it those between it and its root.
    pub certificate: String,
    /// `key_file_path`
    pub key: String,
    /// `bundle_file_path`: the roots. Without it the certificate is the root.
    pub bundle: Option<String>,
}

/// A way in which a new node proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAttestor {
    /// `join_token`: a secret that is used once.
    JoinToken,
    /// `x509pop`: the key of a certificate of one of these authorities.
    X509Pop(X509Pop),
    /// `k8s_psat`: a token of a service account, which a Kubernetes API has to verify.
    K8sPsat,
}

/// What the plugins say.
#[derive(Default)]
pub(super) struct Plugins {
    pub(super) store: Option<Located<String>>,
    pub(super) key_manager: Option<Located<KeyManager>>,
    pub(super) upstream: Option<Located<UpstreamDisk>>,
    pub(super) attestors: Vec<Located<NodeAttestor>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "fields that are read on their own, or only known")]
struct RawPlugin {
    plugin_cmd: Option<Located<Text>>,
    plugin_args: Option<IgnoredAny>,
    plugin_checksum: Option<IgnoredAny>,
    plugin_data: Option<Located<IgnoredAny>>,
    plugin_data_file: Option<Located<Text>>,
    enabled: Option<bool>,
}

/// The plugins that are served, by type.
const SERVED: [(&str, &[&str]); 7] = [
    ("DataStore", &["sql"]),
    ("KeyManager", &["disk", "memory"]),
    ("NodeAttestor", &["join_token", "x509pop"]),
    ("UpstreamAuthority", &["disk"]),
    ("Notifier", &[]),
    ("BundlePublisher", &[]),
    ("CredentialComposer", &[]),
];

/// Reads the block `plugins`.
pub(super) fn read(node: &Node, report: &Report) -> Plugins {
    let mut plugins = Plugins::default();
    for kind in entries(node, "plugins", report) {
        let Some((_, served)) = SERVED.iter().find(|(name, _)| *name == kind.key) else {
            let known = SERVED.map(|(name, _)| name).join(", ");
            let message = format!("SPIRE has no plugin type {:?}; its types are {known}", shown(&kind.key));
            report.error(&report.origin(kind.at), "plugins", message);
            continue;
        };
        for entry in entries(&kind.value, &format!("plugins.{}", kind.key), report) {
            Plugin { kind: &kind.key, served, entry, report }.read(&mut plugins);
        }
    }
    plugins
}

fn entries<'n>(node: &'n Node, field: &str, report: &Report) -> &'n [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::Null => &[],
        other => {
            report.error(&report.origin(node.at), field, format!("found {}, expected a block", other.describe()));
            &[]
        }
    }
}

struct Plugin<'a> {
    kind: &'a str,
    served: &'a [&'a str],
    entry: &'a Entry,
    report: &'a Report,
}

impl Plugin<'_> {
    fn read(&self, into: &mut Plugins) {
        let (name, report, at) = (self.entry.key.as_str(), self.report, self.at());
        let Some(raw) = decode::<RawPlugin>(&self.entry.value, &self.field(), report) else { return };
        if raw.enabled == Some(false) {
            return;
        }
        match raw.plugin_data_file {
            Some(file) if raw.plugin_data.is_some() => {
                return report.error(
                    &file.at,
                    &self.field(),
                    "only one of plugin_data and plugin_data_file can be used",
                );
            }
            Some(file) => {
                let help = "write its content into plugin_data";
                return report.error_with_help(&file.at, &self.field(), "plugin_data_file is not served here", help);
            }
            None => {}
        }
        if let Some(command) = raw.plugin_cmd.filter(|it| !it.value.0.is_empty()) {
            return report.error(
                &command.at,
                &self.field(),
                format!("external plugins are not run here; {}", self.instead()),
            );
        }
        match (self.kind, name) {
            ("DataStore", "sql") => into.store = self.once(into.store.take(), self.sql()),
            ("KeyManager", "memory") => {
                self.data::<Empty>();
                into.key_manager = self.once(into.key_manager.take(), Some(KeyManager::Memory));
            }
            ("KeyManager", "disk") => {
                if let Some(path) = self.data::<RawKeyManagerDisk>().and_then(|raw| raw.keys_path) {
                    report.warn(
                        &path.at,
                        "keys_path has no effect here: keys are in the DataStore, with everything else",
                    );
                }
                into.key_manager = self.once(into.key_manager.take(), Some(KeyManager::Disk));
            }
            ("UpstreamAuthority", "disk") => into.upstream = self.once(into.upstream.take(), self.upstream()),
            ("NodeAttestor", "join_token") => {
                self.data::<Empty>();
                into.attestors.push(Located::new(NodeAttestor::JoinToken, at));
            }
            ("NodeAttestor", "x509pop") => {
                let first = into.attestors.iter().find(|it| matches!(it.value, NodeAttestor::X509Pop(_)));
                if let Some(first) = first {
                    let message = format!("a second NodeAttestor \"x509pop\": there is one at {}", first.at);
                    return report.error(&at, "plugins", message);
                }
                let read = self.data().and_then(|raw| x509pop::read(raw, &at, &self.field(), report));
                into.attestors.extend(read.map(|it| Located::new(NodeAttestor::X509Pop(it), at)));
            }
            ("NodeAttestor", "k8s_psat") => {
                self.data::<RawPsat>();
                into.attestors.push(Located::new(NodeAttestor::K8sPsat, at));
            }
            ("Notifier", "k8sbundle") | ("BundlePublisher", "k8s_configmap") => {
                let message = format!(
                    "{} {name:?} has no effect here: no Kubernetes API is configured; `countersign bundle export` writes the bundle",
                    self.kind
                );
                report.warn(&at, message);
            }
            _ => {
                let message = format!("{} {:?} is not served here; {}", self.kind, shown(name), self.instead());
                report.error(&at, "plugins", message);
            }
        }
    }

    fn at(&self) -> Origin {
        self.report.origin(self.entry.at)
    }

    fn field(&self) -> String {
        format!("plugins.{}.{}", self.kind, shown(&self.entry.key))
    }

    fn instead(&self) -> String {
        match self.served {
            [] => format!("no {} is", self.kind),
            served => format!("{} is", served.join(" or ")),
        }
    }

    /// SPIRE has one of these, and refuses a second.
    fn once<T>(&self, before: Option<Located<T>>, now: Option<T>) -> Option<Located<T>> {
        match before {
            None => now.map(|value| Located::new(value, self.at())),
            Some(first) => {
                let message = format!("a second {}: there is one at {}", self.kind, first.at);
                self.report.error(&self.at(), "plugins", message);
                Some(first)
            }
        }
    }

    fn data<T: DeserializeOwned>(&self) -> Option<T> {
        let field = format!("{}.plugin_data", self.field());
        match self.entry.value.get("plugin_data") {
            Some(data) => decode(data, &field, self.report),
            // The same as an empty block.
            None => decode(&Node { at: self.entry.value.at, value: Value::Map(Vec::new()) }, &field, self.report),
        }
    }

    fn sql(&self) -> Option<String> {
        let mut raw: RawSql = self.data()?;
        let (field, report) = (self.field(), self.report);
        let missing = |key: &str| {
            report.error(&self.at(), &field, format!("{key} must be set"));
            None
        };
        match raw.database_type.take() {
            None => return missing("database_type"),
            Some(kind) if kind.value.0 == "sqlite3" => {}
            Some(kind) => {
                let message = format!("the database_type {:?} is not served here; sqlite3 is", shown(&kind.value.0));
                report.error(&kind.at, &field, message);
                return None;
            }
        }
        let Some(connection) = raw.connection_string.take() else { return missing("connection_string") };
        let text = connection.value.0.as_str();
        let (path, options) = match text.strip_prefix("file:") {
            Some(uri) => uri.split_once('?').map_or((uri, None), |(path, options)| (path, Some(options))),
            None => (text, None),
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path == ":memory:" || options.is_some_and(|options| options.contains("mode=memory")) {
            let help = "name a file: what is handed out has to survive a restart";
            report.error_with_help(&connection.at, &field, "a database in memory is not served here", help);
            return None;
        }
        if options.is_some() {
            report.warn(&connection.at, "the options of the connection_string have no effect here");
        }
        for (key, at) in raw.others() {
            report.warn(
                at,
                format!(
                    "{key} has no effect here: it is about a database on another machine, or a pool of connections"
                ),
            );
        }
        Some(path.to_owned())
    }

    fn upstream(&self) -> Option<UpstreamDisk> {
        let raw: RawUpstream = self.data()?;
        let text = |it: Option<Text>| it.map(|it| it.0).filter(|text| !text.is_empty());
        match (text(raw.cert_file_path), text(raw.key_file_path)) {
            (Some(certificate), Some(key)) => {
                Some(UpstreamDisk { certificate, key, bundle: text(raw.bundle_file_path) })
            }
            _ => {
                self.report.error(&self.at(), &self.field(), "cert_file_path and key_file_path must be set");
                None
            }
        }
    }
}

pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A plugin without keys of its own.
#[derive(Deserialize)]
struct Empty {}

#[derive(Deserialize)]
struct RawKeyManagerDisk {
    keys_path: Option<Located<Text>>,
}

#[derive(Deserialize)]
struct RawSql {
    database_type: Option<Located<Text>>,
    connection_string: Option<Located<Text>>,
    ro_connection_string: Option<Located<IgnoredAny>>,
    root_ca_path: Option<Located<IgnoredAny>>,
    client_cert_path: Option<Located<IgnoredAny>>,
    client_key_path: Option<Located<IgnoredAny>>,
    max_open_conns: Option<Located<IgnoredAny>>,
    max_idle_conns: Option<Located<IgnoredAny>>,
    conn_max_lifetime: Option<Located<IgnoredAny>>,
    disable_migration: Option<Located<IgnoredAny>>,
}

impl RawSql {
    fn others(&self) -> impl Iterator<Item = (&'static str, &Origin)> {
        let all = [
            ("ro_connection_string", &self.ro_connection_string),
            ("root_ca_path", &self.root_ca_path),
            ("client_cert_path", &self.client_cert_path),
            ("client_key_path", &self.client_key_path),
            ("max_open_conns", &self.max_open_conns),
            ("max_idle_conns", &self.max_idle_conns),
            ("conn_max_lifetime", &self.conn_max_lifetime),
            ("disable_migration", &self.disable_migration),
        ];
        all.into_iter().filter_map(|(key, it)| Some((key, &it.as_ref()?.at)))
    }
}

#[derive(Deserialize)]
struct RawUpstream {
    cert_file_path: Option<Text>,
    key_file_path: Option<Text>,
    bundle_file_path: Option<Text>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read for its mistakes: whoever verifies such tokens is a Kubernetes API")]
struct RawPsat {
    clusters: Option<Entries<RawPsatCluster>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read for its mistakes")]
struct RawPsatCluster {
    service_account_allow_list: Option<Vec<Text>>,
    audience: Option<Vec<Text>>,
    kube_config_file: Option<Text>,
    allowed_node_label_keys: Option<Vec<Text>>,
    allowed_pod_label_keys: Option<Vec<Text>>,
    use_pod_uid_for_agent_id: Option<bool>,
}
