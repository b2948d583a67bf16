use super::*;
use crate::usage::{GuestMemory, Usage};
use futures::{FutureExt as _, stream};
use std::io;
use std::sync::Arc;
use wasmtime_wasi::cli::{StdinStream as _, StdoutStream as _};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable as _, StreamError};

#[test]
fn a_program_waits_while_nobody_takes_what_it_wrote() {
    let (output, reader) = pipe();
    let mut stream = output.p2_stream();
    let mut total = 0;
    while stream.check_write().unwrap() > 0 {
        let chunk = vec![7; stream.check_write().unwrap()];
        total += chunk.len();
        stream.write(chunk.into()).unwrap();
        assert!(total < 1024 * 1024, "it is bounded");
    }
    assert!(stream.ready().now_or_never().is_none());
    assert!(reader.readable().now_or_never().is_some());
    assert_eq!(reader.take().len(), total);
    assert!(reader.take().is_empty());
    assert!(reader.readable().now_or_never().is_none());
    assert!(stream.ready().now_or_never().is_some() && stream.check_write().unwrap() > 0);
}

#[test]
fn streams_that_were_all_told_of_the_same_room_cannot_fill_the_host() {
    let (output, _reader) = pipe();
    let mut streams: Vec<Box<dyn OutputStream>> = (0..100).map(|_| output.p2_stream()).collect();
    let rooms: Vec<usize> = streams.iter_mut().map(|stream| stream.check_write().unwrap()).collect();
    let written = streams.iter_mut().zip(rooms).map(|(stream, room)| stream.write(vec![0; room].into()));
    assert!(written.filter(Result::is_ok).count() < 10);
}

#[test]
fn nothing_can_be_written_when_the_reader_is_gone() {
    let (output, reader) = pipe();
    let mut stream = output.p2_stream();
    drop(reader);
    assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
    assert!(matches!(stream.write(Bytes::from_static(b"x")), Err(StreamError::Closed)));
    assert!(stream.ready().now_or_never().is_some());
}

/// The next read after a wait that ends at once.
fn next(stream: &mut Box<dyn InputStream>, size: usize) -> Result<Bytes, StreamError> {
    assert!(stream.ready().now_or_never().is_some());
    stream.read(size)
}

#[test]
fn input_is_read_in_the_pieces_that_are_asked_for_by_all_its_streams() {
    let chunks = [Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"d")].map(Ok);
    let input = Input::of(stream::iter(chunks));
    let (mut one, mut other) = (input.p2_stream(), input.p2_stream());
    assert_eq!(next(&mut one, 2).unwrap(), "ab");
    assert_eq!(next(&mut other, 9).unwrap(), "c");
    assert_eq!(other.read(9).unwrap(), "d", "without a wait");
    assert!(matches!(next(&mut one, 1), Err(StreamError::Closed)));
    assert!(matches!(other.read(1), Err(StreamError::Closed)));
}

#[test]
fn input_that_breaks_off_is_an_error_and_no_end() {
    let input = Input::of(stream::iter([Ok(Bytes::from_static(b"a")), Err(io::Error::other("gone"))]));
    let mut stream = input.p2_stream();
    assert_eq!(next(&mut stream, 9).unwrap(), "a");
    assert!(matches!(next(&mut stream, 9), Err(StreamError::LastOperationFailed(_))));
    let slow = Input::of(stream::pending());
    let mut stream = slow.p2_stream();
    assert!(stream.ready().now_or_never().is_none());
    assert_eq!(stream.read(9).unwrap(), "", "nothing yet");
}

#[test]
fn the_message_of_a_run_is_input_and_arguments() {
    let text = |text: &str| Value::String(text.into());
    let fields = |args| vec![Value::some(Value::Bytes(Bytes::from_static(b"in"))), Value::some(Value::List(args))];
    let (stdin, args) = endpoint::read(fields(vec![text("-l")])).unwrap();
    assert_eq!((&stdin[..], args), (&b"in"[..], vec!["-l".to_string()]));
    assert!(
        endpoint::read(vec![Value::none(), Value::none()])
            .is_ok_and(|(stdin, args)| stdin.is_empty() && args.is_empty())
    );
    let error = endpoint::read(fields(vec![text("a\0b")])).unwrap_err().to_string();
    assert!(error.contains("\"a\\0b\""), "{error}");
}

#[test]
fn a_program_that_the_host_refused_memory_did_not_break_its_own_limit() {
    let (limits, usage) = (Limits::default(), Usage::new(Arc::new(GuestMemory::new(1_000))));
    let mut limiter = Limiter::new(limits.memory);
    assert!(!limiter.grow_memory(0, 500_000, None, &usage));
    assert!(matches!(outcome(Ok(Err(())), &limiter, &limits), Err(CallError::HostMemory)));
}
