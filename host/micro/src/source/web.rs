//! Components that an HTTP server gives, checked against their digest before anything else looks at them.

use super::error::http_reason;
use super::reference::{WebReference, redacted};
use super::{SourceError, collect};
use futures::StreamExt as _;
use micro_engine::inspect::MAX_COMPONENT;
use reqwest::header::{ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a server may send nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// From here to there and on, so often.
const MAX_REDIRECTS: usize = 5;

/// A file of an HTTP server.
#[derive(Debug)]
pub struct WebFile {
    reference: WebReference,
    /// What the server said of the file that it gave last.
    seen: Mutex<Seen>,
}

/// How to ask whether a file is still the same.
#[derive(Debug, Default)]
struct Seen {
    digest: Option<String>,
    conditions: HeaderMap,
}

impl WebFile {
    /// The file of `reference`.
    pub fn new(reference: WebReference) -> WebFile {
        WebFile { reference, seen: Mutex::default() }
    }

    /// The URL, for messages.
    pub fn shown(&self) -> String {
        redacted(self.reference.url.as_str())
    }

    /// What the file is called when it does not say it itself.
    pub fn name(&self) -> String {
        let last = self.reference.url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
        last.strip_suffix(".wasm").unwrap_or(last).to_owned()
    }

    /// Whether the reference can only ever mean one content.
    pub fn is_fixed(&self) -> bool {
        self.reference.digest.is_some()
    }

    /// Downloads the file; gives it with its digest.
    pub async fn fetch(&self, progress: &dyn Fn(&str)) -> Result<(Vec<u8>, String), SourceError> {
        let response = self.get(HeaderMap::new()).await?;
        let conditions = conditions(response.headers());
        let bytes = self.body(response, progress).await?;
        let digest = micro_engine::inspect::digest(&bytes);
        if let Some(expected) = &self.reference.digest
            && *expected != digest
        {
            return Err(SourceError::WrongDigest { place: self.shown(), expected: expected.clone(), actual: digest });
        }
        *self.seen() = Seen { digest: Some(digest.clone()), conditions };
        Ok((bytes, digest))
    }

    /// The digest of what the server has now. A server that knows `ETag` or `Last-Modified` sends the file only when it
    /// is another one.
    pub async fn latest(&self) -> Result<Option<String>, SourceError> {
        if self.is_fixed() {
            return Ok(None);
        }
        let (known, conditions) = {
            let seen = self.seen();
            (seen.digest.clone(), seen.conditions.clone())
        };
        let response = self.get(conditions).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(known);
        }
        let conditions = self::conditions(response.headers());
        let digest = micro_engine::inspect::digest(&self.body(response, &|_| ()).await?);
        if known.as_ref() == Some(&digest) {
            self.seen().conditions = conditions;
        }
        Ok(Some(digest))
    }

    async fn get(&self, headers: HeaderMap) -> Result<Response, SourceError> {
        let request = self.client()?.get(self.reference.url.clone()).headers(headers);
        let response = request.send().await.map_err(|error| self.failed(http_reason(&error)))?;
        match response.status() {
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => Ok(response),
            status => Err(self.failed(format!("the server answered {status}"))),
        }
    }

    async fn body(&self, response: Response, progress: &dyn Fn(&str)) -> Result<Vec<u8>, SourceError> {
        let length = response.content_length();
        if length.is_some_and(|length| length > MAX_COMPONENT as u64) {
            return Err(SourceError::TooLarge(self.shown()));
        }
        let stream = response.bytes_stream().map(|chunk| chunk.map_err(|error| http_reason(&error)));
        collect(stream, length, &self.shown(), progress).await
    }

    fn client(&self) -> Result<Client, SourceError> {
        crate::tls::install_provider();
        let is_fixed = self.is_fixed();
        let client = Client::builder()
            .user_agent(concat!("micro/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .redirect(Policy::custom(move |attempt| follow(attempt, is_fixed)));
        client.build().map_err(|error| self.failed(http_reason(&error)))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: impl ToString) -> SourceError {
        SourceError::failed("fetch", self.shown(), reason)
    }
}

/// A redirect must not lead from TLS to where anybody can change the file, unless the digest would tell.
fn follow(attempt: Attempt<'_>, is_fixed: bool) -> reqwest::redirect::Action {
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
    }
    if attempt.url().scheme() != "https" && !is_fixed {
        let reason = format!("it redirects to {}, over plain http: add the digest, #sha256:…", attempt.url());
        return attempt.error(reason);
    }
    attempt.follow()
}

/// The headers that ask for the file only if it is no longer this one.
fn conditions(headers: &HeaderMap) -> HeaderMap {
    let ask = |from: HeaderName, to: HeaderName| headers.get(from).cloned().map(|value| (to, value));
    [ask(ETAG, IF_NONE_MATCH), ask(LAST_MODIFIED, IF_MODIFIED_SINCE)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
