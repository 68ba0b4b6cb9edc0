//! The routes, who may take them, and what an error looks like.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::api::{
    AdoptionRequest, BootstrapRequest, MAX_TOKEN_SECONDS, MAX_WAIT_SECONDS, ModeChangeRequest, Problem, RevokeRequest,
    RevokeTokenRequest, RootRotationRequest, RotateRequest, TokenRequest, is_workload_name,
};
use super::token::Token;
use super::{Backend, Failure};
use crate::telemetry::Throttle;

/// The largest request body: 1 MiB, some thousands of workload names.
const MAX_BODY: usize = 1 << 20;
/// What a line repeats of a stranger's path, in characters.
const PATH_SHOWN: usize = 128;
/// How long any request may take that does not wait for proxies.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Everything, for callers that the socket's mode has let in.
pub(super) fn trusted<B: Backend>(backend: Arc<B>) -> Router {
    open(Arc::clone(&backend)).merge(api(backend).fallback(no_such_path))
}

/// Probes and metrics, and with a token the rest for whoever presents it.
pub(super) fn exposed<B: Backend>(backend: Arc<B>, token: Option<Token>) -> Router {
    let open_routes = open(Arc::clone(&backend));
    match token {
        None => open_routes.fallback(only_on_the_socket),
        Some(token) => {
            let guarded = api(backend).fallback(no_such_path);
            let lock = Arc::new(Lock { token, lines: Throttle::new(Duration::from_secs(1)) });
            open_routes.merge(guarded.layer(middleware::from_fn_with_state(lock, authenticate)))
        }
    }
}

fn open<B: Backend>(backend: Arc<B>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready::<B>))
        .route("/metrics", get(metrics::<B>))
        .with_state(backend)
}

fn api<B: Backend>(backend: Arc<B>) -> Router {
    let quick = Router::new()
        .route("/v1/status", get(status::<B>))
        .route("/v1/proxies", get(proxies::<B>))
        .route("/v1/secrets", get(secrets::<B>))
        .merge(super::policy::routes::<B>())
        .merge(super::authority::routes::<B>())
        .merge(super::certificates::routes::<B>())
        .route("/v1/bootstrap", post(bootstrap::<B>))
        .route("/v1/rotate/root", get(root_rotation::<B>).post(rotate_root::<B>))
        .route("/v1/rotate/intermediate", post(rotate_intermediate::<B>))
        .route("/v1/rollout", get(mode_change::<B>).post(advance_mode_change::<B>))
        .route("/v1/revoke", post(revoke::<B>))
        .route("/v1/revocations", get(revocations::<B>))
        .route("/v1/tokens", get(tokens::<B>).post(create_token::<B>))
        .route("/v1/tokens/revoke", post(revoke_token::<B>))
        .layer(middleware::from_fn_with_state(TIMEOUT, within));
    let waiting = Router::new()
        .route("/v1/adoption", get(adoption::<B>))
        .route("/v1/rotate/workload", post(rotate::<B>))
        .layer(middleware::from_fn_with_state(TIMEOUT + Duration::from_secs(2 * MAX_WAIT_SECONDS), within));
    quick
        .merge(waiting)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(backend)
}

/// What is before the API on a port.
struct Lock {
    token: Token,
    /// Whoever reaches the port can cause them.
    lines: Throttle,
}

async fn authenticate(State(lock): State<Arc<Lock>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let presented = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(bearer);
    if presented.is_some_and(|presented| lock.token.matches(presented)) {
        return next.run(request).await;
    }
    if let Some(held_back) = lock.lines.pass(Instant::now()) {
        let path: String = request.uri().path().chars().take(PATH_SHOWN).collect();
        tracing::warn!(path, held_back, "an admin request without the right token was refused");
    }
    let help = "send `Authorization: Bearer TOKEN` with the content of DATA-DIR/admin.token, or use the Unix socket";
    let mut response = problem(StatusCode::UNAUTHORIZED, "this needs the admin token", help);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

/// RFC 9110 §11.1: the scheme's name has no case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn within(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, "the server did not answer in time", "its log may say why"),
    }
}

async fn ready<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    match backend.ready() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn metrics<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, OPEN_METRICS)], backend.metrics()).into_response()
}

async fn status<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.status().await)
}

async fn proxies<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.proxies().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretsQuery {
    node: Option<String>,
}

async fn secrets<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<SecretsQuery>, QueryRejection>,
) -> Response {
    let node = match query {
        Ok(Query(query)) => query.node,
        Err(rejected) => return problem(rejected.status(), &rejected.body_text(), "the only parameter is `node`"),
    };
    if let Some(bad) = node.iter().find(|n| !is_workload_name(n)) {
        return answer::<()>(Err(not_a_name(bad)));
    }
    answer(backend.secrets(node).await)
}

async fn adoption<B: Backend>(
    State(backend): State<Arc<B>>,
    query: Result<Query<AdoptionRequest>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(mut request)) => {
            request.wait_seconds = request.wait_seconds.map(|s| s.min(MAX_WAIT_SECONDS));
            answer(backend.adoption(request).await)
        }
        Err(rejected) => {
            let help = "the parameters are `secret`, and if you like `version` and `waitSeconds`";
            problem(rejected.status(), &rejected.body_text(), help)
        }
    }
}

async fn rotate<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RotateRequest>, JsonRejection>,
) -> Response {
    let mut request = match body {
        Ok(Json(request)) => request,
        Err(rejected) => return bad_body(&rejected),
    };
    let ways = [request.all, request.namespace.is_some(), !request.workloads.is_empty()];
    if ways.iter().filter(|way| **way).count() != 1 {
        let help = r#"send {"all": true}, {"namespace": "name"} or {"workloads": ["namespace/name"]}"#;
        return problem(StatusCode::BAD_REQUEST, "either all workloads or a list of them", help);
    }
    if let Some(bad) = request.workloads.iter().find(|n| !is_workload_name(n)) {
        return answer::<()>(Err(not_a_name(bad)));
    }
    request.wait_seconds = request.wait_seconds.map(|s| s.min(MAX_WAIT_SECONDS));
    request.spread_seconds = request.spread_seconds.map(|s| s.min(MAX_WAIT_SECONDS));
    answer(backend.rotate(request).await)
}

async fn root_rotation<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.root_rotation().await)
}

async fn rotate_root<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RootRotationRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.rotate_root(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn mode_change<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.mode_change().await)
}

async fn advance_mode_change<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<ModeChangeRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.advance_mode_change(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn rotate_intermediate<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.rotate_intermediate().await)
}

async fn revoke<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RevokeRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.revoke(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn revocations<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.revocations().await)
}

async fn bootstrap<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<BootstrapRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) if !is_workload_name(&request.workload) => answer::<()>(Err(not_a_name(&request.workload))),
        Ok(Json(request)) => answer(backend.bootstrap(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn tokens<B: Backend>(State(backend): State<Arc<B>>) -> Response {
    answer(backend.tokens().await)
}

async fn create_token<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) if !is_workload_name(&request.workload) => answer::<()>(Err(not_a_name(&request.workload))),
        Ok(Json(request)) if !(1..=MAX_TOKEN_SECONDS).contains(&request.ttl_seconds) => {
            problem(StatusCode::BAD_REQUEST, "a join token lives 1 second to 24 hours", "")
        }
        Ok(Json(request)) => answer(backend.create_token(request).await),
        Err(rejected) => bad_body(&rejected),
    }
}

async fn revoke_token<B: Backend>(
    State(backend): State<Arc<B>>,
    body: Result<Json<RevokeTokenRequest>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(request)) => answer(backend.revoke_token(request.id).await),
        Err(rejected) => bad_body(&rejected),
    }
}

pub(super) fn not_a_name(text: &str) -> Failure {
    Failure::Invalid(format!("`{}` is not NAMESPACE/NAME", text.escape_default()), String::new())
}

pub(super) fn bad_body(rejected: &JsonRejection) -> Response {
    problem(rejected.status(), &rejected.body_text(), "the body is JSON with `Content-Type: application/json`")
}

pub(super) fn answer<T: Serialize>(result: Result<T, Failure>) -> Response {
    let (status, error, help) = match result {
        Ok(value) => return Json(value).into_response(),
        Err(Failure::Invalid(error, help)) => (StatusCode::BAD_REQUEST, error, help),
        Err(Failure::NotFound(error, help)) => (StatusCode::NOT_FOUND, error, help),
        Err(Failure::Conflict(error, help)) => (StatusCode::CONFLICT, error, help),
        Err(Failure::Unavailable(error, help)) => (StatusCode::SERVICE_UNAVAILABLE, error, help),
        Err(Failure::Internal(error, help)) => (StatusCode::INTERNAL_SERVER_ERROR, error, help),
    };
    problem(status, &error, &help)
}

pub(super) fn problem(status: StatusCode, error: &str, help: &str) -> Response {
    (status, Json(Problem { error: error.to_owned(), help: help.to_owned() })).into_response()
}

async fn no_such_path() -> Response {
    let help = "GET /v1/status, /v1/proxies, /v1/secrets, /v1/adoption, /v1/tokens, /v1/findings, \
                /v1/tls-check, /v1/workload, /v1/service, /v1/rotate/root, /v1/rollout, /v1/bundles, /v1/bundle, \
                /v1/revocations; POST /v1/rotate/workload, /v1/rotate/intermediate, /v1/rotate/root, /v1/rollout, \
                /v1/revoke, /v1/bootstrap, /v1/tokens, /v1/bundles/import, /v1/bundles/remove, /v1/ca/csr, /v1/ca/import";
    problem(StatusCode::NOT_FOUND, "there is no such path", help)
}

async fn only_on_the_socket() -> Response {
    let help = "use DATA-DIR/admin.sock, or set admin.address to a loopback address";
    problem(StatusCode::NOT_FOUND, "on this address there are /ready, /live and /metrics only", help)
}

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "this path has another method", "")
}
