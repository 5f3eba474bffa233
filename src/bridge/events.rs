//! Connects and disconnects, as records of a topic of Kafka.
//!
//! Owns the thread that takes them from the directory and hands them to a producer. Nothing waits for it: what finds no room,
//! in its mailbox or at the producer, is counted and lost.

use super::{
    queue::{Invalid, Output, Produce, Producer, Settings},
    router::Router,
};
use crate::{
    clock::Clock,
    directory::{PRESENCE_MAX, Presence, PresenceLog},
    kit::mailbox::{self, Receiver, Wake},
    stats::NodeStats,
};
use serde::Serialize;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Events taken at once.
const TURN_MAX: usize = 4_096;
/// Between two looks at what was lost.
const REST: Duration = Duration::from_secs(1);

/// The value of a record.
#[derive(Serialize)]
struct Event<'a> {
    state: &'static str,
    user: &'a str,
    device: &'a str,
    connection: &'a str,
    node: &'a str,
    region: &'a str,
    protocol: &'static str,
    at: u64,
}

/// The mailbox of the events, before anybody reads it: the directory needs its end.
pub struct EventMail {
    /// The directory's end.
    pub log: PresenceLog,
    events: Receiver<Presence>,
    woken: mpsc::Receiver<()>,
    bell: Arc<Bell>,
}

impl Default for EventMail {
    fn default() -> Self {
        let (ring, woken) = mpsc::sync_channel(1);
        let bell = Arc::new(Bell(ring));
        let (events, receiver) = mailbox::mailbox(&[PRESENCE_MAX], bell.clone());
        Self { log: PresenceLog::new(events), events: receiver, woken, bell }
    }
}

struct Bell(mpsc::SyncSender<()>);

impl Wake for Bell {
    fn wake(&self) {
        // Full: it rings already.
        let _ = self.0.try_send(());
    }
}

/// What the records say of the node, and where they go.
pub struct About {
    /// The topic.
    pub topic: String,
    /// The node's id.
    pub node: String,
    /// Its region.
    pub region: String,
}

/// The running thread.
pub struct EventsThread {
    bell: Arc<Bell>,
    ends: Arc<AtomicBool>,
    producer: Arc<Producer>,
    thread: JoinHandle<()>,
}

impl EventsThread {
    /// Starts the producer and the thread.
    ///
    /// # Errors
    /// When a setting is refused, or there is no thread left.
    pub fn spawn(
        mail: EventMail,
        settings: &Settings,
        about: About,
        router: Arc<Router>,
        stats: Arc<NodeStats>,
        clock: Clock,
    ) -> Result<Self, Invalid> {
        let counted = stats.clone();
        let producer = Producer::start(settings, move |output| {
            if let Output::Produced { result, .. } = output {
                counted.kafka.event(result.is_ok());
            }
        })?;
        let producer = Arc::new(producer);
        let ends = Arc::new(AtomicBool::new(false));
        let EventMail { log, events, woken, bell } = mail;
        let (written, ended) = (producer.clone(), ends.clone());
        let runner = Runner {
            log,
            events,
            woken,
            ends: ended,
            producer: written,
            about,
            router,
            stats,
            clock,
            lost: 0,
        };
        let thread = std::thread::Builder::new().name("events".into()).spawn(move || runner.run());
        let thread = thread.map_err(|fault: io::Error| Invalid::Thread(fault.to_string()))?;
        Ok(Self { bell, ends, producer, thread })
    }

    /// The queue's password has changed.
    pub fn set_password(&self, password: &str) {
        self.producer.set_password(password);
    }

    /// Writes what has happened until now, within two seconds, and waits for the thread.
    pub fn stop(self) {
        self.ends.store(true, Ordering::Release);
        self.bell.wake();
        // An error says that the thread has panicked: that was reported.
        let _ = self.thread.join();
    }
}

struct Runner {
    log: PresenceLog,
    events: Receiver<Presence>,
    woken: mpsc::Receiver<()>,
    ends: Arc<AtomicBool>,
    producer: Arc<Producer>,
    about: About,
    router: Arc<Router>,
    stats: Arc<NodeStats>,
    clock: Clock,
    /// Of [`PresenceLog::lost`], what was counted.
    lost: u64,
}

impl Runner {
    fn run(mut self) {
        let mut taken = Vec::new();
        loop {
            // Before the mail is taken: what happened before the end is in it.
            let ends = self.ends.load(Ordering::Acquire);
            while self.events.take(TURN_MAX, &mut taken) || !taken.is_empty() {
                let now_ms = self.clock.now().unix_ms;
                taken.drain(..).for_each(|event| self.write(&event, now_ms));
            }
            let lost = self.log.lost();
            (self.lost..lost).for_each(|_| self.stats.kafka.event(false));
            self.lost = lost;
            if ends || self.woken.recv_timeout(REST) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn write(&self, event: &Presence, at: u64) {
        let connection = self.router.connection_id(event.handle).to_string();
        let value = Event {
            state: if event.is_online { "online" } else { "offline" },
            user: &event.user,
            device: event.device.as_deref().unwrap_or(&connection),
            connection: &connection,
            node: &self.about.node,
            region: &self.about.region,
            protocol: event.protocol.label(),
            at,
        };
        let produce = Produce {
            id: Some(0),
            topic: self.about.topic.clone(),
            key: Some(String::from(event.user.clone()).into()),
            // Strings and numbers have no way to fail.
            value: Some(serde_json::to_vec(&value).unwrap_or_default().into()),
            headers: Vec::new(),
        };
        if self.producer.submit(&produce).is_err() {
            self.stats.kafka.event(false);
        }
    }
}
