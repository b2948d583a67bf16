//! What a deploy is refused for before anything is loaded.

use super::deploy::DeployError;
use super::deployment::Deployment;
use micro_engine::manifest::Kind;
use micro_engine::{Inspection, Manifest};

/// Says why a revision cannot be a canary, if so.
pub(super) fn check_canary(
    canary: Option<f64>,
    deployment: Option<&Deployment>,
    inspection: &Inspection,
    manifest: &Manifest,
) -> Result<(), DeployError> {
    let Some(percent) = canary else { return Ok(()) };
    if !(percent > 0.0 && percent < 100.0) {
        return Err(DeployError::BadRequest(format!("canary {percent}: expected a share above 0 and below 100 %")));
    }
    let Some(deployment) = deployment else {
        return Err(DeployError::NotFound(
            "a canary needs a current revision beside it: deploy without one first".into(),
        ));
    };
    let saves = deployment.current().program().is_some_and(|program| program.hands_over().0);
    if manifest.kind == Kind::Service && saves && inspection.saves_state() {
        return Err(DeployError::Refused(
            "a service that hands its state over has one state, and a canary would make two of it: deploy it in full"
                .into(),
        ));
    }
    Ok(())
}

/// Says which endpoint of the manifest the component does not have, if so.
pub(super) fn check_routes(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    let routes = manifest.route.iter().map(|route| ("route", &route.path, &route.endpoint));
    let schedules = manifest.schedule.iter().map(|schedule| ("schedule", &schedule.cron, &schedule.endpoint));
    for (kind, what, endpoint) in routes.chain(schedules) {
        if inspection.endpoint(endpoint).is_none() {
            let known = inspection.endpoints.iter().map(|known| &*known.name);
            let hint = match micro_engine::name::nearest(endpoint, known.clone()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
            };
            return Err(DeployError::Refused(format!("{kind} {what:?}: there is no endpoint {endpoint}; {hint}")));
        }
    }
    Ok(())
}
