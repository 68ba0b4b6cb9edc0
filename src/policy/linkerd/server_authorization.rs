//! Linkerd `ServerAuthorization` (`policy.linkerd.io/v1beta1`): who may connect to Servers.

use serde::Deserialize;

use super::super::report::Report;
use super::super::{Located, Origin, host};
use super::identity::{self, Identity};
use super::network::{self, ClientNetwork, RawNetwork};
use super::selector::{self, RawSelector, Selector};

/// The spec of a `ServerAuthorization`.
#[derive(Clone, Debug)]
pub struct ServerAuthorization {
    /// `server`: which Servers of the namespace.
    pub server: ServerRef,
    /// `client.networks`; empty: from everywhere.
    pub networks: Vec<ClientNetwork>,
    /// `client.unauthenticated` and `client.meshTLS`.
    pub authentication: ClientAuthentication,
}

/// `server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerRef {
    /// `name`.
    Name(Located<String>),
    /// `selector`: by the Servers' own labels.
    Selector(Selector),
}

/// What a client has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// Nothing.
    Unauthenticated,
    /// TLS of the mesh, under whatever identity: `unauthenticatedTLS`.
    AnyTls,
    /// TLS of the mesh, under one of these identities.
    Identities(Vec<Located<Identity>>),
}

#[derive(Deserialize)]
pub(in super::super) struct Raw {
    server: Located<RawServer>,
    client: Located<RawClient>,
}

#[derive(Deserialize)]
struct RawServer {
    name: Option<Located<String>>,
    selector: Option<RawSelector>,
}

#[derive(Deserialize)]
struct RawClient {
    networks: Option<Located<Vec<Located<RawNetwork>>>>,
    #[serde(default)]
    unauthenticated: bool,
    #[serde(rename = "meshTLS")]
    mesh_tls: Option<Located<RawMeshTls>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeshTls {
    #[serde(rename = "unauthenticatedTLS", default)]
    unauthenticated_tls: bool,
    #[serde(default)]
    identities: Vec<Located<String>>,
    #[serde(default)]
    service_accounts: Vec<RawServiceAccount>,
}

#[derive(Deserialize)]
struct RawServiceAccount {
    name: Located<String>,
    namespace: Option<Located<String>>,
}

/// Checks an authorization as Linkerd's webhook does. What Linkerd takes and then ignores is an error here: somebody counts on it.
pub(in super::super) fn check(raw: Raw, report: &Report) -> ServerAuthorization {
    let RawServer { name, selector } = raw.server.value;
    let server = match (name, selector) {
        (Some(name), None) => ServerRef::Name(name),
        (None, Some(selector)) => ServerRef::Selector(selector::check(selector, "spec.server.selector", report)),
        (both, _) => {
            let message = if both.is_some() { "name beside selector" } else { "neither name nor selector" };
            report.error_with_help(&raw.server.at, "spec.server", message, "write one of the two");
            ServerRef::Selector(Selector::default())
        }
    };
    let Located { value: client, at } = raw.client;
    let networks = match client.networks {
        Some(networks) if networks.value.is_empty() => {
            let help = "leave the field out for clients from everywhere";
            report.error_with_help(&networks.at, "spec.client.networks", "the list is empty", help);
            Vec::new()
        }
        networks => network::check(networks.map(|it| it.value).unwrap_or_default(), "spec.client.networks", report),
    };
    ServerAuthorization {
        server,
        networks,
        authentication: authentication(client.unauthenticated, client.mesh_tls, &at, report),
    }
}

fn authentication(
    unauthenticated: bool,
    mesh_tls: Option<Located<RawMeshTls>>,
    at: &Origin,
    report: &Report,
) -> ClientAuthentication {
    let Some(Located { value: tls, at: tls_at }) = mesh_tls else {
        if !unauthenticated {
            let help = "write unauthenticated: true, or meshTLS with identities or serviceAccounts";
            report.error_with_help(at, "spec.client", "nobody is authorized", help);
        }
        return ClientAuthentication::Unauthenticated;
    };
    let field = "spec.client.meshTLS";
    if unauthenticated {
        let help = "remove one: unauthenticated lets in whoever meshTLS does";
        report.error_with_help(&tls_at, field, "meshTLS beside unauthenticated: true", help);
    }
    if tls.unauthenticated_tls {
        if !tls.identities.is_empty() || !tls.service_accounts.is_empty() {
            let help = "unauthenticatedTLS lets in every identity";
            report.error_with_help(&tls_at, field, "unauthenticatedTLS beside identities", help);
        }
        report.warn(
            &tls_at,
            format!("{field}.unauthenticatedTLS lets in every identity of the mesh; TLS without a client certificate is not taken here"),
        );
        return ClientAuthentication::AnyTls;
    }
    let mut identities = Vec::new();
    for written in &tls.identities {
        let read = identity::identity(written, &format!("{field}.identities"), report);
        identities.extend(read.map(|it| Located::new(it, written.at.clone())));
    }
    for account in tls.service_accounts {
        let at = account.name.at.clone();
        let namespace = account.namespace.map(|it| it.value);
        if !host::is_object_name(&account.name.value) || !namespace.as_deref().is_none_or(host::is_namespace) {
            report.error(&at, &format!("{field}.serviceAccounts"), "not a service account");
        }
        identities.push(Located::new(Identity::ServiceAccount { namespace, name: account.name.value }, at));
    }
    if identities.is_empty() && tls.identities.is_empty() {
        let help = "write identities, such as \"*\", or serviceAccounts";
        report.error_with_help(&tls_at, field, "nobody is authorized", help);
    }
    ClientAuthentication::Identities(identities)
}
