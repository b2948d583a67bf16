//! From a path to the endpoint that it calls: `cargo bench -p micro`.

use criterion::{Criterion, criterion_group, criterion_main};
use micro::gateway::path::resolve;
use std::hint::black_box;
use std::time::Duration;

fn route(criterion: &mut Criterion) {
    for (name, path) in [
        ("route_short", "/greeter/hello"),
        ("route_usual", "/greeter/say/hello"),
        ("route_long", "/v1/demo/team/greeter/say/hello-world"),
        ("route_encoded", "/greeter/s%61y/hello"),
    ] {
        criterion.bench_function(name, |bench| bench.iter(|| resolve(black_box(path))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = route
}
criterion_main!(benches);
