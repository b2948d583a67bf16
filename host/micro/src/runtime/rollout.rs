//! What becomes of a revision after its deploy: promoted, rolled back, removed.

use super::Runtime;
use super::deploy::{DeployError, blocking};
use super::deployment::{Canary, Deployment};
use super::status::DeploymentStatus;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

impl Runtime {
    /// Gives all calls to the canary.
    pub async fn promote(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        let _change = self.change(name).await;
        let deployment = self.existing(name)?;
        let Some(canary) = deployment.canary() else {
            return Err(DeployError::NotFound(format!("{name} has no canary to promote")));
        };
        let number = canary.revision.number;
        let owned = name.to_string();
        self.with_store(move |store| store.set_current(&owned, number, None)).await?;
        let before = deployment.switch(canary.revision.clone());
        canary.revision.watch(Some(Instant::now() + canary.revision.manifest.rollout.window), true);
        before.retire();
        self.tell_of(&deployment).await;
        self.events.tell("promoted", name, Some(number), format!("in place of revision {}", before.number));
        self.status(&deployment).await
    }

    /// Goes back to a kept revision: the one given, or the one before the current. A canary is simply taken out.
    pub async fn roll_back(&self, name: &str, number: Option<u64>) -> Result<DeploymentStatus, DeployError> {
        let _change = self.change(name).await;
        self.roll_back_because(name, number, "").await
    }

    /// The same, for the holder of the name's lock, with a reason for the event.
    pub(super) async fn roll_back_because(
        &self,
        name: &str,
        number: Option<u64>,
        reason: &str,
    ) -> Result<DeploymentStatus, DeployError> {
        let deployment = self.existing(name)?;
        let current = deployment.current().number;
        if number.is_none_or(|number| number == current)
            && let Some(canary) = deployment.canary()
        {
            return self.remove_canary(&deployment, &canary, reason).await;
        }
        let number = match number {
            Some(number) => number,
            None => self.previous(name, current).await?,
        };
        let row = self.revision_rows(name).await?.into_iter().find(|row| row.number == number);
        let row = row.ok_or_else(|| DeployError::NotFound(format!("{name} keeps no revision {number}")))?;
        let inspection = self.stored_inspection(name, number).await?;
        let component = {
            let (components, digest) = (self.components.clone(), row.digest.clone());
            let read = blocking(move || components.read(&digest)).await?;
            Bytes::from(read.map_err(|error| anyhow::anyhow!("read component {}: {error}", row.digest))?)
        };
        let manifest = row.manifest.clone();
        let checked = self.check(name, number, Some(&deployment), Arc::new(inspection), manifest, component).await?;
        let begun = self.begin(Some(&deployment), &checked).await?;
        let (owned, states) = (name.to_string(), begun.states.clone());
        if let Err(error) = self.with_store(move |store| store.set_current(&owned, number, Some(&states))).await {
            begun.undo().await;
            return Err(error.into());
        }
        let deployment = self.switch(Some(deployment), row, checked, begun).await;
        let detail = match reason {
            "" => format!("from revision {current}"),
            reason => format!("from revision {current}: {reason}"),
        };
        self.events.tell("rolled-back", name, Some(number), detail);
        self.status(&deployment).await
    }

    /// Goes back to what ran before the current revision, whatever is tried beside it.
    pub(super) async fn roll_back_to_previous(
        &self,
        name: &str,
        reason: &str,
    ) -> Result<DeploymentStatus, DeployError> {
        let current = self.existing(name)?.current().number;
        let previous = self.previous(name, current).await?;
        self.roll_back_because(name, Some(previous), reason).await
    }

    /// The kept revision in whose place `number` came.
    async fn previous(&self, name: &str, number: u64) -> Result<u64, DeployError> {
        let rows = self.revision_rows(name).await?;
        let previous = rows.iter().find(|row| row.number == number).and_then(|row| row.previous);
        let kept = previous.filter(|previous| rows.iter().any(|row| row.number == *previous));
        kept.ok_or_else(|| DeployError::NotFound(format!("{name} keeps no revision that ran before {number}")))
    }

    async fn remove_canary(
        &self,
        deployment: &Arc<Deployment>,
        canary: &Canary,
        reason: &str,
    ) -> Result<DeploymentStatus, DeployError> {
        let current = deployment.current();
        let (owned, number) = (deployment.name.to_string(), current.number);
        self.with_store(move |store| store.set_current(&owned, number, None)).await?;
        deployment.set_canary(None);
        canary.revision.retire();
        self.tell_of(deployment).await;
        let tried = canary.revision.number;
        let detail = match reason {
            "" => format!("from canary {tried}"),
            reason => format!("from canary {tried}: {reason}"),
        };
        deployment.log.host_line(&format!("rolled back {detail}"));
        self.events.tell("rolled-back", &deployment.name, Some(number), detail);
        self.status(deployment).await
    }

    /// Removes a deployment with all its revisions. Calls that began come to their end.
    pub async fn remove(&self, name: &str) -> Result<DeploymentStatus, DeployError> {
        let _change = self.change(name).await;
        let deployment = self.existing(name)?;
        let status = self.status(&deployment).await?;
        let owned = name.to_string();
        let storage = self.storage.lock().await;
        let rows = self.revision_rows(name).await?;
        let unused = self.with_store(move |store| store.remove(&owned)).await?;
        self.forget(unused).await?;
        drop(storage);
        self.routes.rcu(|routes| routes.remove(name));
        // Its log is kept for a while: who looks for it finds why it says nothing more.
        deployment.log.host_line("removed");
        deployment.current().retire();
        if let Some(canary) = deployment.set_canary(None) {
            canary.revision.retire();
        }
        self.refresh_paths_of(name);
        self.schedules.remove(name);
        self.subscriptions.remove(name, rows.into_iter().map(|row| row.manifest)).await;
        if let Err(error) = self.deregister(name).await {
            tracing::error!(deployment = name, "the registry still has it: {error:#}");
        }
        self.events.tell("removed", name, Some(deployment.current().number), "");
        Ok(status)
    }
}
