//! `micro server`

use anyhow::Context as _;
use clap::Args;

use super::failure::Failure;
use super::log::{self, Level};
use super::stop::Stop;
use super::{Options, Output, print};
use crate::{server, telemetry};

/// Run a host: gateway, sidecar and admin API, until it is told to stop
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Standard error has the log: what happens to deployments, and what goes wrong. MICRO_LOG says how much of it: a level, \
like debug, or levels by part [default: warn,micro=info].

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
}

impl Listen {
    /// The options of a host that listens there.
    ///
    /// Where it sends traces is told by the environment, and before that by `otlp_endpoint`.
    pub fn server_options(self, options: &Options, otlp_endpoint: Option<&str>) -> Result<server::Options, Failure> {
        let telemetry = telemetry::Settings::from_environment(otlp_endpoint);
        Ok(server::Options {
            data_dir: options.data_dir(),
            api_address: self.api_address,
            sidecar_address: self.sidecar_address,
            namespace: self.namespace,
            telemetry: telemetry.map_err(|error| Failure::usage(error.to_string()))?,
        })
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
