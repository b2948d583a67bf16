//! The threads that everything runs on, and how they tidy up: what a busy host took, an idle one gives back.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{MissedTickBehavior, interval};

/// How often a thread tidies up, at most.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is looked for threads that went to sleep without.
const LOOK: Duration = Duration::from_secs(2);

/// How long a thread that was woken stays awake, so that it does not take what is meant to wake another.
const AWAKE: Duration = Duration::from_millis(1);

thread_local! {
    static TIDIED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Starts the threads. Each calls `tidy` when it has nothing else to do, if it has not for a while.
pub(crate) fn start(tidy: fn()) -> io::Result<Runtime> {
    let rest = move || {
        let now = Instant::now();
        if TIDIED.get().is_none_or(|last| now.duration_since(last) >= EVERY) {
            TIDIED.set(Some(now));
            tidy();
        }
    };
    let runtime = Builder::new_multi_thread().enable_all().on_thread_park(rest).build()?;
    runtime.spawn(wake_untidy(runtime.handle().clone()));
    Ok(runtime)
}

/// Wakes the threads when one of them has slept from one look to the next and has not been woken for that. It goes to sleep
/// again behind `rest`.
async fn wake_untidy(runtime: Handle) {
    let metrics = runtime.metrics();
    // How often each has gone to sleep and woken: at the last look, and when it was tidy.
    let mut threads = vec![(0, 0); metrics.num_workers()];
    let mut were_woken = false;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut is_untidy = false;
        for (number, (last, tidy)) in threads.iter_mut().enumerate() {
            let changes = metrics.worker_park_unpark_count(number);
            if were_woken {
                *tidy = changes;
            }
            let is_asleep = changes % 2 == 1;
            is_untidy |= is_asleep && changes == *last && changes != *tidy;
            *last = changes;
        }
        were_woken = is_untidy;
        if is_untidy {
            for _ in &threads {
                runtime.spawn(async { stay_awake() });
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody waits for a thread that was asleep")]
fn stay_awake() {
    std::thread::sleep(AWAKE);
}
