use std::collections::HashSet;

use super::*;

#[test]
fn ids_do_not_repeat_across_threads() {
    let threads: Vec<_> =
        (0..4).map(|_| std::thread::spawn(|| (0..10_000).map(|_| RequestId::next()).collect::<Vec<_>>())).collect();
    let mut seen = HashSet::new();
    for thread in threads {
        for id in thread.join().unwrap() {
            assert!(seen.insert(id), "{id} was given twice");
        }
    }
}

#[test]
fn an_id_is_written_and_read_as_32_hexadecimal_digits() {
    let id = RequestId::from(0xab);
    assert_eq!(id.to_string(), "000000000000000000000000000000ab");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
    for wrong in ["", "ab", "+00000000000000000000000000000ab", "0000000000000000000000000000000g"] {
        assert_eq!(wrong.parse::<RequestId>(), Err(NotARequestId), "{wrong:?}");
    }
}

#[test]
fn consecutive_ids_differ_in_their_first_characters() {
    let starts: HashSet<_> = (0..100).map(|_| RequestId::next().to_string().split_at(12).0.to_owned()).collect();
    assert_eq!(starts.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_can_only_come_nearer() {
    let call = Call::new("demo.greeter", "Say.Hello", Payload::json("{}"));
    assert_eq!(call.time_left(), None);
    let call = call.within(Duration::from_secs(2)).within(Duration::from_secs(60));
    assert_eq!(call.time_left(), Some(Duration::from_secs(2)));
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(call.time_left(), Some(Duration::ZERO));
}

#[test]
fn an_endless_time_sets_no_deadline() {
    let call = Call::new("a", "B.C", Payload::json("{}")).within(Duration::MAX);
    assert_eq!(call.deadline, None);
}

#[test]
fn a_payload_tells_bytes_from_values() {
    let json = Payload::json("{}");
    assert_eq!(json.content_type(), Some("application/json"));
    assert_eq!(json.bytes().map(|body| &body[..]), Some(&b"{}"[..]));
    let value = Payload::Value(Box::new(7_u32));
    assert_eq!((value.content_type(), value.bytes()), (None, None));
}

#[test]
fn random_numbers_stay_below_the_bound_and_reach_all_of_it() {
    let mut hits = [0_usize; 3];
    for _ in 0..3_000 {
        hits[random_below(3)] += 1;
    }
    assert!(hits.iter().all(|&count| count > 800), "{hits:?}");
    assert_eq!(random_below(1), 0);
}

#[test]
fn an_id_is_written_the_same_with_and_without_an_allocation() {
    for id in
        [RequestId::next(), RequestId::from(0), RequestId::from(u128::MAX), RequestId::from(0x1234_5678_9abc_def0)]
    {
        assert_eq!(std::str::from_utf8(&id.to_hex()), Ok(id.to_string().as_str()));
    }
}
