//! Reading logs for somebody: from disk piece by piece, as fast as it is taken, and on as lines come.

use super::filter::Query;
use super::merged::Merged;
use super::queue::ENDED;
use super::reader::{Progress, Reader, Seen};
use super::record::Shown;
use super::{DeploymentLog, Logs, Shared};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

/// Pieces that are read ahead of who takes them.
const AHEAD: usize = 2;

/// Lines as NDJSON.
pub type Lines = ReceiverStream<io::Result<Vec<u8>>>;

/// Some lines, and whether there are more for now.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) is_at_end: bool,
}

/// What is read.
pub(super) enum Source {
    One { reader: Reader, query: Query, end: u64 },
    All(Merged),
}

impl Logs {
    /// The lines of one log. All that was taken before is among them.
    pub async fn read(&self, log: Arc<DeploymentLog>, query: Query) -> io::Result<Lines> {
        self.start(Some(log), query).await
    }

    /// The lines of all logs, ordered by time; with the name of the deployment in each.
    pub async fn read_all(&self, query: Query) -> io::Result<Lines> {
        self.start(None, query).await
    }

    async fn start(&self, log: Option<Arc<DeploymentLog>>, query: Query) -> io::Result<Lines> {
        let shared = self.shared.clone();
        shared.queue.flush().await;
        let (rounds, follow) = (shared.queue.rounds(), query.follow);
        let source = blocking(move || Source::begin(shared, log, query)).await??;
        let (out, lines) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            if let Err(error) = run(source, rounds, follow, &out).await {
                // Whoever reads no more does not care.
                let _ = out.send(Err(error)).await;
            }
        });
        Ok(ReceiverStream::new(lines))
    }
}

async fn run(
    mut source: Source,
    mut rounds: watch::Receiver<u64>,
    follow: bool,
    out: &mpsc::Sender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    loop {
        rounds.mark_unchanged();
        let (back, piece) = blocking(move || {
            let piece = source.read();
            (source, piece)
        })
        .await?;
        source = back;
        let Piece { bytes, is_at_end } = piece?;
        if !bytes.is_empty() && out.send(Ok(bytes)).await.is_err() {
            return Ok(());
        }
        if !is_at_end {
            continue;
        }
        if !follow {
            return Ok(());
        }
        while !source.has_news() {
            if *rounds.borrow() == ENDED {
                return Ok(());
            }
            tokio::select! {
                // What is read holds the queue, which tells of rounds.
                _ = rounds.changed() => {}
                () = out.closed() => return Ok(()),
            }
        }
    }
}

impl Source {
    pub(super) fn begin(shared: Arc<Shared>, log: Option<Arc<DeploymentLog>>, query: Query) -> io::Result<Source> {
        let Some(log) = log else { return Ok(Source::All(Merged::begin(shared, query)?)) };
        let reader = Reader::of_last(log, query.lines, &query.filter)?;
        // A log that goes on must not be read for ever by somebody who wants what there is.
        let end = if query.follow { u64::MAX } else { reader.log.end.load(Ordering::Acquire) };
        Ok(Source::One { reader, query, end })
    }

    pub(super) fn read(&mut self) -> io::Result<Piece> {
        let (reader, query, end) = match self {
            Source::All(merged) => return merged.read(),
            Source::One { reader, query, end } => (reader, query, *end),
        };
        let (mut bytes, log) = (Vec::new(), reader.log.clone());
        let progress = reader.read(end, &query.filter, |seen| show(&log, &seen, &mut bytes))?;
        Ok(Piece { bytes, is_at_end: progress == Progress::IsAtEnd })
    }

    fn has_news(&self) -> bool {
        match self {
            Source::One { reader, .. } => reader.has_news(),
            Source::All(merged) => merged.has_news(),
        }
    }
}

/// Adds a line to `out`: one of the log, or one that tells how many are not there.
pub(super) fn show(log: &DeploymentLog, seen: &Seen<'_>, out: &mut Vec<u8>) {
    match seen {
        Seen::Line(_, record) => Shown::new(log.deployment(), record).write(out),
        Seen::Missing(lines) => {
            let words =
                format!("… {lines} lines are missing here: they were pushed out before they were read, or are damaged");
            Shown::remark(log.deployment(), log.revision.load(Ordering::Relaxed), words).write(out);
        }
    }
}

/// Files are read where a thread may wait.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)
}
