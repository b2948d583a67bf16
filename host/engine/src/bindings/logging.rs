//! `wasi:logging`: lines for the log that say how much they matter.

use super::State;
use crate::log::{self, LineWriter, Stream};
use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

/// The interface under the names that components know it by.
pub(super) const INTERFACES: [&str; 2] = ["wasi:logging/logging@0.1.0-draft", "wasi:logging/logging"];

#[derive(Debug, Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "guests make them")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl From<Level> for log::Level {
    fn from(level: Level) -> log::Level {
        match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
            Level::Critical => log::Level::Critical,
        }
    }
}

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    for interface in INTERFACES {
        let mut instance = linker.instance(interface)?;
        instance.func_wrap("log", |store, (level, context, message): (Level, String, String)| {
            let state = store.data();
            let mut lines =
                LineWriter::new(state.origin.access.log.clone(), state.origin.scope.id, Stream::Log(level.into()));
            if !context.is_empty() {
                lines.write(context.as_bytes());
                lines.write(b": ");
            }
            lines.write(message.as_bytes());
            Ok(())
        })?;
    }
    Ok(())
}
