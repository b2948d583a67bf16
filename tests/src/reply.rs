//! What came back over HTTP.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    pub(crate) async fn read(response: reqwest::Response) -> reqwest::Result<Reply> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.bytes().await? })
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON, whatever the status.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.lossy()))
    }

    /// The body of a success, as JSON.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.lossy());
        self.json()
    }

    /// The field `result` of a success.
    #[track_caller]
    pub fn result(&self) -> Value {
        self.ok()["result"].clone()
    }

    /// The detail of an error of this status, which must be a whole error JSON.
    #[track_caller]
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.lossy());
        let error = self.json();
        assert_eq!(error["code"], status, "the code in the body is the status: {error}");
        assert!(error["id"].is_string() && error["status"].is_string(), "not an error JSON: {error}");
        self.detail()
    }

    /// The detail of an error.
    #[track_caller]
    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("no detail: {}", self.lossy())).to_string()
    }

    /// A header's text, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
