//! What the runtime does about instances that fail, and about revisions whose calls do.

use super::Runtime;
use super::deployment::Deployment;
use super::events::{Notice, NoticeKind};
use futures::StreamExt as _;
use micro_mesh::call::RequestId;
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Services that are brought to live at the same time when a host starts: more would only crowd the processors.
const STARTED_AT_ONCE: usize = 16;

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
        let all = self.deployments().into_iter().map(async |deployment| {
            let canary = deployment.canary().map(|canary| canary.revision.clone());
            if let Some(replicas) = canary.as_ref().and_then(|revision| revision.replicas()) {
                replicas.retire().await;
            }
            let current = deployment.current();
            let Some(replicas) = current.replicas() else { return };
            if current.program().is_some_and(|program| program.hands_over().0) {
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
        if let Err(error) = self.kept.close().await {
            tracing::error!("close the stores: {error}");
        }
    }

    async fn act(&self, Notice { deployment: name, revision, kind }: Notice) -> anyhow::Result<()> {
        let _change = self.change(&name).await;
        let Some(deployment) = self.deployment(&name) else { return Ok(()) };
        let is_canary = deployment.canary().is_some_and(|canary| canary.revision.number == revision);
        let is_current = deployment.current().number == revision;
        match kind {
            // It is gone already.
            _ if !is_canary && !is_current => {}
            NoticeKind::Errors(detail) => self.roll_back_fresh(&deployment, is_canary, &detail).await?,
            NoticeKind::GivenUp(reason) => {
                let detail = format!("crash loop: {reason}");
                self.events.tell("failed", &name, Some(revision), detail.clone());
                if is_canary || deployment.current().is_fresh() {
                    self.roll_back_fresh(&deployment, is_canary, &detail).await?;
                } else if deployment.current().replicas().is_some_and(|replicas| replicas.is_ready()) {
                    deployment.log.host_line(&format!("{detail}; the other instances go on"));
                } else {
                    deployment.set_failure(Some(detail));
                    self.deregister(&name).await?;
                }
            }
            NoticeKind::HealthChanged => {
                let current = deployment.current();
                let Some(replicas) = current.replicas() else { return Ok(()) };
                match replicas.is_ready() {
                    true => {
                        let inspection = self.inspection(&deployment, &current).await?;
                        self.register(&deployment, &inspection).await?;
                        self.events.tell("healthy", &name, Some(revision), "");
                    }
                    false if is_canary || current.is_fresh() && current.number > 1 && is_current => {
                        let problem = replicas.status().problems.pop().unwrap_or_default();
                        self.events.tell("unhealthy", &name, Some(revision), problem.clone());
                        self.roll_back_fresh(&deployment, is_canary, &problem).await?;
                    }
                    false => {
                        let problem = replicas.status().problems.pop().unwrap_or_default();
                        self.events.tell("unhealthy", &name, Some(revision), problem);
                        self.deregister(&name).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes back to what ran before a revision that does not do; without anything before, it stays as it is.
    async fn roll_back_fresh(&self, deployment: &Arc<Deployment>, is_canary: bool, reason: &str) -> anyhow::Result<()> {
        if !is_canary && !deployment.current().is_fresh() {
            return Ok(());
        }
        if let Err(error) = self.roll_back_because(&deployment.name, None, reason).await {
            deployment.log.host_line(&format!("not rolled back: {error}"));
            deployment.set_failure(Some(reason.to_string()));
        }
        Ok(())
    }
}
