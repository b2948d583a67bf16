//! Waiting for a condition.

use std::time::{Duration, Instant};

/// After so long a condition is not going to come true. Long, because a loaded machine is slow and a test that passes
/// never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `look` gives something, and panics with `what` was waited for when it never does.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain until {what}");
        tokio::time::sleep(GLANCE).await;
    }
}
