//! How a host is told which broker to use.

use bytesize::ByteSize;
use clap::Args;
use micro_mesh::broker;
use std::time::Duration;

use crate::server::BrokerSettings;

/// How long publishers wait where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where messages go, and how much is kept of them.
#[derive(Debug, Clone, Args)]
pub struct BrokerOptions {
    /// What passes messages on
    #[arg(long, env = "MICRO_BROKER", hide_env = true, value_name = "NAME")]
    #[arg(default_value = broker::DEFAULT, value_parser = broker::KINDS)]
    pub broker: String,

    /// Where the broker's server listens, where it has one
    #[arg(long, alias = "broker_address", env = "MICRO_BROKER_ADDRESS", hide_env = true, value_name = "ADDRESS")]
    pub broker_address: Option<String>,

    /// How long publishers wait while the broker has no room or cannot be reached; 0s fails at once
    #[arg(long, alias = "broker_patience", env = "MICRO_BROKER_PATIENCE", hide_env = true)]
    #[arg(value_name = "TIME", default_value_t = PATIENCE.into())]
    pub broker_patience: humantime::Duration,

    /// How many bytes of messages are kept; what subscribers have yet to handle is never thrown away
    #[arg(long, alias = "broker_max_bytes", env = "MICRO_BROKER_MAX_BYTES", hide_env = true)]
    #[arg(value_name = "SIZE", default_value_t = ByteSize(broker::Limits::default().max_bytes))]
    pub broker_max_bytes: ByteSize,

    /// How old messages get that were handled
    #[arg(long, alias = "broker_max_age", env = "MICRO_BROKER_MAX_AGE", hide_env = true)]
    #[arg(value_name = "TIME", default_value_t = broker::Limits::default().max_age.into())]
    pub broker_max_age: humantime::Duration,
}

impl BrokerOptions {
    pub(super) fn settings(self) -> BrokerSettings {
        BrokerSettings {
            kind: self.broker,
            address: self.broker_address,
            patience: self.broker_patience.into(),
            limits: broker::Limits { max_bytes: self.broker_max_bytes.as_u64(), max_age: self.broker_max_age.into() },
        }
    }
}
