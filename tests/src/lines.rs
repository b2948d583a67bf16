//! A response that goes on, line by line.

use crate::wait::DEADLINE;
use futures::StreamExt;
use std::collections::VecDeque;

/// The lines of a streaming response.
pub struct Lines {
    response: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    rest: Vec<u8>,
    lines: VecDeque<String>,
}

impl Lines {
    pub(crate) fn of(response: reqwest::Response) -> Lines {
        Lines { response: response.bytes_stream().boxed(), rest: Vec::new(), lines: VecDeque::new() }
    }

    /// The next line, or nothing when the response has ended.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let chunk =
                tokio::time::timeout(DEADLINE, self.response.next()).await.expect("the next line comes in time");
            match chunk {
                Some(chunk) => self.rest.extend_from_slice(&chunk.expect("the response goes on")),
                None => return None,
            }
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                self.lines.push_back(String::from_utf8_lossy(&line).trim_end().to_string());
            }
        }
    }

    /// The next line that fits.
    pub async fn find(&mut self, mut fits: impl FnMut(&str) -> bool) -> String {
        let found = async {
            while let Some(line) = self.next().await {
                if fits(&line) {
                    return line;
                }
            }
            panic!("the response ended without the line that was waited for");
        };
        tokio::time::timeout(DEADLINE, found).await.expect("the line that is waited for comes in time")
    }
}
