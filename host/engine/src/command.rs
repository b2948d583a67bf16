//! Commands: components that run once, from standard input to standard output, as programs do.
//!
//! A run has an instance of its own. It is called as an endpoint, which takes its input whole and gives its output whole,
//! or run with both ends open.

mod endpoint;
mod input;
mod output;
pub(crate) mod program;

pub(crate) use endpoint::{endpoint, is_command};
pub use input::Input;
pub use output::{Output, OutputReader, pipe};

use crate::access::Scope;
use crate::bindings::State;
use crate::error::CallError;
use crate::fair::fair;
use crate::limits::{Limiter, REPLY_LIMIT};
use crate::live::Live;
use crate::manifest::Limits;
use crate::module::START;
use crate::program::{Callable, Deadline, Program};
use crate::trap;
use crate::value::Value;
use bytes::{Bytes, BytesMut};
use std::pin::pin;
use wasmtime::InstancePre;
use wasmtime_wasi::I32Exit;

/// What a program gets beside what its manifest says.
pub struct Run {
    /// Arguments, behind the name and those of the manifest.
    pub args: Vec<String>,
    /// Environment variables, behind those of the manifest.
    pub env: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Input,
    /// Its standard output. Standard error goes to the log.
    pub stdout: Output,
}

impl Program {
    /// Runs a command in a fresh instance, to its end or to the end of its time. Exit codes other than 0 are errors.
    pub async fn run(&self, scope: Scope, callable: &Callable, run: Run, deadline: Deadline) -> Result<(), CallError> {
        let run = pin!(async {
            let _room = self.room.take().await?;
            let state = State::new(&self.limits, &self.access, scope).for_command(run);
            match &self.start {
                Some(start) => self.run_program(start, state).await,
                None => Live::with_state(self, state).await?.run(callable).await,
            }
        });
        deadline.limit(run).await
    }

    /// Makes an instance of a program, and drops it.
    pub(crate) async fn check_program(&self, start: &InstancePre<State>, scope: Scope) -> Result<(), CallError> {
        let mut store = self.store(State::new(&self.limits, &self.access, scope));
        let made = fair(store.data().is_long(), start.instantiate_async(&mut store)).await;
        made.map(drop).map_err(|error| trap::call_error(&error, Some(&store.data().limiter), &self.limits))
    }

    async fn run_program(&self, start: &InstancePre<State>, state: State) -> Result<(), CallError> {
        let mut store = self.store(state);
        let is_long = store.data().is_long();
        let run = async {
            let instance = start.instantiate_async(&mut store).await?;
            let start = instance.get_typed_func::<(), ()>(&mut store, START)?;
            start.call_async(&mut store, ()).await
        };
        let ended = fair(is_long, run).await;
        outcome(ended.map(|()| Ok(())), &store.data().limiter, &self.limits)
    }

    /// Runs a command by the message of its endpoint, and gives what it wrote.
    pub(crate) async fn run_whole(
        &self,
        scope: Scope,
        callable: &Callable,
        fields: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Option<Value>, CallError> {
        let (stdin, args) = endpoint::read(fields)?;
        let (stdout, written) = pipe();
        let run = Run { args, env: Vec::new(), stdin: Input::whole(stdin), stdout };
        let output = collect(self.run(scope, callable, run, deadline), &written).await?;
        Ok(Some(Value::Bytes(output)))
    }
}

/// What is written while `run` runs, all of it.
async fn collect(run: impl Future<Output = Result<(), CallError>>, written: &OutputReader) -> Result<Bytes, CallError> {
    let mut run = pin!(run);
    let mut whole = BytesMut::new();
    loop {
        let is_over = tokio::select! {
            biased;
            outcome = &mut run => outcome.map(|()| true)?,
            () = written.readable() => false,
        };
        whole.extend_from_slice(&written.take());
        if whole.len() as u64 > REPLY_LIMIT.as_u64() {
            return Err(CallError::ReplyTooLarge { limit: REPLY_LIMIT });
        }
        if is_over {
            return Ok(whole.freeze());
        }
    }
}

impl Live {
    async fn run(&mut self, callable: &Callable) -> Result<(), CallError> {
        let name = &*callable.endpoint.function;
        let func = self.func(callable.export, name)?;
        let func = func.typed::<(), (Result<(), ()>,)>(&self.store);
        let func = func.map_err(|error| CallError::Host(format!("{name}: {error:#}")))?;
        let ended = fair(self.store.data().is_long(), func.call_async(&mut self.store, ())).await;
        outcome(ended.map(|(ended,)| ended), &self.store.data().limiter, &self.limits)
    }
}

/// What becomes of a run, by what it returned or how it ended itself.
fn outcome(ended: wasmtime::Result<Result<(), ()>>, limiter: &Limiter, limits: &Limits) -> Result<(), CallError> {
    let code = match ended {
        Ok(Ok(())) => 0,
        Ok(Err(())) => 1,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(exit) => exit.0,
            None => return Err(trap::call_error(&error, Some(limiter), limits)),
        },
    };
    match code {
        0 => Ok(()),
        // Some programs abort when there is no memory, others say so and exit.
        code => Err(trap::refused(limiter, limits).unwrap_or(CallError::Exit { code })),
    }
}

#[cfg(test)]
mod tests;
