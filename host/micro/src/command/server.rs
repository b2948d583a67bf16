//! `micro server`

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use micro_engine::manifest::{AskedLimits, HostLimits};

use super::broker::BrokerOptions;
use super::failure::Failure;
use super::log::{self, Level};
use super::permits::PermitOptions;
use super::stop::Stop;
use super::{Options, Output, print, settings};
use crate::runtime::{Bounds, CodeLimits, DEFAULT_BUDGET, DEFAULT_IDLE};
use crate::server::{self, DoorLimits};
use crate::telemetry;

/// Run a host: gateway, sidecar and admin API, until it is told to stop
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Standard error has the log: what happens to deployments, and what goes wrong. MICRO_LOG says how much of it: a level, \
like debug, or levels by part [default: warn,lapin=off,micro=info].

Traces are recorded and sent where --otlp-endpoint or OTEL_EXPORTER_OTLP_ENDPOINT says; OTEL_SERVICE_NAME, \
OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG and OTEL_EXPORTER_OTLP_HEADERS mean what they \
mean to OpenTelemetry.

With --output json: {\"api_address\", \"sidecar_address\"}, on one line, once it listens.")]
pub struct Arguments {
    #[command(flatten)]
    pub listen: Listen,

    /// Where traces of calls go: the URL of a collector that takes OTLP over HTTP, as http://127.0.0.1:4318
    #[arg(long, alias = "otlp_endpoint", env = telemetry::ENDPOINT, hide_env = true, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// Where a host listens.
#[derive(Debug, Clone, Args)]
pub struct Listen {
    /// Where the gateway listens; port 0 chooses one
    #[arg(long, alias = "api_address", env = "MICRO_API_ADDRESS", hide_env = true)]
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub api_address: String,

    /// Where the sidecar and the admin API listen; port 0 chooses one
    #[arg(long, alias = "sidecar_address", env = "MICRO_SIDECAR_ADDRESS", hide_env = true)]
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub sidecar_address: String,

    /// What the gateway puts in front of the names in paths
    #[arg(long, alias = "api_namespace", env = "MICRO_NAMESPACE", hide_env = true)]
    #[arg(default_value = "", hide_default_value = true)]
    pub namespace: String,

    /// What the gateway makes of requests: calls and whatever else there is for them, or events that are published
    #[arg(long, env = "MICRO_API_HANDLER", hide_env = true, value_enum, default_value_t = Handler::Meta)]
    pub handler: Handler,

    /// A limit of deployments that do not say, memory=32MiB; can be given more than once
    #[arg(long, alias = "default_limit", value_name = "LIMIT=VALUE", value_parser = settings::limit)]
    pub default_limit: Vec<AskedLimits>,

    /// The most that a deployment gets of a limit; can be given more than once
    #[arg(long, alias = "max_limit", value_name = "LIMIT=VALUE", value_parser = settings::limit)]
    pub max_limit: Vec<AskedLimits>,

    /// The memory of all guests together [default: three quarters of the machine's]
    #[arg(long, alias = "guest_memory", env = "MICRO_GUEST_MEMORY", hide_env = true, value_name = "SIZE")]
    pub guest_memory: Option<ByteSize>,

    /// Connections that each door may have open; one more is answered 503
    #[arg(long, env = "MICRO_MAX_CONNECTIONS", hide_env = true, alias = "max_connections")]
    #[arg(value_name = "N", default_value_t = DoorLimits::default().max_connections, value_parser = at_least_one)]
    pub max_connections: usize,

    /// Requests that the host may serve at once; one more is answered 503
    #[arg(long, env = "MICRO_MAX_REQUESTS", hide_env = true, alias = "max_requests")]
    #[arg(value_name = "N", default_value_t = DoorLimits::default().max_requests, value_parser = at_least_one)]
    pub max_requests: usize,
    /// Memory that the code of loaded functions may take; what was not called for longest goes first
    #[arg(long, alias = "code_cache", env = "MICRO_CODE_CACHE", hide_env = true)]
    #[arg(value_name = "SIZE", default_value_t = ByteSize(DEFAULT_BUDGET))]
    pub code_cache: ByteSize,

    /// How long the code of a function that nobody calls stays in memory
    #[arg(long, alias = "code_idle", env = "MICRO_CODE_IDLE", hide_env = true)]
    #[arg(value_name = "TIME", default_value_t = DEFAULT_IDLE.into())]
    pub code_idle: humantime::Duration,
    #[command(flatten)]
    pub permits: PermitOptions,

    #[command(flatten)]
    pub broker: BrokerOptions,
}

/// What the gateway makes of requests, as go-micro calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Handler {
    /// Calls, requests for handlers, and runs of programs
    Meta,
    /// Events: POST /{topic}/{event}
    Event,
}

impl Listen {
    /// The options of a host that listens there.
    ///
    /// Where it sends traces is told by the environment, and before that by `otlp_endpoint`.
    pub fn server_options(self, options: &Options, otlp_endpoint: Option<&str>) -> anyhow::Result<server::Options> {
        let telemetry = telemetry::Settings::from_environment(otlp_endpoint);
        let limits = HostLimits { default: settings::all(&self.default_limit), most: settings::all(&self.max_limit) };
        let machine = machine_memory();
        let memory = self.guest_memory.map_or_else(|| guest_memory(machine), |size| size.as_u64());
        let most = DoorLimits::default();
        Ok(server::Options {
            data_dir: options.data_dir(),
            api_address: self.api_address,
            sidecar_address: self.sidecar_address,
            namespace: self.namespace,
            takes_events: self.handler == Handler::Event,
            bounds: Bounds::new(limits, memory),
            doors: DoorLimits {
                max_connections: self.max_connections,
                max_requests: self.max_requests,
                // Half of what guests leave to the host, on a small machine.
                max_body_bytes: machine.map_or(u64::MAX, |bytes| bytes / 8).min(most.max_body_bytes),
                ..most
            },
            code: CodeLimits { budget: self.code_cache.as_u64(), idle: self.code_idle.into() },
            telemetry: telemetry.map_err(|error| Failure::usage(error.to_string()))?,
            permits: self.permits.permits()?,
            broker: self.broker.settings(),
        })
    }
}

/// Three quarters of the memory that there is; the host itself needs some. No bound where the system does not tell.
fn guest_memory(machine: Option<u64>) -> u64 {
    machine.map_or(u64::MAX, |bytes| bytes / 4 * 3)
}

/// The memory that the machine or its container has, where the system tells.
fn machine_memory() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.as_deref().and_then(|text| text.strip_prefix("MemTotal:")?.split_whitespace().next());
    let machine = machine.and_then(|kib| kib.parse::<u64>().ok()).map(|kib| kib.saturating_mul(1024));
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse::<u64>().ok());
    machine.into_iter().chain(container).min()
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Runs a host.
pub async fn run(arguments: Arguments, options: &Options) -> anyhow::Result<()> {
    serve(arguments.listen, options, arguments.otlp_endpoint.as_deref()).await
}

/// Runs a host in this process until it is told to stop.
pub async fn serve(listen: Listen, options: &Options, otlp_endpoint: Option<&str>) -> anyhow::Result<()> {
    let server_options = listen.server_options(options, otlp_endpoint)?;
    log::start(Level::Host)?;
    let mut stop = Stop::listen().context("wait for signals")?;
    let host = server::start(server_options).await?;
    let (api, sidecar) = (host.api_address, host.sidecar_address);
    // That nobody reads where it listens is no reason to stop.
    let _ = match options.output {
        Output::Json => print::line(serde_json::json!({ "api_address": api, "sidecar_address": sidecar })),
        Output::Text => print::line(format!("api      http://{api}\nsidecar  http://{sidecar}")),
    };
    stop.wait().await;
    tracing::info!("stopping");
    host.stop().await;
    Ok(())
}
