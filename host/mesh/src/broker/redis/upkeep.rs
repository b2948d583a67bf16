//! What goes on beside publishing and subscribing: messages whose time has come, and members that fell silent.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use tokio::time::{Instant, sleep};

use super::{SILENCE, Shared, keys, scripts};
use crate::broker::closing::Held;

/// How often to look for messages whose time has come, which others may have published.
const LOOK: Duration = Duration::from_millis(500);

/// How often to look for members that fell silent, and how long the server must have answered before.
const SWEEP: Duration = Duration::from_secs(10);

/// Goes on until the broker is closed.
pub async fn run(shared: Arc<Shared>, open: Held) {
    let mut swept = Instant::now();
    loop {
        // A server that cannot be reached is asked again; who publishes or subscribes tells of it. When it is back, members
        // have time to say that they are there before anybody is struck off.
        let wait = due(&shared).await.unwrap_or_else(|_| {
            swept = Instant::now();
            LOOK
        });
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            drop(sweep(&shared).await);
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = shared.deferred.notified() => {}
            () = open.over() => return,
        }
    }
}

/// Publishes what is due, and says how long to wait for more.
async fn due(shared: &Shared) -> RedisResult<Duration> {
    let now = shared.clock.now();
    let mut call = scripts::DUE.key(keys::LATER);
    call.key(keys::TOPICS).key(keys::CREATED).arg(now).arg(keys::stream(""));
    let next: i64 = shared.run(&call).await?;
    let wait = u64::try_from(next).map_or(LOOK, |next| Duration::from_millis(next.saturating_sub(now)));
    Ok(wait.min(LOOK))
}

/// Strikes off who was not heard of.
pub async fn sweep(shared: &Shared) -> RedisResult<()> {
    let silent: Vec<String> = shared.run(scripts::SILENT.key(keys::MEMBERS).arg(SILENCE.as_secs())).await?;
    for entry in silent {
        if let Some((group, member)) = entry.rsplit_once(' ') {
            tracing::info!(group, member, "redis: a member of a group fell silent, others take over");
            shared.strike(group, member).await?;
        }
    }
    Ok(())
}
