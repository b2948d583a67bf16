//! From the instances of one revision to those of the next, with their state.

use super::Runtime;
use super::deploy::{Checked, DeployError};
use super::deployment::Deployment;
use super::events::Notices;
use super::replicas::{Replicas, Setting};
use super::store::Store;
use micro_engine::actor::StartError;
use micro_engine::manifest::{Kind, OnStateRefused};
use micro_mesh::call::RequestId;
use std::sync::Arc;

/// The instances of a service that is about to take over, and those that wait for it.
#[derive(Default)]
pub(super) struct Begun {
    pub(super) new: Option<Arc<Replicas>>,
    pub(super) old: Option<Arc<Replicas>>,
}

impl Runtime {
    /// Brings the instances of a service to live, beside those of the current revision or with their state.
    pub(super) async fn begin(
        &self,
        deployment: Option<&Deployment>,
        checked: &Checked,
        number: u64,
    ) -> Result<Begun, DeployError> {
        let notices = match deployment {
            Some(deployment) => deployment.notices.clone(),
            None => self.notices(checked.log.deployment().clone()),
        };
        let old = match deployment {
            // After a start of the host they may not live yet; what they will begin with is handed over then.
            Some(deployment) if deployment.current().is_service() => {
                self.replicas(deployment, &deployment.current(), RequestId::next()).await.ok().cloned()
            }
            _ => None,
        };
        let takes_state = checked.manifest.kind == Kind::Service && checked.program.hands_over().1;
        let hands_over = deployment
            .and_then(|deployment| deployment.current().program().map(|program| program.hands_over().0))
            .unwrap_or(false);
        let Some(old) = old.filter(|_| takes_state && hands_over) else {
            let new = self.start_replicas(checked, notices, number, &[]).await;
            return Ok(Begun { new: new.map_err(|error| DeployError::Refused(error.to_string()))?, old: None });
        };
        let handed = async {
            let states =
                old.hand_over().await.map_err(|reason| DeployError::Refused(format!("hand-over: {reason}")))?;
            let (name, kept) = (checked.log.deployment().to_string(), states.clone());
            self.with_store(move |store: &mut Store| store.set_states(&name, &kept)).await?;
            match self.start_replicas(checked, notices.clone(), number, &states).await {
                Err(StartError::StateRefused(reason))
                    if checked.manifest.service.on_state_refused == OnStateRefused::Empty =>
                {
                    checked.log.host_line(&format!("the state of the predecessor was refused: {reason}"));
                    self.start_replicas(checked, notices, number, &[]).await
                }
                other => other,
            }
            .map_err(|error| DeployError::Refused(error.to_string()))
        };
        match handed.await {
            Ok(new) => Ok(Begun { new, old: Some(old) }),
            Err(error) => {
                old.resume();
                Err(error)
            }
        }
    }

    pub(super) async fn start_replicas(
        &self,
        checked: &Checked,
        notices: Notices,
        number: u64,
        states: &[Option<Vec<u8>>],
    ) -> Result<Option<Arc<Replicas>>, StartError> {
        if checked.manifest.kind != Kind::Service {
            return Ok(None);
        }
        let setting = Setting {
            program: checked.program.clone(),
            settings: checked.manifest.service.clone(),
            log: checked.log.clone(),
            notices,
            revision: number,
        };
        Replicas::start(setting, states).await.map(Some)
    }
}

impl Begun {
    /// Ends the new instances, and lets the old ones go on.
    pub(super) async fn undo(self) {
        if let Some(new) = self.new {
            new.retire().await;
        }
        if let Some(old) = self.old {
            old.resume();
        }
    }
}

/// Stops instances that are no longer called, while nobody waits for it.
pub(super) fn retire(replicas: Option<Arc<Replicas>>) {
    if let Some(replicas) = replicas {
        tokio::spawn(async move { replicas.retire().await });
    }
}
