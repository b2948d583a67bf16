//! Room for short calls beside long ones.
//!
//! A guest that computes gives its thread back at each tick of the engine's clock, and all others on that thread wait for
//! so long. That is much for calls of microseconds, and with as many such guests as threads it would be so for all. So a
//! call that has seen several ticks goes on *aside*: the runtime gets another thread in place of the one that the guest
//! computes on, and the system's scheduler shares the processors out. At most as many guests compute aside at once as
//! there are processors. Where more of them want to, they take turns of one tick each; where not, a guest keeps its thread
//! for several ticks, because each change of threads costs the others time, and because the scheduler lets a thread that
//! has computed for long wait for those that wake up. For a while after that, calls of the same deployment begin aside.

use pin_project_lite::pin_project;
use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Ticks of one call after which it goes on aside.
pub(crate) const SHORT: u32 = 2;

/// How long calls of a deployment begin aside after one of them has computed for long: until it were found out again, nobody
/// else might be served on its thread.
const HABIT: u64 = 10_000_000_000;

/// How long a guest computes aside before its task looks after the rest, such as a caller that has gone; at its deadline it
/// does so anyway. The scheduler lets who takes its thread's place wait at first.
const STRETCH: Duration = Duration::from_millis(500);

/// The places aside.
static ASIDE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Arc::new(Semaphore::new(processors))
});

/// Those who wait for one.
static WAITING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether the guest that was polled last on this thread computes for long.
    static IS_LONG: Cell<bool> = const { Cell::new(false) };
    /// Whether a guest is being polled on this thread: what it calls is polled inside of it.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Whether another guest was polled inside of the one that was polled last on this thread.
    static IS_NESTED: Cell<bool> = const { Cell::new(false) };
    /// When the poll on this thread began, and what the same work took in those before.
    static BEGUN: Cell<u64> = const { Cell::new(0) };
    /// When the work that is being polled on this thread is to have ended.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
    static SPENT: Cell<u64> = const { Cell::new(0) };
}

/// When the engines' clock ticked last.
static LAST_TICK: AtomicU64 = AtomicU64::new(0);

/// The first question for the time: all times here are nanoseconds since then.
static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(FIRST.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Notes that the engines' clock ticks now.
pub(crate) fn tick() {
    LAST_TICK.store(now(), Ordering::Relaxed);
}

/// Polls work that is to end by then.
pub(crate) fn by<T>(end: Instant, work: impl FnOnce() -> T) -> T {
    struct Outer(Option<Instant>);
    impl Drop for Outer {
        fn drop(&mut self) {
            END.set(self.0);
        }
    }
    let outer = END.get();
    END.set(Some(outer.map_or(end, |outer| outer.min(end))));
    let _outer = Outer(outer);
    work()
}

/// Whether the clock ticked while the guest that is being polled computed. It may have ticked before, while the guest
/// waited for something, and the guest learns of it only now.
pub(crate) fn has_ticked() -> bool {
    LAST_TICK.load(Ordering::Relaxed) >= BEGUN.get()
}

/// How long the guest that is being polled has computed, in nanoseconds: now, and in all polls of the same work before.
pub(crate) fn spent() -> u64 {
    SPENT.get() + now().saturating_sub(BEGUN.get())
}

/// When a deployment had a call last that computed for long.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU64);

impl Habit {
    /// Notes that one does now.
    pub(crate) fn note(&self) {
        self.0.store(now().max(1), Ordering::Relaxed);
    }

    /// Whether its next one may as well.
    pub(crate) fn is_long(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            0 => false,
            last => now().saturating_sub(last) < HABIT,
        }
    }
}

/// Tells that the guest that is being polled computes for long.
pub(crate) fn is_long() {
    IS_LONG.set(true);
}

pin_project! {
    /// Work inside a guest.
    pub(crate) struct Fair<F> {
        #[pin]
        work: F,
        is_long: bool,
        spent: u64,
        turn: Option<Turn>,
    }
}

/// Somebody's wait for a place aside.
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

/// Lets work inside a guest go on aside when it computes for long, and begin there if that `is_long` by habit.
pub(crate) fn fair<F: Future>(is_long: bool, work: F) -> Fair<F> {
    Fair { work, is_long, spent: 0, turn: None }
}

impl<F: Future> Future for Fair<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // It is the outermost guest that has the thread. If the inner one waited for a place, the outer one could wait
        // for the same.
        if IS_INSIDE.get() {
            IS_NESTED.set(true);
            return inside(this.spent, || this.work.poll(context));
        }
        if !*this.is_long {
            let done = inside(this.spent, || this.work.poll(context));
            *this.is_long = IS_LONG.take();
            return done;
        }
        let turn = this.turn.get_or_insert_with(|| Box::pin(turn()));
        let Poll::Ready(_place) = turn.as_mut().poll(context) else { return Poll::Pending };
        *this.turn = None;
        let (mut work, spent, is_long) = (this.work, this.spent, this.is_long);
        aside(|| {
            let stretch = Instant::now() + STRETCH;
            let end = END.get().map_or(stretch, |end| end.min(stretch));
            loop {
                IS_NESTED.set(false);
                let done = inside(spent, || work.as_mut().poll(context));
                *is_long = IS_LONG.take();
                // Of guests inside of each other the outer ones shall be the first whose time is over.
                let is_alone = !IS_NESTED.get() && WAITING.load(Ordering::Relaxed) == 0;
                if done.is_ready() || !*is_long || !is_alone || Instant::now() >= end {
                    return done;
                }
            }
        })
    }
}

/// Waits for a place aside.
async fn turn() -> Result<OwnedSemaphorePermit, AcquireError> {
    struct Waiting;
    impl Drop for Waiting {
        fn drop(&mut self) {
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    }
    WAITING.fetch_add(1, Ordering::Relaxed);
    let _waiting = Waiting;
    ASIDE.clone().acquire_owned().await
}

/// Polls a guest, and adds to what it spent. What stood outside stands again after that, also where it ends in a panic.
fn inside<T>(spent: &mut u64, work: impl FnOnce() -> Poll<T>) -> Poll<T> {
    struct Outer {
        is_inside: bool,
        begun: u64,
        spent: u64,
    }
    impl Drop for Outer {
        fn drop(&mut self) {
            IS_INSIDE.set(self.is_inside);
            BEGUN.set(self.begun);
            SPENT.set(self.spent);
        }
    }
    let began = now();
    let mut outer =
        Outer { is_inside: IS_INSIDE.replace(true), begun: BEGUN.replace(began), spent: SPENT.replace(*spent) };
    let done = work();
    // Most calls come to their end in one poll, and nobody asks what they took.
    if done.is_pending() || outer.is_inside {
        let now = now();
        *spent += now.saturating_sub(BEGUN.get());
        // It was not the outer guest that computed meanwhile.
        outer.begun += now - began;
    }
    done
}

/// Lets another thread do what this one would do meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "only where the runtime has several threads; the guest cannot be moved to another"
)]
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // There are no others that could.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// Computes for so many polls.
    async fn compute(polls: u32) {
        for _ in 0..polls {
            is_long();
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn more_guests_than_places_compute_by_turns_and_all_come_to_their_end() {
        let done = Arc::new(AtomicU32::new(0));
        let guests = (0..64).map(|_| {
            let done = done.clone();
            tokio::spawn(fair(false, async move {
                compute(20).await;
                done.fetch_add(1, Ordering::Relaxed);
            }))
        });
        futures::future::join_all(guests).await;
        assert_eq!(done.load(Ordering::Relaxed), 64);
        let places = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
        assert!(ASIDE.acquire_many(places).await.is_ok(), "all places are given back");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_one_thread_is_free_while_a_guest_computes() {
        let (begun, is_begun) = std::sync::mpsc::sync_channel(1);
        let (end, is_ended) = std::sync::mpsc::sync_channel::<()>(1);
        let guest = tokio::spawn(fair(false, async move {
            compute(1).await;
            // As a guest that does not give its thread back.
            begun.send(()).unwrap();
            is_ended.recv().unwrap();
        }));
        let other = tokio::spawn(async move {
            // It computes now, if it has a thread for itself.
            while is_begun.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            end.send(()).unwrap();
        });
        other.await.unwrap();
        guest.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_guest_that_computes_inside_of_others_does_not_wait_for_their_places() {
        let guests = (0..64).map(|_| {
            tokio::spawn(fair(false, async move {
                compute(2).await;
                // The outer one computes beside the one that it called.
                tokio::join!(compute(20), fair(false, compute(20)));
            }))
        });
        futures::future::join_all(guests).await;
    }

    /// Computes for so many nanoseconds.
    fn burn(time: u64) {
        let from = spent();
        while spent() - from < time {}
    }

    #[tokio::test]
    async fn a_guest_that_waits_before_each_tick_is_found_out() {
        const TIME: u64 = 20_000_000;
        fair(false, async {
            assert!(spent() < TIME);
            burn(TIME);
            tokio::task::yield_now().await;
            assert!(spent() >= TIME, "what it did before it waited counts");
            fair(false, async {
                assert!(spent() < TIME, "another guest has a time of its own");
                burn(3 * TIME);
                tokio::task::yield_now().await;
                assert!(spent() >= 3 * TIME);
            })
            .await;
            assert!(spent() < 3 * TIME, "what it called computed, and not itself");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_guest_aside_comes_back_when_its_time_is_over() {
        let began = Instant::now();
        let end = began + STRETCH / 10;
        let guest = tokio::spawn(async move {
            let mut work = Box::pin(fair(true, compute(u32::MAX)));
            // Where others want to compute aside as well, it comes back before that.
            while Instant::now() < end {
                let poll =
                    |context: &mut Context<'_>| Poll::Ready(by(end, || work.as_mut().poll(context)).is_pending());
                assert!(std::future::poll_fn(poll).await, "it computes still");
            }
        });
        guest.await.unwrap();
        assert!(began.elapsed() < STRETCH, "after {:?}", began.elapsed());
    }

    #[test]
    fn a_deployment_whose_call_computed_for_long_is_expected_to_do_so_again() {
        let habit = Habit::default();
        assert!(!habit.is_long());
        habit.note();
        assert!(habit.is_long());
    }

    #[tokio::test]
    async fn where_there_is_one_thread_at_all_long_calls_go_on_as_they_are() {
        fair(false, compute(3)).await;
    }
}
