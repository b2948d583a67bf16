use super::*;
use std::collections::HashMap;

fn read(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    Settings::read(endpoint, |name| variables.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn without_the_address_of_a_collector_nothing_is_recorded() {
    assert!(read(None, &[]).unwrap().is_none());
    assert!(read(None, &[("OTEL_TRACES_SAMPLER", "loud"), ("OTEL_SERVICE_NAME", "x")]).unwrap().is_none());
    let given = (ENDPOINT, "http://localhost:4318");
    assert!(read(None, &[given, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
    assert!(read(None, &[given, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
}

#[test]
fn the_address_may_be_said_in_three_ways() {
    let endpoint = |given, variables: &[(&str, &str)]| read(given, variables).unwrap().unwrap().endpoint.to_string();
    assert_eq!(endpoint(None, &[(ENDPOINT, "http://one:4318/")]), "http://one:4318/v1/traces");
    assert_eq!(endpoint(Some("http://two:4318"), &[(ENDPOINT, "http://one")]), "http://two:4318/v1/traces");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://three/spans");
    assert_eq!(endpoint(None, &[(ENDPOINT, "http://one"), own]), "https://three/spans");
}

#[test]
fn what_the_standard_names_is_read() {
    let settings = read(
        Some("http://localhost:4318"),
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret, x-more=1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=test"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "30"),
        ],
    );
    let settings = settings.unwrap().unwrap();
    assert_eq!(
        (&settings.headers["api-key"], &settings.headers["x-more"]),
        (&"a secret".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(settings.service, "other");
    assert_eq!(settings.resource, [("deployment.environment.name".to_owned(), "test".to_owned())]);
    assert_eq!(settings.sampler, Sampler::named("parentbased_traceidratio", 0.25).unwrap());
    assert_eq!((settings.queue, settings.batch), (10, 10), "a batch is no larger than the queue");
    assert_eq!((settings.delay, settings.timeout), (Duration::from_millis(20), Duration::from_millis(30)));
}

#[test]
fn what_cannot_be_followed_is_refused_with_its_name_and_a_way_out() {
    let given = (ENDPOINT, "http://localhost:4318");
    for (endpoint, variable, parts) in [
        (Some("localhost"), given, ["--otlp-endpoint=localhost", "http://127.0.0.1:4318"]),
        (Some("ftp://x"), given, ["--otlp-endpoint=ftp://x", "http://127.0.0.1:4318"]),
        (None, ("OTEL_TRACES_SAMPLER", "loud"), ["OTEL_TRACES_SAMPLER=loud", "parentbased_always_on"]),
        (None, ("OTEL_TRACES_EXPORTER", "zipkin"), ["OTEL_TRACES_EXPORTER=zipkin", "otlp"]),
        (None, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ["OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "http/protobuf"]),
        (None, ("OTEL_BSP_SCHEDULE_DELAY", "5s"), ["OTEL_BSP_SCHEDULE_DELAY=5s", "whole number"]),
        (None, ("OTEL_EXPORTER_OTLP_HEADERS", "secret"), ["OTEL_EXPORTER_OTLP_HEADERS=…", "KEY=VALUE"]),
    ] {
        let error = read(endpoint, &[given, variable]).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let ratio = [given, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    assert!(read(None, &ratio).unwrap_err().to_string().contains("from 0 to 1"));
}
