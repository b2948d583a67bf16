//! Deployments as the admin API asks for them.

use super::Runtime;
use super::deploy::DeployError;
use super::deployment::Deployment;
use super::status::{DeploymentStatus, RevisionStatus};
use micro_engine::Inspection;
use std::sync::Arc;

impl Runtime {
    /// One deployment as the admin API shows it.
    pub async fn status(&self, deployment: &Deployment) -> Result<DeploymentStatus, DeployError> {
        let revision = deployment.current();
        let inspection = self.inspection(deployment, &revision).await?;
        Ok(DeploymentStatus::new(deployment, &revision, &inspection, self.schedules.status(&deployment.name)))
    }

    /// The schema of the current revision.
    pub async fn current_inspection(&self, deployment: &Deployment) -> Result<Arc<Inspection>, DeployError> {
        Ok(self.inspection(deployment, &deployment.current()).await?)
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
