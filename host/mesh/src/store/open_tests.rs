use super::*;

#[tokio::test]
async fn an_unknown_store_is_refused_with_the_known_ones() {
    let error = open("redis", OpenOptions::default()).await.err().unwrap();
    assert_eq!(error.to_string(), "Store redis not found, known are: memory, sqlite");
}

#[tokio::test]
async fn sqlite_asks_for_its_file() {
    let error = open("sqlite", OpenOptions::default()).await.err().unwrap();
    assert_eq!(error.to_string(), "Store sqlite needs the path of its file");
}

#[tokio::test]
async fn every_kind_opens_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let options = OpenOptions { path: Some(folder.path().join(kind)), ..OpenOptions::default() };
        assert_eq!(open(kind, options).await.unwrap().name(), kind);
    }
}
