//! The vendor, played by us: the API's page as a server, over real HTTP, with faults by script and by chance.
//!
//! It shares no code with the client, or a wrong word would be wrong on both sides and every test green. It is as strict as
//! the API's page reads: whatever the page does not say is refused and noted as a violation, so that a test can assert
//! that there was none. Everything that costs money there is counted here; nothing costs anything.
//! No answer can be taken for the vendor's: each says `Server: jimengd-simulator`.
//!
//! It reports nothing by itself. What came and what was made of it can be asked for in the process
//! ([`Simulator::with_world`]) and, in short, over HTTP (`GET /simulator`).

mod answer;
mod connection;
mod download;
pub mod faults;
mod film;
mod link;
mod poll;
mod prompt_words;
mod routes;
mod script;
mod sending;
mod submission;
mod submit;
pub mod world;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use script::{Script, ScriptError};
pub use submission::{Picture, Source};
pub use world::{Request, Status, Task, World};

/// How long open connections may take to end once all of them have been cut.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// How the vendor shall be.
#[derive(Clone)]
pub struct Settings {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// The token that is accepted; `None`: any but an empty one.
    pub token: Option<String>,
    /// Decides durations and chance.
    pub seed: u64,
    /// Faults that strike when told.
    pub script: Option<Script>,
    /// The part of the requests that goes wrong by chance, 0 to 1.
    pub misbehave: f64,
    /// Mean time of a task; 0: none. Infinite: until [`Simulator::finish`].
    pub task_seconds: f64,
    /// Spread of that time, which is lognormal: the standard deviation of its logarithm.
    pub task_sigma: f64,
    /// The part of its time that a task spends in the queue, drawn for each task with every part as likely.
    pub queued_part: RangeInclusive<f64>,
    /// Tasks at once; beyond, 50430. [`Simulator::limit`] changes it in mid-run.
    pub concurrency: Option<usize>,
    /// Submissions and polls together; beyond, 50429.
    pub requests_per_second: Option<f64>,
    /// How many of them may come at once after a rest, one at least; `None`: one second's worth.
    pub requests_burst: Option<f64>,
    /// `Retry-After` in seconds with both refusals.
    pub retry_after: Option<u64>,
    /// Where links lead, as `https://cdn.example`; `None`: by plain http to the host that was asked.
    pub links: Option<String>,
    /// How long a link is good; in whole seconds.
    pub link_life: Duration,
    /// How long a task is known.
    pub task_life: Duration,
    /// Videos are filled up to that length.
    pub video_bytes: Option<u64>,
    /// Longer submissions are 413.
    pub body_max_bytes: u64,
    /// The bodies of submissions are kept with the requests.
    pub keep_bodies: bool,
}

impl Default for Settings {
    /// A vendor without limits or faults on some free port, whose tasks take a second.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            seed: 0,
            script: None,
            misbehave: 0.0,
            task_seconds: 1.0,
            task_sigma: 0.35,
            queued_part: 0.1..=0.1,
            concurrency: None,
            requests_per_second: None,
            requests_burst: None,
            retry_after: None,
            links: None,
            link_life: Duration::from_secs(3600),
            task_life: Duration::from_secs(12 * 3600),
            video_bytes: None,
            body_max_bytes: 8 << 20,
            keep_bodies: false,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("listen", &self.listen)
            .field("seed", &self.seed)
            .field("script", &self.script)
            .field("misbehave", &self.misbehave)
            .field("task_seconds", &self.task_seconds)
            .finish_non_exhaustive()
    }
}

/// Why there is no simulator.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// What the simulator and those who answer share.
struct Shared {
    settings: Settings,
    address: SocketAddr,
    signer: link::Signer,
    world: Mutex<World>,
    changes: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Shared {
    /// Looks at the world, or changes it.
    fn lock(&self) -> MutexGuard<'_, World> {
        // A test that panicked while looking has not broken the world.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and wakes whoever waits for a fact.
    fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let changed = change(&mut self.lock());
        self.changes.send_modify(|version| *version += 1);
        changed
    }
}

/// A running simulator. Dropped, it cuts all connections and ends.
pub struct Simulator {
    shared: Arc<Shared>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Listens and answers from now on, within the current tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(settings: Settings) -> Result<Self, SimulatorError> {
        let failed = |source| SimulatorError::Listen { address: settings.listen, source };
        let listener = std::net::TcpListener::bind(settings.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;

        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_micros = u64::try_from(since.as_micros()).unwrap_or_default();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            address,
            signer: link::Signer::new(settings.seed, started_micros),
            world: Mutex::new(World::new(&settings, started_micros)),
            changes: watch::Sender::new(0),
            stop: stop.clone(),
            settings,
        });
        let app = Router::new().fallback(routes::serve).with_state(Arc::clone(&shared));
        let app = app.into_make_service_with_connect_info::<connection::Line>();
        let exchange = connection::Exchange::new(listener, stop.clone());
        let server = axum::serve(exchange, app).with_graceful_shutdown(stop.cancelled_owned());
        let server = tokio::spawn(async move { server.await });
        Ok(Self { shared, server: Some(server) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.address
    }

    /// `http://127.0.0.1:port`, without a trailing slash.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// Accepted submissions, whether or not their answers arrived.
    pub fn paid(&self) -> u64 {
        self.shared.lock().paid()
    }

    /// Every task, oldest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.shared.lock().tasks().to_vec()
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests().cloned().collect()
    }

    /// The latest breaches of the API's page. A correct client commits none.
    pub fn violations(&self) -> Vec<String> {
        self.shared.lock().violations().map(str::to_owned).collect()
    }

    /// Looks at the world while nothing changes in it.
    pub fn with_world<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.shared.lock())
    }

    /// The video of a task as it is delivered where nothing goes wrong, whether or not the task is done.
    pub fn video(&self, task_id: &str) -> Option<Vec<u8>> {
        let film = self.with_world(|world| {
            let task = world.task(task_id)?;
            Some(film::Film::new(task.format, &task.task_id, &task.prompt, task.seed, self.shared.settings.video_bytes))
        })?;
        Some(film.whole())
    }

    /// Ends a task now, however long it was to take; false if there is no such task.
    pub fn finish(&self, task_id: &str) -> bool {
        self.shared.change(|world| world.finish(task_id))
    }

    /// Lets only so many tasks be made at once from now on; `None`: any number. A limit that falls cancels nothing: only
    /// new submissions are refused while too many are being made.
    pub fn limit(&self, tasks: Option<usize>) {
        self.shared.change(|world| world.limit_to(tasks));
    }

    /// Puts another script in the place of the present one, its counts at zero.
    pub fn follow(&self, script: Script) {
        let Settings { misbehave, seed, .. } = self.shared.settings;
        self.shared.change(|world| world.fates = faults::Fates::new(script, misbehave, seed));
    }

    /// Waits until the fact holds; false if it does not within the deadline.
    ///
    /// The fact is looked at whenever a request comes, its body ends or it is answered, or a task is made or finished by
    /// hand; the mere passing of a task's time wakes nobody.
    pub async fn wait_until(&self, deadline: Duration, mut fact: impl FnMut(&World) -> bool) -> bool {
        // Subscribed before the first look, so no change falls between a look and the wait after it.
        let mut changes = self.shared.changes.subscribe();
        let wait = async {
            while !self.with_world(&mut fact) {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(deadline, wait).await.unwrap_or(false)
    }

    /// Cuts all connections and stops listening; within about two seconds nothing of it is left.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(SHUTDOWN_MAX, &mut server).await.is_err()
        {
            server.abort();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Simulator").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
