//! The server: opens what it is given, binds a port, and answers until it is told to stop.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Redirect;
use axum::routing::get;

use crate::deliver::Made;
use crate::items::{Items, Numbered};
use crate::shown::Collection;
use crate::{Error, Result, api, guard, kinds, pages};

/// Threads that answer; what reads files has more.
const THREADS: usize = 2;
/// How often the flag that ends the server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to show, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cohorts, caches, runs, folders of predictions, studies, reports, volumes, or folders of them.
    pub paths: Vec<PathBuf>,
    /// The port of 127.0.0.1; 0 for any that is free.
    pub port: u16,
}

/// A viewer that is ready to answer.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: String,
    token: String,
}

/// What all answers are made from.
#[derive(Debug)]
pub(crate) struct App {
    paths: Vec<PathBuf>,
    pub(crate) items: Items,
    pub(crate) cases: Numbered<String>,
    pub(crate) runs: Numbered<PathBuf>,
    pub(crate) made: Arc<Made>,
    opened: Mutex<Snapshot>,
}

/// What was opened, and the state of the files that say so.
#[derive(Debug)]
struct Snapshot {
    collection: Arc<Collection>,
    witnesses: Vec<Option<(u64, SystemTime)>>,
}

impl App {
    fn new(paths: Vec<PathBuf>) -> Self {
        let items = Items::default();
        let opened = Mutex::new(Snapshot::take(&paths, &items));
        let (cases, runs, made) = (Numbered::default(), Numbered::default(), Arc::default());
        Self { paths, items, cases, runs, made, opened }
    }

    /// What is there: opened again if a file that says so has changed since.
    pub(crate) fn collection(&self) -> Arc<Collection> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.witnesses != states(&opened.collection) {
            *opened = Snapshot::take(&self.paths, &self.items);
        }
        Arc::clone(&opened.collection)
    }
}

impl Snapshot {
    fn take(paths: &[PathBuf], items: &Items) -> Self {
        let collection = kinds::open_all(paths, items);
        Self { witnesses: states(&collection), collection: Arc::new(collection) }
    }
}

fn states(collection: &Collection) -> Vec<Option<(u64, SystemTime)>> {
    let state = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    collection.witnesses.iter().map(state).collect()
}

impl Server {
    /// Opens the paths and binds the port. Paths that cannot be shown are named by [`Server::problems`].
    ///
    /// # Errors
    /// [`Error::Listen`] if the port is in use; [`Error::System`] if the system gives no random numbers.
    pub fn open(options: Options) -> Result<Self> {
        let listen = |source| Error::Listen { port: options.port, source };
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = TcpListener::bind(place).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        let token = token()?;
        let address = format!("http://127.0.0.1:{port}/{token}/");
        Ok(Self { app: Arc::new(App::new(options.paths)), listener, address, token })
    }

    /// The address of the first page, with the token.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The paths that cannot be shown, each with the reason.
    pub fn problems(&self) -> Vec<String> {
        self.app.collection().problems()
    }

    /// Whether nothing that it was given can be shown.
    pub fn is_empty(&self) -> bool {
        self.app.collection().opened.iter().all(|opened| opened.problem.is_some())
    }

    /// Answers until `stop` is set.
    ///
    /// # Errors
    /// [`Error::System`] if there are no threads to be had.
    pub fn run(self, stop: &'static AtomicBool) -> Result<()> {
        let fail = |error: std::io::Error| Error::System(error.to_string());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build();
        let runtime = runtime.map_err(fail)?;
        let stopped = async {
            while !stop.load(Ordering::SeqCst) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let result = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            let serving = axum::serve(listener, router(self.app, &self.token));
            // A browser keeps its connections, so the server does not wait for their end.
            tokio::select! {
                ended = serving.into_future() => ended,
                () = stopped => Ok(()),
            }
        });
        runtime.shutdown_background();
        result.map_err(fail)
    }
}

/// Everything below the token.
fn router(app: Arc<App>, token: &str) -> Router {
    let start = format!("/{token}/");
    let below = Router::new().route("/", get(pages::first)).route("/{*name}", get(pages::named));
    let below = below.merge(api::routes()).with_state(app);
    Router::new()
        .route(&format!("/{token}"), get(async move || Redirect::permanent(&start)))
        .nest(&format!("/{token}/"), below)
        .fallback(async || (StatusCode::NOT_FOUND, "open the whole address that brainmvp view has printed\n"))
        .layer(from_fn(guard::guard))
}

/// 256 random bits, in hexadecimal.
fn token() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::System(error.to_string()))?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}
