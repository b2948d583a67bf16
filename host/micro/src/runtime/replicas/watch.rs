//! Every instance has a task that waits for its end and puts a new one in its place, later each time it fails. One that
//! fails again and again is given up, and the runtime is told.

use super::{Replicas, Stance, lock};
use micro_engine::actor::{Ending, StartError};
use micro_engine::manifest::Restart;
use micro_engine::{Actor, CallError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause before a failed instance is replaced; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// An instance that lived so long before it failed is not in a loop.
const STEADY: Duration = Duration::from_secs(60);
/// So many failures in a row, without a steady life between them, are a crash loop.
const CRASH_LOOP: u32 = 5;

/// Keeps one place filled until the revision is retired or the place is given up.
pub(super) async fn supervise(replicas: Arc<Replicas>, at: usize) {
    let Some(slot) = replicas.slots.get(at).cloned() else { return };
    let mut failures = 0;
    loop {
        let mut is_own_failure = true;
        let reason = match slot.actor.load_full() {
            Some(actor) => {
                let began = Instant::now();
                match until_end(&replicas, &actor).await {
                    Some(Ending::Failed(reason)) => {
                        if began.elapsed() >= STEADY {
                            failures = 0;
                        }
                        reason
                    }
                    Some(Ending::Stopped) | None => return,
                }
            }
            None if replicas.stance() == Stance::Retired => return,
            None => match Box::pin(replicas.begin(&slot)).await {
                Ok(actor) => {
                    slot.actor.store(Some(actor));
                    *lock(&slot.reason) = None;
                    replicas.changed.notify_waiters();
                    if failures > 0 {
                        slot.restarts.fetch_add(1, Ordering::Relaxed);
                        replicas.notices.restarted(replicas.revision, &format!("instance {at} runs again"));
                    } else {
                        replicas.notices.health_changed(replicas.revision);
                    }
                    continue;
                }
                Err(error) => {
                    // That others take all the room says nothing about this one.
                    is_own_failure = !matches!(error, StartError::Failed(CallError::PoolFull));
                    error.to_string()
                }
            },
        };
        slot.actor.store(None);
        failures += u32::from(is_own_failure);
        *lock(&slot.reason) = Some(reason.clone());
        replicas.log.host_line(&format!("instance {at} of revision {} failed: {reason}", replicas.revision));
        if failures >= CRASH_LOOP || is_own_failure && replicas.settings.restart == Restart::Never {
            slot.is_given_up.store(true, Ordering::Relaxed);
            replicas.changed.notify_waiters();
            replicas.notices.given_up(replicas.revision, &format!("instance {at}: {reason}"));
            return;
        }
        let pause = pause(failures);
        replicas.notices.failed(
            replicas.revision,
            &format!("instance {at}: {reason}; it is replaced in {}", humantime::format_duration(pause)),
        );
        tokio::time::sleep(pause).await;
    }
}

/// How the instance ended; none if the revision was retired before.
async fn until_end(replicas: &Replicas, actor: &Actor) -> Option<Ending> {
    loop {
        let changed = replicas.changed.notified();
        if replicas.stance() == Stance::Retired {
            return None;
        }
        tokio::select! {
            ending = actor.ended() => return Some(ending),
            () = changed => {}
        }
    }
}

/// Twice as long each time, up to a limit, and never quite the same, so that those who failed together do not return
/// together.
fn pause(failures: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    let mut random = [0; 1];
    // Without randomness the pause is the shorter one.
    let _ = getrandom::fill(&mut random);
    full / 2 + full.mul_f64(f64::from(random[0]) / 512.0)
}

/// Asks idle instances how they are; a busy one shows it by its answers.
pub(super) async fn ask_for_health(replicas: std::sync::Weak<Replicas>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(replicas) = replicas.upgrade() else { return };
        if replicas.stance() == Stance::Retired {
            return;
        }
        for (at, slot) in replicas.slots.iter().enumerate() {
            let Some(actor) = slot.actor.load_full() else { continue };
            if actor.busy() > 0 || actor.has_ended() {
                continue;
            }
            let was_well = actor.is_well();
            let said = actor.health().await;
            if was_well == said.is_ok() {
                continue;
            }
            match said {
                Ok(()) => {
                    *lock(&slot.reason) = None;
                    replicas.log.host_line(&format!("instance {at} is healthy again"));
                }
                Err(reason) => {
                    replicas.log.host_line(&format!("instance {at} is not healthy: {reason}"));
                    *lock(&slot.reason) = Some(format!("not healthy: {reason}"));
                }
            }
            replicas.changed.notify_waiters();
            replicas.notices.health_changed(replicas.revision);
        }
    }
}
