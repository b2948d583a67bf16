//! The parts of a call that the engine does: `cargo bench -p micro-engine`.
//!
//! The guests are read from the folder in `MICRO_GUESTS`, by default `target/guests/wasm32-wasip2/release`, where
//! `make guests` puts them.
#![expect(clippy::expect_used, clippy::panic, reason = "a measurement without its guest has nothing to go on with")]

use criterion::{Criterion, criterion_group, criterion_main};
use micro_engine::actor::{Flow, Sink};
use micro_engine::json::{read_fields, write_reply, write_value};
use micro_engine::log::{Log, Stream};
use micro_engine::manifest::Limits;
use micro_engine::schema::{Endpoint, Type};
use micro_engine::{Access, Actor, Engines, Program, Scope, Value, inspect};
use micro_mesh::call::RequestId;
use micro_mesh::{Error, Exchange, Payload};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// One endpoint that is measured, and what it is sent.
struct Case {
    guest: &'static str,
    endpoint: &'static str,
    request: &'static str,
}

const CASES: [Case; 2] = [
    Case { guest: "greeter", endpoint: "Say.Hello", request: r#"{"name":"John"}"# },
    Case { guest: "echo", endpoint: "Echo.Point", request: r#"{"x":1,"y":2}"# },
];

/// Takes lines and keeps none, so that only the guest's share of writing them counts.
struct Nowhere;

impl Log for Nowhere {
    fn line(&self, _: RequestId, _: Stream, line: &str) {
        black_box(line);
    }
}

fn parts(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("start threads");
    let folder = tempfile::tempdir().expect("make a folder for compiled code");
    let engines = Engines::new(&folder.path().join("cache"), &folder.path().join("key")).expect("start the engines");
    for case in &CASES {
        measure(criterion, &runtime, &load(&engines, case.guest), case);
    }
    measure_stream(criterion, &runtime, &Arc::new(load(&engines, "feed")));
}

/// A stream from its opening to its end, with as many messages as the name says.
fn measure_stream(criterion: &mut Criterion, runtime: &Runtime, program: &Arc<Program>) {
    let count = program.endpoint("Feed.Count").expect("the guest has the endpoint").clone();
    criterion.bench_function("stream_thousand_messages", |bench| {
        bench.to_async(runtime).iter(async || {
            let (scope, deadline) =
                (Scope::new(RequestId::next()), program.deadline(tokio::time::Instant::now(), None));
            let actor = Actor::for_stream(program.clone(), scope.clone(), deadline).await.expect("an instance");
            let opened = Arc::new(actor).open(scope, &count, vec![Value::Unsigned(1000)], deadline).await;
            let stream = opened.expect("the stream opens");
            let (mut exchange, server) = Exchange::pair();
            let sink = Sink {
                replies: server.replies,
                encode: Arc::new(|value| {
                    let mut text = Vec::with_capacity(8);
                    write_value(&Type::U64, value, &mut text).map(|()| Payload::json(text)).map_err(|_| unreachable())
                }),
                explain: Arc::new(|_| unreachable()),
            };
            let pump = async {
                while stream.pump(&sink).await == Flow::Full {
                    drop(sink.replies.reserve().await);
                }
                drop(sink.replies.clone());
            };
            let read = async {
                let mut count = 0;
                while count < 1000 {
                    count += usize::from(exchange.next().await.is_some());
                }
            };
            tokio::join!(pump, read);
        });
    });
}

fn unreachable() -> Error {
    Error::internal("bench", "a number can be written")
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, function: &Program, case: &Case) {
    let Case { guest, endpoint: name, request } = *case;
    let callable = function.endpoint(name).expect("the guest has the endpoint").clone();
    let endpoint = callable.schema().clone();
    let fields = read_fields(&endpoint.request.message, request.as_bytes()).expect("the request fits");
    let call = async |fields| {
        function
            .call(
                Scope::new(RequestId::next()),
                &callable,
                fields,
                function.deadline(tokio::time::Instant::now(), None),
            )
            .await
            .expect("the guest replies")
    };
    let reply = runtime.block_on(call(fields.clone()));

    criterion.bench_function(&format!("{guest}_instantiate"), |bench| {
        bench.to_async(runtime).iter(|| function.check_start());
    });
    criterion.bench_function(&format!("{guest}_invoke"), |bench| {
        bench.to_async(runtime).iter(|| call(fields.clone()));
    });
    criterion.bench_function(&format!("{guest}_json_in"), |bench| {
        bench.iter(|| read_fields(&endpoint.request.message, black_box(request.as_bytes())));
    });
    criterion.bench_function(&format!("{guest}_json_out"), |bench| {
        bench.iter(|| written(&endpoint, black_box(reply.as_ref())));
    });
    criterion.bench_function(&format!("{guest}_json_invoke"), |bench| {
        bench.to_async(runtime).iter(async || {
            let fields = read_fields(&endpoint.request.message, black_box(request.as_bytes()));
            let reply = call(fields.expect("the request fits")).await;
            written(&endpoint, reply.as_ref())
        });
    });
}

fn written(endpoint: &Endpoint, reply: Option<&Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    write_reply(&endpoint.reply, reply, &mut out).expect("the reply has the endpoint's type");
    out
}

fn load(engines: &Engines, guest: &str) -> Program {
    let path = guests().join(format!("{guest}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| {
        panic!("read {}: {error}: build the guests with `make guests`, or set MICRO_GUESTS", path.display())
    });
    let inspection = inspect(&bytes, Some(guest)).expect("the guest can be served");
    let access = Arc::new(Access::to_log(guest, Arc::new(Nowhere)));
    Program::load(engines, &inspection, &Limits::default(), access, || Ok(bytes)).expect("the guest loads")
}

fn guests() -> PathBuf {
    match std::env::var_os("MICRO_GUESTS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/wasm32-wasip2/release"),
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = parts
}
criterion_main!(benches);
