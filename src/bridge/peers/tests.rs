//! Links against nodes that misbehave.

use super::{
    link::Fault,
    wire::{BadFrame, Decoder, Request, write},
    *,
};
use crate::{
    bridge::router::Peering,
    kit::{completion::Batch, slab::Key},
    model::{Body, Handle, Lane},
};
use bytes::BytesMut;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{Context, Waker},
    time::Instant,
};
use tokio::sync::oneshot;

struct Rig {
    peers: Arc<Peers>,
    stop: Option<oneshot::Sender<()>>,
}

impl Rig {
    fn new(configure: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            connect_timeout: Duration::from_millis(300),
            answer_slack_ms: 100,
            ..Settings::new(1_000_000, 200)
        };
        configure(&mut settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        std::thread::spawn(move || runtime.block_on(stopped));
        let peers = Peers::new(settings, Clock::start(), None, ["only".to_owned()], handle);
        Self { peers, stop: Some(stop) }
    }

    fn post(&self, peer: &Peer, payload: usize) -> Sent {
        let batch = Batch::new(1);
        let message = Message::new(Lane(0), Body::Binary(vec![0; payload].into()), 1);
        let connection = Handle { shard: 0, key: Key { index: 1, generation: 1 } };
        let delivery = Delivery {
            place: Place { node: 1, incarnation: 1, connection },
            user: "ann".into(),
            device: "tv".into(),
            message: Arc::new(message),
        };
        self.peers.deliver(peer, delivery, batch.ticket(0));
        Sent(batch)
    }

    fn state(&self) -> LinkState {
        self.peers.links().pop().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

struct Sent(Arc<Batch<Outcome>>);

impl Sent {
    fn outcome(&self) -> Option<Outcome> {
        self.0.answer(0)
    }

    /// Waits for it, and says how long.
    fn wait(&self) -> (Outcome, Duration) {
        let began = Instant::now();
        eventually(|| self.0.poll_done(&mut Context::from_waker(Waker::noop())).is_ready());
        (self.outcome().unwrap(), began.elapsed())
    }
}

fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to hold");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Another node, played by the test.
struct Fake(TcpListener);

impl Fake {
    fn start() -> (Self, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().into();
        (Self(listener), Peer { node: 1, address })
    }

    fn accept(&self) -> Taken {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let stream = BufReader::new(stream);
        let mut taken = Taken { stream, decoder: Decoder::new(1 << 20), format: String::new() };
        assert_eq!(taken.line(), "POST /v1/deliver HTTP/1.1");
        loop {
            match taken.line() {
                end if end.is_empty() => return taken,
                line => taken.format.extend(line.strip_prefix("holdfast-format: ")),
            }
        }
    }

    /// Takes one connection after the other and answers every delivery.
    fn serve(self) {
        std::thread::spawn(move || {
            loop {
                let mut taken = self.accept();
                taken.begin();
                while let Some(request) = taken.request() {
                    taken.answer(&wire::Answer::of_delivery(request.seq, Outcome::Written));
                }
            }
        });
    }
}

/// One stream.
struct Taken {
    stream: BufReader<TcpStream>,
    decoder: Decoder<Request>,
    /// As its head names it.
    format: String,
}

impl Taken {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn begin(&mut self) {
        self.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    fn request(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = self.decoder.next() {
                return Some(request.unwrap());
            }
            let size = usize::from_str_radix(&self.line(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).ok()?;
            chunk.truncate(size);
            if size == 0 {
                return None;
            }
            self.decoder.feed(chunk.into());
        }
    }

    fn answer(&mut self, answer: &wire::Answer) {
        let mut frame = BytesMut::new();
        write(answer, &mut frame);
        self.chunk(&frame);
    }

    fn chunk(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(&chunk);
    }

    fn write(&mut self, bytes: &[u8]) {
        // The other side may be gone.
        let _ = self.stream.get_mut().write_all(bytes);
    }
}

#[test]
fn a_node_that_dies_fails_what_it_owes_and_is_found_again() {
    let rig = Rig::new(|settings| settings.delivery_timeout_ms = 60_000);
    let (fake, peer) = Fake::start();
    let owed = [rig.post(&peer, 10), rig.post(&peer, 10)];
    let mut taken = fake.accept();
    taken.begin();
    let requests = [taken.request().unwrap(), taken.request().unwrap()];
    assert_eq!((requests[0].seq, requests[1].seq, &*requests[0].user), (0, 1, "ann"));
    taken.answer(&wire::Answer::of_delivery(1, Outcome::Acked));
    assert_eq!(owed[1].wait().0, Outcome::Acked);
    assert!(rig.state().is_up);
    drop(taken);
    assert_eq!(owed[0].wait().0, Outcome::Failed);
    let state = rig.state();
    assert_eq!((state.is_up, state.answered, state.failed, state.in_flight), (false, 1, 1, 0));
    fake.serve();
    eventually(|| rig.post(&peer, 10).wait().0 == Outcome::Written);
}

#[test]
fn another_size_counts_for_messages_from_then_on() {
    let rig = Rig::new(|_| {});
    let (fake, peer) = Fake::start();
    fake.serve();
    assert_eq!(rig.post(&peer, 100).wait().0, Outcome::Written);
    rig.peers.set_bounds(99, 200);
    assert_eq!(rig.post(&peer, 100).wait().0, Outcome::TooLarge);
    assert_eq!(rig.post(&peer, 99).wait().0, Outcome::Written);
}

#[test]
fn what_was_counted_of_a_node_outlives_it() {
    let rig = Rig::new(|settings| settings.delivery_timeout_ms = 60_000);
    let (fake, peer) = Fake::start();
    let owed = [rig.post(&peer, 10), rig.post(&peer, 10)];
    let mut taken = fake.accept();
    taken.begin();
    let first = taken.request().unwrap();
    taken.answer(&wire::Answer::of_delivery(first.seq, Outcome::Written));
    assert_eq!(owed[0].wait().0, Outcome::Written);
    rig.peers.set_nodes([]);
    assert_eq!(owed[1].wait().0, Outcome::Failed);
    eventually(|| {
        let state = Peering::state(&*rig.peers);
        (state.answered, state.failed, state.in_flight) == (1, 1, 0)
    });
}

#[test]
fn a_node_that_takes_connections_and_is_silent_holds_up_no_other() {
    let rig = Rig::new(|_| {});
    let (silent, silent_peer) = Fake::start();
    let (fake, peer) = Fake::start();
    fake.serve();
    let owed = rig.post(&silent_peer, 10);
    for _ in 0..20 {
        assert_eq!(rig.post(&peer, 10).wait().0, Outcome::Written);
    }
    assert_eq!(owed.outcome(), None);
    assert_eq!(owed.wait().0, Outcome::Failed);
    // It answers no request either, so the link is made anew.
    let taken = silent.accept();
    eventually(|| {
        rig.post(&silent_peer, 10);
        silent.0.set_nonblocking(true).unwrap();
        silent.0.accept().is_ok()
    });
    drop(taken);
}

#[test]
fn a_node_that_stops_answering_is_called_anew() {
    let rig = Rig::new(|_| {});
    let (fake, peer) = Fake::start();
    let first = rig.post(&peer, 10);
    let mut taken = fake.accept();
    taken.begin();
    taken.request();
    taken.answer(&wire::Answer::of_delivery(0, Outcome::Written));
    assert_eq!(first.wait().0, Outcome::Written);
    let (outcome, waited) = rig.post(&peer, 10).wait();
    assert_eq!(outcome, Outcome::Failed);
    assert!((Duration::from_millis(250)..Duration::from_millis(1_500)).contains(&waited), "{waited:?}");
    fake.serve();
    eventually(|| rig.post(&peer, 10).wait().0 == Outcome::Written);
}

#[test]
fn one_late_answer_among_others_does_not_end_the_stream() {
    let rig = Rig::new(|_| {});
    let (fake, peer) = Fake::start();
    let late = rig.post(&peer, 10);
    let (done, stop) = mpsc::channel::<()>();
    let answering = std::thread::spawn(move || {
        let mut taken = fake.accept();
        taken.begin();
        while stop.try_recv().is_err() {
            let request = taken.request().expect("the stream goes on");
            if request.seq > 0 {
                taken.answer(&wire::Answer::of_delivery(request.seq, Outcome::Written));
            }
        }
    });
    while late.outcome().is_none() {
        assert_eq!(rig.post(&peer, 10).wait().0, Outcome::Written);
    }
    assert_eq!(late.wait().0, Outcome::Failed);
    done.send(()).unwrap();
    assert_eq!(rig.post(&peer, 10).wait().0, Outcome::Written);
    answering.join().unwrap();
}

#[test]
fn what_finds_no_room_fails_at_once() {
    let rig = Rig::new(|settings| {
        (settings.in_flight_max, settings.in_flight_bytes_max) = (2, 100);
        settings.delivery_timeout_ms = 60_000;
    });
    let (fake, peer) = Fake::start();
    let first = rig.post(&peer, 60);
    assert_eq!(rig.post(&peer, 60).outcome(), Some(Outcome::Failed), "no room for its bytes");
    let second = rig.post(&peer, 40);
    assert_eq!(rig.post(&peer, 0).outcome(), Some(Outcome::Failed), "no room for one more");
    assert_eq!((rig.state().in_flight, rig.state().in_flight_bytes), (2, 100));
    fake.serve();
    assert_eq!((first.wait().0, second.wait().0), (Outcome::Written, Outcome::Written));
    assert_eq!(rig.post(&peer, 100).wait().0, Outcome::Written);
    assert_eq!((rig.state().in_flight, rig.state().in_flight_bytes), (0, 0));
}

#[test]
fn nothing_queues_behind_a_dead_node() {
    let rig = Rig::new(|settings| settings.delivery_timeout_ms = 60_000);
    let (fake, peer) = Fake::start();
    drop(fake);
    let mut refused_at_once = 0;
    for _ in 0..5 {
        assert!(rig.post(&peer, 10).wait().1 < Duration::from_secs(1));
        for _ in 0..20 {
            refused_at_once += usize::from(rig.post(&peer, 10).outcome() == Some(Outcome::Failed));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(refused_at_once > 50, "{refused_at_once}");
    let (told, answered) = mpsc::channel();
    rig.peers.displaced(
        &peer,
        Place {
            node: 1,
            incarnation: 1,
            connection: Handle { shard: 0, key: Key { index: 1, generation: 1 } },
        },
        "ann",
        move |done| told.send(done).unwrap(),
    );
    assert!(!answered.recv_timeout(Duration::from_secs(5)).unwrap());
}

#[test]
fn answers_that_cannot_be_read_end_the_stream() {
    let rig = Rig::new(|settings| settings.delivery_timeout_ms = 60_000);
    let (fake, peer) = Fake::start();
    for bad in [&b"\xff\xff\xff\xff\xff"[..], b"\x01\xff"] {
        let owed = std::iter::from_fn(|| Some(rig.post(&peer, 10)));
        // While the link rests after the one before, what is posted fails at once.
        let owed = owed.inspect(|_| std::thread::sleep(Duration::from_millis(10)));
        let owed = owed.into_iter().find(|owed| owed.outcome().is_none()).unwrap();
        let mut taken = fake.accept();
        taken.begin();
        taken.request();
        // Nobody asked for the first of them.
        taken.answer(&wire::Answer::of_delivery(77, Outcome::Written));
        taken.chunk(bad);
        assert_eq!(owed.wait().0, Outcome::Failed);
    }
}

/// A link's next stream, with one message on it, which is answered.
fn taken_over(rig: &Rig, fake: &Fake, peer: &Peer) -> (Taken, Request) {
    let sent = rig.post(peer, 10);
    let mut taken = fake.accept();
    taken.begin();
    let request = taken.request().unwrap();
    taken.answer(&wire::Answer::of_delivery(request.seq, Outcome::Written));
    assert_eq!(sent.wait().0, Outcome::Written);
    (taken, request)
}

#[test]
fn a_stream_is_replaced_when_its_reader_reads_another_format() {
    let rig = Rig::new(|settings| {
        (settings.format, settings.delivery_timeout_ms, settings.answer_slack_ms) = (2, 60_000, 20);
    });
    let (fake, peer) = Fake::start();
    let (first, request) = taken_over(&rig, &fake, &peer);
    assert_eq!((&*first.format, request.sum), ("1", None), "nothing is known of it");
    let mut kept = vec![first];
    for (reads, format) in [(2, "2"), (1, "1"), (3, "2")] {
        rig.peers.set_nodes([(&*peer.address, reads)]);
        // The old stream is told to end first, and what is asked meanwhile goes with the next.
        while kept.last_mut().unwrap().request().is_some() {}
        let (taken, request) = taken_over(&rig, &fake, &peer);
        assert_eq!((&*taken.format, request.sum.is_some()), (format, format == "2"));
        assert!(request.is_of_format(format.parse().unwrap()));
        kept.push(taken);
    }
    // It reads the same as this node writes, or two releases more: it stays as it is.
    rig.peers.set_nodes([(&*peer.address, 4), (&*peer.address, 2)]);
    let sent = rig.post(&peer, 10);
    let last = kept.last_mut().unwrap();
    let request = last.request().unwrap();
    last.answer(&wire::Answer::of_delivery(request.seq, Outcome::Written));
    assert_eq!((sent.wait().0, rig.state().failed), (Outcome::Written, 0));
}

#[test]
fn a_build_of_the_first_format_writes_it_to_a_newer_one() {
    let rig = Rig::new(|settings| (settings.format, settings.delivery_timeout_ms) = (1, 60_000));
    let (fake, peer) = Fake::start();
    rig.peers.set_nodes([(&*peer.address, 2)]);
    let (taken, request) = taken_over(&rig, &fake, &peer);
    assert_eq!((&*taken.format, request.sum), ("1", None));
}

#[test]
fn who_refuses_a_format_is_asked_in_the_one_before_whatever_an_old_lease_says() {
    let rig = Rig::new(|settings| (settings.format, settings.delivery_timeout_ms) = (2, 60_000));
    let (fake, peer) = Fake::start();
    rig.peers.set_nodes([(&*peer.address, 2)]);
    let refused = rig.post(&peer, 10);
    let mut taken = fake.accept();
    assert_eq!(taken.format, "2");
    taken.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(refused.wait().0, Outcome::Failed);
    let (taken, request) = taken_over(&rig, &fake, &peer);
    assert_eq!((&*taken.format, request.sum), ("1", None), "at once, without a rest");
    rig.peers.set_nodes([(&*peer.address, 2)]);
    let mut taken = taken;
    let sent = rig.post(&peer, 10);
    let request = taken.request().unwrap();
    taken.answer(&wire::Answer::of_delivery(request.seq, Outcome::Written));
    assert_eq!(sent.wait().0, Outcome::Written);
    // Its own lease says so too, and then that of the next upgrade.
    rig.peers.set_nodes([(&*peer.address, 1)]);
    rig.peers.set_nodes([(&*peer.address, 2)]);
    while taken.request().is_some() {}
    assert_eq!(taken_over(&rig, &fake, &peer).0.format, "2");
}

#[test]
fn a_refusal_says_what_to_do() {
    for (fault, says) in [
        (Fault::Refused(401), "role peer"),
        (Fault::Refused(403), "role peer"),
        (Fault::Refused(400), "release"),
        (Fault::Refused(404), "internal port"),
        (Fault::Refused(503), "503"),
        (Fault::BadFrame(BadFrame::TooLong), "too long"),
    ] {
        assert!(fault.to_string().contains(says), "{fault}");
    }
}
