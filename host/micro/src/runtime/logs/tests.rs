use super::block::Head;
use super::queue::Work;
use super::reading::Source;
use super::writer::Writer;
use super::*;
use futures::StreamExt as _;
use std::fs;
use std::ops::Range;
use std::time::SystemTime;
use tempfile::TempDir;

impl DeploymentLog {
    /// A log that nobody writes to disk.
    pub(in crate::runtime) fn unwritten(deployment: &str) -> Arc<DeploymentLog> {
        DeploymentLog::new(deployment.into(), Path::new("/nonexistent").into(), Arc::default())
    }

    /// The lines that are not on disk yet, which are none after that.
    pub(in crate::runtime) fn waiting(&self) -> Vec<String> {
        let (mut batch, _) = self.empty();
        Head::seal(batch.count, 0, batch.times, &mut batch.block);
        let head = Head::read(&batch.block).unwrap();
        block::records(&head, &batch.block).map(|(_, record)| record.text().into_owned()).collect()
    }
}

/// Logs whose writer is run by the test.
struct Desk {
    shared: Arc<Shared>,
    writer: Writer,
    folder: TempDir,
}

impl Desk {
    fn new(bounds: Bounds) -> Desk {
        Desk::in_folder(tempfile::tempdir().unwrap(), bounds)
    }

    fn small() -> Desk {
        Desk::new(Bounds { deployment: ByteSize::kib(64), ..Bounds::default() })
    }

    fn in_folder(folder: TempDir, bounds: Bounds) -> Desk {
        let shared = Arc::new(Shared::new(&folder.path().join("logs"), bounds));
        shared.is_settled.store(true, Ordering::Relaxed);
        Desk { writer: Writer::new(shared.clone()), shared, folder }
    }

    /// As another host in the same folder would begin.
    fn again(self) -> Desk {
        Desk::in_folder(self.folder, self.shared.bounds)
    }

    fn log(&self, name: &str) -> Arc<DeploymentLog> {
        let log = self.shared.of(name);
        log.set_rate(ByteSize::gib(1));
        log
    }

    /// Writes what waits.
    fn write(&mut self) {
        while let Work::Write(logs) = self.shared.queue.next(Duration::ZERO, Duration::ZERO) {
            self.writer.write(logs);
            self.shared.queue.finish_round();
        }
    }

    /// Lets a log say these numbers, and writes them.
    fn say(&mut self, name: &str, numbers: Range<u32>) {
        let log = self.log(name);
        numbers.for_each(|number| log.line(RequestId::from(1), Stream::Stdout, &number.to_string()));
        self.write();
    }

    /// The segments of a log, oldest first.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.shared.folder.join(name)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn read(&self, name: Option<&str>, parameters: serde_json::Value) -> Vec<String> {
        let parameters = serde_json::from_value(parameters).unwrap();
        let log = name.map(|name| self.log(name));
        let mut source = Source::begin(self.shared.clone(), log, Query::parse(parameters).unwrap()).unwrap();
        rest(&mut source)
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.read(Some(name), serde_json::json!({"lines": usize::MAX}))
    }
}

/// The messages that a source has for now.
fn rest(source: &mut Source) -> Vec<String> {
    let mut messages = Vec::new();
    loop {
        let piece = source.read().unwrap();
        messages.extend(messages_of(&piece.bytes));
        if piece.is_at_end {
            return messages;
        }
    }
}

fn messages_of(bytes: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(bytes).unwrap().lines();
    let message =
        |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["message"].as_str().unwrap().to_string();
    lines.map(message).collect()
}

fn texts(numbers: Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn lines_are_there_after_another_host_began() {
    let mut desk = Desk::small();
    desk.say("a", 0..3);
    assert_eq!(desk.all("a"), texts(0..3));
    let mut desk = desk.again();
    assert_eq!(desk.all("a"), texts(0..3));
    desk.say("a", 3..5);
    let mut desk = desk.again();
    // Nobody read before it was written to.
    desk.say("a", 5..6);
    assert_eq!(desk.all("a"), texts(0..6));
    assert_eq!(desk.files("a").len(), 1, "a restart begins no segment");
}

#[test]
fn the_oldest_lines_give_way_to_new_ones() {
    let mut desk = Desk::small();
    for round in 0..100 {
        desk.say("a", round * 100..(round + 1) * 100);
    }
    let kept = desk.all("a");
    let first: u32 = kept[0].parse().unwrap();
    assert!(first > 0);
    assert_eq!(kept, texts(first..10_000));
    let bytes: u64 = desk.files("a").iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!((48 * 1024..=64 * 1024).contains(&bytes), "{bytes}");
    assert_eq!(desk.shared.queue.space(), desk.log("a").ring().space());
    let mut desk = desk.again();
    desk.say("a", 10_000..10_001);
    assert_eq!(*desk.all("a").last().unwrap(), "10000");
}

#[test]
fn the_last_lines_that_fit_are_found() {
    let mut desk = Desk::small();
    for round in 0..10 {
        desk.say("a", round * 100..(round + 1) * 100);
    }
    let read = |parameters| desk.read(Some("a"), parameters);
    assert_eq!(read(serde_json::json!({"lines": 2})), texts(998..1000));
    assert_eq!(read(serde_json::json!({"lines": 0})), texts(0..0));
    assert_eq!(read(serde_json::json!({})), texts(900..1000));
    assert_eq!(read(serde_json::json!({"grep": "00$", "lines": 3})), ["700", "800", "900"]);
    assert_eq!(read(serde_json::json!({"grep": "^7.$", "lines": 3})), ["77", "78", "79"]);
    assert_eq!(read(serde_json::json!({"grep": "^7", "lines": 5000})).len(), 111);
    assert_eq!(read(serde_json::json!({"stream": "stderr"})), texts(0..0));
    assert_eq!(read(serde_json::json!({"since": "1h"})).len(), 1000);
    assert_eq!(read(serde_json::json!({"until": "1h"})), texts(0..0));
}

#[test]
fn a_tail_that_was_cut_anywhere_is_skipped_and_written_after() {
    let mut desk = Desk::small();
    desk.say("a", 0..2);
    let whole = desk.files("a")[0].metadata().unwrap().len();
    desk.say("a", 2..4);
    let file = desk.files("a").remove(0);
    let bytes = fs::read(&file).unwrap();
    for length in (whole as usize..bytes.len()).rev() {
        let copy = tempfile::tempdir().unwrap();
        let place = copy.path().join("logs/a");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(file.file_name().unwrap()), &bytes[..length]).unwrap();
        let mut other = Desk::in_folder(copy, desk.shared.bounds);
        assert_eq!(other.all("a"), texts(0..2), "{length}");
        other.say("a", 7..9);
        assert_eq!(other.all("a"), ["0", "1", "7", "8"], "{length}");
        assert_eq!(other.again().all("a"), ["0", "1", "7", "8"], "{length}");
    }
}

#[test]
fn a_segment_without_a_whole_block_is_none() {
    let mut desk = Desk::small();
    desk.say("a", 0..2);
    for damaged in [&b""[..], b"\xffLOG", &[0xff; 100]] {
        fs::write(&desk.files("a")[0], damaged).unwrap();
        desk = desk.again();
        assert_eq!(desk.all("a"), texts(0..0));
        desk.say("a", 0..2);
        assert_eq!(desk.all("a"), texts(0..2));
    }
    fs::write(desk.shared.folder.join("a/README"), "not ours").unwrap();
    assert_eq!(desk.again().all("a"), texts(0..2));
}

#[test]
fn what_is_damaged_in_between_is_told_and_the_rest_is_read() {
    let mut desk = Desk::small();
    (0..3).for_each(|round| desk.say("a", round * 10..(round + 1) * 10));
    let file = desk.files("a").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let lines = desk.again().all("a");
    let (first, rest) = lines.split_at(10);
    assert_eq!(first, texts(0..10));
    assert!(rest[0].starts_with("… 10 lines are missing here"), "{rest:?}");
    assert_eq!(rest[1..], texts(20..30));
}

#[test]
fn who_reads_too_slowly_is_told_how_many_lines_are_missing() {
    let mut desk = Desk::small();
    desk.say("a", 0..10);
    let query = Query::parse(serde_json::from_value(serde_json::json!({"follow": true, "lines": 5})).unwrap()).unwrap();
    let mut source = Source::begin(desk.shared.clone(), Some(desk.log("a")), query).unwrap();
    assert_eq!(rest(&mut source), texts(5..10));
    for round in 0..50 {
        desk.say("a", 10 + round * 100..110 + round * 100);
    }
    let lines = rest(&mut source);
    let (told, lines) = lines.split_first().unwrap();
    let first: u32 = lines[0].parse().unwrap();
    assert!(first > 10);
    assert_eq!(lines, texts(first..5010));
    assert!(told.starts_with(&format!("… {} lines are missing here", first - 10)), "{told}");
    // From here on it keeps up.
    desk.say("a", 5010..5020);
    assert_eq!(rest(&mut source), texts(5010..5020));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_between_what_was_and_what_comes() {
    const LINES: u32 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path(), Bounds::default()).unwrap();
    let log = logs.of("a");
    log.set_rate(ByteSize::gib(1));
    let begun = Arc::new(AtomicU64::new(0));
    let writing = {
        let (log, begun) = (log.clone(), begun.clone());
        std::thread::spawn(move || {
            for number in 0..LINES {
                log.line(RequestId::from(1), Stream::Stdout, &number.to_string());
                begun.store(u64::from(number), Ordering::Relaxed);
                if number % 100 == 0 {
                    std::thread::yield_now();
                }
            }
        })
    };
    // Each begins at another moment.
    let mut followers = tokio::task::JoinSet::new();
    for start in 0..8 {
        while begun.load(Ordering::Relaxed) < start * u64::from(LINES) / 10 {
            tokio::task::yield_now().await;
        }
        let parameters = serde_json::json!({"follow": true, "lines": 1_000_000});
        let query = Query::parse(serde_json::from_value(parameters).unwrap()).unwrap();
        let mut lines = match start % 2 {
            0 => logs.read(log.clone(), query).await.unwrap(),
            _ => logs.read_all(query).await.unwrap(),
        };
        followers.spawn(async move {
            let mut messages = Vec::new();
            while messages.len() < LINES as usize {
                messages.extend(messages_of(&lines.next().await.unwrap().unwrap()));
            }
            messages
        });
    }
    writing.join().unwrap();
    for messages in followers.join_all().await {
        assert_eq!(messages, texts(0..LINES));
    }
    logs.close().await;
}

#[tokio::test]
async fn what_was_taken_before_the_end_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::open(folder.path(), Bounds::default()).unwrap();
    logs.of("a").host_line("bye");
    logs.close().await;
    logs.of("a").host_line("too late");
    let logs = Logs::open(folder.path(), Bounds::default()).unwrap();
    assert!(logs.find("nobody").await.is_none() && logs.find("../a").await.is_none());
    let log = logs.find("a").await.unwrap();
    let query = Query::parse(Parameters::default()).unwrap();
    let pieces: Vec<_> = logs.read(log, query).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(messages_of(&pieces.concat()), ["bye"]);
    logs.close().await;
}

#[test]
fn who_writes_too_much_is_cut_short_and_the_log_says_so() {
    let mut desk = Desk::small();
    let (loud, calm) = (desk.log("loud"), desk.log("calm"));
    loud.set_rate(ByteSize::kib(1));
    for _ in 0..10_000 {
        loud.line(RequestId::from(1), Stream::Stdout, "0123456789012345");
    }
    calm.host_line("still here");
    desk.write();
    let lines = desk.read(Some("loud"), serde_json::json!({"lines": usize::MAX}));
    desk.log("loud").set_rate(ByteSize::kib(1));
    let (told, kept) = lines.split_last().unwrap();
    assert!((64..100).contains(&kept.len()), "{}", kept.len());
    assert_eq!(loud.dropped(), 10_000 - kept.len() as u64);
    assert_eq!(*told, format!("… {} lines dropped: it may write 1.0 KiB a second (limits.log)", loud.dropped()));
    assert_eq!(desk.all("calm"), ["still here"]);
    // What is dropped soon after is said later, all at once.
    for _ in 0..100 {
        (0..100).for_each(|_| loud.line(RequestId::from(1), Stream::Stdout, "0123456789012345"));
        desk.write();
    }
    desk.writer.tell_all();
    let lines = desk.read(Some("loud"), serde_json::json!({"lines": usize::MAX, "stream": "host"}));
    assert!((2..=4).contains(&lines.len()), "{lines:?}");
    let counted = |line: &String| line.trim_start_matches("… ").split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(lines.iter().map(counted).sum::<u64>(), loud.dropped());
}

#[test]
fn a_disk_that_takes_nothing_costs_lines_and_nothing_else() {
    let mut desk = Desk::small();
    desk.say("well", 0..1);
    // A file in place of the folder.
    fs::write(desk.shared.folder.join("ill"), "").unwrap();
    let ill = desk.log("ill");
    ill.host_line("lost");
    ill.host_line("lost as well");
    desk.write();
    desk.say("well", 1..2);
    assert_eq!((ill.dropped(), desk.all("well")), (2, texts(0..2)));
    fs::remove_file(desk.shared.folder.join("ill")).unwrap();
    ill.host_line("found");
    desk.write();
    desk.writer.tell_all();
    assert_eq!(desk.all("ill"), ["found", "… 2 lines dropped: the disk did not take them"]);
    // So is what somebody removes while it is written to.
    fs::remove_dir_all(desk.shared.folder.join("ill")).unwrap();
    desk.writer.files.close(ill.id());
    desk.say("ill", 0..1);
    assert_eq!(desk.all("ill").last().unwrap(), "0");
}

#[test]
fn the_largest_log_gives_way_when_all_take_too_much() {
    let bounds = Bounds { deployment: ByteSize::kib(64), host: ByteSize::kib(128), ..Bounds::default() };
    let mut desk = Desk::new(bounds);
    let names: Vec<String> = (0..4).map(|number| format!("big{number}")).collect();
    // Held, as deployments hold theirs.
    let held: Vec<_> = names.iter().map(|name| desk.log(name)).collect();
    desk.say("gone", 0..100);
    desk.say("small", 0..10);
    let small = desk.log("small");
    for round in 0..20 {
        names.iter().for_each(|name| desk.say(name, round * 100..(round + 1) * 100));
        assert!(desk.shared.queue.space() <= 128 * 1024, "{}", desk.shared.queue.space());
    }
    assert_eq!(desk.all("small"), texts(0..10));
    assert_eq!(desk.files("gone"), Vec::<PathBuf>::new(), "what is deployed no more goes first");
    for name in &names {
        let lines = desk.all(name);
        assert!(lines.len() > 100 && *lines.last().unwrap() == "1999", "{name}: {}", lines.len());
    }
    drop((held, small));
    // Another host counts the same.
    let before = desk.shared.queue.space();
    let mut desk = desk.again();
    desk.writer.tidy(SystemTime::now());
    assert_eq!(desk.shared.queue.space(), before);
}

#[test]
fn the_log_of_what_was_removed_is_kept_for_a_day() {
    let mut desk = Desk::small();
    let held = desk.log("deployed");
    desk.say("deployed", 0..1);
    desk.say("removed", 0..1);
    desk.log("refused");
    let hours = |hours: u64| SystemTime::now() + Duration::from_secs(hours * 3600);
    desk.writer.tidy(hours(23));
    assert_eq!(desk.all("removed"), texts(0..1));
    assert!(!desk.shared.logs().contains_key("refused"), "what never wrote is forgotten");
    desk.writer.tidy(hours(25));
    assert!(!desk.shared.logs().contains_key("removed"));
    assert!(!desk.shared.folder.join("removed").exists());
    assert_eq!(desk.all("deployed"), texts(0..1));
    desk.say("removed", 5..6);
    assert_eq!(desk.all("removed"), texts(5..6));
    drop(held);
}

#[test]
fn all_logs_are_read_as_one() {
    let mut desk = Desk::small();
    for number in 0..30 {
        desk.say(["a", "b", "c"][number as usize % 3], number..number + 1);
    }
    let all = serde_json::json!({"lines": 1000});
    assert_eq!(desk.read(None, all.clone()), texts(0..30));
    assert_eq!(desk.read(None, serde_json::json!({"lines": 4})), texts(26..30));
    assert_eq!(desk.read(None, serde_json::json!({"grep": "^1.$", "lines": 2})), ["18", "19"]);
    let desk = desk.again();
    assert_eq!(desk.read(None, all), texts(0..30));

    let query = Query::parse(serde_json::from_value(serde_json::json!({"follow": true, "lines": 1})).unwrap()).unwrap();
    let mut source = Source::begin(desk.shared.clone(), None, query).unwrap();
    assert_eq!(rest(&mut source), ["29"]);
    let mut desk = desk;
    desk.say("b", 30..31);
    desk.say("new", 31..32);
    desk.say("a", 32..33);
    assert_eq!(rest(&mut source), texts(30..33));
}

#[test]
fn many_logs_take_few_handles_and_little_memory() {
    let mut desk = Desk::small();
    let logs: Vec<_> = (0..200).map(|number| desk.log(&format!("log{number}"))).collect();
    for _ in 0..2 {
        logs.iter().for_each(|log| log.host_line("here"));
        desk.write();
    }
    assert!(desk.writer.files.len() <= 64, "{}", desk.writer.files.len());
    assert!((0..200).all(|number| desk.all(&format!("log{number}")) == ["here", "here"]));
    // Of ten thousand that is five megabytes.
    assert!(size_of::<DeploymentLog>() <= 512, "{}", size_of::<DeploymentLog>());
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let desk = Desk::small();
    desk.log("a").host_line("never written");
    let flushed = desk.shared.queue.flush();
    tokio::pin!(flushed);
    assert!(futures::poll!(&mut flushed).is_pending());
    desk.shared.queue.end();
    flushed.await;
    desk.shared.queue.flush().await;
    let logs = Logs { shared: desk.shared.clone(), writer: Mutex::default() };
    let parameters = serde_json::from_value(serde_json::json!({"follow": true})).unwrap();
    let query = Query::parse(parameters).unwrap();
    assert_eq!(logs.read(desk.log("a"), query).await.unwrap().count().await, 0);
}
