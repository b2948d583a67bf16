use serde_json::json;

use super::*;

fn event(name: &str) -> Event {
    Event { action: Action::Create, service: Arc::new(Service::new(name, "1")) }
}

#[test]
fn an_event_has_go_micros_keys() {
    let value = serde_json::to_value(event("a")).unwrap();
    assert_eq!((&value["Action"], &value["Service"]["name"]), (&json!("create"), &json!("a")));
    assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event("a"));
}

#[tokio::test]
async fn a_watcher_of_one_service_hears_of_no_other() {
    let mut watchers = Watchers::default();
    let mut watcher = watchers.add(WatchOptions::service("b"));
    watchers.publish(&event("a"));
    watchers.publish(&event("b"));
    assert_eq!(watcher.next().await, Some(event("b")));
    assert_eq!(watcher.try_next(), None);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_reads_its_queue_and_ends() {
    let mut watchers = Watchers::default();
    let mut slow = watchers.add(WatchOptions::default());
    for _ in 0..=QUEUE {
        watchers.publish(&event("a"));
    }
    assert!(watchers.is_empty());
    let mut read = 0;
    while slow.next().await.is_some() {
        read += 1;
    }
    assert_eq!(read, QUEUE);
}

#[test]
fn a_dropped_watcher_is_forgotten() {
    let mut watchers = Watchers::default();
    drop(watchers.add(WatchOptions::default()));
    assert!(watchers.is_empty());
}

#[tokio::test]
async fn all_watches_end_when_events_were_lost() {
    let mut watchers = Watchers::default();
    let mut watcher = watchers.add(WatchOptions::default());
    watchers.end();
    assert_eq!(watcher.next().await, None);
}
