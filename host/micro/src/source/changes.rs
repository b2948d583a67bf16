//! Waiting until a source has something new.

use super::{Place, Source, SourceError};
use crate::build::source::Source as Local;
use crate::build::watch::Watch;
use std::path::Path;
use std::time::Duration;

/// How a source is followed.
pub enum Changes {
    /// The system tells of files that are written.
    Watched(Box<Watch>),
    /// Whoever has the source is asked now and then.
    Asked(Duration),
    /// Not at all.
    Ignored,
}

impl Changes {
    /// Files and folders of this machine are watched; what is elsewhere is asked for after every `interval`, if there is
    /// one and the source can change at all.
    pub fn of(source: &Source, interval: Option<Duration>) -> Result<Changes, SourceError> {
        Ok(match (&source.place, interval) {
            (Place::Local(Local::Package(package)), _) => Changes::Watched(Box::new(Watch::package(package)?)),
            (Place::Local(Local::File(file)), _) => Changes::Watched(Box::new(Watch::file(file)?)),
            (_, Some(interval)) if !source.is_fixed() => Changes::Asked(interval),
            _ => Changes::Ignored,
        })
    }

    /// Returns when there is something new. That it cannot be asked for at the moment is told, once for each reason, and
    /// does not end the wait.
    pub async fn changed(&mut self, source: &Source, tell: &dyn Fn(String)) -> Result<(), SourceError> {
        let interval = match self {
            Changes::Watched(watch) => return Ok(watch.changed().await?),
            Changes::Asked(interval) => *interval,
            Changes::Ignored => return std::future::pending().await,
        };
        let mut told = None;
        loop {
            tokio::time::sleep(interval).await;
            match source.is_changed().await {
                Ok(true) => return Ok(()),
                Ok(false) => told = None,
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tell(text.clone());
                    }
                    told = Some(text);
                }
            }
        }
    }

    /// Takes what `file` holds now for known.
    pub fn accept(&mut self, file: &Path) {
        if let Changes::Watched(watch) = self {
            watch.accept(file);
        }
    }
}
