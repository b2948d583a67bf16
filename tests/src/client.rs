//! Talking to a host over HTTP, as its users do.

use crate::guests::{guest, with_manifest};
use crate::lines::Lines;
use crate::reply::Reply;
use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A running host as seen from outside: two addresses and a token.
#[derive(Debug, Clone)]
pub struct Client {
    /// The gateway, `http://127.0.0.1:…`.
    pub api: String,
    /// The sidecar.
    pub sidecar: String,
    /// The host's data folder.
    pub data_dir: PathBuf,
    token: String,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(api: String, sidecar: String, data_dir: &Path) -> Client {
        let token = std::fs::read_to_string(data_dir.join("token")).expect("the host has made its token");
        micro::tls::install_provider();
        // A proxy that the environment names has no business with a host on this machine.
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("an HTTP client");
        Client { api, sidecar, data_dir: data_dir.to_path_buf(), token: token.trim().to_string(), http }
    }

    /// Calls an endpoint through the gateway with a JSON message, for a JSON reply.
    pub async fn call(&self, service: &str, endpoint: &str, message: Value) -> Reply {
        self.try_call(service, endpoint, message).await.expect("the gateway answers")
    }

    /// As [`Client::call`], where the host may be gone.
    pub async fn try_call(&self, service: &str, endpoint: &str, message: Value) -> reqwest::Result<Reply> {
        let url = format!("{}{}", self.api, path(service, endpoint));
        Reply::read(self.http.post(url).header("accept", "application/json").json(&message).send().await?).await
    }

    /// Posts a body to a path of the gateway. An empty content type sends none.
    pub async fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Method::POST, path, &[("content-type", content_type)], body.into()).await
    }

    /// Gets a path of the gateway.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends any request to the gateway. Headers without a value are left out.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
        self.exchange(method, format!("{}{path}", self.api), headers, body).await
    }

    /// Gets a path of the sidecar, without the token.
    pub async fn sidecar(&self, path: &str) -> Reply {
        self.exchange(Method::GET, format!("{}{path}", self.sidecar), &[], Bytes::new()).await
    }

    /// Sends any request to the sidecar, with no token but the one in `headers`.
    pub async fn sidecar_send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
        self.exchange(method, format!("{}{path}", self.sidecar), headers, body).await
    }

    /// As [`Client::sidecar_send`], where the host may be gone.
    pub async fn try_sidecar_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> reqwest::Result<Reply> {
        self.try_exchange(method, format!("{}{path}", self.sidecar), headers, body).await
    }

    /// Sends a request to the admin API with the host's token; `path` comes after `/v1`.
    pub async fn admin(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        self.try_admin(method, path, body).await.expect("the admin API answers")
    }

    /// As [`Client::admin`], where the host may be gone.
    pub async fn try_admin(&self, method: Method, path: &str, body: impl Into<Bytes>) -> reqwest::Result<Reply> {
        let request = self.http.request(method, format!("{}/v1{path}", self.sidecar)).bearer_auth(&self.token);
        Reply::read(request.body(body.into()).send().await?).await
    }

    /// Gets a path of the admin API as lines that come as they are written.
    pub async fn admin_lines(&self, path: &str) -> Lines {
        let request = self.http.get(format!("{}/v1{path}", self.sidecar)).bearer_auth(&self.token);
        let response = request.send().await.expect("the admin API answers");
        assert_eq!(response.status(), 200, "{path}");
        Lines::of(response)
    }

    /// Gets a path of the gateway as lines that come as they are written.
    pub async fn lines(&self, path: &str, accept: &str) -> Lines {
        let request = self.http.get(format!("{}{path}", self.api)).header("accept", accept);
        let response = request.send().await.expect("the gateway answers");
        assert_eq!(response.status(), 200, "{path}");
        Lines::of(response)
    }

    /// Gets a path of the sidecar as lines that come as they are written.
    pub async fn sidecar_lines(&self, path: &str, accept: &str) -> Lines {
        let request = self.http.get(format!("{}{path}", self.sidecar)).header("accept", accept);
        let response = request.send().await.expect("the sidecar answers");
        assert_eq!(response.status(), 200, "{path}");
        Lines::of(response)
    }

    /// Deploys the guest `name` under its own name, which must go well.
    pub async fn deploy(&self, name: &str) -> Value {
        self.deploy_as(name, guest(name)).await.ok()
    }

    /// Deploys the guest `name` under its own name with these lines in `[limits]`.
    pub async fn deploy_limited(&self, name: &str, limits: &str) -> Value {
        let manifest = format!("name = {name:?}\n[limits]\n{limits}\n");
        self.deploy_as(name, with_manifest(&guest(name), &manifest)).await.ok()
    }

    /// Deploys any bytes under any name.
    pub async fn deploy_as(&self, name: &str, component: impl Into<Bytes>) -> Reply {
        self.admin(Method::PUT, &format!("/deployments/{name}"), component).await
    }

    /// One deployment, as the admin API shows it.
    pub async fn deployment(&self, name: &str) -> Value {
        self.admin(Method::GET, &format!("/deployments/{name}"), "").await.ok()
    }

    /// The kept log lines of a deployment, oldest first.
    pub async fn logs(&self, name: &str) -> Vec<Value> {
        let reply = self.admin(Method::GET, &format!("/deployments/{name}/logs?lines=1000"), "").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    async fn exchange(&self, method: Method, url: String, headers: &[(&str, &str)], body: Bytes) -> Reply {
        self.try_exchange(method, url, headers, body).await.expect("the host answers, and the reply is whole")
    }

    async fn try_exchange(
        &self,
        method: Method,
        url: String,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> reqwest::Result<Reply> {
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            if !value.is_empty() {
                request = request.header(*name, *value);
            }
        }
        Reply::read(request.send().await?).await
    }
}

/// `Echo.ManyFlags` of `echo` → `/echo/Echo/ManyFlags`.
fn path(service: &str, endpoint: &str) -> String {
    format!("/{service}/{}", endpoint.replace('.', "/"))
}
