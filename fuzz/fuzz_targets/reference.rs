//! What a source text says: a path, or a place in a git repository, a registry or the web.
#![no_main]

use libfuzzer_sys::fuzz_target;
use micro::source::reference::{Reference, redacted};
use std::path::Component;

fuzz_target!(|text: &str| {
    match Reference::parse(text) {
        Ok(Reference::Git(git)) => {
            assert!(!git.url.starts_with('-'), "git would take it for an option: {git:?}");
            assert!(!git.rev.as_deref().is_some_and(|rev| rev.starts_with('-')), "{git:?}");
            let mut parts = git.folder.iter().flat_map(|folder| folder.components());
            assert!(parts.all(|part| matches!(part, Component::Normal(_))), "a way out of the checkout: {git:?}");
            assert!(!git.name().contains('/'), "{git:?}");
        }
        Ok(Reference::Web(web)) => {
            assert!(web.url.fragment().is_none() && matches!(web.url.scheme(), "http" | "https"), "{web:?}");
            assert!(web.url.scheme() == "https" || web.digest.is_some(), "{web:?}");
            // What stands elsewhere as well is no secret.
            if let Some(password) =
                web.url.password().filter(|password| password.len() > 8 && text.matches(password).count() == 1)
            {
                assert!(!redacted(text).contains(password), "the password is shown: {}", redacted(text));
            }
        }
        Ok(Reference::Oci(oci)) => assert!(!oci.registry().is_empty(), "{oci:?}"),
        Ok(Reference::Path(_)) | Err(_) => {}
    }
});
