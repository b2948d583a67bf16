//! The command line: one file for each command.

mod broker;
mod build;
mod call;
mod completions;
mod deploy;
mod dlq;
mod events;
pub mod failure;
mod get;
mod inspect;
mod kill;
mod layout;
mod list;
mod log;
mod logs;
mod new;
mod openapi;
mod options;
mod permits;
mod print;
mod progress;
mod promote;
mod ps;
mod publish;
mod pull;
mod push;
mod registry;
mod rollback;
mod run;
mod server;
mod settings;
mod status;
mod stop;
mod store;
mod stream;
mod subscribe;
mod token;
mod top;
mod topics;
mod version;
mod wit;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;
pub use options::{Options, Output};

/// A WebAssembly function host: runtime, registry, gateway, sidecar and command line in one.
#[derive(Debug, Parser)]
#[command(name = "micro", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  failed: the build failed, the host refused, the call gave an error, there is no such command
  2  the command line is wrong
  3  no host answers at the address

Variables stand in for options that are not given: MICRO_DATA_DIR, MICRO_PROXY_ADDRESS, MICRO_OUTPUT, and for a host \
MICRO_API_ADDRESS, MICRO_SIDECAR_ADDRESS, MICRO_NAMESPACE, MICRO_API_HANDLER, MICRO_MAX_CONNECTIONS, MICRO_MAX_REQUESTS, \
MICRO_GUEST_MEMORY, MICRO_CODE_CACHE, MICRO_CODE_IDLE, MICRO_ALLOW_FILES, MICRO_ALLOW_ENV, MICRO_SECRETS, \
MICRO_AUTHORITIES, MICRO_BROKER, MICRO_BROKER_ADDRESS, MICRO_BROKER_PATIENCE, MICRO_BROKER_MAX_BYTES, \
MICRO_BROKER_MAX_AGE. MICRO_LOG says how much a host tells on standard error: a level, like debug, or levels by part, like warn,micro=debug. Words of an \
option may be joined by '_' instead of '-'.

With --output json, replies of the host are printed as it sent them, on one line; `micro COMMAND --help` shows their \
form.";

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::Arguments),
    New(new::Arguments),
    Build(build::Arguments),
    Inspect(inspect::Arguments),
    Deploy(deploy::Arguments),
    Run(run::Arguments),
    Push(push::Arguments),
    Pull(pull::Arguments),
    #[command(visible_alias = "query")]
    Call(call::Arguments),
    Stream(stream::Arguments),
    List(list::Arguments),
    Get(get::Arguments),
    #[command(hide = true)]
    Registry(registry::Arguments),
    Ps(ps::Arguments),
    Status(status::Arguments),
    Top(top::Arguments),
    Logs(logs::Arguments),
    Kill(kill::Arguments),
    Promote(promote::Arguments),
    Rollback(rollback::Arguments),
    Store(store::Arguments),
    Publish(publish::Arguments),
    Subscribe(subscribe::Arguments),
    Topics(topics::AllArguments),
    Topic(topics::OneArguments),
    Replay(topics::ReplayArguments),
    Dlq(dlq::Arguments),
    Wit(wit::Arguments),
    Openapi(openapi::Arguments),
    Events(events::Arguments),
    Token(token::Arguments),
    Version(version::Arguments),
    Completions(completions::Arguments),
    /// Anything else, which is nothing.
    #[command(external_subcommand)]
    Unknown(Vec<OsString>),
}

/// Runs the command that this process was started with. Each thread that tasks run on calls `tidy` now and then when it has nothing
/// else to do.
pub fn run(tidy: fn()) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version arrive here too. If even printing fails there is nobody left to tell.
            let _ = error.print();
            return if error.use_stderr() { failure::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match crate::threads::start(tidy) {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("start of threads")),
    };
    match runtime.block_on(dispatch(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

async fn dispatch(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { options, command } = arguments;
    let Some(command) = command else {
        return Err(Failure::plain("No command provided to micro. Please refer to 'micro --help'").into());
    };
    match command {
        Command::Server(arguments) => server::run(arguments, &options).await,
        Command::New(arguments) => new::run(arguments, &options),
        Command::Build(arguments) => build::run(arguments, &options).await,
        Command::Inspect(arguments) => inspect::run(arguments, &options).await,
        Command::Deploy(arguments) => deploy::run(arguments, &options).await,
        Command::Run(arguments) => run::run(arguments, &options).await,
        Command::Push(arguments) => push::run(arguments, &options).await,
        Command::Pull(arguments) => pull::run(arguments, &options).await,
        Command::Call(arguments) => call::run(arguments, &options).await,
        Command::Stream(arguments) => stream::run(arguments, &options).await,
        Command::List(arguments) => list::run(arguments, &options).await,
        Command::Get(arguments) => get::run(arguments, &options).await,
        Command::Registry(arguments) => registry::run(arguments, &options).await,
        Command::Ps(arguments) => ps::run(arguments, &options).await,
        Command::Status(arguments) => status::run(arguments, &options).await,
        Command::Top(arguments) => top::run(arguments, &options).await,
        Command::Logs(arguments) => logs::run(arguments, &options).await,
        Command::Kill(arguments) => kill::run(arguments, &options).await,
        Command::Promote(arguments) => promote::run(arguments, &options).await,
        Command::Rollback(arguments) => rollback::run(arguments, &options).await,
        Command::Store(arguments) => store::run(arguments, &options).await,
        Command::Publish(arguments) => publish::run(arguments, &options).await,
        Command::Subscribe(arguments) => subscribe::run(arguments, &options).await,
        Command::Topics(arguments) => topics::all(arguments, &options).await,
        Command::Topic(arguments) => topics::one(arguments, &options).await,
        Command::Replay(arguments) => topics::replay(arguments, &options).await,
        Command::Dlq(arguments) => dlq::run(arguments, &options).await,
        Command::Wit(arguments) => wit::run(arguments, &options).await,
        Command::Openapi(arguments) => openapi::run(arguments, &options).await,
        Command::Events(arguments) => events::run(arguments, &options).await,
        Command::Token(arguments) => token::run(arguments, &options).await,
        Command::Version(arguments) => version::run(arguments, &options),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Unknown(words) => {
            let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            let text = format!("Unrecognized micro command: {word}. Please refer to 'micro --help'");
            Err(Failure::plain(text).into())
        }
    }
}

#[cfg(test)]
mod tests;
