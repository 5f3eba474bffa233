//! Node to node: the links of one node against the internal port of another.

use super::harness::{Node, eventually, token};
use crate::{
    bridge::{
        format::{self, FORMAT, FORMAT_OLDEST},
        peers::{Call, Delivery, Peer, Peers, Settings, wire},
        store::Place,
    },
    clock::Clock,
    config::{Role, Secret},
    kit::completion::Batch,
    model::{Body, Collapse, Identifier, Lane, Message, Outcome, Reason},
};
use std::{
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The sending node: its links and the thread that they run on.
struct Sender {
    peers: Arc<Peers>,
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
}

impl Sender {
    fn start() -> Self {
        Self::with(None, |_| {})
    }

    fn with(token: Option<&str>, configure: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { answer_slack_ms: 300, ..Settings::new(1 << 20, 300) };
        configure(&mut settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || runtime.block_on(stopped));
        let lanes = ["high", "normal", "low"].map(str::to_owned);
        let peers = Peers::new(settings, Clock::start(), token.map(Secret::new), lanes, handle.clone());
        Self { peers, runtime: handle, stop: Some(stop) }
    }

    fn post(&self, node: &Node, deliveries: Vec<Delivery>) -> Arc<Batch<Outcome>> {
        let batch = Batch::new(deliveries.len());
        for (at, delivery) in deliveries.into_iter().enumerate() {
            self.peers.deliver(&peer(node), delivery, batch.ticket(at));
        }
        batch
    }

    fn send(&self, node: &Node, delivery: Delivery) -> Outcome {
        wait(&self.post(node, vec![delivery]))[0]
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

fn peer(node: &Node) -> Peer {
    Peer { node: 7, address: node.address.to_string().into() }
}

fn wait(batch: &Batch<Outcome>) -> Vec<Outcome> {
    eventually(|| batch.poll_done(&mut Context::from_waker(Waker::noop())).is_ready());
    (0..batch.len()).map(|at| batch.answer(at).unwrap()).collect()
}

fn text(text: &str) -> Message {
    Message::new(Lane(1), Body::Text(text.to_owned().into()), 1)
}

fn to(place: Place, user: &str, device: &str, message: Message) -> Delivery {
    Delivery { place, user: user.into(), device: device.into(), message: Arc::new(message) }
}

#[test]
fn outcomes_come_back_one_by_one_and_a_slow_connection_holds_up_no_other() {
    let node = Node::with(|config| config.delivery.timeout_ms = 10_000);
    let sender = Sender::with(None, |settings| settings.delivery_timeout_ms = 10_000);
    let slow = node.connect("bob", Some("tv"), None);
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let phone = node.connect("ann", None, Some(Outcome::Acked));
    let first = sender.post(&node, vec![to(slow, "bob", "tv", text("0"))]);
    let both = vec![to(tv, "ann", "tv", text("1")), to(phone, "ann", "x", text("2"))];
    assert_eq!(wait(&sender.post(&node, both)), [Outcome::Written, Outcome::Acked]);
    let many = (0..500).map(|n| to(tv, "ann", "tv", text(&n.to_string()))).collect();
    assert!(wait(&sender.post(&node, many)).iter().all(|&outcome| outcome == Outcome::Written));
    assert_eq!(first.answer(0), None);
    node.script.lock().unwrap().kept.pop().unwrap().answer(Outcome::Acked);
    assert_eq!(wait(&first), [Outcome::Acked]);
    let script = node.script.lock().unwrap();
    let bodies: Vec<&[u8]> = script.messages[3..].iter().map(|message| &message.body.bytes()[..]).collect();
    assert!(
        bodies.iter().enumerate().all(|(at, body)| *body == at.to_string().as_bytes()),
        "they are in order"
    );
    assert_eq!(Outcome::ALL.map(|outcome| node.count(outcome)).iter().sum::<u64>(), 0, "counted elsewhere");
    let state = sender.peers.links().pop().unwrap();
    assert_eq!((state.is_up, state.sent, state.answered, state.failed), (true, 503, 503, 0));
    assert_eq!((state.in_flight, state.in_flight_bytes), (0, 0));
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let node = Node::start();
    let sender = Sender::start();
    let place = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let key = Identifier::new("k").unwrap();
    let message = Message {
        id: Identifier::new("m").ok(),
        collapse: Some(Collapse { hash: 1, key: key.clone() }),
        expires_unix_ms: Some(node.clock.now().unix_ms + 60_000),
        timeout_ms: Some(100),
        lane: Lane(2),
        ..Message::new(Lane(2), Body::Json("[1]".into()), 1)
    };
    assert_eq!(sender.send(&node, to(place, "ann", "tv", message)), Outcome::Written);
    let binary = Message {
        timeout_ms: Some(1 << 40),
        ..Message::new(Lane(0), Body::Binary(vec![7; 20_000].into()), 1)
    };
    assert_eq!(sender.send(&node, to(place, "ann", "tv", binary)), Outcome::Written);
    let script = node.script.lock().unwrap();
    let [first, second] = &script.messages[..] else { panic!("two messages") };
    assert_eq!((&first.body, first.lane), (&Body::Json("[1]".into()), Lane(2)));
    assert_eq!((first.id.as_ref().unwrap().as_str(), &first.collapse.as_ref().unwrap().key), ("m", &key));
    assert_ne!(first.collapse.as_ref().unwrap().hash, 1, "each node hashes for itself");
    let left_ms = first.expires_unix_ms.unwrap() - node.clock.now().unix_ms;
    assert!((50_000..=60_100).contains(&left_ms), "{left_ms}");
    assert_eq!((first.timeout_ms, second.timeout_ms, second.lane), (Some(100), Some(300), Lane(0)));
    assert_eq!((&second.body, second.expires_unix_ms), (&Body::Binary(vec![7; 20_000].into()), None));
}

#[test]
fn no_frame_reaches_another_user_or_another_run() {
    let node = Node::start();
    let sender = Sender::start();
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let send = |place, user, device| sender.send(&node, to(place, user, device, text("x")));
    assert_eq!(send(tv, "bob", "tv"), Outcome::Stale);
    assert_eq!(*node.others.lacking.lock().unwrap(), [("bob".to_owned(), "tv".to_owned(), tv)]);
    assert_eq!(send(Place { incarnation: 2, ..tv }, "ann", "tv"), Outcome::Stale);
    assert_eq!(send(Place { node: 8, ..tv }, "ann", "tv"), Outcome::Stale);
    assert_eq!(
        node.others.lacking.lock().unwrap().len(),
        1,
        "another run's records are no business of this one"
    );
    assert!(node.script.lock().unwrap().messages.is_empty());
    let mut old = tv;
    old.connection.key.generation += 2;
    assert_eq!(send(old, "ann", "phone"), Outcome::Stale);
    assert_eq!(send(old, "ann", "tv"), Outcome::Written, "the device has another connection here");
    assert_eq!(node.others.lacking.lock().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_delivered_is_told_from_what_failed() {
    let node = Node::with(|config| config.limits.push_bytes = 100);
    let sender = Sender::with(None, |settings| settings.payload_bytes_max = 1_000);
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let send = |message| sender.send(&node, to(tv, "ann", "tv", message));
    assert_eq!(send(text(&"x".repeat(101))), Outcome::TooLarge);
    assert_eq!(send(text(&"x".repeat(1_001))), Outcome::TooLarge);
    assert_eq!(send(Message { expires_unix_ms: Some(1), ..text("x") }), Outcome::Expired);
    assert_eq!(send(text("x")), Outcome::Written);
    assert_eq!(sender.peers.links()[0].sent, 2, "here it is known of the others");
}

#[test]
fn a_displaced_connection_is_told_of_once_it_is_found() {
    let node = Node::start();
    let sender = Sender::start();
    let tv = node.connect("ann", Some("tv"), None);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for (place, user) in [(tv, "ann"), (tv, "bob"), (Place { incarnation: 2, ..tv }, "ann")] {
        let answers = answers.clone();
        sender.peers.displaced(&peer(&node), place, user, move |done| answers.lock().unwrap().push(done));
    }
    eventually(|| answers.lock().unwrap().len() == 3);
    assert_eq!(answers.lock().unwrap()[..], [true; 3]);
    let closed = (tv.connection.key.index, Reason::Displaced);
    eventually(|| !node.script.lock().unwrap().closed.is_empty());
    assert_eq!(node.script.lock().unwrap().closed, [closed]);
}

#[test]
fn a_token_is_asked_for_and_may_be_changed() {
    let node = Node::with(|config| {
        config.internal.tokens = vec![token("nodes", Role::Peer), token("send", Role::Send)];
    });
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let sender = Sender::with(Some("wrong"), |_| {});
    let send = || sender.send(&node, to(tv, "ann", "tv", text("x")));
    assert_eq!(send(), Outcome::Failed);
    sender.peers.set_token(Some(Secret::new("send-secret")));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(send(), Outcome::Failed);
    assert!(!sender.peers.links()[0].is_up);
    sender.peers.set_token(Some(Secret::new("nodes-secret")));
    eventually(|| send() == Outcome::Written);
    assert!(sender.peers.links()[0].is_up);
}

#[test]
fn a_stream_is_replaced_without_loss_or_disorder() {
    let node = Node::with(|config| config.delivery.timeout_ms = 60_000);
    let sender = Sender::with(None, |settings| {
        settings.stream_life = Duration::from_millis(120);
        // If a stream had to wait for as long for another to be read, the test would fail.
        (settings.answer_slack_ms, settings.delivery_timeout_ms) = (30_000, 60_000);
    });
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    let slow = node.connect("bob", Some("tv"), None);
    let late = sender.post(&node, vec![to(slow, "bob", "tv", text("late"))]);
    eventually(|| !node.script.lock().unwrap().kept.is_empty());
    node.script.lock().unwrap().messages.clear();
    let began = Instant::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_millis(700) {
        let some = (sent..sent + 20).map(|n| to(tv, "ann", "tv", text(&n.to_string()))).collect();
        assert!(wait(&sender.post(&node, some)).iter().all(|&outcome| outcome == Outcome::Written));
        sent += 20;
    }
    assert_eq!(late.answer(0), None);
    node.script.lock().unwrap().kept.pop().unwrap().answer(Outcome::Acked);
    assert_eq!(wait(&late), [Outcome::Acked], "the answer comes on the stream of its message");
    let script = node.script.lock().unwrap();
    let bodies = script.messages.iter().map(|message| message.body.bytes());
    assert!(bodies.enumerate().all(|(at, body)| *body == at.to_string().as_bytes()));
    assert_eq!((script.messages.len(), sender.peers.links()[0].failed), (sent, 0));
}

#[test]
fn an_idle_link_ends_and_comes_back_and_a_quiet_one_does_not_hold_up_a_stop() {
    let node = Node::start();
    let sender = Sender::with(None, |settings| settings.idle = Duration::from_millis(100));
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    for _ in 0..2 {
        assert_eq!(sender.send(&node, to(tv, "ann", "tv", text("x"))), Outcome::Written);
        eventually(|| !sender.peers.links()[0].is_up);
    }
    let sender = Sender::start();
    assert_eq!(sender.send(&node, to(tv, "ann", "tv", text("x"))), Outcome::Written);
    std::thread::sleep(Duration::from_millis(20));
    let began = Instant::now();
    node.stop();
    assert!(began.elapsed() < Duration::from_millis(500));
}

#[test]
fn frames_are_of_the_format_that_the_lease_names_and_this_build_writes() {
    let node = Node::start();
    let sender = Sender::start();
    let address = node.address.to_string();
    let tv = node.connect("ann", Some("tv"), Some(Outcome::Written));
    for reads in [None, Some(FORMAT_OLDEST), Some(FORMAT), Some(FORMAT + 1), Some(FORMAT_OLDEST)] {
        if let Some(reads) = reads {
            sender.peers.set_nodes([(&*address, reads)]);
        }
        let expected = format::to_write(FORMAT, reads);
        eventually(|| {
            assert_eq!(sender.send(&node, to(tv, "ann", "tv", text("x"))), Outcome::Written);
            sender.peers.links()[0].format == expected
        });
    }
    assert_eq!(sender.peers.links()[0].failed, 0);
}

#[test]
fn links_that_are_gone_fail_what_they_owe() {
    let node = Node::start();
    let sender = Sender::start();
    let tv = node.connect("ann", Some("tv"), None);
    let batch = sender.post(&node, vec![to(tv, "ann", "tv", text("x"))]);
    eventually(|| !node.script.lock().unwrap().kept.is_empty());
    sender.peers.set_nodes([("127.0.0.1:9", FORMAT)]);
    assert_eq!(wait(&batch), [Outcome::Failed]);
    assert!(sender.peers.links().is_empty());
    let batch = sender.post(&node, vec![to(tv, "ann", "tv", text("x"))]);
    eventually(|| node.script.lock().unwrap().kept.len() == 2);
    node.script.lock().unwrap().kept.clear();
    drop(sender);
    assert_eq!(wait(&batch), [Outcome::Failed]);
}

#[test]
fn plain_requests() {
    let node = Node::with(|config| config.internal.tokens = vec![token("all", Role::All)]);
    node.connect("ann", Some("tv"), Some(Outcome::Written));
    let sender = Sender::with(Some("all-secret"), |_| {});
    let call = |method, path: &str, body: &'static str| {
        let call = Call {
            method,
            path_and_query: path.into(),
            body: body.into(),
            content_type: Some("text/plain"),
            timeout: Duration::from_secs(5),
        };
        let (done, answer) = std::sync::mpsc::channel();
        let (peers, peer) = (sender.peers.clone(), peer(&node));
        sender.runtime.spawn(async move { done.send(peers.call(&peer, call).await).unwrap() });
        answer.recv().unwrap().unwrap()
    };
    let broadcast = call("POST", "/v1/broadcast?scope=node&id=b1", "x");
    assert_eq!(broadcast.status, 200);
    assert!(std::str::from_utf8(&broadcast.body).unwrap().contains("\"written\":1"));
    assert_eq!(call("DELETE", "/v1/users/ann", "").status, 202);
    assert_eq!(call("GET", "/v1/nothing", "").status, 404);
}

#[test]
fn what_is_no_stream_of_frames_is_refused() {
    let node = Node::with(|config| {
        config.internal.tokens = vec![token("nodes", Role::Peer), token("send", Role::Send)];
    });
    let bearer = "Authorization: Bearer nodes-secret";
    let header = |format: u8| format!("holdfast-format: {format}");
    let format = &*header(FORMAT_OLDEST);
    let refused = |head: &[&str]| node.ask(&[&["POST /v1/deliver"], head].concat(), "").error();
    assert_eq!(refused(&[format]), (401, "unauthorized".into()));
    assert_eq!(refused(&[format, "Authorization: Bearer send-secret"]), (403, "forbidden".into()));
    assert_eq!(refused(&[bearer]), (400, "unknown_format".into()));
    for other in [FORMAT_OLDEST - 1, FORMAT + 1] {
        let answer = node.ask(&["POST /v1/deliver", bearer, &header(other)], "");
        let says = format!("reads {FORMAT_OLDEST} to {FORMAT}");
        assert!(String::from_utf8_lossy(&answer.body).contains(&says), "{:?}", answer.body);
        assert_eq!(answer.error(), (400, "unknown_format".into()));
    }
    let take = |body: &[u8]| node.ask(&["POST /v1/deliver", bearer, format], body);
    let mut all_read = bytes::BytesMut::new();
    wire::write(&wire::Answer::all_read(), &mut all_read);
    let whole = take(b"");
    assert_eq!((whole.status, &whole.body[..]), (200, &all_read[..]));
    for bad in [&b"\xff\xff\xff\xff\xff\xff"[..], b"\x05\x08", b"\x01\xff"] {
        let answer = take(bad);
        assert_eq!((answer.status, &answer.body[..]), (200, &b""[..]), "{bad:?}");
    }
    // A later format asks for a sum.
    for format in FORMAT_OLDEST..=FORMAT {
        let mut frames = bytes::BytesMut::new();
        wire::write(&wire::Request { seq: 9, user: "ann".into(), ..wire::Request::default() }, &mut frames);
        let answer = node.ask(&["POST /v1/deliver", bearer, &header(format)], &frames[..]);
        assert_eq!((answer.status, answer.body.is_empty()), (200, format >= 2));
    }
    // A request of a kind that this release does not know gets an answer.
    let mut frames = bytes::BytesMut::new();
    wire::write(&wire::Request { seq: 9, ..wire::Request::default() }, &mut frames);
    let mut expected = bytes::BytesMut::new();
    wire::write(&wire::Answer::of_delivery(9, Outcome::Failed), &mut expected);
    expected.extend_from_slice(&all_read);
    assert_eq!(take(&frames).body, &expected[..]);
}
