//! Kafka, as far as it is I/O: records of the lanes out, what is done with them in.
//!
//! Owns the consumer, the producer and the embedded broker. Decides which lane is read next and nothing else: what a
//! record means, whom it is for and when it is done is for those above. Talks to them in plain values ([`Request`],
//! [`Output`]), so that a fake can take its place.
//!
//! # What is promised
//!
//! - Records of a partition are handed over in their order, each once, as long as the partition is held. Nothing is said
//!   of the order between partitions.
//! - An offset is committed only when [`Request::Done`] has said so: on an interval, at a revoke and at the end. A node
//!   that is killed has its last second delivered again.
//! - A revoke waits for [`Request::Released`], bounded by [`Bounds::revoke_ms`]; other partitions go on meanwhile.
//! - The highest lane that has something is read first, with a share reserved for each lower one ([`Bounds::share`]).
//!
//! # Bounds
//!
//! Of each lane [`Bounds::in_flight_max`] records are handed over and not finished, [`Bounds::uncommitted_max`] are handed over
//! and not done, as one that waits holds up the offset of those behind it, and [`Bounds::fetched_kib_max`] are fetched ahead of
//! that. There the fetching ends by itself, and nothing is thrown away, as it would be by a pause. Records that wait
//! to be produced are bounded, and what does not fit is refused.
//!
//! # Threads
//!
//! The consumer's own, and librdkafka's: one for each broker, one that keeps time, and one that hears what became of what
//! was produced.

mod batch;
mod config;
mod consumer;
mod context;
mod embedded;
mod held;
mod password;
pub mod probe;
mod producer;
mod seam;
mod shares;
mod signal;
mod skip;

pub use embedded::{Embedded, PARTITIONS};
pub use producer::Producer;
pub use seam::{
    Bounds, Event, Full, Header, Invalid, NoRoom, Output, Partition, Produce, Record, Request, Settings,
};

use consumer::Consumer;
use signal::Signal;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    thread,
};

/// Where outputs go.
type Deliver = Arc<dyn Fn(Output) + Send + Sync>;

/// See the module.
pub struct Queue {
    inbox: Arc<Inbox>,
    producer: Option<Producer>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Queue {
    /// Starts the threads, which connect by themselves. `deliver` is called on the consumer's thread, with
    /// [`Output::Produced`] on the producer's, and with that of a record that can never be sent within [`Self::submit`]; it
    /// should be quick, and may submit.
    ///
    /// # Errors
    /// When the settings are not valid, or there is no thread left.
    pub fn start(
        settings: &Settings,
        deliver: impl Fn(Output) + Send + Sync + 'static,
    ) -> Result<Self, Invalid> {
        let (deliver, inbox): (Deliver, _) = (Arc::new(deliver), Arc::<Inbox>::default());
        let producer = Producer::beside_consumer(settings, deliver.clone())?;
        let consumer = Consumer::new(settings, deliver, inbox.clone())?;
        let thread = thread::Builder::new().name("kafka".to_owned()).spawn(move || consumer.run());
        let thread = thread.map_err(|fault| Invalid::Thread(fault.to_string()))?;
        Ok(Self { inbox, producer: Some(producer), thread: Some(thread) })
    }

    /// Takes a request; never waits.
    ///
    /// # Errors
    /// A record to be produced that finds no room: nothing will be delivered for it.
    pub fn submit(&self, request: Request) -> Result<(), NoRoom> {
        match (request, &self.producer) {
            (Request::Produce(produce), Some(producer)) => {
                producer.submit(&produce).map_err(|Full| NoRoom(produce.into()))
            }
            (request, _) => {
                self.inbox.push(request);
                Ok(())
            }
        }
    }

    /// From its next connection on each client gives brokers this password, where [`Settings::properties`] name who it belongs to.
    pub fn set_password(&self, password: &str) {
        if let Some(producer) = &self.producer {
            producer.set_password(password);
        }
        self.inbox.set_password(password);
    }
}

impl Drop for Queue {
    /// Commits what is done and ends without leaving the group, so that this node may come back to its partitions; who
    /// wants others to go on at once submits [`Request::Leave`] first. Waits at most some seconds.
    fn drop(&mut self) {
        self.inbox.end();
        // First, as answers to it are delivered on its own thread.
        self.producer = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there would be nothing left to do about it.
            let _ = thread.join();
        }
    }
}

/// What waits for the consumer's thread. Bounded by what it has handed over: a request answers something, or is a person's.
#[derive(Default)]
struct Inbox {
    requests: Mutex<Vec<Request>>,
    /// A new one.
    password: Mutex<Option<String>>,
    signal: Arc<Signal>,
    ends: AtomicBool,
}

impl Inbox {
    fn push(&self, request: Request) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.signal.raise();
    }

    fn take(&self, into: &mut Vec<Request>) {
        std::mem::swap(into, &mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn set_password(&self, password: &str) {
        *self.password.lock().unwrap_or_else(PoisonError::into_inner) = Some(password.to_owned());
        self.signal.raise();
    }

    fn take_password(&self) -> Option<String> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(&self) {
        self.ends.store(true, Release);
        self.signal.raise();
    }

    fn has_ended(&self) -> bool {
        self.ends.load(Acquire)
    }
}
