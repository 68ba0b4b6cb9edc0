//! stub
#![allow(missing_docs)]
use crate::plan::*;
pub struct EncodedResource {
    pub type_url: &'static str,
    pub name: String,
    pub value: bytes::Bytes,
}
pub fn class_resources(_: &ClassPlan) -> Vec<EncodedResource> {
    vec![]
}
pub fn proxy_resources(_: &ProxyPlan) -> Vec<EncodedResource> {
    vec![]
}
