//! Answering on the control socket, from a small runtime on a thread of its own.

use super::socket::SocketDir;
use super::{Control, Refusal};
use crate::fs::CheckOptions;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Deserialize;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// Requests that are worked on at the same time; more wait.
const WORKERS_MAX: usize = 4;

/// How long a stop waits for requests that are being answered.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Who may connect.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Permission bits of the socket.
    pub mode: u32,
    /// The daemon's own user.
    pub uid: u32,
}

/// A control socket that is being answered. Dropping it stops it.
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    socket: SocketDir,
}

/// The process on the other side.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Server {
    /// Listens in `store`, whose lock the caller holds, and answers with `control`.
    pub fn start(
        store: &Path,
        options: ServerOptions,
        control: Arc<dyn Control>,
    ) -> io::Result<Server> {
        let socket = SocketDir::open(store)?;
        let listener = socket.listen(options.mode)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORKERS_MAX)
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            if let Err(error) = runtime.block_on(serve(listener, options, control, stopped)) {
                log::error!("the control socket failed: {error}");
            }
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("verso-control".to_owned()).spawn(serve)?;
        Ok(Server { stop: Some(stop), thread: Some(thread), socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the control socket's thread panicked");
        }
        if let Err(error) = self.socket.remove() {
            log::warn!("cannot remove the control socket: {error}");
        }
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    options: ServerOptions,
    control: Arc<dyn Control>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let service = router(options, control).into_make_service_with_connect_info::<Peer>();
    let (closing, mut closed) = oneshot::channel::<()>();
    let wait_for_stop = async move {
        // A sender that is gone is the stop: nobody sends anything.
        let _ = stopped.await;
        drop(closing);
    };
    let serving = axum::serve(listener, service).with_graceful_shutdown(wait_for_stop);
    let patience = async {
        let _ = (&mut closed).await;
        tokio::time::sleep(STOP_PATIENCE).await;
    };
    tokio::select! {
        served = serving => served,
        () = patience => Ok(()),
    }
}

fn router(options: ServerOptions, control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sync", post(sync))
        .route("/v1/check", post(check))
        .route("/v1/tidy", post(tidy))
        .route("/v1/preview", post(preview))
        .route("/v1/room", post(room))
        .route("/v1/why", post(|state, path| of_path(state, path, |desk, path| desk.why(path))))
        .route("/v1/space", post(|state, path| of_path(state, path, |desk, path| desk.space(path))))
        .route("/v1/erase", post(|state, path| of_path(state, path, |desk, path| desk.erase(path))))
        .route("/v1/jobs", get(jobs))
        .route("/v1/jobs/run", post(run_job))
        .route("/v1/jobs/cancel", post(cancel_job))
        .route("/v1/jobs/log", post(job_log))
        .route("/v1/unmount", post(unmount))
        .with_state(control)
        .layer(from_fn_with_state(options, only_permitted))
}

/// Lets only the daemon's user and root pass, unless the socket is open to a group: then the kernel
/// has checked who could connect.
async fn only_permitted(
    State(options): State<ServerOptions>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let shared = options.mode & 0o077 != 0;
    let known = peer.uid.is_some_and(|uid| uid == 0 || uid == options.uid);
    match shared || known {
        true => next.run(request).await,
        false => answer(StatusCode::FORBIDDEN, "only the daemon's user and root may ask"),
    }
}

async fn status(State(control): State<Arc<dyn Control>>) -> Response {
    match work(move || control.status()).await {
        Ok(status) => Json(status).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

async fn sync(State(control): State<Arc<dyn Control>>) -> Response {
    done(work(move || control.sync()).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    #[serde(default)]
    read_data: bool,
    #[serde(default)]
    repair: bool,
}

async fn check(State(control): State<Arc<dyn Control>>, Json(request): Json<Check>) -> Response {
    let Check { read_data, repair } = request;
    match work(move || control.check(CheckOptions { read_data, repair })).await {
        Ok(report) => Json(report).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tidy {
    #[serde(default)]
    floor_ms: Option<u64>,
}

async fn tidy(State(control): State<Arc<dyn Control>>, Json(request): Json<Tidy>) -> Response {
    let floor = request.floor_ms.map(Duration::from_millis);
    match work(move || control.tidy(floor)).await {
        Ok(report) => Json(report).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Preview {
    #[serde(default)]
    floor_ms: Option<u64>,
    limit: usize,
}

async fn preview(
    State(control): State<Arc<dyn Control>>,
    Json(request): Json<Preview>,
) -> Response {
    let floor = request.floor_ms.map(Duration::from_millis);
    match work(move || control.preview(floor, request.limit)).await {
        Ok(preview) => Json(preview).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

async fn room(State(control): State<Arc<dyn Control>>) -> Response {
    match work(move || control.room()).await {
        Ok(room) => Json(room).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

/// Names are any bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPath {
    path: Vec<u8>,
}

async fn of_path(
    State(control): State<Arc<dyn Control>>,
    Json(request): Json<OfPath>,
    ask: fn(&dyn Control, &[u8]) -> Result<serde_json::Value, Refusal>,
) -> Response {
    match work(move || ask(&*control, &request.path)).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

async fn jobs(State(control): State<Arc<dyn Control>>) -> Response {
    told(work(move || control.jobs()).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunJob {
    name: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    options: serde_json::Value,
}

async fn run_job(
    State(control): State<Arc<dyn Control>>,
    Json(RunJob { name, dry_run, options }): Json<RunJob>,
) -> Response {
    told(work(move || control.run_job(&name, dry_run, options)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelJob {
    name: String,
}

async fn cancel_job(
    State(control): State<Arc<dyn Control>>,
    Json(CancelJob { name }): Json<CancelJob>,
) -> Response {
    done(work(move || control.cancel_job(&name)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobLog {
    name: String,
    count: u32,
}

async fn job_log(
    State(control): State<Arc<dyn Control>>,
    Json(JobLog { name, count }): Json<JobLog>,
) -> Response {
    told(work(move || control.job_log(&name, count)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unmount {
    #[serde(default)]
    lazy: bool,
}

async fn unmount(
    State(control): State<Arc<dyn Control>>,
    Json(request): Json<Unmount>,
) -> Response {
    done(work(move || control.unmount(request.lazy)).await)
}

/// Does something that blocks. A panic in it is an answer, not the end of the socket.
async fn work<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let panicked = |_| Err(Refusal::Failed("the daemon panicked over it; see its log".to_owned()));
    tokio::task::spawn_blocking(job).await.unwrap_or_else(panicked)
}

fn told(outcome: Result<serde_json::Value, Refusal>) -> Response {
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refused(&refusal),
    }
}

fn done(outcome: Result<(), Refusal>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Busy(why) => answer(StatusCode::CONFLICT, why),
        Refusal::Missing(why) => answer(StatusCode::NOT_FOUND, why),
        Refusal::Failed(why) => answer(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn answer(status: StatusCode, error: &str) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::Client;
    use super::*;
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt;

    struct Fake;

    impl Control for Fake {
        fn status(&self) -> Result<Value, Refusal> {
            Ok(json!({ "health": "good" }))
        }
        fn sync(&self) -> Result<(), Refusal> {
            panic!("a panic in a request")
        }
        fn check(&self, options: CheckOptions) -> Result<Value, Refusal> {
            Ok(json!({ "read_data": options.read_data, "repair": options.repair }))
        }
        fn tidy(&self, floor: Option<Duration>) -> Result<Value, Refusal> {
            Ok(json!({ "floor": floor.map(|floor| floor.as_secs()) }))
        }
        fn preview(&self, floor: Option<Duration>, limit: usize) -> Result<Value, Refusal> {
            Ok(json!({ "floor": floor.map(|floor| floor.as_secs()), "limit": limit }))
        }
        fn room(&self) -> Result<Value, Refusal> {
            Err(Refusal::Missing("nothing there".to_owned()))
        }
        fn why(&self, path: &[u8]) -> Result<Value, Refusal> {
            Ok(json!({ "len": path.len() }))
        }
        fn space(&self, _: &[u8]) -> Result<Value, Refusal> {
            Err(Refusal::Failed("no space".to_owned()))
        }
        fn erase(&self, _: &[u8]) -> Result<Value, Refusal> {
            Err(Refusal::Busy("not now".to_owned()))
        }
        fn jobs(&self) -> Result<Value, Refusal> {
            Ok(json!([]))
        }
        fn run_job(&self, name: &str, dry_run: bool, options: Value) -> Result<Value, Refusal> {
            Ok(json!([name, dry_run, options]))
        }
        fn cancel_job(&self, _: &str) -> Result<(), Refusal> {
            Err(Refusal::Missing("no such job".to_owned()))
        }
        fn job_log(&self, name: &str, count: u32) -> Result<Value, Refusal> {
            Ok(json!([name, count]))
        }
        fn unmount(&self, lazy: bool) -> Result<(), Refusal> {
            if lazy { Ok(()) } else { Err(Refusal::Busy("in use".to_owned())) }
        }
    }

    fn start(store: &Path) -> Server {
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(store).unwrap());
        Server::start(store, ServerOptions { mode: 0o600, uid }, Arc::new(Fake)).unwrap()
    }

    fn client(store: &Path) -> Client {
        Client::connect(store).unwrap().expect("somebody listens")
    }

    #[test]
    fn requests_are_answered_also_after_a_panic() {
        let store = tempfile::tempdir().unwrap();
        let _server = start(store.path());
        assert_eq!(client(store.path()).post("/v1/sync", &json!({})).unwrap().status, 500);
        let busy = client(store.path()).post("/v1/unmount", &json!({ "lazy": false })).unwrap();
        assert_eq!((busy.status, busy.success().unwrap_err().as_str()), (409, "in use"));
        let tidy = client(store.path()).post("/v1/tidy", &json!({ "floor_ms": 5000 })).unwrap();
        assert_eq!(tidy.body, json!({ "floor": 5 }));
        let wanted = json!({ "floor_ms": 2000, "limit": 3 });
        let preview = client(store.path()).post("/v1/preview", &wanted).unwrap();
        assert_eq!(preview.body, json!({ "floor": 2, "limit": 3 }));
        assert_eq!(client(store.path()).post("/v1/room", &json!({})).unwrap().status, 404);
        let why = client(store.path()).post("/v1/why", &json!({ "path": [255, 47] })).unwrap();
        assert_eq!(why.body, json!({ "len": 2 }));
        let space = client(store.path()).post("/v1/space", &json!({ "path": [] })).unwrap();
        assert_eq!(space.success().unwrap_err(), "no space");
        let lazy = client(store.path()).post("/v1/unmount", &json!({ "lazy": true })).unwrap();
        assert_eq!(lazy.status, 204);
        assert_eq!(client(store.path()).get("/v1/status").unwrap().body["health"], "good");
        assert_eq!(client(store.path()).get("/v1/nothing").unwrap().status, 404);
    }

    #[test]
    fn jobs_are_asked_for_by_name() {
        let store = tempfile::tempdir().unwrap();
        let _server = start(store.path());
        let post = |path: &str, body: Value| client(store.path()).post(path, &body).unwrap();
        assert_eq!(client(store.path()).get("/v1/jobs").unwrap().body, json!([]));
        let run = post("/v1/jobs/run", json!({ "name": "a:b", "options": { "full": true } }));
        assert_eq!(run.body, json!(["a:b", false, { "full": true }]));
        assert_eq!(post("/v1/jobs/cancel", json!({ "name": "x" })).status, 404);
        assert_eq!(post("/v1/jobs/log", json!({ "name": "a", "count": 2 })).body, json!(["a", 2]));
    }

    #[test]
    fn the_path_may_be_longer_than_a_socket_address() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("x".repeat(200));
        std::fs::create_dir(&store).unwrap();
        let _server = start(&store);
        assert_eq!(client(&store).get("/v1/status").unwrap().status, 200);
    }

    #[test]
    fn the_socket_is_private_replaces_a_stale_one_and_goes_away() {
        let store = tempfile::tempdir().unwrap();
        let socket = store.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        assert!(Client::connect(store.path()).unwrap().is_none());
        let server = start(store.path());
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        client(store.path()).get("/v1/status").unwrap();
        drop(server);
        assert!(!socket.exists());
        assert!(Client::connect(store.path()).unwrap().is_none());
    }
}
