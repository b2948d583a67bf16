//! What is wrong with the schedules of a manifest, told to the one who deploys.

use super::timetable::Timetable;
use crate::runtime::{DeployError, message, status};
use micro_engine::schema::Endpoint;
use micro_engine::{Inspection, Manifest, manifest};
use micro_mesh::{Call, Payload};
use serde_json::{Map, Value};

/// Schedules of one deployment; each may be due every second.
const MAX_SCHEDULES: usize = 100;

/// Refuses a schedule that could never run well: its time, its zone, its endpoint or its request.
pub(in crate::runtime) fn check_schedules(inspection: &Inspection, manifest: &Manifest) -> Result<(), DeployError> {
    let schedules = &manifest.schedule;
    if schedules.len() > MAX_SCHEDULES {
        return Err(DeployError::Refused(format!(
            "the manifest has {} schedules, and may have {MAX_SCHEDULES}: let one endpoint do what is due together",
            schedules.len()
        )));
    }
    for (index, schedule) in schedules.iter().enumerate() {
        let endpoint = inspection.endpoint(&schedule.endpoint);
        let check = endpoint.map_or(Ok(()), |endpoint| check(schedule, endpoint));
        check.map_err(|reason| {
            let (number, cron) = (index + 1, &schedule.cron);
            DeployError::Refused(format!("schedule {number}, {cron:?} of {}: {reason}", schedule.endpoint))
        })?;
    }
    Ok(())
}

fn check(schedule: &manifest::Schedule, endpoint: &Endpoint) -> Result<(), String> {
    let timetable = Timetable::parse(&schedule.cron, schedule.timezone.as_deref())?;
    if timetable.next(status::now()).is_none() {
        return Err("this time never comes: there is no such day".into());
    }
    if endpoint.stream.is_some() {
        return Err(format!(
            "{} streams, and nobody is there to take the messages: name one that does not",
            endpoint.name
        ));
    }
    let request = request(schedule);
    if let Err(error) = serde_json::from_str::<Map<String, Value>>(request) {
        return Err(format!("request: expected a JSON object in a string, like '{{\"days\": 7}}': {error}"));
    }
    let call = Call::new("", endpoint.name.clone(), Payload::json(request.to_owned()));
    message::read(&call, endpoint, None).map(drop).map_err(|error| {
        // The endpoint was named already.
        let prefix = format!("{}: ", endpoint.name);
        format!("request: {}", error.detail.strip_prefix(&prefix).unwrap_or(&error.detail))
    })
}

/// The request that a schedule's calls carry.
pub(super) fn request(schedule: &manifest::Schedule) -> &str {
    schedule.request.as_deref().unwrap_or("{}")
}
