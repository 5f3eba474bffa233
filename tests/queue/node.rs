//! A queue of a test, with someone above it.

use bytes::Bytes;
use holdfast::bridge::queue::{Event, Output, Partition, Produce, Queue, Record, Request, Settings};
use holdfast::model::Lane;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a test: topics of its own, and short times.
pub fn settings(broker: &str, test: &str, node: &str) -> Settings {
    let topics = ["high", "normal", "low"].map(|lane| format!("^{test}\\.push\\.{lane}$"));
    let mut settings = Settings {
        topics: topics.into(),
        properties: vec![("topic.metadata.refresh.interval.ms".into(), "300".into())],
        ..Settings::embedded(broker, test, node)
    };
    settings.session_timeout_ms = 6_000;
    settings.bounds.commit_ms = 200;
    settings
}

pub fn topic(test: &str, lane: usize) -> String {
    format!("{test}.push.{}", ["high", "normal", "low"][lane])
}

/// A queue whose outputs the test reads itself.
pub struct Node {
    pub queue: Queue,
    outputs: Receiver<Output>,
}

impl Node {
    pub fn start(settings: &Settings) -> Self {
        let (sender, outputs) = mpsc::channel();
        // Nobody listens any more at the end of a test.
        let queue = Queue::start(settings, move |output| drop(sender.send(output))).unwrap();
        Self { queue, outputs }
    }

    pub fn submit(&self, request: Request) {
        self.queue.submit(request).unwrap();
    }

    pub fn set_password(&self, password: &str) {
        self.queue.set_password(password);
    }

    /// The next output within that time.
    pub fn next(&self, within: Duration) -> Option<Output> {
        match self.outputs.recv_timeout(within) {
            Ok(output) => Some(output),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the queue has ended"),
        }
    }

    /// Reads outputs until one is what the test waits for.
    pub fn until<T>(&self, what: &str, mut found: impl FnMut(Output) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let output = self.next(left).unwrap_or_else(|| panic!("waited in vain for {what}"));
            if let Some(found) = found(output) {
                return found;
            }
        }
    }

    /// Reads so many records, and answers nothing.
    pub fn records(&self, count: usize) -> Vec<(Lane, Record)> {
        let mut all = Vec::new();
        self.until(&format!("{count} records"), |output| {
            if let Output::Batch { lane, records } = output {
                all.extend(records.into_iter().map(|record| (lane, record)));
            }
            (all.len() >= count).then_some(())
        });
        assert_eq!(all.len(), count);
        all
    }

    /// Says that these are finished and done.
    pub fn done(&self, records: &[(Lane, Record)]) {
        self.done_of(records.iter().map(|(_, record)| record));
    }

    pub fn done_of<'a>(&self, records: impl Iterator<Item = &'a Record>) {
        for (partition, (offset, records)) in last_of_each(records) {
            self.submit(Request::Finished { partition: partition.clone(), records });
            self.submit(Request::Done { partition, offset });
        }
    }
}

/// Where a record stands, whenever it is held.
pub fn place(record: &Record) -> (&str, i32, i64) {
    (&record.partition.topic, record.partition.number, record.offset)
}

/// The last offset, and how many.
pub fn last_of_each<'a>(records: impl Iterator<Item = &'a Record>) -> HashMap<Partition, (i64, usize)> {
    let mut found: HashMap<_, (i64, usize)> = HashMap::new();
    for record in records {
        let one = found.entry(record.partition.clone()).or_default();
        *one = (record.offset, one.1 + 1);
    }
    found
}

/// Someone who writes records.
pub struct Source(Node);

impl Source {
    pub fn new(broker: &str) -> Self {
        let mut settings = settings(broker, "source", "source");
        settings.topics = vec!["^nothing$".into()];
        Self(Node::start(&settings))
    }

    /// Waits until all are delivered.
    pub fn produce(&self, records: impl IntoIterator<Item = Produce>) {
        let (mut sent, mut answered) = (0, 0);
        for mut record in records {
            record.id = Some(sent);
            self.0.submit(Request::Produce(record));
            sent += 1;
        }
        while answered < sent {
            self.0.until("a record's delivery", |output| match output {
                Output::Produced { result, .. } => {
                    result.unwrap();
                    answered += 1;
                    Some(())
                }
                _ => None,
            });
        }
    }

    /// Each lane's topic exists; one record in each.
    pub fn make_topics(&self, test: &str) {
        self.produce((0..3).map(|lane| record(&topic(test, lane), "first", "first")));
    }
}

pub fn record(topic: &str, key: &str, value: &str) -> Produce {
    Produce {
        topic: topic.to_owned(),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..Produce::default()
    }
}

/// What workers have seen, in the order in which they saw it.
pub type Seen = Arc<Mutex<Vec<(Lane, Record, Instant)>>>;

/// Someone above the queue who does at once whatever comes.
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Node>>,
}

impl Worker {
    /// `pace`: how long a record takes.
    pub fn start(settings: &Settings, seen: &Seen, pace: Duration) -> Self {
        let (node, stop, seen) = (Node::start(settings), Arc::new(AtomicBool::new(false)), seen.clone());
        let stops = stop.clone();
        let thread = thread::spawn(move || {
            while !stops.load(Relaxed) {
                if let Some(output) = node.next(Duration::from_millis(20)) {
                    work(&node, output, &seen, pace);
                }
            }
            node
        });
        Self { stop, thread: Some(thread) }
    }

    /// The worker rests from now on.
    pub fn stop(mut self) -> Node {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }

    /// The worker leaves the group, and works on until it has left.
    pub fn leave(self, seen: &Seen) {
        let node = self.stop();
        node.submit(Request::Leave);
        node.until("leaving", |output| {
            let left = matches!(output, Output::Event(Event::Left));
            work(&node, output, seen, Duration::ZERO);
            left.then_some(())
        });
    }
}

fn work(node: &Node, output: Output, seen: &Seen, pace: Duration) {
    match output {
        Output::Batch { lane, records } => {
            thread::sleep(pace * records.len() as u32);
            let now = Instant::now();
            seen.lock().unwrap().extend(records.iter().map(|record| (lane, record.clone(), now)));
            node.done_of(records.iter());
        }
        Output::Revoked { revocation, .. } => node.submit(Request::Released { revocation }),
        Output::Event(Event::Error { cause, fatal: true }) => panic!("{cause}"),
        _ => {}
    }
}

/// Waits until workers have seen so many.
pub fn wait_for_seen(seen: &Seen, count: usize) {
    wait_until(&format!("{count} records"), || seen.lock().unwrap().len() >= count);
}

pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Node {
    /// The records of the next batch; none when none comes within that time.
    pub fn next_batch(&self, within: Duration) -> Vec<(Lane, Record)> {
        let deadline = Instant::now() + within;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Output::Batch { lane, records }) => {
                    return records.into_iter().map(|record| (lane, record)).collect();
                }
                Some(_) => {}
                None => return Vec::new(),
            }
        }
    }
}
