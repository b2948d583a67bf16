//! The threads that tasks run on, and how they tidy up: what a busy host took, an idle one gives back.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often a thread tidies up, at most.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is looked for threads that went to sleep without.
const LOOK: Duration = Duration::from_secs(2);

/// How long a thread that was woken stays awake, so that it does not take what is meant to wake another.
const AWAKE: Duration = Duration::from_millis(1);

/// When those that were woken sleep again.
const SETTLED: Duration = Duration::from_millis(100);

thread_local! {
    static TIDIED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Starts the threads. Each calls `tidy` when it has nothing else to do, if it has not for a while.
pub(crate) fn start(tidy: fn()) -> io::Result<Runtime> {
    // In a task: a thread that is about to sleep keeps others from being woken, and may be the one that looks after sockets.
    let rest = move || {
        if is_untidy() {
            tokio::spawn(async move {
                if is_untidy() {
                    TIDIED.set(Some(Instant::now()));
                    tidy();
                }
            });
        }
    };
    let runtime = Builder::new_multi_thread().enable_all().on_thread_park(rest).build()?;
    runtime.spawn(wake_untidy());
    Ok(runtime)
}

/// Whether this thread has not tidied up for a while.
fn is_untidy() -> bool {
    TIDIED.get().is_none_or(|last| last.elapsed() >= EVERY)
}

/// Wakes those threads that sleep from one look to the next, unless they have been woken for that: each goes to sleep again
/// behind `rest`.
async fn wake_untidy() {
    let metrics = Handle::current().metrics();
    // How often each has gone to sleep and woken: at the last look, and when it was tidy.
    let mut threads = vec![(0, 0); metrics.num_workers()];
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut untidy = 0;
        for (number, (last, tidy)) in threads.iter_mut().enumerate() {
            let changes = metrics.worker_park_unpark_count(number);
            let is_asleep = changes % 2 == 1;
            untidy += usize::from(is_asleep && changes == *last && changes != *tidy);
            *last = changes;
        }
        if untidy == 0 {
            continue;
        }
        // The thread that this runs on takes one as well.
        for _ in 0..=untidy {
            tokio::spawn(async { stay_awake() });
        }
        sleep(SETTLED).await;
        for (number, (last, tidy)) in threads.iter_mut().enumerate() {
            let changes = metrics.worker_park_unpark_count(number);
            if changes != *last {
                (*last, *tidy) = (changes, changes);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "for a thousandth of a second, on threads that were asleep but for one")]
fn stay_awake() {
    std::thread::sleep(AWAKE);
}
