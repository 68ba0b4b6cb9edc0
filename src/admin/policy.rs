//! The routes that answer questions about policy.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::api::{is_host, is_workload_name};
use super::http::{answer, not_a_name, problem};
use super::{Backend, Failure};
use crate::analysis::Filter;

pub(super) fn routes<B: Backend>() -> Router<Arc<B>> {
    Router::new()
        .route("/v1/findings", get(findings::<B>))
        .route("/v1/tls-check", get(tls_check::<B>))
        .route("/v1/workload", get(workload::<B>))
        .route("/v1/service", get(service::<B>))
}

async fn findings<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.findings().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaysQuery {
    workload: Option<String>,
    host: Option<String>,
    port: Option<u16>,
}

async fn tls_check<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<WaysQuery>, QueryRejection>,
) -> Response {
    let WaysQuery { workload, host, port } = match query {
        Ok(Query(query)) => query,
        Err(rejected) => return bad_query(&rejected, "the parameters are `workload`, `host` and `port`"),
    };
    if let Some(bad) = workload.iter().find(|name| !is_workload_name(name)) {
        return answer::<()>(Err(not_a_name(bad)));
    }
    if let Some(bad) = host.iter().find(|host| !is_host(host)) {
        return answer::<()>(Err(not_a_host(bad)));
    }
    let workload = workload.and_then(|name| name.parse().ok());
    answer(backend.ways(Filter { workload, host, port }).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadQuery {
    name: String,
}

async fn workload<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<WorkloadQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(WorkloadQuery { name })) if !is_workload_name(&name) => answer::<()>(Err(not_a_name(&name))),
        Ok(Query(WorkloadQuery { name })) => answer(backend.describe_workload(name).await),
        Err(rejected) => bad_query(&rejected, "the only parameter is `name`"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceQuery {
    host: String,
}

async fn service<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<ServiceQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(ServiceQuery { host })) if !is_host(&host) => answer::<()>(Err(not_a_host(&host))),
        Ok(Query(ServiceQuery { host })) => answer(backend.describe_service(host).await),
        Err(rejected) => bad_query(&rejected, "the only parameter is `host`"),
    }
}

fn not_a_host(text: &str) -> Failure {
    Failure::Invalid(format!("`{}` is not a host name", text.escape_default()), String::new())
}

fn bad_query(rejected: &QueryRejection, help: &str) -> Response {
    problem(rejected.status(), &rejected.body_text(), help)
}
