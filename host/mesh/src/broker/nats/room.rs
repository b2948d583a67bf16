//! Room in a stream: what every group has acknowledged is taken away, when it is old or the stream is full. The server
//! would throw away what a group has yet to get too, so it is not left to it.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::jetstream::unique;
use super::link::Watch;
use super::stream::{Info, Refusal, State, Stream, is_ours, is_true};

/// The part of a full stream that is taken away at a time, as its divisor.
const PART: u64 = 10;

/// How long it is remembered that nothing could be taken away.
const VAIN: Duration = Duration::from_millis(100);

/// How often old messages are looked for: so many times while one gets old, but neither more nor less often than this.
const LOOKS: u32 = 10;
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(5));

/// What was done for room.
#[derive(Default)]
pub(super) struct Room {
    /// How often some was made.
    made: AtomicU64,
    /// When there was last nothing to take away. Held by who takes away.
    vain: tokio::sync::Mutex<Option<Instant>>,
}

impl Stream {
    /// How often room was made from here. To be asked for before what may find none.
    pub(super) fn room_made(&self) -> u64 {
        self.room.made.load(Ordering::Acquire)
    }

    /// Takes away some of the oldest messages that everybody has acknowledged, if nobody has since `made`. Says whether
    /// there is more room than before.
    pub(super) async fn make_room(&self, made: u64) -> bool {
        let mut vain = self.room.vain.lock().await;
        if self.room_made() != made {
            return true;
        }
        if vain.is_some_and(|at| at.elapsed() < VAIN) {
            return false;
        }
        let taken = self.take_part().await.unwrap_or_else(|refusal| {
            warn!("{}", self.error("make room in", refusal));
            0
        });
        *vain = (taken == 0).then(Instant::now);
        if taken > 0 {
            self.room.made.fetch_add(1, Ordering::AcqRel);
            debug!("broker {}: stream {} was full: {taken} messages taken away", self.link.shown, self.name);
        }
        taken > 0
    }

    async fn take_part(&self) -> Result<u64, Refusal> {
        let Some(state) = self.ours().await? else { return Ok(0) };
        let part = state.last_seq.saturating_sub(state.first_seq) / PART;
        self.take_away(&state, state.first_seq + part).await
    }

    /// Takes away what has become older than this.
    async fn take_old(&self, age: Duration) -> Result<u64, Refusal> {
        let Some(state) = self.ours().await? else { return Ok(0) };
        let since = SystemTime::now().checked_sub(age).and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let nanos = since.and_then(|since| i128::try_from(since.as_nanos()).ok());
        let Some(start_time) = nanos.and_then(|nanos| async_nats::datetime::from_nanos(nanos).ok()) else {
            return Ok(0);
        };
        // The server says where in the stream a time is only to a consumer that begins there.
        let config = Config {
            name: Some(format!("reader-{}", unique(&self.link.client))),
            deliver_policy: DeliverPolicy::ByStartTime { start_time },
            ack_policy: AckPolicy::None,
            memory_storage: true,
            ..Config::default()
        };
        let Some(consumer) = self.create_consumer(config).await? else { return Ok(0) };
        self.delete_consumer(&consumer.name).await?;
        self.take_away(&state, consumer.delivered.stream_sequence).await
    }

    /// Where the stream stands, if what is in it is for us to take away and there is something. What waits for its time
    /// is for no group yet, so a stream with such messages is left as it is.
    async fn ours(&self) -> Result<Option<State>, Refusal> {
        let Info { config, state, .. } = self.info().await?;
        Ok((is_ours(&config) && !is_true(&config, "allow_msg_schedules") && state.messages > 0).then_some(state))
    }

    /// Takes away the messages up to a place, but none that somebody has yet to acknowledge.
    async fn take_away(&self, state: &State, up_to: u64) -> Result<u64, Refusal> {
        // Asked for after the state: who is then done with everything is done with all that the state knows of.
        let (consumers, are_all) = self.consumers().await?;
        if !are_all {
            return Ok(0);
        }
        let mut free = up_to.min(state.last_seq);
        for info in consumers {
            let done = info.ack_floor.stream_sequence;
            let is_waiting = info.num_pending > 0 || info.num_ack_pending > 0;
            if free < state.first_seq || done >= free || !is_waiting {
                continue;
            }
            // It may have got nothing for long because there was nothing for it.
            let filter = match &*info.config.filter_subject {
                "" => ">",
                subject => subject,
            };
            let first = match info.config.filter_subjects.is_empty() {
                true => self.message(done + 1, Some(filter)).await?,
                false => None,
            };
            free = free.min(first.map_or(done, |message| message.seq.saturating_sub(1)));
        }
        if free < state.first_seq { Ok(0) } else { self.purge(json!({ "seq": free + 1 })).await }
    }
}

/// Takes old messages away for as long as the broker is there.
pub(super) async fn keep_young(stream: Weak<Stream>, age: Duration, watch: Watch) {
    let mut looks = interval((age / LOOKS).clamp(LOOK.0, LOOK.1));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = watch.closed() => return,
            _ = looks.tick() => {}
        }
        let Some(stream) = stream.upgrade() else { return };
        if stream.link.connected(Duration::ZERO).await.is_err() {
            continue;
        }
        let taken = tokio::select! {
            () = watch.closed() => return,
            taken = stream.take_old(age) => taken,
        };
        match taken {
            Ok(0) => {}
            Ok(taken) => debug!("broker {}: {taken} old messages taken away", stream.link.shown),
            Err(refusal) => debug!("{}", stream.error("take old messages out of", refusal)),
        }
    }
}
