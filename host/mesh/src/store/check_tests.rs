use super::*;

const FULL: Usage = Usage { entries: 2, bytes: 10 };

#[test]
fn a_store_over_lowered_limits_may_shrink() {
    let lowered = Limits { store_bytes: 5, store_entries: 1 };
    let [small, large, larger] = [1, 4, 5].map(|length| Usage::of_entry(1, length));
    assert_eq!(lowered.replace("a", FULL, large, small), Ok(Usage { entries: 2, bytes: 7 }));
    assert_eq!(lowered.replace("a", FULL, large, large), Ok(FULL));
    assert!(lowered.replace("a", FULL, large, larger).is_err());
    assert!(lowered.replace("a", FULL, Usage::default(), small).is_err());
}

#[test]
fn what_is_refused_is_told_with_its_limit_and_the_way_out() {
    let texts = [
        store_name("a b").unwrap_err(),
        key("a", &"k".repeat(1_025)).unwrap_err(),
        value("a", "k", MAX_VALUE + 1).unwrap_err(),
        Limits { store_entries: 2, ..Limits::default() }
            .replace("a", FULL, Usage::default(), Usage::of_entry(1, 1))
            .unwrap_err(),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        texts,
        [
            "store \"a b\" cannot be named so: use letters, digits, and the characters - _ . :",
            "a key of store \"a\" has 1025 bytes, and may have 1024: shorten it, or use a hash of it",
            "the value for key \"k\" of store \"a\" has 1048577 bytes, and may have 1048576: \
             spread it over several keys",
            "store \"a\" would have 3 entries, and may have 2: delete some, or put them with a ttl",
        ]
    );
}
