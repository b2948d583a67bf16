use super::*;
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::LOCATION;
use axum::routing::get;
use std::sync::Arc;

/// A file as a server without a digest in the URL gives it. Over https in life, which a test has no certificates for.
fn file(url: &str) -> WebFile {
    WebFile::new(WebReference { url: url.parse().unwrap(), digest: None })
}

/// A server of one file, which may change; it answers 304 to who has it.
async fn serve(content: Arc<Mutex<(&'static str, &'static str)>>) -> String {
    let answer = move |headers: HeaderMap| {
        let (tag, body) = *content.lock().unwrap();
        let is_known = headers.get(IF_NONE_MATCH) == Some(&HeaderValue::from_static(tag));
        let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        std::future::ready((status, [(ETAG, tag)], if is_known { "" } else { body }))
    };
    let moved = || async { (StatusCode::FOUND, [(LOCATION, "/f.wasm")]) };
    let router = Router::new().route("/f.wasm", get(answer)).route("/moved.wasm", get(moved));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn another_content_is_told_from_the_same_one() {
    let content = Arc::new(Mutex::new(("\"1\"", "one")));
    let url = serve(content.clone()).await;
    let file = file(&format!("{url}/f.wasm?x=1"));
    assert_eq!(file.name(), "f");
    let (bytes, first) = file.fetch(&|_| ()).await.unwrap();
    assert_eq!(bytes, b"one");
    assert_eq!(file.latest().await.unwrap().as_ref(), Some(&first));
    // Another tag alone is no change.
    *content.lock().unwrap() = ("\"2\"", "one");
    assert_eq!(file.latest().await.unwrap().as_ref(), Some(&first));
    *content.lock().unwrap() = ("\"3\"", "two");
    let latest = file.latest().await.unwrap().unwrap();
    assert_ne!(latest, first);
    // Nobody has fetched it yet.
    assert_eq!(file.latest().await.unwrap().as_ref(), Some(&latest));
    let (bytes, second) = file.fetch(&|_| ()).await.unwrap();
    assert_eq!((bytes.as_slice(), &second), (&b"two"[..], &latest));
}

#[tokio::test]
async fn without_a_digest_no_redirect_leads_out_of_tls() {
    let url = serve(Arc::new(Mutex::new(("\"1\"", "one")))).await;
    let error = file(&format!("{url}/moved.wasm")).fetch(&|_| ()).await.unwrap_err().to_string();
    assert!(error.contains("over plain http: add the digest"), "{error}");
    let digest = Some(micro_engine::inspect::digest(b"one"));
    let pinned = WebFile::new(WebReference { url: format!("{url}/moved.wasm").parse().unwrap(), digest });
    assert_eq!(pinned.fetch(&|_| ()).await.unwrap().0, b"one");
    assert_eq!(pinned.latest().await.unwrap(), None);
}
