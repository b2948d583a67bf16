//! One POST.

/// What is written at once.
#[cfg(target_arch = "wasm32")]
const CHUNK: usize = 4096;

/// An address in the parts that a request needs.
#[derive(Debug, PartialEq)]
struct Url<'u> {
    is_secure: bool,
    authority: &'u str,
    path: &'u str,
}

fn parse(url: &str) -> Result<Url<'_>, String> {
    let (is_secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        // Addresses of webhooks are secrets: no error says more of one than its host.
        _ => return Err("the address of the webhook does not begin with https:// or http://".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Ok(Url { is_secure, authority, path: if path.is_empty() { "/" } else { path } })
}

/// Posts a body, and gives the status of the response.
#[cfg(target_arch = "wasm32")]
pub fn post(url: &str, headers: &[(String, String)], body: &[u8]) -> Result<u16, String> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

    let Url { is_secure, authority, path } = parse(url)?;
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(|error| format!("header {name}: {error:?}"))?;
    }
    let request = OutgoingRequest::new(fields);
    let unfit = |()| format!("{authority}: no request can go there");
    request.set_method(&Method::Post).map_err(unfit)?;
    request.set_scheme(Some(if is_secure { &Scheme::Https } else { &Scheme::Http })).map_err(unfit)?;
    request.set_authority(Some(authority)).map_err(unfit)?;
    request.set_path_with_query(Some(path)).map_err(unfit)?;
    let failed = |error: &dyn std::fmt::Debug| format!("{authority}: {error:?}");
    let out = request.body().map_err(unfit)?;
    let answer = outgoing_handler::handle(request, None).map_err(|error| failed(&error))?;
    let stream = out.write().map_err(unfit)?;
    for chunk in body.chunks(CHUNK) {
        stream.blocking_write_and_flush(chunk).map_err(|error| failed(&error))?;
    }
    drop(stream);
    OutgoingBody::finish(out, None).map_err(|error| failed(&error))?;
    answer.subscribe().block();
    let response = answer.get().and_then(Result::ok).ok_or_else(|| format!("{authority}: no answer"))?;
    Ok(response.map_err(|error| failed(&error))?.status())
}

/// Outside of a host there is no webhook.
#[cfg(not(target_arch = "wasm32"))]
pub fn post(url: &str, _: &[(String, String)], _: &[u8]) -> Result<u16, String> {
    let Url { authority, .. } = parse(url)?;
    Err(format!("{authority} can only be called by a host"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_parts() {
        let url = |is_secure, authority, path| Ok(Url { is_secure, authority, path });
        assert_eq!(parse("https://a.example/b?c"), url(true, "a.example", "/b?c"));
        assert_eq!(parse("http://a.example:81"), url(false, "a.example:81", "/"));
        assert!(parse("ftp://a.example").unwrap_err().contains("begin with https://"));
    }
}
