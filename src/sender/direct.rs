//! Over HTTP, past the queue: one request for a message with its outcome, batches for those that nobody waits for.
//!
//! Batches are the work of [`WORKERS`] threads, each with a queue and a connection of its own and one batch at a time. A
//! user's messages are one worker's, and so keep their order. A device that takes nothing holds its worker's batch up until
//! the node gives it up (`delivery.timeout`): where that matters, send through Kafka.

use super::{
    DeviceOutcome, Dropped, Invalid, Message, Outcomes, SendError, Wait,
    http::{Answer, Client, Failure, Payload},
    ledger::Ledger,
};
use crate::{clock::Clock, model::Outcome};
use serde_json::Value;
use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Threads that send batches.
const WORKERS: usize = 4;
/// Messages that wait for one worker.
const WAITING_MAX: usize = 16_384;
/// Bytes of their bodies.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Messages in a batch, of which the node has at most 1,000 under way for one request.
const BATCH_MAX: usize = 500;
/// Bytes of their bodies; a batch has one message, whatever its size.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How old a message may be that a node is asked again for, when it cannot be reached or has no room.
const RETRY_US: u64 = 30_000_000;
/// Between two such questions, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long the end waits for what is on its way.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the node may take for a message with its outcome that names no time of its own.
const WAIT: Duration = Duration::from_secs(30);
/// Idle connections that are kept for messages with their outcomes.
const KEPT: usize = 16;

/// See the module.
pub(super) struct Direct {
    /// For messages that somebody waits for.
    client: Client,
    waiting: Vec<Arc<Waiting>>,
    ledger: Arc<Ledger>,
    placing: RandomState,
    clock: Clock,
}

/// What waits for one worker.
#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Entry>,
    bytes: usize,
    ends: bool,
}

struct Entry {
    message: Box<Message>,
    /// When it was sent, monotonic µs.
    entered_us: u64,
    /// When its life ends, monotonic µs.
    until_us: Option<u64>,
}

impl Direct {
    pub fn start(url: &str, token: Option<&str>, ledger: Arc<Ledger>) -> Result<Self, Invalid> {
        let address = address(url)?;
        let client = |kept| Client::new(address.clone(), token.map(str::to_owned), WAIT, kept);
        let (clock, mut waiting) = (Clock::start(), Vec::new());
        for number in 0..WORKERS {
            let queue = Arc::<Waiting>::default();
            waiting.push(queue.clone());
            let worker = Worker { client: client(1), queue, ledger: ledger.clone(), clock };
            let thread = thread::Builder::new().name(format!("send-{number}")).spawn(move || worker.run());
            thread.map_err(|fault| Invalid::Settings(format!("cannot start a thread: {fault}")))?;
        }
        Ok(Self { client: client(KEPT), waiting, ledger, placing: RandomState::new(), clock })
    }

    /// Takes a message that was checked; it comes back when there is no room.
    pub fn send(&self, message: Message) -> Result<(), Box<Message>> {
        let place = self.placing.hash_one(&message.user) as usize % self.waiting.len();
        let queue = &self.waiting[place];
        let bytes = message.body.bytes().len();
        let mut state = queue.state();
        if state.messages.len() >= WAITING_MAX || state.bytes.saturating_add(bytes) > WAITING_BYTES_MAX {
            return Err(message.into());
        }
        let ttl_us = message.ttl.map(|ttl| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX));
        let entered_us = self.clock.micros();
        let until_us = ttl_us.map(|ttl| entered_us.saturating_add(ttl));
        self.ledger.enter();
        state.bytes += bytes;
        state.messages.push_back(Entry { message: message.into(), entered_us, until_us });
        drop(state);
        queue.changed.notify_one();
        Ok(())
    }

    /// Waits for the outcomes.
    pub fn deliver(&self, message: &Message, wait: &Wait) -> Result<Outcomes, SendError> {
        let payload = Payload { content_type: message.content_type(), body: message.body.bytes() };
        self.ledger.enter();
        let within = wait.timeout.unwrap_or_default().max(WAIT);
        let asked = self.client.ask_within(within, "POST", &message.path(wait), Some(&payload));
        let result = asked.map_err(of_failure).and_then(|answer| outcomes(&answer));
        match &result {
            Ok(outcomes) if outcomes.is_delivered() => self.ledger.deliver(),
            _ => self.ledger.drop_one(None),
        }
        result
    }
}

impl Drop for Direct {
    /// Gives what is on its way two more seconds; the rest is dropped, and said so.
    fn drop(&mut self) {
        self.ledger.wait(FAREWELL);
        for queue in &self.waiting {
            let mut state = queue.state();
            state.ends = true;
            let left = std::mem::take(&mut state.messages);
            drop(state);
            queue.changed.notify_all();
            for entry in left {
                self.ledger.drop_one(Some(Dropped { message: entry.message, why: SendError::Ended }));
            }
        }
    }
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch; None at the end.
    fn take(&self) -> Option<Vec<Entry>> {
        let mut state = self.state();
        while state.messages.is_empty() {
            if state.ends {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_MAX
            && let Some(entry) = state.messages.front()
        {
            bytes += entry.message.body.bytes().len();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                break;
            }
            state.bytes -= entry.message.body.bytes().len();
            batch.extend(state.messages.pop_front());
        }
        Some(batch)
    }

    /// Rests so long, or until the end; whether it is the end.
    fn rest(&self, pause: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), pause, |state| !state.ends);
        waited.unwrap_or_else(PoisonError::into_inner).0.ends
    }
}

/// One thread that sends batches.
struct Worker {
    client: Client,
    queue: Arc<Waiting>,
    ledger: Arc<Ledger>,
    clock: Clock,
}

impl Worker {
    fn run(self) {
        while let Some(batch) = self.queue.take() {
            self.send(batch);
        }
    }

    /// Asks until the node has taken the batch, refuses it, or its time is up.
    fn send(&self, mut batch: Vec<Entry>) {
        let mut pause = PAUSE.0;
        loop {
            let now_us = self.clock.micros();
            let is_over = |entry: &Entry| entry.until_us.is_some_and(|at| at <= now_us);
            self.drop_those(&mut batch, is_over, &SendError::Expired);
            if batch.is_empty() {
                return;
            }
            let why = match self.ask(&batch, now_us) {
                Ok(answers) => return self.settle(batch, &answers),
                Err(Again(why)) => why,
                Err(Never(why)) => return self.drop_those(&mut batch, |_| true, &why),
            };
            self.drop_those(&mut batch, |entry| now_us.saturating_sub(entry.entered_us) >= RETRY_US, &why);
            if !batch.is_empty() && self.queue.rest(pause) {
                return self.drop_those(&mut batch, |_| true, &SendError::Ended);
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    fn ask(&self, batch: &[Entry], now_us: u64) -> Result<Vec<Value>, Fault> {
        let mut lines = Vec::new();
        for entry in batch {
            let left = entry.until_us.map(|at| Duration::from_micros(at.saturating_sub(now_us)));
            entry.message.line(left, &mut lines);
        }
        let payload = Payload { content_type: Some("application/x-ndjson"), body: &lines };
        match self.client.ask("POST", "/v1/messages", Some(&payload)) {
            Ok(answer) if answer.status == 200 => Ok(answer.lines().collect()),
            Ok(answer) => {
                let why = SendError::Refused(answer.refusal("the node refused the messages"));
                Err(if matches!(answer.status, 429 | 503) { Again(why) } else { Never(why) })
            }
            Err(Failure::Unreachable(why)) => Err(Again(SendError::Unreachable(why))),
            Err(failure) => Err(Never(of_failure(failure))),
        }
    }

    /// Each answer is for the message of its line.
    fn settle(&self, batch: Vec<Entry>, answers: &[Value]) {
        let mut answers = answers.iter();
        for Entry { message, .. } in batch {
            let result = match answers.next() {
                Some(answer) => of_line(answer),
                None => Err(SendError::NoAnswer("the node's answer was cut short".into())),
            };
            match result {
                Ok(()) => self.ledger.deliver(),
                Err(why) => self.ledger.drop_one(Some(Dropped { message, why })),
            }
        }
    }

    fn drop_those(&self, batch: &mut Vec<Entry>, those: impl Fn(&Entry) -> bool, why: &SendError) {
        for Entry { message, .. } in batch.extract_if(.., |entry| those(entry)) {
            self.ledger.drop_one(Some(Dropped { message, why: why.clone() }));
        }
    }
}

/// A batch was not taken.
enum Fault {
    /// It may be asked again.
    Again(SendError),
    /// It must not, or need not.
    Never(SendError),
}
use Fault::{Again, Never};

/// `host:port` of a URL.
fn address(url: &str) -> Result<String, Invalid> {
    let invalid = |why: &str| Invalid::Settings(format!("{url:?} is no address of a node: {why}"));
    let address = match url.split_once("://") {
        None => url,
        Some(("http", address)) => address,
        Some(_) => return Err(invalid("expected http://HOST:PORT")),
    };
    let address = address.strip_suffix('/').unwrap_or(address);
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    if address.contains(['/', '@', '?', '#']) || port.is_none() {
        return Err(invalid("expected http://HOST:PORT"));
    }
    Ok(address.to_owned())
}

/// Nobody was asked, or nobody knows, or the answer was no.
fn of_failure(failure: Failure) -> SendError {
    match failure {
        Failure::Unreachable(why) => SendError::Unreachable(why),
        Failure::Refused(why) => SendError::Refused(why),
        Failure::Closed(why) | Failure::Other(why) => SendError::NoAnswer(why),
    }
}

/// The answer to a request for one message. 404 with its outcomes, of which there are none, is an answer, too.
fn outcomes(answer: &Answer) -> Result<Outcomes, SendError> {
    match (answer.status, read(&answer.body)) {
        (200 | 404, Some(outcomes)) => Ok(outcomes),
        _ => Err(SendError::Refused(answer.refusal("the node refused the message"))),
    }
}

fn of_line(answer: &Value) -> Result<(), SendError> {
    match read(answer) {
        Some(outcomes) if outcomes.is_delivered() => Ok(()),
        Some(outcomes) => Err(SendError::Undelivered(outcomes.devices)),
        None => {
            let message = answer.get("message").and_then(Value::as_str);
            Err(SendError::Refused(message.unwrap_or("the node refused the message").to_owned()))
        }
    }
}

fn read(answer: &Value) -> Option<Outcomes> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let device = |value: &Value| {
        let label = value.get("outcome").and_then(Value::as_str);
        let known = Outcome::ALL.into_iter().find(|outcome| Some(outcome.label()) == label);
        DeviceOutcome {
            device: text(value, "device"),
            // One that this version does not know is none that delivers.
            outcome: known.unwrap_or(Outcome::Failed),
            node: text(value, "node"),
            region: text(value, "region"),
        }
    };
    let devices = answer.get("outcomes")?.as_array()?.iter().map(device).collect();
    let partial = answer.get("partial").and_then(Value::as_bool).unwrap_or(false);
    Some(Outcomes { id: text(answer, "id"), devices, partial })
}

#[cfg(test)]
mod tests;
