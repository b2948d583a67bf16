//! Runs of commands whose callers hold both ends: standard input comes and standard output goes while the program runs.

use super::deployment::{Deployment, Revision};
use super::invoke::{Turn, explain, scope, unknown_endpoint};
use super::{Runtime, errors};
use arc_swap::Guard;
use bytes::Bytes;
use micro_engine::command::{self, Input, OutputReader, Run};
use micro_engine::manifest::Limit;
use micro_engine::{Callable, Program};
use micro_mesh::{Call, Error};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;

/// A program that runs. Dropping it ends the program.
pub(crate) struct Running {
    output: OutputReader,
    task: JoinHandle<Result<(), Error>>,
    outcome: Option<Result<(), Error>>,
    is_over: bool,
    /// The content type that the manifest gives to what is written.
    pub(crate) content_type: Option<String>,
}

impl Runtime {
    /// Runs the command that `call` names, with these arguments and variables beside those of its manifest.
    pub(crate) async fn run_command(
        &self,
        call: Call,
        args: Vec<String>,
        env: Vec<(String, String)>,
        stdin: Input,
    ) -> Result<Running, Error> {
        let Some(deployment) = self.deployment(&call.service) else {
            return Err(errors::unknown_service(&call.service));
        };
        let (began, revision) = (Instant::now(), Guard::into_inner(deployment.choose(&call)));
        let begun = deployment.counts_for_call().begin(began);
        let (program, callable) = match self.find_command(&deployment, &revision, &call).await {
            Ok(found) => found,
            Err(error) => {
                begun.answered(Some(error.code));
                deployment.count(&revision, Some(error.code));
                return Err(error);
            }
        };
        let content_type = revision.manifest.reply.content_type.clone();
        let (stdout, output) = command::pipe();
        begun.moved();
        stdin.limit(revision.limits.upload.as_u64());
        // A task of its own: its time runs out also while nobody takes what it writes.
        let task = tokio::spawn(async move {
            let begun = deployment.counts_for_call().begin(began);
            let run = Run { args, env, stdin: stdin.clone(), stdout };
            let outcome = async {
                let Turn { deadline, _permit } = Turn::enter(&deployment, &revision, &program, call.deadline).await?;
                let scope = scope(&program, &call, Some(deadline.at));
                let ended = program.run(scope, &callable, run, deadline).await;
                ended.map_err(|error| explain(&deployment, call.id, error))
            };
            let mut outcome = outcome.await;
            if stdin.is_too_large() {
                // Whatever the program made of that: nobody shall take its answer to a part for one to the whole.
                deployment.usage.hit(Limit::Request);
                outcome = Err(errors::body_too_large(&call.service, revision.limits.upload));
            }
            let code = outcome.as_ref().err().map(|error| error.code);
            begun.answered(code);
            deployment.count(&revision, code);
            outcome
        });
        Ok(Running { output, task, outcome: None, is_over: false, content_type })
    }

    async fn find_command(
        &self,
        deployment: &Deployment,
        revision: &Arc<Revision>,
        call: &Call,
    ) -> Result<(Arc<Program>, Arc<Callable>), Error> {
        let program = self.kept_program(deployment, revision, call.id).await?;
        // A canary may be something else than the current revision.
        match program.command().cloned() {
            Some(callable) => Ok((program, callable)),
            None => Err(unknown_endpoint(call, &program)),
        }
    }
}

impl Running {
    /// What the program wrote meanwhile; none at its end. Nothing follows an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let written = self.output.take();
            if !written.is_empty() {
                return Some(Ok(written));
            }
            if let Some(outcome) = self.outcome.take() {
                self.is_over = true;
                return outcome.err().map(Err);
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                ended = &mut self.task => {
                    let broken = |error| Error::internal("go.micro.api", format!("the run was broken off: {error}"));
                    self.outcome = Some(ended.unwrap_or_else(|error| Err(broken(error))));
                }
                () = self.output.readable() => {}
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
