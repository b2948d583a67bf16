//! The registry in a file: survives restarts, and every process on this machine that opens the file shares it.
//!
//! SQLite calls block, so one thread owns the connection and the async side sends it requests. Changes made
//! through this registry reach its watchers before the request returns; those of other processes are seen by
//! looking at the file's change counter at a small interval, while anyone watches.
//!
//! Times to live are kept as wall-clock times, the only clock processes share, and therefore move when it is set.

mod tables;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{RegisterOptions, Registry, RegistryError, WatchOptions, Watcher};
use super::{check, watch::Watchers};
use crate::record::Service;
use tables::{Failure, Tables};

#[cfg(test)]
#[path = "../sqlite_tests.rs"]
mod tests;

/// The name of this backend.
pub const NAME: &str = "sqlite";

/// How often the file is checked for changes of other processes. A check reads one counter in shared memory.
const POLL: Duration = Duration::from_millis(50);

/// How long the thread stays awake after an answer. Whoever registers one service after the other, as a host does
/// when it starts, asks again within this time, and waking up would take as long as the registration itself.
const LINGER: Duration = Duration::from_micros(60);

/// A registry in a SQLite file.
pub struct Sqlite {
    requests: Sender<Request>,
}

type Answer<T> = oneshot::Sender<Result<T, Failure>>;

enum Request {
    Register { services: Vec<Arc<Service>>, ttl: Option<Duration>, answer: Answer<()> },
    Deregister { service: Service, answer: Answer<()> },
    Get { name: String, answer: Answer<Vec<Service>> },
    List { answer: Answer<Vec<Service>> },
    Watch { options: WatchOptions, answer: Answer<Watcher> },
}

impl Sqlite {
    /// Opens the file, or creates it. Its folder must exist.
    ///
    /// # Errors
    /// [`RegistryError::Backend`] when the file cannot be opened, is no database, or was written by a newer
    /// version of this program.
    #[expect(
        clippy::disallowed_methods,
        reason = "each caller waits for its answer, so there are as many requests as callers"
    )]
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, RegistryError> {
        let path = path.into();
        let doing = format!("open {}", path.display());
        let (requests, received) = channel();
        let (opened, answer) = oneshot::channel();
        // The thread ends when the registry, which holds the only sender, is dropped.
        let spawned = thread::Builder::new().name("registry".to_owned()).spawn(move || {
            match Tables::open(&path) {
                Ok(tables) => {
                    // Nobody waiting any more means the sender is gone too, which ends the loop.
                    drop(opened.send(Ok(())));
                    Keeper::new(tables).serve(&received);
                }
                Err(failure) => drop(opened.send(Err(failure))),
            }
        });
        if let Err(error) = spawned {
            return Err(failed(doing, error.into()));
        }
        match answer.await {
            Ok(Ok(())) => Ok(Self { requests }),
            Ok(Err(failure)) => Err(failed(doing, failure)),
            Err(_) => Err(failed(doing, ended())),
        }
    }

    async fn ask<T>(
        &self,
        doing: impl FnOnce() -> String,
        request: impl FnOnce(Answer<T>) -> Request,
    ) -> Result<T, RegistryError> {
        let (answer, answered) = oneshot::channel();
        let result = match self.requests.send(request(answer)) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(ended()),
        };
        result.map_err(|failure| failed(doing(), failure))
    }
}

fn failed(doing: String, source: Failure) -> RegistryError {
    RegistryError::Backend { registry: NAME, doing, source }
}

fn ended() -> Failure {
    "the registry's thread has ended".into()
}

#[async_trait]
impl Registry for Sqlite {
    fn name(&self) -> &str {
        NAME
    }

    async fn register(&self, service: &Service, options: RegisterOptions) -> Result<(), RegistryError> {
        self.register_all(std::slice::from_ref(service), options).await
    }

    async fn register_all(&self, services: &[Service], options: RegisterOptions) -> Result<(), RegistryError> {
        services.iter().try_for_each(check)?;
        let doing = || match services {
            [service] => format!("register {}", service.name),
            services => format!("register {} services", services.len()),
        };
        let (copies, ttl) = (services.iter().cloned().map(Arc::new).collect(), options.lease());
        self.ask(doing, |answer| Request::Register { services: copies, ttl, answer }).await
    }

    async fn deregister(&self, service: &Service) -> Result<(), RegistryError> {
        let copy = service.clone();
        self.ask(|| format!("deregister {}", service.name), |answer| Request::Deregister { service: copy, answer })
            .await
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, RegistryError> {
        let wanted = name.to_owned();
        let found = self.ask(|| format!("get {name}"), |answer| Request::Get { name: wanted, answer }).await?;
        if found.is_empty() {
            return Err(RegistryError::NotFound(name.to_owned()));
        }
        Ok(found)
    }

    async fn list(&self) -> Result<Vec<Service>, RegistryError> {
        self.ask(|| "list services".to_owned(), |answer| Request::List { answer }).await
    }

    async fn watch(&self, options: WatchOptions) -> Result<Watcher, RegistryError> {
        self.ask(|| "watch services".to_owned(), |answer| Request::Watch { options, answer }).await
    }
}

/// What the thread works on.
struct Keeper {
    tables: Tables,
    watchers: Watchers,
    looked: Instant,
}

impl Keeper {
    fn new(tables: Tables) -> Self {
        Self { tables, watchers: Watchers::default(), looked: Instant::now() }
    }

    fn serve(mut self, requests: &Receiver<Request>) {
        loop {
            match self.next(requests) {
                Ok(request) => self.answer_all(request, requests),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Answers a request and those that follow closely, without losing sight of the file meanwhile.
    fn answer_all(&mut self, first: Request, requests: &Receiver<Request>) {
        let mut next = Some(first);
        while let Some(request) = next {
            self.answer(request);
            if self.looked.elapsed() >= POLL {
                self.look();
            }
            next = linger(requests);
        }
    }

    /// Waits for a request, but only until something has to be looked at.
    fn next(&mut self, requests: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        let poll = (!self.watchers.is_empty()).then_some(POLL);
        let expiry = self.tables.earliest_expiry().map(|at| Duration::from_millis(at.since(now())));
        match poll.into_iter().chain(expiry).min() {
            Some(wait) => requests.recv_timeout(wait),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Answers one request. An answer nobody waits for any more is dropped: the asker may go away.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Register { services, ttl, answer } => {
                let expires = ttl.map(|ttl| now().after(ttl));
                drop(answer.send(self.change(|tables| tables.register(&services, expires))));
            }
            Request::Deregister { service, answer } => {
                drop(answer.send(self.change(|tables| tables.deregister(&service))));
            }
            Request::Get { name, answer } => {
                drop(answer.send(self.read(|tables| tables.get(&name))));
            }
            Request::List { answer } => drop(answer.send(self.read(Tables::list))),
            Request::Watch { options, answer } => drop(answer.send(self.watch(options))),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Tables) -> Result<(), Failure>) -> Result<(), Failure> {
        // Nodes whose time has passed go first, or their event would come after the one of their return.
        self.tables.expire(now())?;
        change(&mut self.tables)?;
        self.tell();
        Ok(())
    }

    fn read<T>(&mut self, read: impl FnOnce(&Tables) -> Result<T, Failure>) -> Result<T, Failure> {
        self.tables.notice(now())?;
        read(&self.tables)
    }

    fn watch(&mut self, options: WatchOptions) -> Result<Watcher, Failure> {
        self.tables.notice(now())?;
        if self.watchers.is_empty() {
            self.tables.skip_changes()?;
        } else {
            self.tell();
        }
        Ok(self.watchers.add(options))
    }

    /// Sees to what happens without a request: changes of other processes and times that pass.
    fn look(&mut self) {
        self.looked = Instant::now();
        if let Err(failure) = self.tables.notice(now()) {
            self.lose_track(&failure);
        }
        self.tell();
    }

    /// Tells the watchers what has changed since they were last told.
    fn tell(&mut self) {
        if self.watchers.is_empty() {
            // Whoever comes later starts with the present.
            self.tables.forget_changes();
            return;
        }
        match self.tables.changes() {
            Ok(events) => events.iter().for_each(|event| self.watchers.publish(event)),
            Err(failure) => self.lose_track(&failure),
        }
    }

    /// Watchers that may have missed something must list again, so their watches end.
    fn lose_track(&mut self, failure: &Failure) {
        tracing::warn!(error = %failure, "the registry file could not be followed");
        self.watchers.end();
    }
}

/// Waits a moment awake for the request that often follows the last one.
fn linger(requests: &Receiver<Request>) -> Option<Request> {
    let answered = Instant::now();
    while answered.elapsed() < LINGER {
        if let Ok(request) = requests.try_recv() {
            return Some(request);
        }
        thread::yield_now();
    }
    None
}

/// Milliseconds of wall-clock time since 1970, as the file holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WallMillis(i64);

impl WallMillis {
    /// Later by a time, which counts as a millisecond at least: a lease must not be over before it began.
    fn after(self, time: Duration) -> Self {
        let millis = i64::try_from(time.as_millis().max(1)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// The milliseconds since an earlier time, 0 when that time is later.
    fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

fn now() -> WallMillis {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMillis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
