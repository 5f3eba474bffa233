//! Event streams: what was written is what a client reads, whatever is in it.
//!
//! The input is text, cut at U+0001: the first piece is the message id, each other one an event.

use base64::{Engine, engine::general_purpose::STANDARD};
use holdfast::proto::sse;

#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    data: String,
    id: String,
}

/// Writes `data` as events and reads them back.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut pieces = text.split('\u{1}');
    let id = pieces.next().filter(|id| !id.is_empty());
    let (mut out, mut expected, mut expected_retry) = (Vec::new(), Vec::new(), None);
    for (at, piece) in pieces.enumerate() {
        let (name, data) = match at % 4 {
            0 | 2 => {
                sse::write_push(&mut out, id, piece);
                ("push", as_lines(piece))
            }
            1 => {
                sse::write_push_binary(&mut out, id, piece.as_bytes());
                ("push.base64", STANDARD.encode(piece))
            }
            _ => {
                let delay = piece.len() as u32;
                sse::write_goaway(&mut out, Some(delay));
                expected_retry = Some(delay);
                expected.push(("goaway", "_CLOSE_".to_owned()));
                sse::write_close(&mut out, 4001, piece);
                ("close", as_lines(&format!("4001 {piece}")))
            }
        };
        expected.push((name, data));
    }
    let chunks = chunks(&out);
    assert_eq!(chunks.len(), expected.len(), "an event is a chunk");
    let (events, retry) = parse_stream(&chunks.concat());
    assert_eq!(retry, expected_retry);
    // The first push comes first, and its id stays in force for what has none (WHATWG HTML 9.2.6).
    let id = id.filter(|id| !id.contains(['\r', '\n', '\0'])).unwrap_or_default();
    let expected: Vec<Event> = expected
        .into_iter()
        .map(|(name, data)| Event { name: name.to_owned(), data, id: id.to_owned() })
        .collect();
    assert_eq!(events, expected);
}

fn as_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The parser of WHATWG HTML 9.2.6: events, and the last reconnection time.
fn parse_stream(text: &str) -> (Vec<Event>, Option<u32>) {
    let text = as_lines(text);
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut name, mut data, mut id) = (String::new(), String::new(), String::new());
    for line in text.split_terminator('\n') {
        if line.is_empty() {
            let (name, mut data) = (std::mem::take(&mut name), std::mem::take(&mut data));
            if data.pop().is_some() {
                events.push(Event { name, data, id: id.clone() });
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => data.extend([value, "\n"]),
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            "retry" => retry = value.parse().ok().or(retry),
            _ => {}
        }
    }
    (events, retry)
}

/// Takes a chunked body apart: the content of each chunk; panics if there is anything but whole chunks.
fn chunks(mut body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let at = body.windows(2).position(|pair| pair == b"\r\n").expect("a chunk size");
        let size = std::str::from_utf8(&body[..at]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("hex");
        let (chunk, rest) = body[at + 2..].split_at(size);
        found.push(String::from_utf8(chunk.to_vec()).expect("UTF-8"));
        body = rest.strip_prefix(b"\r\n").expect("a line end behind the chunk");
    }
    found
}
