//! The section with doc comments in a component that is otherwise right. It is never worth refusing the component.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::{docs, inspect, section, wit};
use micro_fuzz::component::GREETER;

fuzz_target!(|bytes: &[u8]| {
    let component = section::put(GREETER, docs::SECTION, bytes).expect("a section can be put");
    let inspection = inspect(&component, None).expect("docs are never worth refusing");
    serde_json::to_vec(&inspection).expect("an inspection is JSON");
    wit::wit_text(&component).expect("docs are no reason to show nothing");
});
