//! The routes about Certificates of operators' own issuers.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};

use super::Backend;
use super::api::{ExportCertificateRequest, RenewCertificatesRequest, is_workload_name};
use super::http::{answer, bad_body, not_a_name};

pub(super) fn routes<B: Backend>() -> Router<Arc<B>> {
    Router::new()
        .route("/v1/certificates", get(certificates::<B>))
        .route("/v1/certificates/renew", post(renew::<B>))
        .route("/v1/certificates/export", post(export::<B>))
}

async fn certificates<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.certificates().await)
}

async fn renew<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RenewCertificatesRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => match request.certificates.iter().find(|name| !is_workload_name(name)) {
            Some(bad) => answer::<()>(Err(not_a_name(bad))),
            None => answer(backend.renew_certificates(request).await),
        },
        Err(rejected) => bad_body(&rejected),
    }
}

async fn export<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<ExportCertificateRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) if !is_workload_name(&request.certificate) => {
            answer::<()>(Err(not_a_name(&request.certificate)))
        }
        Ok(Json(request)) => answer(backend.export_certificate(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}
