//! Deployments as the admin API asks for them.

use super::Runtime;
use super::deploy::DeployError;
use super::deployment::{Deployment, Revision};
use super::status::{DeploymentStatus, Due, RevisionStatus};
use micro_engine::Inspection;
use std::sync::Arc;

impl Runtime {
    /// One deployment as the admin API shows it.
    pub async fn status(&self, deployment: &Deployment) -> Result<DeploymentStatus, DeployError> {
        let revision = deployment.current();
        let inspection = self.inspection(deployment, &revision).await?;
        Ok(DeploymentStatus::new(deployment, &revision, &inspection, self.due(&deployment.name)))
    }

    fn due(&self, name: &str) -> Due {
        Due { schedules: self.schedules.status(name), subscriptions: self.subscriptions.status(name) }
    }

    /// So many deployments, sorted by name, as the admin API shows them.
    pub async fn statuses(&self, deployments: &[Arc<Deployment>]) -> Result<Vec<DeploymentStatus>, DeployError> {
        let current: Vec<_> = deployments.iter().map(|deployment| (deployment, deployment.current())).collect();
        let inspections = self.current_inspections(&current).await?;
        let all = current.iter().zip(&inspections).map(|((deployment, revision), inspection)| {
            DeploymentStatus::new(deployment, revision, inspection, self.due(&deployment.name))
        });
        Ok(all.collect())
    }

    /// What inspection found in these revisions, in their order.
    pub async fn current_inspections(
        &self,
        revisions: &[(&Arc<Deployment>, Arc<Revision>)],
    ) -> Result<Vec<Inspection>, DeployError> {
        let keys = revisions.iter().map(|(deployment, revision)| (deployment.name.clone(), revision.number));
        Ok(self.inspections(keys.collect()).await?)
    }

    /// The kept revisions of a deployment, newest first.
    pub async fn revisions(&self, name: &str) -> Result<Vec<RevisionStatus>, DeployError> {
        let deployment = self.existing(name)?;
        let rows = self.revision_rows(name).await?;
        Ok(rows.into_iter().map(|row| RevisionStatus::new(row, &deployment)).collect())
    }

    /// The deployment called `name`, or the error that says there is none.
    pub fn existing(&self, name: &str) -> Result<Arc<Deployment>, DeployError> {
        self.deployment(name).ok_or_else(|| DeployError::NotFound(format!("deployment {name}: not found")))
    }
}
