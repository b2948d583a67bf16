//! The text of a `micro.toml`. What is read is written to the database and must be the same when it comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro_engine::Manifest;

fuzz_target!(|text: &str| {
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(error.to_string().starts_with("micro.toml: "), "an error names its file: {error}");
            return;
        }
    };
    let kept = serde_json::to_string(&manifest).expect("a manifest is JSON");
    let back: Manifest = serde_json::from_str(&kept).unwrap_or_else(|error| panic!("{kept}: {error}"));
    assert_eq!(back, manifest, "{kept}");
});
