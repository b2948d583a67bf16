//! The functions that are shipped, deployed as they are shipped.

use bytes::Bytes;
use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage};
use micro_tests::{Host, function, json, until};
use reqwest::Method;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

async fn host_with(name: &str) -> Host {
    let host = Host::start().await;
    let deployed = host.deploy_as(name, function(name)).await.ok();
    assert_eq!(deployed["version"], "0.1.0", "the manifest is inside");
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn greeter_greets() {
    let host = host_with("greeter").await;
    assert_eq!(host.call("greeter", "Say.Hello", json!({"name": "John"})).await.ok(), json!({"msg": "Hello John"}));
    assert_eq!(host.get("/greeter/say/hello?name=John").await.ok(), json!({"msg": "Hello John"}));
    let line = host.logs("greeter").await.pop().expect("a log line");
    assert_eq!(line["message"], "Received Say.Hello request");
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_renders_pages() {
    let host = host_with("markdown").await;
    let page = host.post("/markdown/render/html", "text/markdown", "# Hello\n\n*World* & [home](/)\n").await;
    assert_eq!(page.text(), "<h1>Hello</h1>\n<p><em>World</em> &amp; <a href=\"/\">home</a></p>\n");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));

    // The longest texts at hand, sent as curl does.
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = std::fs::read(micro_tests::workspace().join(name)).unwrap();
        let page = host.post("/markdown/render/html", "application/x-www-form-urlencoded", text).await;
        assert_eq!(page.status, 200, "{name}: {}", page.text());
        assert!(page.text().contains("<h1>") && page.text().contains("<h2>"), "{name}");
    }
    let detail = host.post("/markdown/render/html", "text/markdown", Bytes::from_static(b"caf\xe9")).await.refused(400);
    assert_eq!(detail, "the text is not UTF-8 at byte 3");
    let json = host.call("markdown", "Render.Html", json!({"text": "IyBIaQ=="})).await;
    assert_eq!(json.result(), json!("PGgxPkhpPC9oMT4K"), "base64 in JSON, there and back");
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnail_makes_pictures_small() {
    let host = host_with("thumbnail").await;
    for (format, content_type) in [(ImageFormat::Jpeg, "image/jpeg"), (ImageFormat::Png, "image/png")] {
        let large = file(&photo(1600, 1200), format);
        let reply = host.post("/thumbnail/image/resize?width=200", content_type, large.clone()).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(reply.header("content-type"), content_type);
        assert!(reply.body.len() < large.len() / 4, "{} of {} bytes", reply.body.len(), large.len());
        assert_eq!(image::guess_format(&reply.body).unwrap(), format);
        let small = image::load_from_memory(&reply.body).unwrap();
        assert_eq!(small.dimensions(), (200, 150));
        // It is the same picture: bright at the top left, dark at the bottom right.
        assert!(small.get_pixel(10, 10)[0] > small.get_pixel(190, 140)[0]);
    }
    let large = file(&photo(64, 64), ImageFormat::Jpeg);
    let wrong = host.post("/thumbnail/image/resize?width=0", "image/jpeg", large.clone()).await;
    assert_eq!(wrong.refused(400), "width 0: must be from 1 to 2048 pixels");
    host.post("/thumbnail/image/resize?width=x", "image/jpeg", large).await.refused(400);
    let detail = host.post("/thumbnail/image/resize", "image/jpeg", "no picture").await.refused(400);
    assert_eq!(detail, "the image is neither a PNG nor a JPEG");
}

/// A picture with something in every corner.
fn photo(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| {
        let shade = 255 - (255 * (x + y) / (width + height)) as u8;
        Rgb([shade, shade / 2 + ((x / 8 + y / 8) % 2) as u8 * 60, (x % 251) as u8 / 4])
    })
    .into()
}

fn file(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_link_leads_where_it_was_made_for() {
    let host = Host::start().await;
    let deployed = host.deploy_as("shortener", function("shortener")).await.ok();
    assert_eq!(deployed["kind"], "service");
    let url = "https://example.com/a?b=c";
    let code = host.call("shortener", "Shortener.Create", json!({"url": url})).await.ok()["code"].clone();
    let path = format!("/s/{}", code.as_str().expect("a code"));
    let reply = host.get(&path).await;
    assert_eq!((reply.status, reply.header("location")), (302, url));
    host.get("/s/nothing").await.refused(404);
    host.call("shortener", "Shortener.Create", json!({"url": "javascript:alert(1)"})).await.refused(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counter_counts_on_in_its_next_revision() {
    let host = Host::start().await;
    host.deploy_as("counter", function("counter")).await.ok();
    assert_eq!(host.call("counter", "Counter.Add", json!({"by": 2})).await.ok(), json!({"total": 2}));
    host.admin(Method::PUT, "/deployments/counter?version=2", function("counter")).await.ok();
    assert_eq!(host.call("counter", "Counter.Add", json!({"by": 3})).await.ok(), json!({"total": 5}));
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_keeps_every_event() {
    let host = host_with("audit").await;
    let publish = async |topic: &str, id: &str, body: &str| {
        let path = format!("/broker?topic={topic}");
        let reply = host.sidecar_send(Method::POST, &path, &[("micro-id", id)], body.to_owned().into()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    until("it listens", async || {
        let reply = host.admin(Method::GET, "/topics/audit.login", "").await;
        (reply.status == 200).then_some(())
    })
    .await;
    for (topic, id) in [("audit.login", "1"), ("audit.order.paid", "2"), ("audit.login", "1"), ("other", "3")] {
        publish(topic, id, "{\"user\":\"John\"}").await;
    }
    until("three messages are handled", async || {
        let status = host.deployment("audit").await;
        (status["subscriptions"][0]["handled"] == 3).then_some(())
    })
    .await;
    assert_eq!(host.call("audit", "Audit.Count", json!({})).await.ok(), json!({"count": 2}));
    let event = host.call("audit", "Audit.Get", json!({"id": "2"})).await.ok();
    assert_eq!((&event["topic"], &event["body"]), (&json!("audit.order.paid"), &json!("{\"user\":\"John\"}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_calls_a_webhook_until_it_takes_the_message() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let (told, mut hears) = tokio::sync::mpsc::channel(8);
    let hook = axum::routing::post(move |headers: axum::http::HeaderMap, body: String| async move {
        // The first time it is not there.
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            return axum::http::StatusCode::BAD_GATEWAY;
        }
        let topic = headers["x-event-topic"].to_str().unwrap_or_default().to_owned();
        told.send((topic, headers.contains_key("x-event-id"), body)).await.unwrap();
        axum::http::StatusCode::NO_CONTENT
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/hook", hook)).await });

    let host = Host::start().await;
    let settings = json!({
        "env": { "WEBHOOK_URL": format!("http://{address}/hook") },
        "allow": { "http": [format!("http://{address}")] },
    });
    let mut query = reqwest::Url::parse("http://host/").unwrap();
    query.query_pairs_mut().append_pair("settings", &settings.to_string());
    let path = format!("/deployments/notify?{}", query.query().unwrap());
    host.admin(Method::PUT, &path, function("notify")).await.ok();
    until("it listens", async || {
        let reply = host.admin(Method::GET, "/topics/notify.mail", "").await;
        (reply.status == 200).then_some(())
    })
    .await;
    host.sidecar_send(Method::POST, "/broker?topic=notify.mail", &[], "hello".into()).await;
    let heard = hears.recv().await.unwrap();
    assert_eq!(heard, ("notify.mail".to_owned(), true, "hello".to_owned()));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    server.abort();
}
