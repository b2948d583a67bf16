//! How requests to HTTP handlers end that do not end well, and what limits them and their instances.

use bytes::Bytes;
use micro_tests::{Connection, Host, Wire, guest, json, until, with_manifest};
use reqwest::Method;
use std::time::{Duration, Instant};

const BOTH: [&str; 2] = ["web", "web3"];

/// What the responses of services are given, and far more than they need.
const LIMIT: Duration = Duration::from_secs(60);

async fn running(host: &Host, name: &str) -> u64 {
    host.deployment(name).await["stats"]["in_flight"].as_u64().unwrap()
}

#[tokio::test]
async fn a_handler_that_fails_before_its_response_gives_an_error() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy(name).await;
        let reply = host.get(&format!("/{name}/trap-before")).await;
        assert!(reply.refused(500).contains("panicked"), "{}", reply.text());
        assert!(reply.text().contains(reply.header("x-request-id")));
        let lines = host.logs(name).await;
        let has =
            |text: &str| lines.iter().any(|line| line["message"].as_str().is_some_and(|line| line.contains(text)));
        assert!(has("before the response") && has("wasm backtrace"), "{lines:?}");
        let reply = host.get(&format!("/{name}/error")).await;
        assert!(reply.refused(502).contains("connection refused"), "{}", reply.text());
        // The next one is served.
        assert_eq!(host.get(&format!("/{name}/x")).await.status, 200);
        assert_eq!(host.deployment(name).await["stats"]["errors"], 2);
    }
    assert!(host.get("/web/nothing").await.refused(500).contains("without a response"));
}

#[tokio::test]
async fn a_response_that_is_cut_off_never_looks_whole() {
    let host = Host::start().await;
    for (name, path) in [("web", "/web/trap-after"), ("web3", "/web3/trap-after"), ("web", "/web/half")] {
        host.deploy(name).await;
        for mut connection in [Connection::http1(&host.api).await, Connection::http2(&host.api).await] {
            let (upload, mut response) = connection.begin("POST", path, &[]).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.next().await.unwrap().unwrap(), "the beginning");
            upload.data("go on");
            assert!(response.rest().await.is_err(), "{path}");
        }
    }
    until("it is in the log", async || {
        let lines = host.logs("web").await;
        lines.iter().any(|line| line["message"].as_str().unwrap_or_default().contains("was cut off")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_body_is_as_long_as_its_content_length_says_or_it_does_not_leave() {
    let host = Host::start().await;
    host.deploy("web").await;
    for lengths in ["5-100", "200-100"] {
        let mut wire = Wire::open(&host.api).await;
        wire.send(format!("GET /web/untrue?{lengths} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        wire.send("GET /web/asked HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let all = wire.rest().await;
        assert!(all.starts_with("HTTP/1.1 500") && all.contains("not as long as content-length says"), "{all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 2, "what a guest writes is no response of its own: {all}");
        assert!(!all.contains("forged"), "{all}");
    }
    assert_eq!(host.send(Method::HEAD, "/web/untrue?5-0", &[], Bytes::new()).await.header("content-length"), "5");
    // Too much for one piece.
    for lengths in ["150000-200000", "200000-150000"] {
        for mut connection in [Connection::http1(&host.api).await, Connection::http2(&host.api).await] {
            let (_upload, response) = connection.begin("GET", &format!("/web/untrue?{lengths}"), &[]).await;
            assert_eq!(response.status(), 200);
            assert!(response.rest().await.is_err(), "{lengths}");
        }
    }
}

#[tokio::test]
async fn a_handler_has_its_time_until_the_response_begins() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy_limited(name, "timeout = \"200ms\"").await;
        let mut connection = Connection::http1(&host.api).await;
        let (_upload, response) = connection.begin("POST", &format!("/{name}/hang"), &[]).await;
        assert_eq!(response.status(), 504);
        until("it is over", async || (running(&host, name).await == 0).then_some(())).await;
        // A response that has begun lasts.
        let began = Instant::now();
        let mut connection = Connection::http1(&host.api).await;
        let (upload, mut response) = connection.begin("POST", &format!("/{name}/mirror"), &[]).await;
        until("its call's time is over", async || {
            upload.data("on");
            response.next().await.unwrap().unwrap();
            (began.elapsed().as_millis() > 500).then_some(())
        })
        .await;
        drop(upload);
    }
    let mut connection = Connection::http1(&host.api).await;
    let (_upload, response) = connection.begin("GET", "/web3/spin", &[]).await;
    assert_eq!(response.status(), 504);
}

#[tokio::test]
async fn a_handler_that_computes_for_ever_after_its_response_began_is_ended() {
    let host = Host::start().await;
    host.deploy_limited("web", "timeout = \"200ms\"").await;
    let mut connection = Connection::http1(&host.api).await;
    let (upload, mut response) = connection.begin("POST", "/web/spin-after", &[]).await;
    assert_eq!(response.next().await.unwrap().unwrap(), "the beginning");
    upload.data("go on");
    assert!(response.rest().await.is_err());
    until("its place is free", async || (running(&host, "web").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_place() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy_limited(name, "timeout = \"1m\"\nconcurrency = 1\nqueue = 0").await;
        for path in ["mirror", "hang"] {
            for http in 1..=2 {
                let mut connection = match http {
                    1 => Connection::http1(&host.api).await,
                    _ => Connection::http2(&host.api).await,
                };
                let (upload, response) = connection.send("POST", &format!("/{name}/{path}"), &[]);
                upload.data("piece");
                let response = tokio::spawn(response);
                until("it runs", async || (running(&host, name).await == 1).then_some(())).await;
                assert!(host.get(&format!("/{name}/x")).await.refused(429).contains("too many"));
                connection.cut();
                until("its place is free", async || (running(&host, name).await == 0).then_some(())).await;
                response.abort();
                assert_eq!(host.get(&format!("/{name}/x")).await.status, 200);
            }
        }
    }
}

#[tokio::test]
async fn a_handler_goes_on_after_its_response() {
    let host = Host::start().await;
    for name in BOTH {
        host.deploy(name).await;
        for method in [Method::GET, Method::HEAD] {
            let reply = host.send(method, &format!("/{name}/after"), &[], Bytes::new()).await;
            let id = reply.header("x-request-id");
            until("it has said so", async || {
                let lines = host.logs(name).await;
                lines.iter().any(|line| line["message"] == "after the response" && line["request"] == id).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_instance_of_0_2_is_fresh_and_one_of_0_3_is_used_again_and_not_for_ever() {
    let host = Host::start().await;
    host.deploy("web").await;
    host.deploy_limited("web3", "reuse = 5").await;
    let mut most = 0;
    let mut fresh = 0;
    for _ in 0..200 {
        assert_eq!(host.get("/web/asked").await.text(), "1");
        let asked: u32 = host.get("/web3/asked").await.text().parse().unwrap();
        most = most.max(asked);
        fresh += u32::from(asked == 1);
    }
    // Three on average, drawn anew for each: a guest cannot come to rely on it.
    assert_eq!(most, 5);
    assert!((40..150).contains(&fresh), "{fresh}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_a_reused_instance_hurts_nobody_else() {
    let host = Host::start().await;
    host.deploy("web3").await;
    let requests = (0..200).map(async |number: u32| match number % 4 {
        0 => host.get("/web3/trap-before").await.status == 500,
        _ => host.post("/web3/count", "", vec![0; 10_000]).await.text() == "10000",
    });
    let outcomes = futures::future::join_all(requests).await;
    assert!(outcomes.iter().all(|went_as_expected| *went_as_expected));
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_an_error_to_the_handler() {
    let host = Host::start().await;
    host.deploy("web").await;
    let mut connection = Connection::http1(&host.api).await;
    let too_large = [("content-length", "5000000000")];
    let (_upload, response) = connection.begin("POST", "/web/count", &too_large).await;
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_service_keeps_its_state_and_survives_clients_that_leave() {
    let host = Host::start().await;
    for name in BOTH {
        let manifest = format!("kind = \"service\"\n[limits]\ntimeout = \"{}s\"", LIMIT.as_secs());
        host.deploy_as(name, with_manifest(&guest(name), &manifest)).await.ok();
        let began = Instant::now();
        for asked in 1..=3 {
            assert_eq!(host.get(&format!("/{name}/asked")).await.text(), asked.to_string());
        }
        assert!(began.elapsed() < LIMIT, "a response leaves when it is there, not when its time is over");
        for head in [true, false] {
            let mut connection = Connection::http1(&host.api).await;
            if head {
                let (upload, mut response) = connection.begin("POST", &format!("/{name}/mirror"), &[]).await;
                upload.data("piece");
                assert_eq!(response.next().await.unwrap().unwrap(), "piece");
                connection.cut();
            } else {
                let (_upload, response) = connection.send("POST", &format!("/{name}/count"), &[]);
                let waiting = tokio::spawn(response);
                until("it runs", async || (running(&host, name).await == 1).then_some(())).await;
                connection.cut();
                waiting.abort();
            }
            until("its place is free", async || (running(&host, name).await == 0).then_some(())).await;
        }
        let reply = until("it is as before", async || {
            let reply = host.get(&format!("/{name}/asked")).await;
            (reply.status == 200).then_some(reply)
        })
        .await;
        assert_eq!(reply.text(), "4", "{name} kept its state");
        // A failure is one.
        assert_eq!(host.get(&format!("/{name}/trap-before")).await.status / 100, 5);
        let reply = until("there is another instance", async || {
            let reply = host.get(&format!("/{name}/asked")).await;
            (reply.status == 200).then_some(reply)
        })
        .await;
        assert_eq!(reply.text(), "1");
        assert_eq!(host.deployment(name).await["kind"], json!("service"));
    }
}
