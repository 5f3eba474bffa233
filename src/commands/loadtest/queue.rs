//! The load generator's messages by way of Kafka.

use crate::sender::{KafkaSettings, Message, SendError, Sender};
use holdfast_loadtest::Queue;
use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

/// How long Kafka may take to have a message: a load test with a queue that is away has nothing to say.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// And to have all of them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a full queue is waited for before it is tried again.
const PAUSE: Duration = Duration::from_millis(5);

/// See the module.
pub struct Kafka {
    sender: Sender,
    /// What became of the first message that was dropped.
    dropped: Arc<Mutex<Option<String>>>,
}

impl Kafka {
    /// # Errors
    /// When the brokers' names are not valid.
    pub fn start(settings: KafkaSettings) -> Result<Self, String> {
        let dropped = Arc::<Mutex<Option<String>>>::default();
        let hears = dropped.clone();
        let sender = Sender::kafka(settings).map_err(|error| error.to_string())?;
        let sender = sender.on_dropped(move |one| {
            let mut first = hears.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| format!("Kafka did not take a message: {}", one.why));
        });
        Ok(Self { sender, dropped })
    }

    fn check(&self) -> Result<(), String> {
        let first = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone().map_or(Ok(()), Err)
    }
}

impl Queue for Kafka {
    fn send(&mut self, user: &str, body: String) -> Result<(), String> {
        let mut message = Message::text(user, body);
        loop {
            match self.sender.send(message) {
                Ok(()) => return self.check(),
                Err(dropped) if matches!(dropped.why, SendError::Full) => {
                    message = *dropped.message;
                    sleep(PAUSE);
                }
                Err(dropped) => return Err(format!("Kafka did not take a message: {}", dropped.why)),
            }
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        match self.sender.flush(PATIENCE) {
            0 => self.check(),
            left => Err(format!("Kafka did not have {left} message(s) after {} s", PATIENCE.as_secs())),
        }
    }
}
