use proptest::prelude::*;

use super::*;

#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    data: String,
    id: String,
}

/// The parser of WHATWG HTML 9.2.6, in its own words: events, and the last reconnection time.
fn parse_stream(text: &str) -> (Vec<Event>, Option<u32>) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut retry) = (Vec::new(), None);
    let (mut name, mut data, mut id) = (String::new(), String::new(), String::new());
    for line in text.split_terminator('\n') {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                events.push(Event {
                    name: std::mem::take(&mut name),
                    data: std::mem::take(&mut data),
                    id: id.clone(),
                });
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut name),
            "data" => {
                data += value;
                data.push('\n');
            }
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
        let at = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..at]).unwrap(), 16).unwrap();
        found.push(String::from_utf8(body[at + 2..at + 2 + size].to_vec()).unwrap());
        assert_eq!(&body[at + 2 + size..at + 4 + size], b"\r\n");
        body = &body[at + 4 + size..];
    }
    found
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_head_comes_with_the_delay() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\n\
        X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n\
        f\r\nretry: 2500\r\n\r\n\r\n";
    assert_eq!(written(|out| write_head(out, 2500, None)), expected);
    let with_origin = written(|out| write_head(out, 1, Some("https://a.example")));
    let cors = "\r\nAccess-Control-Allow-Origin: https://a.example\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n";
    assert!(with_origin.contains(cors), "{with_origin}");
    let for_all = written(|out| write_head(out, 1, Some("*")));
    assert!(for_all.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{for_all}");
    assert!(!for_all.contains("Credentials"), "{for_all}");
}

#[test]
fn a_refusal_is_a_whole_response() {
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\n\
        X-Accel-Buffering: no\r\nContent-Length: 15\r\nConnection: close\r\n\r\nretry: 2500\r\n\r\n";
    assert_eq!(written(|out| write_refusal(out, 2500, None)), expected);
}

#[test]
fn events_are_single_chunks() {
    let cases: &[(String, &str)] = &[
        (written(write_ping), "event: ping\r\ndata: ping\r\n\r\n"),
        (written(|out| write_goaway(out, None)), "event: goaway\r\ndata: _CLOSE_\r\n\r\n"),
        (written(|out| write_goaway(out, Some(7))), "retry: 7\r\nevent: goaway\r\ndata: _CLOSE_\r\n\r\n"),
        (written(|out| write_close(out, 4001, "displaced")), "event: close\r\ndata: 4001 displaced\r\n\r\n"),
        (written(|out| write_push(out, None, "")), "event: push\r\ndata: \r\n\r\n"),
        (
            written(|out| write_push(out, Some("7"), "a\r\nb\rc\n\nd\n")),
            "event: push\r\nid: 7\r\ndata: a\r\ndata: b\r\ndata: c\r\ndata: \r\ndata: d\r\ndata: \r\n\r\n",
        ),
        (written(|out| write_push(out, Some("7\n8"), "a")), "event: push\r\ndata: a\r\n\r\n"),
        (written(|out| write_push_binary(out, None, b"\0\xff")), "event: push.base64\r\ndata: AP8=\r\n\r\n"),
    ];
    for (actual, expected) in cases {
        assert_eq!(*actual, format!("{:x}\r\n{expected}\r\n", expected.len()));
    }
}

#[test]
fn a_stream_is_appended_to() {
    let mut out = b"before".to_vec();
    write_push(&mut out, None, &"x".repeat(70_000));
    write_ping(&mut out);
    assert!(out.starts_with(b"before"));
    assert_eq!(chunks(&out[6..]).len(), 2);
    assert!(LAST_CHUNK.starts_with(b"0\r\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_client_reads_what_was_pushed(
        texts in proptest::collection::vec("([ -~]|[\r\n:é\0 ]){0,40}", 1..5),
        id in proptest::option::of("[ -~é\r\n\0]{1,8}"),
    ) {
        let mut out = Vec::new();
        for text in &texts {
            write_push(&mut out, id.as_deref(), text);
        }
        let chunks = chunks(&out);
        prop_assert_eq!(chunks.len(), texts.len());
        for chunk in &chunks {
            prop_assert!(!chunk.replace("\r\n", "").contains(['\r', '\n']), "only CRLF ends lines");
        }
        let (events, retry) = parse_stream(&chunks.concat());
        prop_assert_eq!(retry, None);
        let id = id.filter(|id| !id.contains(['\r', '\n', '\0'])).unwrap_or_default();
        let expected: Vec<Event> = texts
            .iter()
            .map(|text| Event {
                name: "push".to_owned(),
                data: text.replace("\r\n", "\n").replace('\r', "\n"),
                id: id.clone(),
            })
            .collect();
        prop_assert_eq!(events, expected);
    }
}
