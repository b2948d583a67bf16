//! Keeps values by `wasi:keyvalue`.

wit_bindgen::generate!({ generate_all });

use exports::test::keyvalue::keyvalue::Guest;
use wasi::keyvalue::atomics::{Cas, CasError, increment, swap};
use wasi::keyvalue::batch;
use wasi::keyvalue::store::{Bucket, Error, open};

struct Keyvalue;

fn words(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".into(),
        Error::AccessDenied => "access denied".into(),
        Error::Other(text) => text,
    }
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

fn bucket(name: &str) -> Result<Bucket, String> {
    open(name).map_err(words)
}

impl Guest for Keyvalue {
    fn put(name: String, key: String, value: String) -> Result<(), String> {
        bucket(&name)?.set(&key, value.as_bytes()).map_err(words)
    }

    fn get(name: String, key: String) -> Result<Option<String>, String> {
        let bucket = bucket(&name)?;
        let value = bucket.get(&key).map_err(words)?;
        assert_eq!(bucket.exists(&key).map_err(words)?, value.is_some());
        Ok(value.map(text))
    }

    fn remove(name: String, key: String) -> Result<(), String> {
        bucket(&name)?.delete(&key).map_err(words)
    }

    fn keys(name: String) -> Result<Vec<String>, String> {
        let bucket = bucket(&name)?;
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(words)?;
            all.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    fn add(name: String, key: String, delta: i64) -> Result<i64, String> {
        increment(&bucket(&name)?, &key, delta).map_err(words)
    }

    fn swap(name: String, key: String) -> Result<Vec<String>, String> {
        let bucket = bucket(&name)?;
        let cas = Cas::new(&bucket, &key).map_err(words)?;
        let mut told = vec![format!("{:?}", cas.current().map_err(words)?.map(text))];
        bucket.set(&key, b"theirs").map_err(words)?;
        let again = match swap(cas, b"mine") {
            Err(CasError::CasFailed(again)) => again,
            Err(CasError::StoreError(error)) => return Err(words(error)),
            Ok(()) => return Err("swapped what had changed".into()),
        };
        told.push(format!("{:?}", again.current().map_err(words)?.map(text)));
        swap(again, b"mine").map_err(|_| "changed again")?;
        told.push(format!("{:?}", bucket.get(&key).map_err(words)?.map(text)));
        Ok(told)
    }

    fn batch(name: String) -> Result<Vec<Option<String>>, String> {
        let bucket = bucket(&name)?;
        let entries = [("a".to_string(), b"1".to_vec()), ("b".to_string(), b"2".to_vec())];
        batch::set_many(&bucket, &entries).map_err(words)?;
        let keys = ["a", "missing", "b"].map(str::to_string);
        let found = batch::get_many(&bucket, &keys).map_err(words)?;
        batch::delete_many(&bucket, &keys).map_err(words)?;
        let left = bucket.exists("a").map_err(words)? || bucket.exists("b").map_err(words)?;
        assert!(!left, "both are removed");
        Ok(found.into_iter().map(|(_, value)| value.map(text)).collect())
    }
}

export!(Keyvalue);
