use std::sync::Arc;

use super::*;
use crate::store::{OpenOptions, contract};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    contract::all(async |options: OpenOptions| Arc::new(Memory::new(options.limits, options.clock)) as Arc<dyn Store>)
        .await;
}
