//! Messages to the clients of a run: by the internal ports of nodes, with outcomes, or through a queue.

use crate::{
    clock::Run,
    internal::{Internal, PATIENCE},
    ledger::{Fate, Sent},
    message::{self, Message, To},
    plan::{DEVICE, Settings},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// A queue that nodes read, as Kafka.
pub trait Queue: Send {
    /// Hands on a message for a user, and does not wait.
    ///
    /// # Errors
    /// When it is not taken: why.
    fn send(&mut self, user: &str, body: String) -> Result<(), String>;

    /// Waits until the queue has all of them.
    ///
    /// # Errors
    /// When it does not have one: why.
    fn flush(&mut self) -> Result<(), String>;
}

/// Pushes to the clients of one run.
pub struct Sender {
    /// In turn, a request each.
    ports: Vec<Internal>,
    turn: usize,
    /// Messages to single clients go through it, where there is one.
    queue: Option<Box<dyn Queue>>,
    run: Run,
    prefix: String,
    /// Size of a body, bytes.
    size: usize,
    sequences: HashMap<u32, u32>,
    broadcasts: u32,
}

impl Sender {
    /// A sender to these settings' users, over the port of any node of their fleet.
    pub fn new(internal: Internal, run: Run, settings: &Settings, size: usize) -> Self {
        Self::with(vec![internal], None, run, settings, size)
    }

    /// The same over several ports in turn; what is for single clients goes through the queue, if there is one.
    ///
    /// # Panics
    /// Without a port.
    pub fn with(
        ports: Vec<Internal>,
        queue: Option<Box<dyn Queue>>,
        run: Run,
        settings: &Settings,
        size: usize,
    ) -> Self {
        assert!(!ports.is_empty(), "a sender needs a port");
        let prefix = settings.prefix.clone();
        Self { ports, turn: 0, queue, run, prefix, size, sequences: HashMap::new(), broadcasts: 0 }
    }

    /// The port that it sends to next.
    pub fn internal(&self) -> &Internal {
        &self.ports[self.turn % self.ports.len()]
    }

    /// From now on only over these ports.
    ///
    /// # Panics
    /// Without a port.
    pub fn go_over(&mut self, ports: Vec<Internal>) {
        assert!(!ports.is_empty(), "a sender needs a port");
        self.ports = ports;
    }

    /// Waits until the queue has all that was sent through it.
    ///
    /// # Errors
    /// When it does not have one.
    pub fn flush(&mut self) -> Result<(), String> {
        self.queue.as_mut().map_or(Ok(()), |queue| queue.flush())
    }

    fn next_port(&mut self) -> &Internal {
        self.turn = self.turn.wrapping_add(1);
        self.internal()
    }

    /// Makes the following messages larger or smaller; gives the size that they had.
    pub fn resize(&mut self, size: usize) -> usize {
        std::mem::replace(&mut self.size, size)
    }

    /// Another one, for clients that this one leaves alone meanwhile, by the ports only.
    pub fn fork(&self) -> Self {
        Self {
            ports: self.ports.clone(),
            turn: self.turn,
            queue: None,
            run: self.run,
            prefix: self.prefix.clone(),
            size: self.size,
            sequences: self.sequences.clone(),
            broadcasts: self.broadcasts,
        }
    }

    /// Takes over the numbers of one that was forked off and has ended.
    pub fn absorb(&mut self, other: Sender) {
        for (client, sequence) in other.sequences {
            let mine = self.sequences.entry(client).or_default();
            *mine = sequence.max(*mine);
        }
    }

    fn body(&self, to: To, sequence: u32, meant_us: u64) -> String {
        let mut body = Vec::with_capacity(self.size + 80);
        message::write(&mut body, self.run.id, &Message { to, sequence, meant_us }, self.size);
        String::from_utf8(body).expect("bodies are ASCII")
    }

    fn next_for(&mut self, client: u32) -> u32 {
        let sequence = self.sequences.entry(client).or_default();
        *sequence += 1;
        *sequence
    }

    /// Pushes one message to each of these clients in one request; a client may be named several times.
    ///
    /// # Errors
    /// When there is no answer, or not one for each.
    pub fn push_batch(&mut self, clients: &[u32], meant_us: u64) -> Result<Vec<Sent>, String> {
        if self.queue.is_some() {
            return clients.iter().map(|&client| self.enqueue(client, meant_us)).collect();
        }
        let (mut request, mut sent) = (String::new(), Vec::with_capacity(clients.len()));
        for &client in clients {
            let sequence = self.next_for(client);
            let text = self.body(To::Client(client), sequence, meant_us);
            let user = format!("{}{client}", self.prefix);
            request.push_str(&json!({ "user": user, "text": text }).to_string());
            request.push('\n');
            sent.push((client, sequence));
        }
        let (status, text) =
            self.next_port().ask("POST", "/v1/messages", "application/x-ndjson", request.as_bytes())?;
        let answers: Vec<&str> = text.lines().collect();
        if status != 200 || answers.len() != sent.len() {
            return Err(format!("{} answers to {} messages (status {status})", answers.len(), sent.len()));
        }
        let pairs = sent.into_iter().zip(answers);
        pairs.map(|((client, sequence), answer)| judge(client, sequence, answer)).collect()
    }

    /// Pushes one message to each: to one client by a request of its own, to several in one request.
    ///
    /// # Errors
    /// When the node does not answer as it must.
    pub fn push_to(&mut self, clients: &[u32], meant_us: u64) -> Result<Vec<Sent>, String> {
        match clients {
            [client] => Ok(vec![self.push(*client, meant_us)?]),
            _ => self.push_batch(clients, meant_us),
        }
    }

    /// Pushes one message to one client by a request of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn push(&mut self, client: u32, meant_us: u64) -> Result<Sent, String> {
        if self.queue.is_some() {
            return self.enqueue(client, meant_us);
        }
        let sequence = self.next_for(client);
        let body = self.body(To::Client(client), sequence, meant_us);
        let path = format!("/v1/users/{}{client}/push", self.prefix);
        let (_, text) = self.next_port().ask("POST", &path, "text/plain", body.as_bytes())?;
        judge(client, sequence, &text)
    }

    /// A message through the queue is booked as written: what else becomes of it is nowhere told, and a fault where its
    /// client is connected.
    fn enqueue(&mut self, client: u32, meant_us: u64) -> Result<Sent, String> {
        let sequence = self.next_for(client);
        let body = self.body(To::Client(client), sequence, meant_us);
        let user = format!("{}{client}", self.prefix);
        let queue = self.queue.as_mut().ok_or("there is no queue")?;
        queue.send(&user, body)?;
        Ok(Sent { client, sequence, outcome: "written".to_owned(), fate: Fate::Comes })
    }

    /// Pushes one message to everybody, as [`Self::broadcast_over`] does, at once.
    ///
    /// # Errors
    /// When there is no answer, or none that counts.
    pub fn broadcast(&mut self, meant_us: u64) -> Result<(u32, BTreeMap<String, u64>), String> {
        self.broadcast_over(Duration::ZERO, meant_us)
    }

    /// Pushes one message to everybody over some time; gives its number and how many had which outcome.
    ///
    /// # Errors
    /// When there is no answer, or none that counts.
    pub fn broadcast_over(
        &mut self,
        spread: Duration,
        meant_us: u64,
    ) -> Result<(u32, BTreeMap<String, u64>), String> {
        self.broadcasts += 1;
        let body = self.body(To::All, self.broadcasts, meant_us);
        let path = match spread.as_secs() {
            0 => "/v1/broadcast".to_owned(),
            seconds => format!("/v1/broadcast?spread={seconds}s"),
        };
        let port = self.next_port();
        let (status, text) =
            port.ask_within(PATIENCE + spread, "POST", &path, "text/plain", body.as_bytes())?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let outcomes = answer["outcomes"].as_object().filter(|_| status == 200);
        let outcomes =
            outcomes.ok_or_else(|| format!("a broadcast was answered {status}: {}", text.trim()))?;
        let counts = outcomes.iter().filter_map(|(outcome, count)| Some((outcome.clone(), count.as_u64()?)));
        Ok((self.broadcasts, counts.collect()))
    }

    /// Has a user's connections closed, as an operator does; says whether there was one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn disconnect(&self, client: u32) -> Result<bool, String> {
        let path = format!("/v1/users/{}{client}", self.prefix);
        Ok(self.internal().ask("DELETE", &path, "text/plain", b"")?.0 == 202)
    }
}

/// What an answer says of one message.
fn judge(client: u32, sequence: u32, answer: &str) -> Result<Sent, String> {
    let value: Value =
        serde_json::from_str(answer).map_err(|_| format!("an answer that is no JSON: {}", answer.trim()))?;
    let outcome = match (&value["outcomes"], &value["error"]) {
        (Value::Array(outcomes), _) => match outcomes.as_slice() {
            [] => "offline".to_owned(),
            [one] if one["device"] == DEVICE || one["device"].is_null() => {
                one["outcome"].as_str().unwrap_or("").to_owned()
            }
            _ => return Err(format!("outcomes of devices that were not addressed: {}", answer.trim())),
        },
        (_, Value::String(error)) => error.clone(),
        _ => return Err(format!("an answer without an outcome: {}", answer.trim())),
    };
    let fate = Fate::of(&outcome);
    Ok(Sent { client, sequence, outcome, fate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let outcome = |answer: &str| judge(1, 2, answer).map(|sent| sent.outcome);
        let one = r#"{"id":"a","outcomes":[{"device":"load","outcome":"written","node":"n"}]}"#;
        assert_eq!(outcome(one), Ok("written".into()));
        assert_eq!(outcome(r#"{"id":"a","outcomes":[]}"#), Ok("offline".into()));
        assert_eq!(outcome(r#"{"error":"too_large","message":"no"}"#), Ok("too_large".into()));
        assert!(outcome(r#"{"outcomes":[{"device":"other","outcome":"written"}]}"#).is_err());
        assert!(outcome("{}").is_err() && outcome("no").is_err());
    }
}
