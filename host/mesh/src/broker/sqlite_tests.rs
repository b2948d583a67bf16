use std::path::Path;

use super::*;
use crate::broker::contract;

/// A folder that goes away with the broker in it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn broker(path: &Path) -> Sqlite {
    Sqlite::open(path, Limits::default(), Clock::default()).await.unwrap()
}

async fn keep_the_contract() {
    let folder = folder();
    let path = folder.path().join("broker");
    contract::all(async || Arc::new(broker(&path).await) as Arc<dyn Broker>).await;
}

#[tokio::test]
async fn keeps_the_contract() {
    keep_the_contract().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_on_many_threads() {
    keep_the_contract().await;
}
