//! What a host keeps for its guests and tells nobody else.

use crate::log::{Log, Stream};
use micro_mesh::call::RequestId;
use std::fmt;
use std::sync::Arc;

/// What stands in a log where a secret stood.
const MASK: &str = "***";

/// A line of a secret that is shorter than this is found in too many lines that hold no secret.
const MIN_MASKED: usize = 6;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The value itself, for the guest that may have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Secret {
        Secret(value.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

/// A log in which secrets are masked, whoever writes them there.
pub struct Masked {
    log: Arc<dyn Log>,
    /// The lines of the secrets: a log has lines.
    words: Vec<String>,
}

impl Masked {
    /// The log as it is, if there are no secrets.
    pub fn wrap(log: Arc<dyn Log>, secrets: &[Secret]) -> Arc<dyn Log> {
        let lines = secrets.iter().flat_map(|secret| secret.expose().lines()).map(str::trim);
        let mut words: Vec<String> = lines.filter(|line| line.len() >= MIN_MASKED).map(str::to_string).collect();
        // A secret that is part of another must not leave the rest of it behind.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        match words.is_empty() {
            true => log,
            false => Arc::new(Masked { log, words }),
        }
    }
}

impl Log for Masked {
    fn line(&self, request: RequestId, stream: Stream, line: &str) {
        if !self.words.iter().any(|word| line.contains(word.as_str())) {
            return self.log.line(request, stream, line);
        }
        let masked = self.words.iter().fold(line.to_string(), |line, word| line.replace(word.as_str(), MASK));
        self.log.line(request, stream, &masked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn line(&self, _: RequestId, _: Stream, line: &str) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_string());
        }
    }

    #[test]
    fn a_secret_does_not_print_itself() {
        assert_eq!(format!("{:?}", Some(Secret::from("hunter22".to_string()))), "Some(***)");
    }

    #[test]
    fn a_log_masks_every_line_of_a_secret() {
        let kept = Arc::new(Kept::default());
        let secrets =
            ["sk_live_1", "sk_live_12345", "first line\nsecond line\n", "x"].map(|text| text.to_string().into());
        let log = Masked::wrap(kept.clone(), &secrets);
        for line in ["a sk_live_12345 b", "sk_live_1", "the second line", "x stays"] {
            log.line(RequestId::next(), Stream::Stdout, line);
        }
        let lines = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*lines, ["a *** b", "***", "the ***", "x stays"]);
    }
}
