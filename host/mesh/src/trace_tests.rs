use super::*;

const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn read(values: &[&str]) -> Option<(RequestId, Trace)> {
    let mut header = HeaderMap::new();
    for value in values {
        header.append(TRACEPARENT, HeaderValue::try_from(*value).unwrap());
    }
    Trace::read(&header)
}

#[test]
fn a_trace_is_written_as_it_was_read() {
    let (id, trace) = read(&[GIVEN]).unwrap();
    assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((trace.span.get(), trace.is_sampled()), (0xb7ad_6b71_6920_3331, true));
    assert_eq!(trace.to_header(id), GIVEN);
    let next = trace.next();
    assert!(next.span != trace.span && next.flags == trace.flags);
    assert_eq!(trace.sampled(false).to_header(id), GIVEN.replace("-01", "-00"));
}

#[test]
fn what_is_no_trace_is_ignored() {
    for wrong in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319c+b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
    ] {
        assert_eq!(read(&[wrong]), None, "{wrong:?}");
    }
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[GIVEN, GIVEN]), None, "two of them say nothing");
    assert!(read(&["01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"]).is_some(), "a later version");
}

#[test]
fn a_trace_that_begins_here_is_recorded_and_its_spans_are_told_apart() {
    let (first, second) = (Trace::begin(), Trace::begin());
    assert!(first.is_sampled() && first.span != second.span);
}
