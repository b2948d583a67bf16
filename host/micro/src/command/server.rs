//! `micro server`

use anyhow::Context as _;
use clap::Args;

use super::log::{self, Level};
use super::permits::PermitOptions;
use super::stop::Stop;
use super::{Options, Output, print};
use crate::server;

/// Run a host: gateway, sidecar and admin API, until it is told to stop
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Standard error has the log: what happens to deployments, and what goes wrong. MICRO_LOG says how much of it: a level, \
like debug, or levels by part [default: warn,micro=info].

With --output json: {\"api_address\", \"sidecar_address\"}, on one line, once it listens.")]
pub struct Arguments {
    #[command(flatten)]
    pub listen: Listen,
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

    #[command(flatten)]
    pub permits: PermitOptions,
}

impl Listen {
    /// The options of a host that listens there.
    pub fn server_options(self, options: &Options) -> anyhow::Result<server::Options> {
        Ok(server::Options {
            data_dir: options.data_dir(),
            api_address: self.api_address,
            sidecar_address: self.sidecar_address,
            namespace: self.namespace,
            permits: self.permits.permits()?,
        })
    }
}

/// Runs a host.
pub async fn run(arguments: Arguments, options: &Options) -> anyhow::Result<()> {
    serve(arguments.listen, options).await
}

/// Runs a host in this process until it is told to stop.
pub async fn serve(listen: Listen, options: &Options) -> anyhow::Result<()> {
    log::start(Level::Host)?;
    let mut stop = Stop::listen().context("wait for signals")?;
    let host = server::start(listen.server_options(options)?).await?;
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
