//! Reading the configuration file again, and stopping: by a signal, or by a request if the operator has switched that on.
//!
//! ```text
//! SIGHUP, POST /-/reload ─► one at a time ─► the file is read ─► is it right? ─► all shards are told ─► it holds
//!                                                                 └─► no: what held goes on to hold, and it is said why
//! ```
//! A file is taken as a whole or not at all. It is read on a thread that may wait for a disk. Source: `web/web.go` and
//! `cmd/prometheus/main.go`, Prometheus 3.14.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;

use super::config::in_force::changes;
use super::config::{self, ConfigError, Current, Loaded, Notice};
use super::reply::{self, Reply};
use super::service::Server;
use crate::coordinator::api::{AdminError, Store};
use crate::model::TimestampMs;
use crate::rt::task::TaskError;
use crate::rt::{HangUp, task, timer};

/// How often is looked whether SIGHUP has come, and whether it is this one's turn.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why what held goes on to hold.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The server was started without a file.
    #[error("there is no configuration file to read: the server was started without --config.file")]
    NoFile,
    /// The file cannot be read, or is wrong.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// A shard does not answer.
    #[error("the shards cannot be told: {0}")]
    Store(#[from] AdminError),
    /// A bug.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// `/-/reload`.
pub async fn reload_by_request<S: Store>(server: &Server<S>) -> Reply {
    if !server.settings.lifecycle {
        return not_enabled();
    }
    match reload(server).await {
        Ok(()) => reply::empty(StatusCode::OK),
        Err(error) => {
            let text = format!("failed to reload config: {error}");
            reply::text(StatusCode::INTERNAL_SERVER_ERROR, &text)
        }
    }
}

/// `/-/quit`.
pub fn quit_by_request<S: Store>(server: &Server<S>) -> Reply {
    if !server.settings.lifecycle {
        return not_enabled();
    }
    let stop = &server.settings.stop;
    if stop.is_raised() {
        return reply::text(StatusCode::OK, "Termination already in progress.");
    }
    tracing::info!("the server is told to stop by a request");
    stop.raise();
    reply::text(StatusCode::OK, "Requesting termination... Goodbye!")
}

fn not_enabled() -> Reply {
    reply::text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}

/// Reloads whenever SIGHUP has come, until the server stops.
pub async fn reload_on_hang_up<S: Store>(server: Rc<Server<S>>, hang_up: HangUp) {
    while timer::timeout(LOOK_AGAIN, server.stop.wait()).await.is_err() {
        if hang_up.take() {
            // Who sends a signal reads the log.
            let _ = reload(&server).await;
        }
    }
}

/// Reads the file and has it hold. Waits for one that is under way, and is done to its end also if nobody waits for it.
///
/// # Errors
/// What held goes on to hold: why. It is logged.
async fn reload<S: Store>(server: &Server<S>) -> Result<(), ReloadError> {
    let (store, current, now) = (server.store.clone(), server.settings.current.clone(), server.now);
    let Some(file) = current.file().map(Path::to_owned) else {
        tracing::warn!("{}", ReloadError::NoFile);
        return Err(ReloadError::NoFile);
    };
    let reloading = task::spawn("reload", async move {
        let turn = loop {
            match current.turn() {
                Some(turn) => break turn,
                None => timer::sleep(LOOK_AGAIN).await,
            }
        };
        let outcome = try_reload(&store, file, &current, &turn, now).await;
        if let Err(error) = &outcome {
            turn.give_up();
            tracing::error!(%error, "the configuration is not loaded; what held goes on to hold");
        }
        outcome
    });
    reloading.await?
}

async fn try_reload<S: Store>(
    store: &S,
    file: PathBuf,
    current: &Current,
    turn: &config::current::Turn,
    now: fn() -> TimestampMs,
) -> Result<(), ReloadError> {
    let path = file.clone();
    let loaded = task::spawn_blocking("configuration", move || config::load(&path)).await?;
    let Loaded { config, notices } = loaded?;
    let before = current.in_force();
    let after = turn.decide(config, now());
    if let Err(error) = store.configure(after.storage).await {
        // Some shards may have been told. One that does not hear of this either is about to end the server.
        let _ = store.configure(before.storage).await;
        return Err(error.into());
    }
    tracing::info!(file = %file.display(), "the configuration is loaded");
    for change in changes(&before, &after) {
        tracing::info!("{change}");
    }
    tell(&file, &notices);
    turn.exchange(after);
    Ok(())
}

/// Logs what of a file has no effect.
pub fn tell(file: &Path, notices: &[Notice]) {
    let file = file.display();
    for notice in notices {
        tracing::warn!("{file}:{notice}");
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request};

    use super::*;
    use crate::rt::executor::testing::on_one_shard;
    use crate::server::testing::{FakeStore, NOW, Pieces, ask, get, request, server};

    const WINDOW_2H: &str = "storage: {tsdb: {out_of_order_time_window: 2h}}\n";

    fn post(path: &str) -> Request<Pieces> {
        request(Method::POST, path)
    }

    /// A configuration file, and the flags of a server that reads it.
    fn file(text: &str) -> (tempfile::NamedTempFile, String) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let flags = format!("--web.enable-lifecycle --config.file={}", file.path().display());
        (file, flags)
    }

    async fn yaml(server: &Server<FakeStore>) -> String {
        let answered = ask(server, get("/api/v1/status/config")).await;
        let json: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
        json["data"]["yaml"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_not_switched_on_is_forbidden_and_nothing_is_done() {
        on_one_shard(|_| async {
            let store = FakeStore::new();
            let server = server(&store, "");
            for path in ["/-/reload", "/-/quit"] {
                let answered = ask(&server, post(path)).await;
                let seen = (answered.status.as_u16(), answered.body.as_str());
                assert_eq!(seen, (403, "Lifecycle API is not enabled.\n"), "{path}");
            }
            assert!(store.admin.borrow().is_empty() && !server.settings.stop.is_raised());
        });
    }

    #[test]
    fn it_takes_post_and_put_and_nothing_else() {
        on_one_shard(|_| async {
            let (_file, flags) = file("");
            let server = server(&FakeStore::new(), &flags);
            for path in ["/-/reload", "/-/quit"] {
                let answered = ask(&server, get(path)).await;
                let seen = (answered.status.as_u16(), answered.header("allow"));
                assert_eq!(seen, (405, "POST, PUT"), "{path}");
                let answered = ask(&server, request(Method::PUT, path)).await;
                assert_eq!(answered.status, 200, "{path}: {}", answered.body);
            }
        });
    }

    #[test]
    fn a_request_to_stop_raises_the_flag_and_a_second_one_is_told_so() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "--web.enable-lifecycle");
            let answered = ask(&server, post("/-/quit")).await;
            assert_eq!(answered.body, "Requesting termination... Goodbye!\n");
            assert!(server.settings.stop.is_raised());
            let answered = ask(&server, post("/-/quit")).await;
            assert_eq!(answered.body, "Termination already in progress.\n");
        });
    }

    #[test]
    fn a_file_that_is_right_holds_from_then_on() {
        on_one_shard(|_| async {
            let (file, flags) = file("");
            let store = FakeStore::new();
            let server = server(&store, &flags);
            assert!(yaml(&server).await.contains("out_of_order_time_window: 1h\n"));
            std::fs::write(file.path(), WINDOW_2H).unwrap();
            let answered = ask(&server, post("/-/reload")).await;
            assert_eq!((answered.status.as_u16(), answered.body.as_str()), (200, ""));
            assert_eq!(*store.admin.borrow(), ["configure out_of_order=7200000"]);
            assert!(yaml(&server).await.contains("out_of_order_time_window: 2h\n"));
        });
    }

    #[test]
    fn a_file_that_is_wrong_leaves_what_held_and_is_told_with_its_place() {
        on_one_shard(|_| async {
            let (file, flags) = file(WINDOW_2H);
            let store = FakeStore::new();
            let server = server(&store, &flags);
            std::fs::write(
                file.path(),
                "storage: {tsdb: {out_of_order_time_window: 3h}}\nglobl:\n",
            )
            .unwrap();
            let answered = ask(&server, post("/-/reload")).await;
            let expected = format!(
                "failed to reload config: {}:2:1: unknown key \"globl\" in the configuration; did you mean \"global\"?\n",
                file.path().display()
            );
            assert_eq!((answered.status.as_u16(), answered.body), (500, expected));
            assert!(store.admin.borrow().is_empty(), "no shard is told of it");
            assert!(yaml(&server).await.contains("out_of_order_time_window: 2h\n"));
            let metrics = ask(&server, get("/metrics")).await.body;
            assert!(metrics.contains("\nprometheus_config_last_reload_successful 0\n"));
            let since = NOW.0 / 1000;
            let line =
                format!("\nprometheus_config_last_reload_success_timestamp_seconds {since}\n");
            assert!(metrics.contains(&line), "{metrics}");
            let info = ask(&server, get("/api/v1/status/runtimeinfo")).await.body;
            assert!(info.contains("\"reloadConfigSuccess\":false"), "{info}");

            std::fs::write(file.path(), WINDOW_2H).unwrap();
            assert_eq!(ask(&server, post("/-/reload")).await.status, 200);
            let metrics = ask(&server, get("/metrics")).await.body;
            assert!(metrics.contains("\nprometheus_config_last_reload_successful 1\n"));
        });
    }

    #[test]
    fn a_shard_that_cannot_be_told_leaves_what_held() {
        on_one_shard(|_| async {
            let (file, flags) = file("");
            let store = FakeStore::new();
            let server = server(&store, &flags);
            std::fs::write(file.path(), WINDOW_2H).unwrap();
            *store.admin_error.borrow_mut() = Some(AdminError::NotReady);
            let answered = ask(&server, post("/-/reload")).await;
            assert_eq!(answered.status, 500);
            assert!(answered.body.contains("the shards cannot be told"), "{}", answered.body);
            let told = ["configure out_of_order=7200000", "configure out_of_order=3600000"];
            assert_eq!(*store.admin.borrow(), told, "those that were told are told otherwise");
            assert!(yaml(&server).await.contains("out_of_order_time_window: 1h\n"));
        });
    }

    #[test]
    fn without_a_file_there_is_nothing_to_reload() {
        on_one_shard(|_| async {
            let server = server(&FakeStore::new(), "--web.enable-lifecycle");
            let answered = ask(&server, post("/-/reload")).await;
            assert_eq!(answered.status, 500);
            assert!(answered.body.contains("--config.file"), "{}", answered.body);
            assert!(server.settings.current.succeeded(), "what was not read has not failed");
        });
    }

    #[test]
    fn one_reload_waits_for_the_other() {
        on_one_shard(|_| async {
            let (_file, flags) = file(WINDOW_2H);
            let store = FakeStore::new();
            let server = server(&store, &flags);
            let turn = server.settings.current.turn().unwrap();
            let asking = Rc::clone(&server);
            let asked = task::spawn("ask", async move { ask(&asking, post("/-/reload")).await });
            assert!(store.admin.borrow().is_empty());
            drop(turn);
            assert_eq!(asked.await.unwrap().status, 200);
            assert_eq!(store.admin.borrow().len(), 1);
        });
    }
}
