//! What is wrong with the subscriptions of a manifest, told to the one who deploys.

use crate::runtime::DeployError;
use crate::runtime::message::MESSAGE_HANDLERS;
use micro_engine::schema::Endpoint;
use micro_engine::{Inspection, Manifest, name};

/// Refuses a subscription that could never work. One without an endpoint is given the function that takes messages as
/// they are.
pub(in crate::runtime) fn check_subscriptions(
    inspection: &Inspection,
    manifest: &mut Manifest,
) -> Result<(), DeployError> {
    for subscribe in &mut manifest.subscribe {
        let refused = |reason: String| DeployError::Refused(format!("subscribe {:?}: {reason}", subscribe.topic));
        if subscribe.endpoint.is_empty() {
            let Some(endpoint) = inspection.endpoints.iter().find(|endpoint| takes_messages(endpoint)) else {
                return Err(refused(format!(
                    "it names no endpoint, and the component exports nothing that takes messages as they are ({}): name an \
                     endpoint",
                    MESSAGE_HANDLERS.join(", ")
                )));
            };
            subscribe.endpoint = endpoint.name.to_string();
            continue;
        }
        match inspection.endpoint(&subscribe.endpoint) {
            None => {
                let known = inspection.endpoints.iter().map(|known| &*known.name);
                let hint = name::hint(&subscribe.endpoint, known);
                return Err(refused(format!("there is no endpoint {}; {hint}", subscribe.endpoint)));
            }
            Some(endpoint) if endpoint.stream.is_some() => {
                let name = &endpoint.name;
                return Err(refused(format!("{name} streams, and a message is one: name one that does not")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn takes_messages(endpoint: &Endpoint) -> bool {
    let interface = endpoint.interface.as_deref().unwrap_or_default();
    MESSAGE_HANDLERS.iter().any(|handler| interface.starts_with(handler))
}
