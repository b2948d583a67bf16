//! What a deploy is refused for before anything is loaded.

use super::Runtime;
use super::deploy::DeployError;
use super::deployment::Deployment;
use micro_engine::manifest::Kind;
use micro_engine::{Inspection, Manifest, capability, name};

impl Runtime {
    /// Says why a revision cannot be a canary with this share of the calls, if so.
    pub(super) async fn check_canary(
        &self,
        percent: f64,
        deployment: Option<&Deployment>,
        inspection: &Inspection,
        manifest: &Manifest,
    ) -> Result<(), DeployError> {
        if !(percent > 0.0 && percent < 100.0) {
            return Err(DeployError::BadRequest(format!("canary {percent}: expected a share above 0 and below 100 %")));
        }
        let Some(deployment) = deployment else {
            return Err(DeployError::NotFound(
                "a canary needs a current revision beside it: deploy without one first".into(),
            ));
        };
        let current = deployment.current();
        if manifest.kind == Kind::Service
            && inspection.saves_state()
            && current.is_service()
            && self.inspection(deployment, &current).await?.saves_state()
        {
            return Err(DeployError::Refused(
                "a service that hands its state over has one state, and a canary would make two of it: deploy it in full"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// Says why a component is not of the kind that its manifest says, if so.
pub(super) fn check_kind(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    match inspection.command() {
        Some(interface) if manifest.kind == Kind::Service => Err(DeployError::Refused(format!(
            "kind = \"service\": the component is a command ({interface}), which runs once and ends; it can only be a \
             function, with a fresh instance for each run"
        ))),
        _ => Ok(()),
    }
}

/// Says which endpoint of the manifest the component does not have, if so.
pub(super) fn check_routes(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    check_handler(inspection, manifest)?;
    let routes = manifest.route.iter().filter(|route| !route.endpoint.is_empty());
    let routes = routes.map(|route| ("route", &route.path, &route.endpoint));
    let schedules = manifest.schedule.iter().map(|schedule| ("schedule", &schedule.cron, &schedule.endpoint));
    for (kind, what, endpoint) in routes.chain(schedules) {
        if inspection.endpoint(endpoint).is_none() {
            let known = inspection.endpoints.iter().map(|known| &*known.name);
            let hint = name::hint(endpoint, known);
            return Err(DeployError::Refused(format!("{kind} {what:?}: there is no endpoint {endpoint}; {hint}")));
        }
    }
    Ok(())
}

/// Says what of the manifest needs an HTTP handler that the component does not have, if so.
fn check_handler(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    if inspection.web.is_some() {
        return Ok(());
    }
    let host = manifest.host.first().map(|host| format!("host {host:?}"));
    let route = manifest.route.iter().find(|route| route.endpoint.is_empty());
    let route = route.map(|route| format!("route {:?} without an endpoint", route.path));
    match host.or(route) {
        None => Ok(()),
        Some(what) => Err(DeployError::Refused(format!(
            "{what}: the component takes no HTTP requests: it exports neither wasi:http/incoming-handler of WASI 0.2 nor \
             wasi:http/handler of WASI 0.3"
        ))),
    }
}

/// Says what the component imports and is not granted, if it is of no use so. A component without a manifest comes from
/// somewhere else, where grants are not written down: it is deployed, its requests go nowhere, and a warning says so.
pub(super) fn check_grants(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    let missing = capability::not_granted(inspection, manifest);
    if missing.is_empty() || inspection.manifest.is_none() {
        return Ok(());
    }
    let detail = format!("the component imports what it is not granted:\n  {}", missing.join("\n  "));
    Err(DeployError::Refused(detail))
}
