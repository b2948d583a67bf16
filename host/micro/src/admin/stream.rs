//! Replies without an end: lines (NDJSON) and server-sent events.

use reqwest::Response;

use super::{Address, HostError};

/// The longest line that is kept together. A line is at most one log record, which the host bounds far below this.
const LINE_LIMIT: usize = 1 << 20;

/// The longest message of a streaming call that is kept together, in bytes: what a guest may give has other limits.
const MESSAGE_LIMIT: usize = 64 << 20;

/// The lines of a reply as they arrive.
#[derive(Debug)]
pub struct LineStream {
    response: Response,
    address: Address,
    lines: LineBuffer,
}

impl LineStream {
    pub(super) fn new(response: Response, address: Address) -> LineStream {
        LineStream { response, address, lines: LineBuffer::up_to(LINE_LIMIT) }
    }

    /// The lines of a reply that holds a message on each.
    pub(super) fn of_messages(response: Response, address: Address) -> LineStream {
        LineStream { response, address, lines: LineBuffer::up_to(MESSAGE_LIMIT) }
    }

    /// The next line without its end; none when the host has ended the reply.
    pub async fn next(&mut self) -> Result<Option<String>, HostError> {
        loop {
            if let Some(line) = self.lines.pop() {
                return Ok(Some(line));
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.lines.push(&bytes),
                Ok(None) => return Ok(self.lines.finish()),
                Err(error) => return Err(HostError::from_transport(&self.address, &error)),
            }
        }
    }
}

/// The events of a `text/event-stream` reply.
#[derive(Debug)]
pub struct EventStream {
    lines: LineStream,
    events: EventBuffer,
}

impl EventStream {
    pub(super) fn new(lines: LineStream) -> EventStream {
        EventStream { lines, events: EventBuffer::default() }
    }

    /// The next event; none when the host has ended the reply.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, HostError> {
        while let Some(line) = self.lines.next().await? {
            if let Some(event) = self.events.push(&line) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// The `event` field.
    pub name: String,
    /// The `data` fields, one per line.
    pub data: String,
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// Up to where no line end was found.
    searched: usize,
    /// The longest line that is kept together.
    limit: usize,
}

impl LineBuffer {
    fn up_to(limit: usize) -> LineBuffer {
        LineBuffer { bytes: Vec::new(), searched: 0, limit }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A whole line, or as much of an endless one as is kept together.
    fn pop(&mut self) -> Option<String> {
        let rest = &self.bytes[self.searched..];
        let Some(offset) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return (self.searched > self.limit).then(|| self.take(self.searched, 0));
        };
        Some(self.take(self.searched + offset, 1))
    }

    /// What is left when no more bytes come.
    fn finish(&mut self) -> Option<String> {
        (!self.bytes.is_empty()).then(|| self.take(self.bytes.len(), 0))
    }

    fn take(&mut self, length: usize, line_end: usize) -> String {
        let line = String::from_utf8_lossy(&self.bytes[..length]).trim_end_matches('\r').to_owned();
        self.bytes.drain(..length + line_end);
        self.searched = 0;
        line
    }
}

/// Puts lines together into events, by the rules of the WHATWG's EventSource.
#[derive(Debug, Default)]
struct EventBuffer {
    event: ServerEvent,
    has_data: bool,
}

impl EventBuffer {
    fn push(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            // An event without data is not one: keep-alives come as comments and blank lines.
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = "{\"a\":1}\r\n{\"b\":\"ü\"}\n\nlast";
        for size in 1..text.len() {
            let mut buffer = LineBuffer::up_to(LINE_LIMIT);
            let mut lines = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                buffer.push(chunk);
                lines.extend(std::iter::from_fn(|| buffer.pop()));
            }
            lines.extend(buffer.finish());
            assert_eq!(lines, ["{\"a\":1}", "{\"b\":\"ü\"}", "", "last"], "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut buffer = LineBuffer::up_to(LINE_LIMIT);
        buffer.push(&vec![b'x'; LINE_LIMIT + 1]);
        assert_eq!(buffer.pop().map(|line| line.len()), Some(LINE_LIMIT + 1));
        assert_eq!(buffer.finish(), None);
    }

    #[test]
    fn events_are_read_and_keep_alives_are_not() {
        let mut buffer = EventBuffer::default();
        let text = ": hello\n\nevent: deployed\nid: 7\ndata: {\"a\":\ndata:1}\n\ndata\n\nevent: lost\n\n";
        let events: Vec<_> = text.lines().filter_map(|line| buffer.push(line)).collect();
        let deployed = ServerEvent { name: "deployed".into(), data: "{\"a\":\n1}".into() };
        assert_eq!(events, [deployed, ServerEvent::default()]);
    }
}
