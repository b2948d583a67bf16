//! The client of a running host: its sidecar and its admin API as typed calls.
//!
//! Replies keep the JSON they came as beside the typed value, so that what a command prints with `--output json` is
//! what the host said, fields unknown to this program included.

pub mod address;
pub mod deployment;
mod error;
mod options;
mod store;
pub mod stream;
mod streaming;
mod token;
mod top;
pub mod topics;

use std::path::{Path, PathBuf};
use std::time::Duration;

use micro_mesh::Service;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use address::Address;
pub use deployment::{
    Canary, Code, Deployment, Deployments, Event, GuestMemory, LogLine, Page, Replicas, Revision, Revisions, Schedule,
    Stats, Status, Subscription,
};
pub use error::HostError;
pub use options::{DeployOptions, LogOptions};
pub use store::{Keys, Stores, Value};
use stream::{EventStream, LineStream};
pub use top::{Activity, Top};

use crate::server;

/// How long a host may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a host may take to answer a question about itself. Calls and streams are not bound by it: they take as long
/// as the function or the person watching wants.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a host may take to bring a revision to the calls. It compiles it, starts its instances, and lets those
/// before it come to their end; that is minutes at most.
const CHANGE_LIMIT: Duration = Duration::from_secs(600);

/// A running host, as the command line reaches it.
#[derive(Debug)]
pub struct Host {
    address: Address,
    token_file: PathBuf,
    http: reqwest::Client,
}

/// A typed reply together with the JSON it was read from.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The reply as the host sent it.
    pub json: String,
    /// The same, read.
    pub value: T,
}

impl Host {
    /// The host at `address`, whose admin token lies in `data_dir`. Nothing is sent yet.
    pub fn new(address: Address, data_dir: &Path) -> Result<Host, HostError> {
        crate::tls::install_provider();
        // A proxy from the environment is meant for the way out of the machine, and would not know this host. Nor is
        // there any TLS to it, so a machine without certificates will do.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| HostError::Client(error.to_string()))?;
        Ok(Host { address, token_file: data_dir.join(server::TOKEN), http })
    }

    /// Where this host is looked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Fails when no host answers at the address.
    pub async fn health(&self) -> Result<(), HostError> {
        let request = self.open(Method::GET, "/health").timeout(ANSWER_LIMIT);
        self.send(request).await.map(drop)
    }

    /// Every service of the catalogue.
    pub async fn services(&self) -> Result<Answer<Vec<Service>>, HostError> {
        self.answer(self.open(Method::GET, "/registry").timeout(ANSWER_LIMIT)).await
    }

    /// The records of one service, one for each version.
    pub async fn service(&self, name: &str) -> Result<Answer<Vec<Service>>, HostError> {
        let path = format!("/registry?{}", query(&[("service", name)]));
        self.answer(self.open(Method::GET, &path).timeout(ANSWER_LIMIT)).await
    }

    /// Calls an endpoint; the reply is JSON text as the function's host wrote it.
    pub async fn call(
        &self,
        service: &str,
        endpoint: &str,
        request: &RawValue,
        metadata: &[(String, String)],
    ) -> Result<String, HostError> {
        let response = self.send(self.rpc(service, endpoint, request, metadata)).await?;
        response.text().await.map_err(|error| self.broken(&error))
    }

    /// Makes `component` the current revision of `name`, or its canary.
    pub async fn deploy(
        &self,
        name: &str,
        component: Vec<u8>,
        options: &DeployOptions,
    ) -> Result<Answer<Deployment>, HostError> {
        let mut path = deployment_path(name, "");
        let parameters = options.parameters();
        if !parameters.is_empty() {
            let pairs: Vec<_> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
            path = format!("{path}?{}", query(&pairs));
        }
        let request = self.admin(Method::PUT, &path).await?;
        let request = request.timeout(CHANGE_LIMIT).header("content-type", "application/wasm");
        self.answer(request.body(component)).await
    }

    /// Everything that is deployed.
    pub async fn deployments(&self, page: &Page) -> Result<Answer<Deployments>, HostError> {
        let limit = page.limit.map(|limit| limit.to_string());
        let parameters = [("limit", limit.as_deref()), ("after", page.after.as_deref())];
        let parameters: Vec<_> =
            parameters.iter().filter_map(|(name, value)| value.map(|value| (*name, value))).collect();
        let path = format!("/v1/deployments?{}", query(&parameters));
        let request = self.admin(Method::GET, &path).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// One deployment.
    pub async fn deployment(&self, name: &str) -> Result<Answer<Deployment>, HostError> {
        let request = self.admin(Method::GET, &deployment_path(name, "")).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The revisions that the host still holds of one deployment, newest first.
    pub async fn revisions(&self, name: &str) -> Result<Answer<Revisions>, HostError> {
        let request = self.admin(Method::GET, &deployment_path(name, "/revisions")).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// Goes back to `revision`, or to the one before the current.
    pub async fn rollback(&self, name: &str, revision: Option<u64>) -> Result<Answer<Deployment>, HostError> {
        let mut request = self.admin(Method::POST, &deployment_path(name, "/rollback")).await?;
        if let Some(revision) = revision {
            request = request.json(&serde_json::json!({ "revision": revision }));
        }
        self.answer(request.timeout(CHANGE_LIMIT)).await
    }

    /// Gives all calls to the canary.
    pub async fn promote(&self, name: &str) -> Result<Answer<Deployment>, HostError> {
        let request = self.admin(Method::POST, &deployment_path(name, "/promote")).await?;
        self.answer(request.timeout(CHANGE_LIMIT)).await
    }

    /// The WIT by which other guests import what a deployment exports.
    pub async fn wit(&self, name: &str) -> Result<String, HostError> {
        let request = self.admin(Method::GET, &deployment_path(name, "/wit")).await?;
        let response = self.send(request.timeout(ANSWER_LIMIT)).await?;
        response.text().await.map_err(|error| self.broken(&error))
    }

    /// Takes a deployment away; the answer is the deployment as it was.
    pub async fn remove(&self, name: &str) -> Result<Answer<Deployment>, HostError> {
        let request = self.admin(Method::DELETE, &deployment_path(name, "")).await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The log lines of a deployment, or of all, as NDJSON.
    pub async fn logs(&self, name: Option<&str>, options: &LogOptions) -> Result<LineStream, HostError> {
        let path = name.map_or_else(|| "/v1/logs".to_owned(), |name| deployment_path(name, "/logs"));
        let parameters = options.parameters();
        let pairs: Vec<_> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let path = format!("{path}?{}", query(&pairs));
        let response = self.send(self.admin(Method::GET, &path).await?).await?;
        Ok(LineStream::new(response, self.address.clone()))
    }

    /// What happens to deployments, from now on.
    pub async fn events(&self) -> Result<EventStream, HostError> {
        let request = self.admin(Method::GET, "/v1/events").await?;
        let response = self.send(request.header("accept", "text/event-stream")).await?;
        Ok(EventStream::new(LineStream::new(response, self.address.clone())))
    }

    /// The host itself.
    pub async fn status(&self) -> Result<Answer<Status>, HostError> {
        let request = self.admin(Method::GET, "/v1/status").await?;
        self.answer(request.timeout(ANSWER_LIMIT)).await
    }

    /// The OpenAPI document of the gateway, which listens at an address of its own.
    pub async fn openapi(&self) -> Result<String, HostError> {
        let status = self.status().await?.value;
        let request = self.http.get(format!("{}/openapi.json", status.api_url()));
        // The host was just there: a gateway that does not answer is no missing host.
        let broken = |error| HostError::broken(status.api_address.clone(), &error);
        let response = request.timeout(ANSWER_LIMIT).send().await.map_err(broken)?;
        let response = self.check(response).await?;
        response.text().await.map_err(broken)
    }

    /// A call of an endpoint by its name, with `metadata` as headers.
    fn rpc(&self, service: &str, endpoint: &str, request: &RawValue, metadata: &[(String, String)]) -> RequestBuilder {
        #[derive(serde::Serialize)]
        struct Call<'a> {
            service: &'a str,
            endpoint: &'a str,
            request: &'a RawValue,
        }
        with_metadata(self.open(Method::POST, "/rpc").json(&Call { service, endpoint, request }), metadata)
    }

    fn open(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address.url()))
    }

    /// A request to `/v1`, with the token. Where there is neither a token nor a host, the missing host is the news.
    async fn admin(&self, method: Method, path: &str) -> Result<RequestBuilder, HostError> {
        let token = match std::fs::read_to_string(&self.token_file) {
            Ok(token) => token,
            Err(error) => {
                self.health().await?;
                return Err(HostError::no_token(self.token_file.clone(), &error));
            }
        };
        Ok(self.open(method, path).bearer_auth(token.trim()))
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, HostError> {
        let response = self.send(request).await?;
        let json = response.text().await.map_err(|error| self.broken(&error))?;
        match serde_json::from_str(&json) {
            Ok(value) => Ok(Answer { json: json.trim_end().to_owned(), value }),
            Err(error) => Err(self.strange(format!("a reply that does not read: {error}"))),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, HostError> {
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        self.check(response).await
    }

    /// Turns an unsuccessful reply into the error that it holds.
    async fn check(&self, response: Response) -> Result<Response, HostError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await.map_err(|error| self.broken(&error))?;
        let mut error = micro_mesh::Error::parse(text.trim());
        if error.code == 0 && error.id.is_empty() {
            return Err(self.strange(format!("HTTP {status} without micro's error JSON")));
        }
        if status == StatusCode::UNAUTHORIZED {
            let place = self.token_file.clone();
            return Err(HostError::WrongToken { address: self.address.to_string(), place });
        }
        if error.code == 0 {
            error.code = status.as_u16();
        }
        Err(HostError::Refused(error))
    }

    fn broken(&self, error: &reqwest::Error) -> HostError {
        HostError::from_transport(&self.address, error)
    }

    fn strange(&self, what: String) -> HostError {
        HostError::Strange { address: self.address.to_string(), what }
    }
}

fn with_metadata(call: RequestBuilder, metadata: &[(String, String)]) -> RequestBuilder {
    metadata.iter().fold(call, |call, (key, value)| call.header(key, value))
}

/// `/v1/deployments/NAME` with `rest` behind it.
fn deployment_path(name: &str, rest: &str) -> String {
    format!("/v1/deployments/{}{rest}", segment(name))
}

/// A text as one segment of a path.
fn segment(text: &str) -> impl std::fmt::Display {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    const SEGMENT: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    utf8_percent_encode(text, SEGMENT)
}

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[cfg(test)]
mod tests;
