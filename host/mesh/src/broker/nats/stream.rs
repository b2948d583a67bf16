//! The stream in which a server keeps messages, and what is asked of it.
//!
//! The stream keeps what the topics and patterns that were used so far name, and takes up more as they come. It cannot
//! keep everything from the start: answers to requests and the server's own messages would be among it, and whoever sends
//! a request on NATS would take the stream's word that it has it for the answer.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::{Context, ErrorCode, consumer, response::Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::link::Link;
use super::room::Room;
use super::subjects::cover;
use crate::broker::{BrokerError, Limits};

/// Subjects that the stream has by name. With more, it keeps whatever begins with the same word.
const MAX_SUBJECTS: usize = 1_000;

/// Subjects that the stream has in all.
const MAX_WORDS: usize = 2 * MAX_SUBJECTS;

/// Topics of which it is remembered that the stream keeps them.
const KNOWN: usize = 10_000;

/// How long it is taken for true what the stream was seen to keep. Of two who extend it at the same time one is undone,
/// and who only listens does not hear of it.
const TRUST: Duration = Duration::from_secs(30);

/// Rounds in which somebody else may have changed the stream at the same time.
const ROUNDS: usize = 10;

/// How long the server knows a message by its id, so that it is kept once.
const DUPLICATES: Duration = Duration::from_mins(2);

/// Who made the stream, so that its limits are changed only where they were set from here.
const MADE_BY: &str = "made-by";

/// A stream.
pub(super) struct Stream {
    pub(super) link: Link,
    pub(super) context: Context,
    pub(super) name: String,
    /// What a stream is to be that is made here.
    limits: Value,
    /// Whether it is one that a host made, and so may make again.
    is_ours: AtomicBool,
    known: Mutex<Known>,
    /// One change at a time from here.
    changing: tokio::sync::Mutex<()>,
    pub(super) room: Room,
}

/// What the stream was seen to keep.
#[derive(Default)]
struct Known {
    /// Topics and patterns.
    names: HashSet<String>,
    /// All subjects that it had.
    subjects: BTreeSet<String>,
    seen: Option<Instant>,
}

impl Known {
    fn has(&self, name: &str) -> bool {
        self.seen.is_some_and(|at| at.elapsed() < TRUST) && self.names.contains(name)
    }

    /// Takes note of the subjects that there are now.
    fn see(&mut self, subjects: &[String]) {
        let subjects = subjects.iter().cloned().collect();
        if self.names.len() >= KNOWN || !self.subjects.is_subset(&subjects) {
            self.names.clear();
        }
        (self.subjects, self.seen) = (subjects, Some(Instant::now()));
    }
}

/// Why the server did not do it.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It said no.
    No(ErrorCode, String),
    /// It said nothing.
    Silent(String),
}

#[derive(Deserialize)]
pub(super) struct Info {
    pub(super) config: Value,
    pub(super) state: State,
    /// When it was made, which tells it from another one of the same name.
    pub(super) created: String,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
pub(super) struct State {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Consumers {
    #[serde(default)]
    consumers: Vec<consumer::Info>,
    /// Those of which nothing is known at the moment.
    #[serde(default)]
    missing: Option<Vec<String>>,
    total: usize,
}

#[derive(Deserialize)]
struct Kept {
    message: KeptMessage,
}

/// What is needed of a message that is kept.
#[derive(Deserialize)]
pub(super) struct KeptMessage {
    pub(super) subject: String,
    pub(super) seq: u64,
}

#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

impl Stream {
    /// Finds the stream or makes it, and says whether it takes messages for later. One that is made here does not.
    pub(super) async fn open(link: Link, name: &str, limits: Limits) -> Result<(Self, bool), BrokerError> {
        let context = async_nats::jetstream::new(link.client.clone());
        let stream = Self {
            link,
            context,
            name: name.to_owned(),
            limits: Self::limits(limits),
            is_ours: AtomicBool::new(false),
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            room: Room::default(),
        };
        for _ in 0..ROUNDS {
            let outcome = match stream.info().await {
                Ok(Info { mut config, .. }) => {
                    let before = config.clone();
                    let is_ours = is_ours(&config);
                    stream.is_ours.store(is_ours, Ordering::Relaxed);
                    if let (Value::Object(config), Value::Object(wanted)) = (&mut config, &stream.limits) {
                        let ours = wanted.iter().filter(|_| is_ours);
                        config.extend(ours.map(|(name, value)| (name.clone(), value.clone())));
                    }
                    if config == before {
                        return Ok((stream, is_true(&before, "allow_msg_schedules")));
                    }
                    stream.ask::<Value>("UPDATE", &config).await.map(|_| config)
                }
                Err(Refusal::No(ErrorCode::STREAM_NOT_FOUND, _)) => stream.create().await.map(|()| Value::Null),
                Err(refusal) => return Err(stream.error("open", refusal)),
            };
            match outcome {
                Ok(config) => return Ok((stream, is_true(&config, "allow_msg_schedules"))),
                // Somebody else was first.
                Err(Refusal::No(ErrorCode::STREAM_NAME_EXIST, _)) => {}
                Err(refusal) => return Err(stream.error("open", refusal)),
            }
        }
        Err(stream.error("open", Refusal::Silent("others change it all the time".to_owned())))
    }

    fn limits(limits: Limits) -> Value {
        json!({
            "max_bytes": i64::try_from(limits.max_bytes).unwrap_or(i64::MAX),
            // What is old is taken away from here: the server would not ask who has yet to get it.
            "max_age": 0,
            "duplicate_window": u64::try_from(DUPLICATES.as_nanos()).unwrap_or(0),
        })
    }

    /// Makes the stream.
    async fn create(&self) -> Result<(), Refusal> {
        let mut config = json!({
            "name": self.name,
            // Something has to be in it before topics are.
            "subjects": [self.later(">")],
            "retention": "limits",
            "storage": "file",
            // Publishers hear of it when there is no room. NATS allows no messages for later together with that.
            "discard": "new",
            "num_replicas": 1,
            "max_msgs": -1,
            "max_consumers": -1,
            "max_msg_size": -1,
            "allow_direct": true,
            "metadata": { MADE_BY: "micro" },
        });
        if let (Value::Object(config), Value::Object(limits)) = (&mut config, &self.limits) {
            config.extend(limits.clone());
        }
        self.ask::<Value>("CREATE", &config).await?;
        self.is_ours.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The subject for what is published for later.
    pub(super) fn later(&self, rest: &str) -> String {
        format!("$later.{}.{rest}", self.name)
    }

    /// Whether the stream was seen to keep what a topic names, be it long ago.
    pub(super) fn has_kept(&self, topic: &str) -> bool {
        self.known().names.contains(topic)
    }

    /// Sees to it that the stream is there and keeps what a topic or a pattern names. Gives what the server said of it, if it
    /// had to be asked.
    pub(super) async fn keep(&self, wanted: &str) -> Result<Option<Info>, BrokerError> {
        if self.known().has(wanted) {
            return Ok(None);
        }
        let _turn = self.changing.lock().await;
        // Whoever had the turn before may have seen to it.
        if self.known().has(wanted) {
            return Ok(None);
        }
        for _ in 0..ROUNDS {
            let mut info = match self.info().await {
                Ok(info) => info,
                Err(Refusal::No(ErrorCode::STREAM_NOT_FOUND, _)) if self.is_ours.load(Ordering::Relaxed) => {
                    match self.create().await {
                        Ok(()) => warn!("broker {}: stream {} was gone, and is made again", self.link.shown, self.name),
                        // Somebody else was first.
                        Err(Refusal::No(ErrorCode::STREAM_NAME_EXIST, _)) => {}
                        Err(refusal) => return Err(self.error("make", refusal)),
                    }
                    continue;
                }
                Err(refusal) => return Err(self.error("ask after", refusal)),
            };
            let subjects: Vec<String> = info
                .config
                .get("subjects")
                .and_then(|list| serde_json::from_value(list.clone()).ok())
                .unwrap_or_default();
            self.known().see(&subjects);
            let all_of_it = wanted.split_once('.').map(|(first, _)| format!("{first}.>"));
            let needed = match all_of_it {
                // Answers to requests are among what such a pattern names: it gets what is kept for others.
                _ if wanted.starts_with(['*', '>']) => None,
                Some(all) if subjects.len() >= MAX_SUBJECTS => cover(&subjects, wanted).and(cover(&subjects, &all)),
                _ => cover(&subjects, wanted),
            };
            // Asked for anew after each change, which somebody else's may have undone.
            let Some(needed) = needed else {
                self.known().names.insert(wanted.to_owned());
                return Ok(Some(info));
            };
            let (most, way) = match wanted.contains('.') {
                true => (MAX_WORDS, "begin topics with a word that others begin with"),
                false => (MAX_SUBJECTS, "use topics with a dot, of which it keeps all that begin with the same word"),
            };
            if needed.len() > subjects.len().max(most) {
                return Err(BrokerError::Full(format!(
                    "broker {}: stream {} has {} subjects and takes no more, for {wanted:?}: {way}",
                    self.link.shown,
                    self.name,
                    subjects.len()
                )));
            }
            if let Value::Object(config) = &mut info.config {
                config.insert("subjects".to_owned(), needed.into());
            }
            match self.ask::<Value>("UPDATE", &info.config).await {
                Ok(_) => {}
                Err(Refusal::No(ErrorCode::STREAM_SUBJECT_OVERLAP, _)) => {
                    return Err(BrokerError::Setting(format!(
                        "broker {}: another stream than {} keeps some of {wanted:?}: use that stream, or other topics",
                        self.link.shown, self.name
                    )));
                }
                Err(refusal) => return Err(self.error("extend", refusal)),
            }
        }
        Err(self.error("extend", Refusal::Silent("others change it all the time".to_owned())))
    }

    /// Forgets what the stream keeps, after it has turned out to be less.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Forgets what was seen before this.
    pub(super) fn forget_before(&self, at: Instant) {
        let mut known = self.known();
        if known.seen.is_some_and(|seen| seen < at) {
            *known = Known::default();
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn info(&self) -> Result<Info, Refusal> {
        self.ask("INFO", &json!({})).await
    }

    /// All subjects with messages, and how many.
    pub(super) async fn subjects(&self) -> Result<(State, HashMap<String, u64>), Refusal> {
        let mut all = HashMap::new();
        loop {
            let page = json!({ "subjects_filter": ">", "offset": all.len() });
            let Info { mut state, total, .. } = self.ask("INFO", &page).await?;
            let before = all.len();
            all.extend(std::mem::take(&mut state.subjects));
            if all.len() >= total || all.len() == before {
                return Ok((state, all));
            }
        }
    }

    /// The message at a place, or the first one of a subject from there on.
    pub(super) async fn message(&self, at: u64, subject: Option<&str>) -> Result<Option<KeptMessage>, Refusal> {
        let query = match subject {
            Some(subject) => json!({ "seq": at, "next_by_subj": subject }),
            None => json!({ "seq": at }),
        };
        match self.ask::<Kept>("MSG.GET", &query).await {
            Ok(kept) => Ok(Some(kept.message)),
            Err(Refusal::No(ErrorCode::NO_MESSAGE_FOUND, _)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    pub(super) async fn delete(&self, at: u64) -> Result<(), Refusal> {
        self.ask::<Value>("MSG.DELETE", &json!({ "seq": at, "no_erase": true })).await.map(drop)
    }

    /// Takes messages away, those of a subject or those before a place; says how many.
    pub(super) async fn purge(&self, which: Value) -> Result<u64, Refusal> {
        Ok(self.ask::<Purged>("PURGE", &which).await?.purged)
    }

    /// The consumers, and whether these are all: some may be out of reach, or come and go in between.
    pub(super) async fn consumers(&self) -> Result<(Vec<consumer::Info>, bool), Refusal> {
        let mut all = Vec::new();
        let mut total = None;
        let mut are_all = true;
        loop {
            let subject = format!("CONSUMER.LIST.{}", self.name);
            let page: Consumers = self.request(subject, &json!({ "offset": all.len() })).await?;
            let before = all.len();
            all.extend(page.consumers);
            are_all &= page.missing.is_none_or(|missing| missing.is_empty());
            are_all &= *total.get_or_insert(page.total) == page.total;
            if all.len() >= page.total || all.len() == before {
                let are_all = are_all && all.len() == page.total;
                return Ok((all, are_all));
            }
        }
    }

    pub(super) async fn consumer(&self, name: &str) -> Result<Option<consumer::Info>, Refusal> {
        match self.request(format!("CONSUMER.INFO.{}.{name}", self.name), &json!({})).await {
            Ok(info) => Ok(Some(info)),
            Err(Refusal::No(ErrorCode::CONSUMER_NOT_FOUND, _)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Makes a consumer. None where there is one of that name that differs.
    pub(super) async fn create_consumer(&self, config: consumer::Config) -> Result<Option<consumer::Info>, Refusal> {
        let subject = format!("CONSUMER.CREATE.{}.{}", self.name, config.name.as_deref().unwrap_or_default());
        let request = json!({ "stream_name": self.name, "config": config, "action": "create" });
        match self.request(subject, &request).await {
            Ok(info) => Ok(Some(info)),
            Err(Refusal::No(ErrorCode::CONSUMER_NAME_EXIST | ErrorCode::CONSUMER_ALREADY_EXISTS, _)) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Changes a consumer that is there.
    pub(super) async fn change_consumer(&self, config: &consumer::Config) -> Result<(), Refusal> {
        let subject = format!("CONSUMER.CREATE.{}.{}", self.name, config.name.as_deref().unwrap_or_default());
        let request = json!({ "stream_name": self.name, "config": config, "action": "update" });
        self.request::<Value>(subject, &request).await.map(drop)
    }

    /// Takes a consumer away; says whether it was there.
    pub(super) async fn delete_consumer(&self, name: &str) -> Result<bool, Refusal> {
        match self.request::<Value>(format!("CONSUMER.DELETE.{}.{name}", self.name), &json!({})).await {
            Ok(_) => Ok(true),
            Err(Refusal::No(ErrorCode::CONSUMER_NOT_FOUND, _)) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, body: &Value) -> Result<T, Refusal> {
        self.request(format!("STREAM.{what}.{}", self.name), body).await
    }

    async fn request<T: DeserializeOwned>(&self, subject: String, body: &impl Serialize) -> Result<T, Refusal> {
        match self.context.request(subject, body).await {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(Refusal::No(error.error_code(), error.to_string())),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(Refusal::No(ErrorCode::JETSTREAM_NOT_ENABLED, "no JetStream answers".to_owned()))
            }
            Err(error) => Err(Refusal::Silent(error.to_string())),
        }
    }

    /// What is said to the caller of a refusal.
    pub(super) fn error(&self, what: &str, refusal: Refusal) -> BrokerError {
        let (shown, name) = (&self.link.shown, &self.name);
        match refusal {
            Refusal::No(ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT, _) => {
                BrokerError::Unavailable(format!(
                    "broker {shown}: JetStream is not there, or not yet: start the server with --jetstream, or use \
                     broker nats"
                ))
            }
            Refusal::No(code, text) if is_full(code) => BrokerError::Full(format!(
                "broker {shown}: {what} stream {name}: {text}; give the server more room, or lower what the broker keeps"
            )),
            Refusal::No(code, text) => BrokerError::Unavailable(format!(
                "broker {shown}: {what} stream {name}: {text} (error {} of NATS)",
                code.0
            )),
            Refusal::Silent(text) => {
                BrokerError::Unavailable(format!("broker {shown}: {what} stream {name}: {text}; ask again later"))
            }
        }
    }
}

/// Whether the server refuses for want of room.
pub(super) fn is_full(code: ErrorCode) -> bool {
    [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ]
    .contains(&code)
}

/// Whether a stream was made by a host, which may then set its limits and take messages out of it.
pub(super) fn is_ours(config: &Value) -> bool {
    config.get("metadata").is_some_and(|about| about.get(MADE_BY).is_some())
}

pub(super) fn is_true(config: &Value, name: &str) -> bool {
    config.get(name).and_then(Value::as_bool).unwrap_or(false)
}
