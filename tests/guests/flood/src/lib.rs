//! Publishes many messages.

/// Publishes.
#[micro::function]
mod flood {
    use micro::Error;
    use micro::events::{self, Event};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    /// Publishes so many messages of so many bytes, so many in each call and so many a second if that is not 0. Each begins
    /// with the time of its publishing, in microseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "a guest's sleep holds nobody's thread")]
    pub fn publish(topic: String, count: u64, size: u32, rate: u64, together: u64) -> Result<(), Error> {
        let mut body = vec![b'.'; (size as usize).max(8)];
        let began = Instant::now();
        let mut number = 0;
        while number < count {
            if let Some(micros) = (number * 1_000_000).checked_div(rate) {
                let at = began + Duration::from_micros(micros);
                if let Some(wait) = at.checked_duration_since(Instant::now()) {
                    std::thread::sleep(wait);
                }
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros() as u64);
            body[..8].copy_from_slice(&now.to_le_bytes());
            let event = Event::bytes("application/octet-stream", body.clone());
            if together > 1 {
                let several = together.min(count - number);
                events::publish_all(&topic, (0..several).map(|_| event.clone()))?;
                number += several;
            } else {
                event.publish(&topic)?;
                number += 1;
            }
        }
        Ok(())
    }
}
