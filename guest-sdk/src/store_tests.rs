use super::*;
use crate::testing;

#[test]
fn a_value_is_put_where_its_version_is_the_expected_one() {
    let _store = testing::store();
    let store = Store::own();
    let first = store.put_with("a", "1", Put::new().if_absent()).unwrap();
    assert_eq!(store.put_with("a", "2", Put::new().if_absent()), Err(Failure::Conflict(first)));
    let second = store.put_with("a", "2", Put::new().if_version(first)).unwrap();
    assert!(second > first);
    assert_eq!(store.get("a"), Ok(Some(b"2".to_vec())));
    assert_eq!(store.delete("a"), Ok(true));
    assert_eq!(store.delete("a"), Ok(false));
    assert_eq!(store.put_with("a", "3", Put::new().if_version(second)), Err(Failure::Conflict(0)));
    let third = store.put("a", "3").unwrap();
    assert!(third > second, "a version is never given twice");
}

#[test]
fn a_value_with_an_end_is_gone_after_it() {
    let memory = testing::store();
    let store = Store::own();
    store.put_with("a", "1", Put::new().ttl(Duration::from_secs(10))).unwrap();
    memory.advance(Duration::from_millis(9_999));
    assert!(store.get("a").unwrap().is_some());
    memory.advance(Duration::from_millis(1));
    assert_eq!(store.get("a"), Ok(None));
    assert!(store.put_with("a", "2", Put::new().if_absent()).is_ok());
}

#[test]
fn keys_come_in_order_and_in_pages() {
    let _store = testing::store();
    let store = Store::open("shared");
    for key in 0..2500 {
        store.put(&format!("k/{key:04}"), "").unwrap();
    }
    store.put("other", "").unwrap();
    let keys = store.keys("k/").unwrap();
    assert!(keys.len() == 2500 && keys.is_sorted(), "{}", keys.len());
    assert_eq!(store.keys_after("k/", "k/0001", 2).unwrap(), ["k/0002", "k/0003"]);
    assert_eq!(Store::own().keys(""), Ok(Vec::new()));
}

#[test]
fn an_update_begins_again_when_somebody_was_faster() {
    let _store = testing::store();
    let store = Store::own();
    let others = std::cell::Cell::new(3);
    let value = store.update("n", |old: Option<u64>| {
        if others.get() > 0 {
            others.set(others.get() - 1);
            store.put_json("n", &(old.unwrap_or(0) + 10)).unwrap();
        }
        old.unwrap_or(0) + 1
    });
    assert_eq!(value, Ok(31));
    assert_eq!(store.get_json::<u64>("n"), Ok(Some(31)));
    assert!(store.get_json::<String>("n").unwrap_err().detail.contains("\"n\""));
}

#[test]
fn a_failure_reaches_the_caller_with_its_code() {
    let memory = testing::store();
    memory.deny("secrets");
    assert_eq!(Error::from(Store::open("secrets").get("a").unwrap_err()).code, 403);
    memory.fail("the disk is full");
    let error = Error::from(Store::own().put("a", "1").unwrap_err());
    assert_eq!((error.code, error.detail.as_str()), (503, "the disk is full"));
    drop(memory);
    let error = Store::own().get("a").unwrap_err().to_string();
    assert!(error.contains("micro::testing::store()"), "{error}");
}
