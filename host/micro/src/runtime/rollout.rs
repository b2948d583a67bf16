//! What becomes of a revision after its deploy: promoted, rolled back, removed.

use super::deploy::{DeployError, blocking};
use super::deployment::{Canary, Deployment};
use super::handover::retire;
use super::status::DeploymentStatus;
use super::{Routes, Runtime};
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
        self.with_store(move |store| store.set_current(&owned, number)).await?;
        let before = deployment.switch(canary.revision.clone());
        self.refresh_paths();
        self.schedules.set(&deployment).await;
        canary.revision.watch(Some(Instant::now() + canary.revision.manifest.rollout.window), true);
        retire(before.replicas().cloned());
        let inspection = self.inspection(&deployment, &canary.revision).await?;
        self.register(&deployment, &inspection).await?;
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
        let rows = self.revision_rows(name).await?;
        let wanted = match number {
            Some(number) => rows.into_iter().find(|row| row.number == number),
            None => rows.into_iter().find(|row| row.number < current),
        };
        let row = wanted.ok_or_else(|| match number {
            Some(number) => DeployError::NotFound(format!("{name} keeps no revision {number}")),
            None => DeployError::NotFound(format!("{name} keeps no revision before {current}")),
        })?;
        let number = row.number;
        let inspection = self.stored_inspection(name, number).await?;
        let component = {
            let (components, digest) = (self.components.clone(), row.digest.clone());
            let read = blocking(move || components.read(&digest)).await?;
            Bytes::from(read.map_err(|error| anyhow::anyhow!("read component {}: {error}", row.digest))?)
        };
        let manifest = row.manifest.clone();
        let checked = self.check(name, Some(&deployment), Arc::new(inspection), manifest, component).await?;
        let begun = self.begin(Some(&deployment), &checked, number).await?;
        let owned = name.to_string();
        if let Err(error) = self.with_store(move |store| store.set_current(&owned, number)).await {
            begun.undo().await;
            return Err(error.into());
        }
        let deployment = self.switch(Some(deployment), row, checked, begun).await?;
        let detail = match reason {
            "" => format!("from revision {current}"),
            reason => format!("from revision {current}: {reason}"),
        };
        self.events.tell("rolled-back", name, Some(number), detail);
        self.status(&deployment).await
    }

    async fn remove_canary(
        &self,
        deployment: &Arc<Deployment>,
        canary: &Canary,
        reason: &str,
    ) -> Result<DeploymentStatus, DeployError> {
        let current = deployment.current();
        let (owned, number) = (deployment.name.to_string(), current.number);
        self.with_store(move |store| store.set_current(&owned, number)).await?;
        deployment.set_canary(None);
        retire(canary.revision.replicas().cloned());
        let inspection = self.inspection(deployment, &current).await?;
        self.register(deployment, &inspection).await?;
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
        let unused = self.with_store(move |store| store.remove(&owned)).await?;
        self.forget(unused).await?;
        drop(storage);
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.remove(name);
            routes
        });
        self.refresh_paths();
        self.schedules.remove(name);
        self.deregister(name).await?;
        retire(deployment.current().replicas().cloned());
        if let Some(canary) = deployment.set_canary(None) {
            retire(canary.revision.replicas().cloned());
        }
        self.events.tell("removed", name, Some(deployment.current().number), "");
        Ok(status)
    }
}
