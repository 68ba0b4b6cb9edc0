//! stub
#![allow(missing_docs)]
use crate::mesh::*;
use std::collections::BTreeSet;
use std::net::SocketAddr;
#[derive(Clone)]
pub struct Settings {
    pub http_proxy: SocketAddr,
}
#[derive(Clone, Hash, PartialEq, Eq, Debug)]
pub struct ClassKey(String);
pub struct ClassPlan {
    pub secrets: BTreeSet<SecretName>,
}
pub struct ProxyPlan;
#[derive(Clone, Hash, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum SecretName {
    Workload,
    Root,
    FileRoot(String),
    FileCert { certificate: String, key: String },
    Credential { namespace: String, name: String, ca: bool },
}
impl std::fmt::Display for SecretName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
pub fn class_of(_: &Mesh, w: &Workload, _: &Settings) -> ClassKey {
    ClassKey(w.key.to_string())
}
pub fn class_plan(_: &Mesh, _: &Workload, _: &Settings) -> ClassPlan {
    ClassPlan { secrets: BTreeSet::new() }
}
pub fn proxy_plan(_: &Mesh, _: &Workload) -> ProxyPlan {
    ProxyPlan
}
