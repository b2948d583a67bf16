//! Messages of topics, for functions that take them as they are.

use super::raw::context;
use micro_engine::Value;
use micro_engine::inspect::{MESSAGING, SUBSCRIBER};
use micro_engine::schema::Endpoint;
use micro_mesh::{Call, Payload};

/// The interfaces whose one function takes messages as they are: ours, that of wasmCloud, and WASI's.
pub(in crate::runtime) const MESSAGE_HANDLERS: [&str; 3] = [SUBSCRIBER, WASMCLOUD, MESSAGING];

const WASMCLOUD: &str = "wasmcloud:messaging/handler@";

/// The arguments of an endpoint for a message that came from a topic, where they are not read as those of other calls:
/// for functions that take messages as they are, and for those that take bytes and nothing else, of whatever type they
/// are.
pub(super) fn read(call: &Call, endpoint: &Endpoint) -> Option<Vec<Value>> {
    let delivery = call.delivery.as_ref()?;
    let Payload::Bytes { body, .. } = &call.payload else { return None };
    let interface = endpoint.interface.as_deref().unwrap_or_default();
    let topic = || Value::String(delivery.topic.to_string());
    if interface.starts_with(SUBSCRIBER) {
        let pair = |(name, value): (&str, &str)| {
            Value::Record(vec![Value::String(name.to_ascii_lowercase()), Value::String(value.to_owned())])
        };
        let header = Value::List(delivery.header.iter().map(pair).collect());
        let message = Value::Record(vec![topic(), header, Value::Bytes(body.clone())]);
        return Some(vec![context(call), message]);
    }
    if interface.starts_with(WASMCLOUD) {
        // Its one parameter is a record, whose fields are the request's.
        return Some(vec![topic(), Value::Bytes(body.clone()), Value::none()]);
    }
    match endpoint.request.message.fields.as_slice() {
        [field] if endpoint.request.raw_field().is_some() => {
            let bytes = Value::Bytes(body.clone());
            Some(vec![if field.ty.is_optional() { Value::some(bytes) } else { bytes }])
        }
        _ => None,
    }
}
