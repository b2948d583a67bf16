//! Sends HTTP requests and looks names up by WASI 0.3.

wit_bindgen::generate!();

use exports::test::outgoing3::outgoing::Guest;
use wasip3::http::client;
use wasip3::http::types::{Fields, Request, Response, Scheme};
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::wit_future;

struct Outgoing;

impl Guest for Outgoing {
    async fn get(url: String) -> Result<String, String> {
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let request = Request::new(Fields::new(), None, wit_future::new(|| Ok(None)).1, None).0;
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "authority")?;
        request.set_path_with_query(Some(path)).map_err(|()| "path")?;
        let response = client::send(request).await.map_err(|error| format!("{error:?}"))?;
        let status = response.get_status_code();
        let (body, _trailers) = Response::consume_body(response, wit_future::new(|| Ok(())).1);
        let body = body.collect().await;
        Ok(format!("{status} {}", String::from_utf8_lossy(&body)))
    }

    async fn look_up(name: String) -> Result<Vec<String>, String> {
        let found = resolve_addresses(name).await.map_err(|error| format!("{error:?}"))?;
        Ok(found.iter().map(|address| format!("{address:?}")).collect())
    }
}

export!(Outgoing);
