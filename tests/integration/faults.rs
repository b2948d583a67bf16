//! What goes wrong on purpose or by accident: the caller gets a clear answer, the neighbour is not hurt, and the host comes
//! back to the memory that it had.
//!
//! Elsewhere: slow readers and writers, floods of headers and connections (`slow_callers`, `abuse`); endless logs (`logs`);
//! `kill -9` (`crash`); calls inside of calls (`imports`); deep JSON and recursion (`bad_calls`).

use micro::runtime::Bounds;
use micro_engine::GuestMemory;
use micro_tests::{Host, Options, guest, json, until};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// A host with a neighbour, and the account of all guests' memory.
async fn host() -> (Host, Arc<GuestMemory>) {
    let bounds = Bounds::default();
    let memory = bounds.memory.clone();
    let host = Host::start_with(Options { bounds, ..Options::default() }).await;
    host.deploy("echo").await;
    (host, memory)
}

/// The neighbour answers, and no guest holds any memory.
async fn assert_unhurt(host: &Host, memory: &GuestMemory) {
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
    until("all memory is given back", async || (memory.used() == 0).then_some(())).await;
}

/// A component with one function, `run`, made of this core module, which exports it.
fn component(module: &str) -> Vec<u8> {
    let text = format!(
        "(component
            (core module $module {module})
            (core instance $core (instantiate $module))
            (func (export \"run\") (canon lift (core func $core \"run\"))))"
    );
    wat::parse_str(text).expect("the component is valid")
}

/// Deploys it as `fault`, and gives what its caller is told.
async fn fault(host: &Host, module: &str) -> String {
    host.deploy_as("fault", component(module)).await.ok();
    host.call("fault", "Fault.Run", json!({})).await.refused(500)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_bomb_is_refused_more_elements() {
    let (host, memory) = host().await;
    let bomb = "(table 1 funcref)
        (func (export \"run\")
            (loop $more
                (br_if $more (i32.ne (table.grow (ref.null func) (i32.const 10000)) (i32.const -1))))
            unreachable)";
    let detail = fault(&host, bomb).await;
    assert!(detail.starts_with("the function failed: it panicked or aborted"), "{detail}");
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_many_memories_is_refused_at_the_deploy() {
    let (host, memory) = host().await;
    let many = "(memory 1) (memory 1) (memory 1) (memory 1) (func (export \"run\"))";
    let detail = host.deploy_as("fault", component(many)).await.refused(422);
    assert!(detail.contains("memories count of 4 exceeds"), "{detail}");
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_an_error_that_says_so() {
    let (host, memory) = host().await;
    let detail = fault(&host, "(func $run (export \"run\") (call $run) (call $run))").await;
    assert!(detail.starts_with("the function failed: its stack overflowed"), "{detail}");
    let log = host.logs("fault").await;
    assert!(log.iter().any(|line| line["stream"] == "host"), "the backtrace is in the log: {log:?}");
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_at_the_start_is_refused_at_the_deploy() {
    let (host, memory) = host().await;
    let starts = "(func $start unreachable) (start $start) (func (export \"run\"))";
    let detail = host.deploy_as("fault", component(starts)).await.refused(422);
    assert!(detail.starts_with("the component does not start: "), "{detail}");
    let spins = "(func $start (loop $on (br $on))) (start $start) (func (export \"run\"))";
    let detail = host.deploy_as("fault", component(spins)).await.refused(422);
    assert!(detail.contains("does not start: "), "{detail}");
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_a_hundred_thousand_functions_is_served() {
    let (host, memory) = host().await;
    let mut many = String::from("(func (export \"run\"))");
    for at in 0..100_000 {
        let _ = write!(many, "(func (result i32) i32.const {at})");
    }
    host.deploy_as("fault", component(&many)).await.ok();
    assert_eq!(host.call("fault", "Fault.Run", json!({})).await.status, 200);
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_a_gigabyte_is_an_error() {
    let (host, memory) = host().await;
    host.deploy_limited("big", "memory = \"2GiB\"\ntimeout = \"60s\"").await;
    let detail = host.call("big", "Big.Text", json!({"size": 1_000_000_000_u32})).await.refused(500);
    assert!(detail.starts_with("the reply is larger than 64.0 MiB"), "{detail}");
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_that_a_guest_hoards_do_not_use_up_the_host() {
    let (host, memory) = host().await;
    host.deploy("web").await;
    let reply = host.get("/web/hoard").await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(reply.text().contains("it keeps more handles"), "{}", reply.text());
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn components_inside_of_components_have_a_bottom() {
    let (host, memory) = host().await;
    let (open, close) = ("(component ".repeat(2000), ")".repeat(2000));
    // Whether the tool that reads the text takes it or not, bytes like these come to the host.
    if let Ok(nested) = wat::parse_str(format!("{open}{close}")) {
        host.deploy_as("fault", nested).await.refused(422);
    }
    let mut nested = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..2000 {
        // A section of a nested component, which claims more than there is.
        nested.extend([4, 0xff, 0xff, 0x03]);
        nested.extend(b"\0asm\x0d\0\x01\0");
    }
    host.deploy_as("fault", nested).await.refused(422);
    assert_unhurt(&host, &memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_in_the_compile_cache_is_compiled_anew() {
    let (mut host, memory) = host().await;
    host.stop().await;
    let mut damaged = 0;
    for file in files(&host.data_dir.join("cache")) {
        let mut bytes = std::fs::read(&file).expect("a file of the cache");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, bytes).expect("a file of the cache");
        damaged += 1;
    }
    assert!(damaged > 0, "there is a cache");
    host.restart().await;
    assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
    drop(memory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_keeps_deploys_waiting_and_calls_going() {
    let (host, memory) = host().await;
    let other = rusqlite::Connection::open(host.data_dir.join("micro.db")).expect("the host's database");
    other.execute_batch("BEGIN IMMEDIATE").expect("the database is locked");
    let deploy = host.deploy_as("tally", guest("tally"));
    let meanwhile = async {
        for _ in 0..100 {
            assert_eq!(host.call("echo", "Echo.Sum", json!({"a": 1, "b": 2})).await.result(), json!(3));
        }
        other.execute_batch("ROLLBACK").expect("the database is free again");
    };
    let (deployed, ()) = tokio::join!(deploy, meanwhile);
    if deployed.status != 200 {
        // It waited for as long as it does, and says what it waited for.
        assert!(deployed.refused(500).contains("database is locked"));
        host.deploy("tally").await;
    }
    assert_unhurt(&host, &memory).await;
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    all
}
