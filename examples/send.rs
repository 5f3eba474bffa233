//! Sends a line for each line of standard input, `USER BODY`, and says what was dropped.
//!
//! ```text
//! printf 'ann hello\nbob hi\n' | cargo run --example send -- kafka 127.0.0.1:9092
//! printf 'ann hello\nbob hi\n' | cargo run --example send -- direct http://127.0.0.1:7008
//! ```

use holdfast::sender::{Dropped, KafkaSettings, Message, SendError, Sender};
use std::{
    env,
    error::Error,
    io::stdin,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sender = match arguments[..] {
        ["kafka", brokers] => Sender::kafka(KafkaSettings {
            // No longer than the messages are worth anything.
            timeout: Duration::from_secs(10),
            ..KafkaSettings::new(brokers)
        })?,
        ["direct", url] => Sender::direct(url, env::var("HOLDFAST_INTERNAL_TOKEN").ok().as_deref())?,
        _ => return Err("usage: send kafka HOST:PORT,… | send direct http://HOST:PORT".into()),
    };
    let sender = sender.on_dropped(|dropped| eprintln!("{dropped}"));

    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    for (number, line) in stdin().lines().enumerate() {
        let line = line?;
        let Some((user, text)) = line.split_once(' ') else { continue };
        let message =
            Message::text(user, text).ttl(Duration::from_secs(60)).id(format!("example-{run}-{number}"));
        send(&sender, message)?;
    }

    let left = sender.flush(Duration::from_secs(15));
    let counters = sender.counters();
    println!("delivered {}, dropped {}, on their way {left}", counters.delivered, counters.dropped);
    Ok(())
}

/// A program that reads a file can wait for room; one that serves requests had better count the message as lost.
fn send(sender: &Sender, mut message: Message) -> Result<(), Dropped> {
    loop {
        match sender.send(message) {
            Err(Dropped { message: again, why: SendError::Full }) => message = *again,
            done => return done,
        }
        thread::sleep(Duration::from_millis(5));
    }
}
