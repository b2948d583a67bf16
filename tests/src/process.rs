//! A host in a process of its own, which can be killed.

use crate::client::Client;
use crate::program::Program;
use crate::signal::{process, signal};
use crate::wait::DEADLINE;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use std::ops::Deref;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

/// A `micro server`. It is its [`Client`].
pub struct HostProcess {
    client: Client,
    child: Child,
    /// What came on its standard error so far; closed at its end.
    said: watch::Receiver<String>,
    folder: TempDir,
}

impl HostProcess {
    /// Starts a host in a new data folder.
    pub async fn start() -> HostProcess {
        HostProcess::start_in(tempfile::tempdir().expect("a data folder")).await
    }

    /// Ends the process as nothing can prevent, and starts another in the same data folder.
    pub async fn kill_and_start_again(self) -> HostProcess {
        HostProcess::start_in(self.kill().await).await
    }

    /// Ends the process as nothing can prevent. The data folder stays.
    pub async fn kill(mut self) -> TempDir {
        self.child.kill().await.expect("the process can be killed");
        self.folder
    }

    /// Starts a host in a data folder that is there already.
    pub async fn start_in(folder: TempDir) -> HostProcess {
        HostProcess::start_with(folder, &[]).await
    }

    /// The same, with these environment variables.
    pub async fn start_with(folder: TempDir, variables: &[(&str, &str)]) -> HostProcess {
        let program = Program::new(folder.path()).with_files_that_may_be_limited();
        let program = variables.iter().fold(program, |program, (name, value)| program.with_variable(name, value));
        let mut child = program.spawn(&["server", "--api-address", "127.0.0.1:0", "--sidecar-address", "127.0.0.1:0"]);
        // Read to the end in the background, or a host that writes much would stand still.
        let mut stderr = child.stderr.take().expect("its standard error");
        let (says, said) = watch::channel(String::new());
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            // What could be read until the process ended is all there is to show.
            while stderr.read_buf(&mut bytes).await.is_ok_and(|length| length > 0) {
                says.send_replace(String::from_utf8_lossy(&bytes).into_owned());
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let mut addresses = Vec::new();
        for prefix in ["api      ", "sidecar  "] {
            let line = tokio::time::timeout(DEADLINE, stdout.next_line()).await.expect("the host says its addresses");
            match line.expect("its standard output is text") {
                Some(line) => {
                    let address =
                        line.strip_prefix(prefix).unwrap_or_else(|| panic!("expected {prefix:?} in {line:?}"));
                    addresses.push(address.to_string());
                }
                None => panic!("the host ended at its start: {}", all(said).await),
            }
        }
        let [api, sidecar] = addresses.try_into().expect("two addresses");
        let client = Client::new(api, sidecar, folder.path());
        HostProcess { client, child, said, folder }
    }

    /// Sends the signal that asks a process to end; gives its exit status and what it wrote on standard error.
    pub async fn ask_to_end(mut self) -> (Option<i32>, String) {
        signal(self.id(), Signal::TERM);
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("the host ends in time");
        (ended.expect("its exit status").code(), all(self.said).await)
    }

    /// Waits until it has written this on standard error.
    pub async fn says(&self, text: &str) {
        let mut said = self.said.clone();
        let waiting = said.wait_for(|said| said.contains(text));
        let told = tokio::time::timeout(DEADLINE, waiting).await;
        told.unwrap_or_else(|_| panic!("waited in vain for {text:?}")).expect("the host is still there");
    }

    /// The command line, talking to this host.
    pub fn program(&self) -> Program {
        Program::new(self.folder.path())
    }

    /// Lets it write nothing behind the first byte of any file, as on a disk that is full, or writes what it likes again.
    pub fn set_disk_full(&self, is_full: bool) {
        let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
        let current = if is_full { Some(1) } else { maximum };
        prlimit(Some(process(self.id())), Resource::Fsize, Rlimit { current, maximum })
            .expect("its files can be limited");
    }

    /// The memory that it has, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib * 1_024
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the host runs")
    }

    /// The host's data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Everything that came, once nothing more comes.
async fn all(mut said: watch::Receiver<String>) -> String {
    while said.changed().await.is_ok() {}
    said.borrow().clone()
}

impl Deref for HostProcess {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
