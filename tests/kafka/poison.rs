//! Records that are no messages, and odd ones that are.

use crate::{
    client::Ws,
    fleet::{LONG, expect},
    lanes::topics,
    load::{FOREIGN, NUMBER, Source},
    site::{Site, shared},
};
use std::collections::BTreeMap;

/// One more than a key may have.
const LONG_KEY: &[u8] = &[b'k'; 257];
/// More than `limits.push_bytes` allows by default, and less than a broker does.
const LARGE: &[u8] = &[b'x'; 300 * 1024];

/// A record, and why it is refused.
struct Poison {
    reason: &'static str,
    key: Option<&'static [u8]>,
    value: &'static [u8],
    headers: &'static [(&'static str, &'static [u8])],
}

const fn poison(
    reason: &'static str,
    key: Option<&'static [u8]>,
    value: &'static [u8],
    headers: &'static [(&'static str, &'static [u8])],
) -> Poison {
    Poison { reason, key, value, headers }
}

const USER: Option<&[u8]> = Some(b"ada");

const POISONS: [Poison; 16] = [
    poison("no_key", None, b"x", &[]),
    poison("no_key", Some(b""), b"x", &[]),
    poison("key", Some(b"\xff\xfe"), b"x", &[]),
    poison("key", Some(b"a\nb"), b"x", &[]),
    poison("key", Some(b"a\0"), b"x", &[]),
    poison("key", Some(LONG_KEY), b"x", &[]),
    poison("too_large", USER, LARGE, &[]),
    poison("body", USER, b"{\"a\":", &[("content-type", b"application/json")]),
    poison("body", USER, b"", &[("content-type", b"application/json")]),
    poison("body", USER, b"\xff\xfe", &[]),
    poison("header", USER, b"x", &[("expires", b"soon")]),
    poison("header", USER, b"x", &[("expires", b"")]),
    poison("header", USER, b"x", &[("expires", b"99999999999999999999999999")]),
    poison("header", USER, b"x", &[("id", LONG_KEY)]),
    poison("header", USER, b"x", &[("collapse", b"a\tb")]),
    poison("header", USER, b"x", &[("device", b"\xff")]),
];

#[test]
fn what_cannot_be_read_stops_nobody() {
    let brokers = shared();
    let mut site = Site::start(&brokers, "poison", &[&[], &[]], 16);
    site.load.flow(200);
    site.wait_heard();
    let source = Source::new(&brokers.addresses());
    let topic = &topics("poison")[1];
    for (number, it) in (FOREIGN..).zip(&POISONS) {
        let text = number.to_string();
        let headers = [it.headers, &[(NUMBER, text.as_bytes())]].concat();
        source.send(number, topic, it.key, Some(it.value), &headers);
    }
    let places = source.places();
    expect("dead letters", LONG, &POISONS.len(), || site.dead.count());
    site.wait_heard();
    let dead: BTreeMap<u64, _> = site.dead.records().into_iter().map(|it| (it.number(), it)).collect();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, it) in (FOREIGN..).zip(&POISONS) {
        let (record, place) = (&dead[&number], &places[&number]);
        *reasons.entry(it.reason).or_default() += 1;
        let told = ["reason", "topic", "partition", "offset"]
            .map(|name| record.header(&format!("holdfast-{name}")).expect("a header"));
        let at = (place.partition.to_string(), place.offset.to_string());
        assert_eq!(told, [it.reason, topic, &at.0, &at.1], "{:?} {:?}", it.key, it.headers);
        assert_eq!(record.key.as_deref().filter(|key| !key.is_empty()), it.key.filter(|key| !key.is_empty()));
        assert!(record.value.as_deref().unwrap_or_default() == it.value, "{number} came as something else");
        let text = number.to_string();
        let own = [it.headers, &[(NUMBER, text.as_bytes())]].concat();
        let kept: Vec<(&str, &[u8])> = record.headers[..own.len()]
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        assert_eq!(kept, own);
        assert_eq!(record.headers.len(), own.len() + 4);
    }
    for (reason, count) in reasons {
        let series = format!("holdfast_kafka_rejected_total{{reason=\"{reason}\"}}");
        let counted: f64 = site.fleet.nodes.iter().map(|node| node.metric(&series)).sum();
        assert_eq!(counted as usize, count, "{reason}");
    }
    // What is too large was for somebody, and has an outcome, too.
    let told = site.reports.records().into_iter().filter(|it| it.number() >= FOREIGN);
    let told: Vec<String> = told.map(|it| it.report().outcome).collect();
    assert_eq!(told, ["too_large"]);
    let (_, _, counts) = site.end();
    assert_eq!(counts.outcomes.keys().collect::<Vec<_>>(), ["written"], "{counts:?}");
    assert_eq!(counts.dead + counts.twice + counts.lost + counts.unknown, 0, "{counts:?}");
}

#[test]
fn what_is_odd_and_can_be_read_arrives() {
    let brokers = shared();
    // Without a topic for dead letters, too.
    let site = Site::start(&brokers, "odd", &[&["kafka.dead_letter=", "lanes.low.ttl=1h"]], 4);
    let mut client = Ws::user(site.fleet.node(0), "ada", "tv");
    let source = Source::new(&brokers.addresses());
    let [high, normal, low] = topics("odd");
    let mut number = FOREIGN;
    let mut send = |topic: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &[u8])]| {
        let text = number.to_string();
        source.send(number, topic, key, value, &[headers, &[(NUMBER, text.as_bytes())]].concat());
        number += 1;
    };
    // Counted and done: nothing behind them waits. A record without a value is one that a compaction has left.
    send(&normal, None, Some(b"x"), &[]);
    send(&normal, USER, None, &[]);
    let names: Vec<String> = (0..500).map(|at| format!("x-{at}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    send(&normal, USER, Some(b"many headers"), &many);
    let unread: &[(&str, &[u8])] = &[("x", b"\xff"), ("x", b""), ("traceparent", b"\0")];
    send(&normal, USER, Some(b"headers that nobody reads"), unread);
    send(
        &normal,
        USER,
        Some("\u{1f980} \r\n\0".as_bytes()),
        &[("content-type", b"text/plain; charset=utf-8")],
    );
    send(&normal, USER, Some(b"{\"a\": 1}"), &[("content-type", b"application/json; charset=utf-8")]);
    for text in ["many headers", "headers that nobody reads", "\u{1f980} \r\n\0", "{\"a\": 1}"] {
        assert_eq!(client.text(), text);
    }
    send(&high, USER, Some(b"\xff\x00"), &[("content-type", b"application/octet-stream")]);
    let frame = client.next(LONG).unwrap();
    assert_eq!((frame.op, frame.payload), (crate::client::BINARY, b"\xff\x00".to_vec()));
    send(&low, USER, Some(b"over"), &[("expires", b"1")]);
    send(&low, USER, Some(b"for another device"), &[("device", b"phone")]);
    send(&low, USER, Some(b"for this one"), &[("device", b"tv"), ("expires", b"9999999999999")]);
    assert_eq!(client.text(), "for this one");
    expect("the reports", LONG, &true, || site.reports.count() >= 8);
    let reports = site.reports.records();
    let outcome = |number: u64| {
        let of: Vec<_> = reports.iter().filter(|it| it.number() == number).map(|it| it.report()).collect();
        assert_eq!(of.len(), 1, "{of:?}");
        (of[0].outcome.clone(), of[0].device.clone())
    };
    assert_eq!(outcome(FOREIGN + 7), ("expired".to_owned(), None));
    assert_eq!(outcome(FOREIGN + 8).0, "offline");
    for number in [2, 3, 4, 5, 6, 9].map(|at| FOREIGN + at) {
        assert_eq!(outcome(number), ("written".to_owned(), Some("tv".to_owned())));
    }
    let many = reports.iter().find(|it| it.number() == FOREIGN + 2).unwrap();
    assert_eq!(many.headers.len(), 501, "the message's own headers");
    site.traffic.stop(1);
}
