//! What workers are told to do. All but [`Command::Report`] can be written down and sent elsewhere.

use super::{connection::Manner, tally::Tally};
use crate::plan::Habits;
use serde::{Deserialize, Serialize};
use std::{sync::mpsc, time::Duration};

/// Some clients that are to connect.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Wave {
    /// The first client's number.
    pub first: u32,
    /// How many clients.
    pub count: u32,
    /// Connections a second; infinite: all at once.
    #[serde(with = "rate")]
    pub rate: f64,
    /// How they behave.
    pub manner: Manner,
    /// How long each stays; zero: until it is told to leave.
    pub dwell: Duration,
}

/// How connections are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// By a reset.
    Reset,
    /// By the end of what the client sends, without a word before.
    Fin,
    /// In order: a close frame, or the end of what an event stream's client sends.
    Close,
    /// Not at all as far as the server can see: the client is not heard of again, and hears nothing.
    Vanish,
}

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Begin connections, from this moment on.
    Open(Wave, u64),
    /// Everyone leaves within this time, and nobody comes back.
    Leave(Duration),
    /// A share of the open connections, 0 to 1 and drawn by chance, is cut.
    Cut {
        /// How many of them.
        share: f64,
        /// In which way.
        how: Cut,
    },
    /// Sockets of clients that have vanished are reset.
    Bury,
    /// A share of the open connections, 0 to 1 and as [`crate::is_chosen`] has it, is not read any more.
    Stall {
        /// How many of them.
        share: f64,
    },
    /// All are read again.
    Resume,
    /// Come and go in another way from now on.
    Adjust(Habits),
    /// Say what was counted.
    #[serde(skip)]
    Report(mpsc::Sender<Tally>),
    /// End.
    Stop,
}

/// JSON has no infinity: a rate without a limit is null.
mod rate {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub fn serialize<S: Serializer>(rate: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        rate.is_finite().then_some(*rate).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_written_down() {
        let wave = Wave {
            first: 7,
            count: 9,
            rate: f64::INFINITY,
            manner: Manner::HalfRequest,
            dwell: Duration::from_millis(1),
        };
        for rate in [f64::INFINITY, 0.25] {
            let text = serde_json::to_string(&Command::Open(Wave { rate, ..wave }, 5)).unwrap();
            let Command::Open(read, 5) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
            assert_eq!(read, Wave { rate, ..wave });
        }
        let text = serde_json::to_string(&Command::Cut { share: 0.5, how: Cut::Vanish }).unwrap();
        assert_eq!(text, r#"{"cut":{"share":0.5,"how":"vanish"}}"#);
        let (sender, _answers) = mpsc::channel();
        assert!(serde_json::to_string(&Command::Report(sender)).is_err(), "it has nowhere to answer to");
    }
}
