//! What the runtime does about instances that fail, and about revisions whose calls do.

use super::Runtime;
use super::events::{Notice, NoticeKind};
use futures::StreamExt as _;
use micro_mesh::Broker as _;
use micro_mesh::call::RequestId;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::mpsc;

/// Services that are brought to live at the same time when a host starts: more would crowd the processors, and leave the
/// allocator with the rooms of as many threads.
const STARTED_AT_ONCE: usize = 4;

/// After so long a registry that could not be told is told again.
const REGISTER_AGAIN: Duration = Duration::from_secs(5);

/// Acts on notices for as long as the runtime is there.
pub(super) async fn run(runtime: Weak<Runtime>, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        let Some(runtime) = runtime.upgrade() else { return };
        let name = notice.deployment.clone();
        // One deployment's trouble does not keep that of another waiting.
        tokio::spawn(async move {
            if let Err(error) = runtime.act(notice).await {
                tracing::error!(deployment = %name, "supervision: {error:#}");
            }
        });
    }
}

impl Runtime {
    /// Brings the instances of all services to live, while the doors are open already: calls wait for them.
    pub(super) fn start_services(self: &Arc<Self>) {
        let mut services = Vec::new();
        for deployment in self.deployments() {
            let canary = deployment.canary().map(|canary| canary.revision.clone());
            let revisions = [Some(deployment.current()), canary].into_iter().flatten();
            let live = revisions.filter(|revision| revision.is_service());
            services.extend(live.map(|revision| (deployment.clone(), revision)));
        }
        let runtime = self.clone();
        tokio::spawn(async move {
            let begun = services.into_iter().map(|(deployment, revision)| {
                let runtime = runtime.clone();
                // What goes wrong is in the deployment's status, and a call tries again.
                async move { runtime.replicas(&deployment, &revision, RequestId::next()).await.is_ok() }
            });
            futures::stream::iter(begun).buffer_unordered(STARTED_AT_ONCE).count().await
        });
    }

    /// Stops the instances of all services, and keeps what they saved: a host that starts here goes on from there.
    pub async fn stop_services(&self) {
        self.schedules.stop().await;
        self.subscriptions.stop().await;
        let all = self.deployments().into_iter().map(async |deployment| {
            let canary = deployment.canary().map(|canary| canary.revision.clone());
            if let Some(replicas) = canary.as_ref().and_then(|revision| revision.replicas()) {
                replicas.retire().await;
            }
            let current = deployment.current();
            let Some(replicas) = current.replicas() else { return };
            if replicas.saves() {
                match replicas.hand_over().await {
                    Ok(states) => {
                        let name = deployment.name.to_string();
                        if let Err(error) = self.with_store(move |store| store.set_states(&name, &states)).await {
                            tracing::error!(deployment = %deployment.name, "its state is not kept: {error:#}");
                        }
                    }
                    Err(reason) => tracing::warn!(deployment = %deployment.name, "its state is not kept: {reason}"),
                }
            }
            replicas.retire().await;
        });
        futures::future::join_all(all).await;
        self.outbox.close().await;
        if let Err(error) = self.kept.close().await {
            tracing::error!("close the stores: {error}");
        }
        if let Err(error) = self.broker.close().await {
            tracing::error!("close the broker: {error}");
        }
        self.logs.close().await;
    }

    async fn act(&self, Notice { deployment: name, revision: number, kind }: Notice) -> anyhow::Result<()> {
        let _change = self.change(&name).await;
        let Some(deployment) = self.deployment(&name) else { return Ok(()) };
        let canary = deployment.canary().filter(|canary| canary.revision.number == number);
        let is_canary = canary.is_some();
        let revision = canary.map_or_else(|| deployment.current(), |canary| canary.revision.clone());
        let is_on_trial = is_canary || revision.is_fresh();
        if revision.number != number {
            // It is gone already.
            return Ok(());
        }
        let problem = match kind {
            NoticeKind::Errors(detail) if is_on_trial => detail,
            NoticeKind::Errors(_) => return Ok(()),
            NoticeKind::GivenUp(reason) => {
                let detail = format!("crash loop: {reason}");
                self.events.tell("failed", &name, Some(number), detail.clone());
                if !is_on_trial && revision.replicas().is_some_and(|replicas| replicas.is_ready()) {
                    deployment.log.host_line(&format!("{detail}; the other instances go on"));
                    return Ok(());
                }
                detail
            }
            NoticeKind::HealthChanged => match revision.replicas().and_then(|replicas| replicas.readiness()) {
                None => return Ok(()),
                Some(true) => {
                    deployment.recover(&revision);
                    if let Err(error) = self.register(&deployment).await {
                        // Nobody else would tell the registry: that it is ready shall be news once more.
                        if let Some(replicas) = revision.replicas() {
                            replicas.note(false);
                        }
                        deployment.notices.look_again(number, REGISTER_AGAIN);
                        return Err(error);
                    }
                    self.events.tell("healthy", &name, Some(number), "");
                    return Ok(());
                }
                Some(false) => {
                    let problem = revision.replicas().and_then(|replicas| replicas.problems().pop());
                    let problem = problem.unwrap_or_default();
                    self.events.tell("unhealthy", &name, Some(number), problem.clone());
                    if !is_on_trial {
                        return self.deregister(&name).await;
                    }
                    problem
                }
            },
        };
        if is_on_trial {
            let rolled_back = match is_canary {
                true => self.roll_back_because(&name, None, &problem).await,
                false => self.roll_back_to_previous(&name, &problem).await,
            };
            match rolled_back {
                Ok(_) => return Ok(()),
                Err(error) => deployment.log.host_line(&format!("not rolled back: {error}")),
            }
        }
        deployment.fail(&revision, problem);
        match revision.replicas() {
            Some(replicas) if !replicas.is_ready() => {
                // The next that is ready is news.
                replicas.note(false);
                self.deregister(&name).await
            }
            _ => Ok(()),
        }
    }
}
