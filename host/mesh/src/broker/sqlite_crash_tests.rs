//! A process that is killed while it publishes and acknowledges.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use super::*;

/// Says to the child where its file is.
const FILE: &str = "MICRO_TEST_BROKER_FILE";

/// How much the process says before it is killed, each time.
const ROUNDS: [usize; 4] = [900, 40, 2_500, 1_500];

/// Acknowledgements that the last one must have told.
const OLD: usize = 50;

/// Acknowledgements that are older are on disk.
const WRITTEN: Duration = Duration::from_millis(200);

/// What is done in the process that is killed; nothing in one that runs all tests.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let broker = Arc::new(broker(Path::new(&path)).await);
    let options = SubscribeOptions { group: Some(Sharing::durable("g")), prefetch: 16, from: Position::Earliest };
    let mut group = broker.subscribe(&Pattern::new("crash.*").unwrap(), options).await.unwrap();
    let out = Arc::new(Mutex::new(std::io::stdout()));
    let say = move |text: String| writeln!(out.lock().unwrap(), "{text}").unwrap();
    let run = std::process::id();
    for publisher in 0..8 {
        let (broker, say) = (broker.clone(), say.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let text = format!("{run}-{publisher}-{number}");
                publish(&broker, &format!("crash.{}", publisher % 3), &text).await;
                say(format!("told {text}"));
            }
        });
    }
    let mut acknowledged = std::collections::VecDeque::new();
    for number in 0_u64.. {
        let delivery = next(&mut group).await;
        // Now and then one is given back.
        if number % 10 == 3 {
            continue;
        }
        acknowledged.push_back((Instant::now(), text(&delivery)));
        delivery.ack();
        while acknowledged.front().is_some_and(|(at, _)| at.elapsed() > WRITTEN) {
            say(format!("acknowledged {}", acknowledged.pop_front().unwrap().1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_and_repeats_nothing() {
    let folder = folder();
    let path = folder.path().join("broker");
    let mut told = BTreeSet::new();
    let mut acknowledged = BTreeSet::new();
    for lines in ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "broker::sqlite::tests::crash::child", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: String| match line.split_once(' ') {
            Some(("told", text)) => drop(told.insert(text.to_owned())),
            Some(("acknowledged", text)) => drop(acknowledged.insert(text.to_owned())),
            _ => {}
        };
        said.by_ref().take(lines).for_each(|line| note(line.unwrap()));
        // However fast the disk is, some acknowledgements have to get old at the end.
        let mut old = if lines == ROUNDS[ROUNDS.len() - 1] { OLD } else { 0 };
        while old > 0 {
            let line = said.next().unwrap().unwrap();
            old -= usize::from(line.starts_with("acknowledged"));
            note(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may have been cut off.
        let mut rest: Vec<_> = said.map_while(Result::ok).collect();
        rest.pop();
        rest.into_iter().for_each(note);
        check(&path, &told, &acknowledged).await;
    }
}

async fn check(path: &Path, told: &BTreeSet<String>, acknowledged: &BTreeSet<String>) {
    let broker = broker(path).await;
    let mut kept = BTreeMap::new();
    for topic in broker.topics().await.unwrap() {
        let mut stored = Vec::new();
        while let Ok(more) = broker.read(&topic.name, Position::Offset(topic.first + stored.len() as u64), 10_000).await
            && !more.is_empty()
        {
            stored.extend(more);
        }
        assert_eq!(stored.len() as u64, topic.messages);
        assert!(stored.iter().map(|stored| stored.offset).eq(topic.first..topic.next), "no offset is left out");
        for stored in stored {
            let text = String::from_utf8(stored.message.body.to_vec()).unwrap();
            assert_eq!(kept.insert(text.clone(), stored.offset), None, "{text} is there once");
        }
    }
    let lost: Vec<_> = told.iter().filter(|text| !kept.contains_key(*text)).collect();
    assert!(lost.is_empty(), "publishers were told of {lost:?}");
    let mut left: u64 = 0;
    for topic in ["crash.0", "crash.1", "crash.2"] {
        left += lag(&broker, topic).await.iter().sum::<u64>();
    }
    let mut group = subscribe(&broker, "crash.*", Some(Sharing::durable("g")), Position::Earliest).await;
    let mut came = BTreeSet::new();
    // They are given back in the end, for the next run.
    let mut pattern = Vec::new();
    for _ in 0..left.min(8) {
        pattern.push(next(&mut group).await);
    }
    for delivery in &pattern {
        came.insert(text(delivery));
    }
    let again: Vec<_> = came.intersection(acknowledged).collect();
    assert!(again.is_empty(), "these were acknowledged: {again:?}");
    let unacknowledged = kept.len() as u64 - left;
    assert!(unacknowledged >= acknowledged.len() as u64, "{unacknowledged} of {} are done with", acknowledged.len());
    drop(pattern);
    drop(group);
    broker.close().await.unwrap();
}
