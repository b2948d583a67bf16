//! From the instances of one revision to those of the next, with their state.

use super::Runtime;
use super::deploy::{Checked, DeployError};
use super::deployment::Deployment;
use super::replicas::{Replicas, Setting, States};
use super::store::Store;
use micro_engine::actor::StartError;
use micro_engine::manifest::{Kind, OnStateRefused};
use micro_mesh::call::RequestId;
use std::sync::Arc;

/// The instances of a service that is about to take over, what they began with, and those that wait for it.
#[derive(Default)]
pub(super) struct Begun {
    pub(super) new: Option<Arc<Replicas>>,
    pub(super) states: States,
    pub(super) old: Option<Arc<Replicas>>,
}

impl Runtime {
    /// Brings the instances of a service to live, beside those of the current revision or with their state.
    pub(super) async fn begin(&self, deployment: Option<&Deployment>, checked: &Checked) -> Result<Begun, DeployError> {
        let mut begun = Begun::default();
        match self.take_states(deployment, checked, &mut begun).await {
            Ok(states) => begun.states = states,
            Err(error) => {
                begun.undo().await;
                return Err(error);
            }
        }
        let mut new = self.start_replicas(checked, &begun.states).await;
        if let Err(StartError::StateRefused(reason)) = &new
            && checked.manifest.service.on_state_refused == OnStateRefused::Empty
        {
            checked.log.host_line(&format!("the state of the predecessor was refused: {reason}"));
            begun.states = States::new();
            new = self.start_replicas(checked, &begun.states).await;
        }
        match new {
            Ok(new) => Ok(Begun { new, ..begun }),
            Err(error) => {
                begun.undo().await;
                Err(DeployError::Refused(error.to_string()))
            }
        }
    }

    /// The state that goes over to a checked revision, from instances that take no more calls now or, where those
    /// cannot come to live, from what they left.
    async fn take_states(
        &self,
        deployment: Option<&Deployment>,
        checked: &Checked,
        begun: &mut Begun,
    ) -> Result<States, DeployError> {
        let takes = checked.manifest.kind == Kind::Service && checked.program.hands_over().1;
        let Some(deployment) = deployment.filter(|deployment| takes && deployment.current().is_service()) else {
            return Ok(States::new());
        };
        let current = deployment.current();
        // After a start of the host they may not live yet; what they will begin with is handed over then.
        let Ok(old) = self.replicas(deployment, &current, RequestId::next()).await else {
            let name = deployment.name.to_string();
            return Ok(self.with_store(move |store: &mut Store| store.states(&name)).await?);
        };
        if !old.saves() {
            return Ok(States::new());
        }
        begun.old = Some(old.clone());
        old.hand_over().await.map_err(|reason| DeployError::Refused(format!("hand-over: {reason}")))
    }

    pub(super) async fn start_replicas(
        &self,
        checked: &Checked,
        states: &[Option<Vec<u8>>],
    ) -> Result<Option<Arc<Replicas>>, StartError> {
        if checked.manifest.kind != Kind::Service {
            return Ok(None);
        }
        let setting = Setting {
            program: checked.program.clone(),
            settings: checked.manifest.service.clone(),
            log: checked.log.clone(),
            notices: checked.notices.clone(),
            revision: checked.number,
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
