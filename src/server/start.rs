//! Start and end of `floodplain serve`.
//!
//! ```text
//! the host is fit ─► the configuration file is right ─► data directory locked ─► listening ─► signals ─► one executor a
//! core, each serving from the first moment on ─► SIGTERM, SIGINT, /-/quit, or a core that fails ─► no new connections ─►
//! requests under way are answered ─► what was taken is durable ─► lock released ─► exit 0, or 1 if anything failed
//! ```
//! What stands in the way of a start is told in one sentence on standard error, with its cure, before there is a log.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::active_queries::file as queries_file;
use super::admission::ServerBudget;
use super::cli::{ServeFlags, WalSync};
use super::config::{ConfigError, Current};
use super::log::{Log, LogError};
use super::metrics::Counters;
use super::service::Server;
use super::settings::Settings;
use super::{connection, reload, version};
use crate::coordinator::api::{Store, SyncMode};
use crate::coordinator::life::{Core, ManifestError, cores};
use crate::coordinator::results::Results;
use crate::model::TimestampMs;
use crate::query::durations::format_duration_ms;
use crate::query::memory::Budget;
use crate::rt::background;
use crate::rt::executor::{self, End, Executors, Options, ShardContext};
use crate::rt::local::Event;
use crate::rt::net::{Door, Places, listen};
use crate::rt::preflight::limits::{self, Limit};
use crate::rt::preflight::{self, DataDir, StartError};
use crate::rt::{HangUp, StopFlag, entropy, task, timer};

/// How long requests under way may take once the server stops. Then their connections are cut.
const GRACE: Duration = Duration::from_secs(8);

/// What of a command line concerns serving.
pub struct Order {
    /// The flags.
    pub flags: ServeFlags,
    /// Every flag and its value, as text.
    pub texts: std::collections::BTreeMap<String, String>,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("cannot start the thread that writes the log: {0}")]
    Log(#[from] io::Error),
    #[error(transparent)]
    SecondLog(#[from] LogError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Refusal {
    /// As Prometheus: 2 for what it was given, 1 for what it met.
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(if let Self::Config(_) = self { 2 } else { 1 })
    }
}

/// Serves until it is told to stop.
#[must_use]
pub fn serve(order: Order) -> ExitCode {
    match run(order) {
        Ok(code) => code,
        Err(refusal) => {
            eprintln!("floodplain cannot start: {refusal}");
            refusal.exit_code()
        }
    }
}

fn run(order: Order) -> Result<ExitCode, Refusal> {
    // Before any thread there is.
    preflight::prepare()?;
    let Order { flags, mut texts, warnings } = order;
    let started = now();
    // Before anything is touched: a file that is wrong changes nothing.
    let (current, notices) = Current::at_start(&flags, started)?;
    let storage = current.in_force().storage;
    if flags.max_block_duration.is_none() {
        let name = "storage.tsdb.max-block-duration".to_owned();
        texts.insert(name, format_duration_ms(storage.max_block_ms));
    }
    let available = preflight::cores();
    let shards = shard_count(flags.shards, available.len())?;
    let data = DataDir::open(&flags.path)?;
    let places_max = limits::connections_max(Limit::nofile(), shards);
    let places = Places::new(places_max);
    let (bound, doors) = open_doors(&flags.listen, shards, flags.connections_max, &places)?;
    let seconds = u64::try_from(started.0 / 1000).unwrap_or(0);
    let options = Options { stop: StopFlag::new(), ..Options::default() };
    let (backgrounds, seats) = background::start(&options, shards)?;
    let sync = sync_mode(flags.wal_sync);
    let seed = entropy::seed();
    let results = Results::new(flags.query_results_bytes_max.0);
    let budget = Budget::new(flags.query_bytes_max.0, flags.query_bytes_total_max.0);
    let shared = (storage, &results, &budget);
    let cores = cores(data.place(), shards, sync, seed, seconds, seats, shared)?;

    let log = Log::start(io::stderr())?;
    log.install(flags.log_level.filter(), flags.log_format)?;
    let root = data.place().root().display().to_string();
    tracing::info!(version = version::OWN, shards, data = root, wal_sync = ?flags.wal_sync, "Floodplain starts");
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(file) = current.file() {
        tracing::info!(file = %file.display(), "the configuration is loaded");
        reload::tell(file, &notices);
    }
    for unfinished in queries_file::left_over(data.place().root()) {
        let queries_file::Unfinished { query, started, client } = unfinished;
        tracing::warn!(
            query,
            started,
            client,
            "this query ran when the server before this one was killed"
        );
    }
    if flags.connections_max.saturating_mul(bound.len()) > places_max {
        tracing::warn!(
            "the limit on open files leaves room for {places_max} connections, fewer than --web.max-connections={} on \
             each address: those above it are answered 503; raise it (ulimit -n, LimitNOFILE=)",
            flags.connections_max
        );
    }

    let outcome = Outcome::default();
    outcome.stop.raise_on_signals()?;
    let mut hang_up = Some(HangUp::note_signals()?);
    let settings = Settings::new(&flags, texts, current, started);
    let (clean_start, stop) = (data.was_clean(), outcome.stop.clone());
    let settings = Arc::new(Settings { clean_start, stop, ..settings });
    let keeper = queries_file::keep(&settings.active_queries, data.place().root());
    let keeper = keeper
        .inspect_err(|error| tracing::warn!(%error, "cannot write down which queries run"))
        .ok();
    let budget = ServerBudget::new(settings.inflight_bytes_max);
    let mains = cores.into_iter().zip(doors).zip(Counters::for_cores(usize::from(shards)));
    let mains = mains.map(|((core, doors), counters)| {
        let service = Service {
            settings: Arc::clone(&settings),
            budget: Arc::clone(&budget),
            counters,
            doors,
            hang_up: hang_up.take(),
        };
        main_of(core, service, outcome.clone())
    });
    let options = Options { stop: outcome.stop.clone(), ..options };
    let executors = executor::start(&options, mains.collect())?;
    for address in bound {
        tracing::info!(%address, "listening");
    }
    watch(executors, &outcome);
    if let Some(keeper) = keeper {
        keeper.end();
    }
    for exit in backgrounds.join() {
        tracing::debug!(shard = %exit.shard, "joined its background");
    }
    tracing::info!("Floodplain has stopped");
    log.flush();
    data.end(!outcome.has_failed());
    Ok(if outcome.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How this run ends. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Outcome {
    stop: StopFlag,
    failed: Arc<AtomicBool>,
}

impl Outcome {
    /// Something is broken: everything stops, and the exit code says so.
    fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.stop.raise();
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What one core does from start to end.
fn main_of(
    core: Core,
    service: Service,
    outcome: Outcome,
) -> impl FnOnce(ShardContext) -> std::pin::Pin<Box<dyn Future<Output = ()>>> + Send + 'static {
    move |context| {
        let stop = context.stop;
        let failed = move |error: crate::coordinator::life::LifeError| {
            tracing::error!(%error, "a shard has failed; the server stops");
            outcome.fail();
        };
        Box::pin(core.live(move |store| service.run(store, stop), failed))
    }
}

/// Waits for all cores to end. One that ends by a panic takes its data out of service, and with it the server.
fn watch(executors: Executors, outcome: &Outcome) {
    while let Some(exit) = executors.next_exit() {
        match exit.end {
            End::Finished if outcome.stop.is_raised() => {}
            End::Finished => {
                tracing::error!(shard = %exit.shard, "a shard has ended by itself; the server stops");
                outcome.fail();
            }
            End::Panicked(panic) => {
                tracing::error!(shard = %exit.shard, panic, "a shard has panicked; the server stops");
                outcome.fail();
            }
        }
    }
    for exit in executors.join() {
        tracing::debug!(shard = %exit.shard, "joined");
    }
}

/// Serving on one core, before it is there; to be moved to the core.
struct Service {
    settings: Arc<Settings>,
    budget: Arc<ServerBudget>,
    counters: Counters,
    doors: Vec<Door>,
    /// One core looks after SIGHUP for all.
    hang_up: Option<HangUp>,
}

impl Service {
    /// Serves `store` until `stop` is set and the requests under way are answered, or have had their time.
    async fn run<S: Store>(self, store: S, stop: Event) {
        let Self { settings, budget, counters, doors, hang_up } = self;
        let server = Server::new(store, settings, counters, budget, now, stop.clone());
        if let Some(hang_up) = hang_up {
            task::spawn("reload", reload::reload_on_hang_up(Rc::clone(&server), hang_up));
        }
        let listening: Vec<_> = doors
            .into_iter()
            .map(|door| {
                let (server, stopping) = (Rc::clone(&server), stop.clone());
                let turning_away = Rc::clone(&server);
                let handler =
                    move |stream| connection::serve(Rc::clone(&server), stream, stopping.clone());
                let turn_away =
                    move |stream| connection::turn_away(Rc::clone(&turning_away), stream);
                task::spawn("door", door.serve(stop.clone(), handler, turn_away))
            })
            .collect();
        let served = async {
            for door in listening {
                // A panic has been logged and counted, and costs this door only.
                let _ = door.await;
            }
        };
        let late = async {
            stop.wait().await;
            timer::sleep(GRACE).await;
            tracing::warn!("requests under way take too long; their connections are cut");
        };
        futures_lite::future::or(served, late).await;
    }
}

/// The number of shards: as asked for, or one a core.
fn shard_count(asked: Option<u16>, cores: usize) -> Result<u16, StartError> {
    match asked {
        Some(shards) => Ok(shards),
        None => u16::try_from(cores).map_err(|_| StartError::TooManyShards),
    }
}

/// Listens on all addresses. Gives the addresses, with the ports that the kernel chose, and each shard's doors.
fn open_doors(
    addresses: &[SocketAddr],
    shards: u16,
    connections_max: usize,
    places: &Arc<Places>,
) -> Result<(Vec<SocketAddr>, Vec<Vec<Door>>), StartError> {
    let mut bound = Vec::new();
    let mut of_shards: Vec<Vec<Door>> = (0..shards).map(|_| Vec::new()).collect();
    for address in addresses {
        let (address, doors) = listen(*address, shards, connections_max, places)?;
        bound.push(address);
        for (of_shard, door) in of_shards.iter_mut().zip(doors) {
            of_shard.push(door);
        }
    }
    Ok((bound, of_shards))
}

fn sync_mode(flag: WalSync) -> SyncMode {
    match flag {
        WalSync::Always => SyncMode::Always,
        WalSync::Interval(every) => SyncMode::Interval(every),
        WalSync::Never => SyncMode::Never,
    }
}

/// Now, by the host's clock.
fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).map_or(TimestampMs::MAX, TimestampMs)
}
