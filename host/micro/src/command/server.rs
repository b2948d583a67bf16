//! `micro server`

use clap::Args;

use super::Options;
use crate::server;

/// Run a host: gateway, sidecar and admin API, until it is told to stop
#[derive(Debug, Clone, Args)]
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
}

impl Listen {
    /// The options of a host that listens there.
    pub fn server_options(self, options: &Options) -> server::Options {
        server::Options {
            data_dir: options.data_dir(),
            api_address: self.api_address,
            sidecar_address: self.sidecar_address,
            namespace: self.namespace,
        }
    }
}

/// Runs a host.
pub async fn run(arguments: Arguments, options: &Options) -> anyhow::Result<()> {
    server::run(arguments.listen.server_options(options)).await
}
