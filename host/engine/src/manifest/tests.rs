use super::*;

#[test]
fn an_empty_manifest_has_the_defaults() {
    let manifest = Manifest::parse("").unwrap();
    assert!(manifest.limits.is_empty());
    assert_eq!(manifest.full_name(), None);
}

#[test]
fn the_namespace_stands_before_the_name() {
    let manifest =
        Manifest::parse("name = \"greeter\"\nnamespace = \"demo\"\n[limits]\nmemory = \"1MiB\"\ntimeout = \"250ms\"")
            .unwrap();
    assert_eq!(manifest.full_name().as_deref(), Some("demo.greeter"));
    let limits = manifest.limits.within(&HostLimits::default());
    assert_eq!((limits.memory, limits.timeout), (ByteSize::mib(1), Duration::from_millis(250)));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    let error = Manifest::parse("[limits]\nmemry = \"1MiB\"").unwrap_err().to_string();
    assert_eq!(error, "micro.toml: unknown key `limits.memry`: did you mean memory?");
    let error = Manifest::parse("zzz = 1").unwrap_err().to_string();
    assert!(error.contains("unknown key `zzz`: expected name, "), "{error}");
}

#[test]
fn limits_have_bounds() {
    for (text, key) in [
        ("memory = \"1B\"", "memory"),
        ("timeout = \"0s\"", "timeout"),
        ("concurrency = 0", "concurrency"),
        ("queue = 99999999", "queue"),
    ] {
        let error = Manifest::parse(&format!("[limits]\n{text}")).unwrap_err().to_string();
        assert!(error.contains(&format!("limits.{key}: expected")), "{error}");
    }
}

#[test]
fn times_and_shares_have_bounds() {
    for (text, expected) in [
        ("[limits]\ntimeout = \"1us\"", "limits.timeout: expected 1ms to 1h"),
        ("[limits]\nmemory = \"1B\"", "limits.memory: expected 64.0 KiB to 4.0 GiB"),
        ("[service]\ngrace = \"2h\"", "service.grace: expected 0s to 1h"),
        ("[service]\nhealth-interval = \"1ms\"", "service.health-interval: expected 100ms to 1h"),
        ("[rollout]\nwindow = \"500000000000years\"", "rollout.window: expected 0s to 7days"),
        ("[rollout]\nmax-errors = nan", "rollout.max-errors: expected 0 to 100"),
        ("[rollout]\nmax-errors = 101", "rollout.max-errors: expected 0 to 100"),
    ] {
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(Manifest::parse("[rollout]\nwindow = \"7days\"").is_ok());
}

#[test]
fn names_are_words_joined_by_dots() {
    for name in ["greeter", "go.micro.srv.greeter", "a-b_c", "v1", "Greeter"] {
        assert_eq!(check_name(name), Ok(()), "{name}");
    }
    for name in ["", ".", "a..b", "../etc", "a/b", "-a", "a b", "ü", &"x".repeat(200)] {
        assert!(check_name(name).is_err(), "{name}");
    }
}

#[test]
fn embedding_twice_leaves_one_manifest() {
    let empty = wasm_encoder::Component::new().finish();
    let once = embed(&empty, "name = \"a\"").unwrap();
    let twice = embed(&once, "name = \"b\"").unwrap();
    assert_eq!(once.len(), twice.len());
    let inspection = crate::inspect::manifest_of(&twice).unwrap();
    assert_eq!(inspection.and_then(|manifest| manifest.name).as_deref(), Some("b"));
    assert_eq!(embed(&once, "name = \"a\"").unwrap(), once);
}

#[test]
fn rubbish_has_no_place_for_a_manifest() {
    assert!(embed(b"not wasm", "").unwrap_err().to_string().contains("not a component"));
}

#[test]
fn a_size_that_people_round_comes_back_from_where_it_is_kept_as_it_was() {
    for (memory, kept) in [("100MB", "100000000"), ("64MiB", "67108864")] {
        let manifest = Manifest::parse(&format!("[limits]\nmemory = \"{memory}\"")).unwrap();
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(text.contains(&format!("\"memory\":{kept}")), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
    }
}
