//! The routes that change or tell whom the mesh trusts.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::Backend;
use super::api::{ImportAuthorityRequest, ImportBundleRequest, RemoveBundleRequest};
use super::http::{answer, bad_body, problem};

pub(super) fn routes<B: Backend>() -> Router<Arc<B>> {
    Router::new()
        .route("/v1/bundles", get(bundles::<B>))
        .route("/v1/bundle", get(bundle::<B>))
        .route("/v1/bundles/import", post(import_bundle::<B>))
        .route("/v1/bundles/remove", post(remove_bundle::<B>))
        .route("/v1/ca/csr", post(request_authority::<B>))
        .route("/v1/ca/import", post(import_authority::<B>))
}

async fn bundles<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.bundles().await)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BundleQuery {
    trust_domain: Option<String>,
}

async fn bundle<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<BundleQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(BundleQuery { trust_domain })) => answer(backend.bundle(trust_domain).await),
        Err(rejected) => problem(rejected.status(), &rejected.body_text(), "the only parameter is `trustDomain`"),
    }
}

async fn import_bundle<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<ImportBundleRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.import_bundle(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn remove_bundle<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RemoveBundleRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.remove_bundle(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn request_authority<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.request_authority().await)
}

async fn import_authority<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<ImportAuthorityRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.import_authority(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}
