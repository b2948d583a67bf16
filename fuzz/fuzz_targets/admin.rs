//! What comes to the admin API: by the first byte the query of a deploy, the body of a rollback, or the query of a
//! store's keys, of a value that is put, or of a log.
#![no_main]

use axum::extract::Query;
use axum::http::Uri;
use libfuzzer_sys::fuzz_target;
use micro::runtime::logs::Parameters as LogParameters;
use micro::sidecar::admin::stores::{KeyParameters, PutParameters};
use micro::sidecar::admin::{DeployParameters, RollBackRequest};
use micro_mesh::Error;

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let uri = || format!("/?{}", std::str::from_utf8(rest).ok()?).parse::<Uri>().ok();
    match kind {
        b'd' => {
            let Some(Ok(Query(parameters))) = uri().map(|uri| Query::<DeployParameters>::try_from_uri(&uri)) else {
                return;
            };
            if let Err(error) = parameters.options() {
                check(&error);
            }
        }
        b'r' => {
            if let Err(error) = RollBackRequest::read(rest) {
                check(&error);
            }
        }
        b'k' => {
            let Some(Ok(Query(parameters))) = uri().map(|uri| Query::<KeyParameters>::try_from_uri(&uri)) else {
                return;
            };
            assert!(parameters.query().limit <= micro_mesh::store::MAX_KEYS_LISTED);
        }
        b'p' => {
            let Some(Ok(Query(parameters))) = uri().map(|uri| Query::<PutParameters>::try_from_uri(&uri)) else {
                return;
            };
            if let Err(error) = parameters.options() {
                check(&error);
            }
        }
        _ => drop(uri().map(|uri| Query::<LogParameters>::try_from_uri(&uri).is_ok())),
    }
});

/// What is wrong with a request is the caller's to mend, and is said.
fn check(error: &Error) {
    assert!(error.code == 400 && !error.detail.is_empty(), "{error:?}");
}
