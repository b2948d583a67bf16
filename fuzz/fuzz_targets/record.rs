//! Records of a registry, as peers write them. What is read must be written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_mesh::Service;

fuzz_target!(|bytes: &[u8]| {
    let Ok(service) = serde_json::from_slice::<Service>(bytes) else { return };
    let text = serde_json::to_string(&service).expect("a record is JSON");
    let back: Service = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(back, service, "{text}");
    let mut merged = Service::new(&*service.name, &*service.version);
    merged.merge(&service);
    assert!(!merged.merge(&service), "what is there already changes nothing");
});
