//! What a coordinator and those who have its clients say to each other: worker processes of its machine, and agents on others.
//!
//! A frame is the length of what follows, 4 bytes, big-endian, and JSON. The coordinator asks, the far side answers in order.
//! Owns no socket and no clock.

pub mod packed;

use crate::{
    plan::{Settings, Share},
    room::Room,
    worker::Command,
};
pub use packed::Packed;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, ErrorKind, Read, Write};

/// The longest frame, bytes. A list of receipts, the longest there is, is sent in parts far below it.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Both sides must be of the same: what they tell each other is not kept compatible.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/1");
/// Of a list that is read, before any of it has come, bytes.
const ROOM_BYTES: usize = 64 * 1024;

/// What the coordinator says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The first word, with its [`VERSION`]; [`Answer::Hello`].
    Hello(String),
    /// What does your clock say? [`Answer::Clock`].
    Clock,
    /// Have these clients; [`Answer::Ready`] or [`Answer::Failed`].
    Begin(Box<Begin>),
    /// To be told to all threads; no answer.
    Do(Command),
    /// [`Answer::Receipts`] any number of times, then [`Answer::Tally`].
    Report,
}

/// Which clients the far side has, and what it must know for that.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The run's.
    pub run: u64,
    /// When the run began, by the far side's clock, us; mostly before zero.
    pub epoch_us: i64,
    /// Who the clients are. Its `threads` are those of all members together.
    pub settings: Settings,
    /// Which of those threads are the far side's.
    pub share: Share,
    /// In how many processes: 1 for a worker, which is one.
    pub processes: u32,
    /// How many clients it will have open at most, as far as the coordinator knows.
    pub connections: u32,
}

/// What the far side says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Its [`VERSION`], and what its machine allows.
    Hello(String, Room),
    /// Its clock, us since it began to listen.
    Clock(u64),
    /// By how much the clocks of its own workers may differ from its own, us, and their process ids.
    Ready(u64, Vec<u32>),
    /// Why it cannot.
    Failed(String),
    /// A part of what came for single clients: client, sequence, client, sequence, and so on.
    Receipts(Vec<u32>),
    /// What was counted, what has been lost since the last time, in words, and the clock as of [`Answer::Clock`].
    Tally(Box<Packed>, Vec<String>, u64),
}

/// Sends a frame.
///
/// # Errors
/// When the other side does not take it, or it would be too long.
pub fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, too_long(length, FRAME_BYTES_MAX)));
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    to.write_all(&frame)?;
    to.flush()
}

/// Takes a frame of at most `most` bytes. None: the other side has ended between two frames.
///
/// # Errors
/// When it ends within one, sends one that is too long or not understood, or takes too long.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, most: usize) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    let mut got = 0;
    while got < length.len() {
        match from.read(&mut length[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > most {
        return Err(io::Error::new(ErrorKind::InvalidData, too_long(length, most)));
    }
    // It grows as bytes come, so that nobody reserves memory by promising many.
    let mut body = Vec::with_capacity(length.min(ROOM_BYTES));
    if from.take(length as u64).read_to_end(&mut body)? < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let message = serde_json::from_slice(&body).map_err(|error| {
        io::Error::new(ErrorKind::InvalidData, format!("a frame that is not understood: {error}"))
    })?;
    Ok(Some(message))
}

fn too_long(length: usize, most: usize) -> String {
    format!("a frame of {length} bytes, and {most} are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{Manner, Wave};
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn no_bytes_can_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[\\[\\]{}\",:a-z0-9]{0,40}") {
            let _ = read::<Ask>(&mut bytes.as_slice(), FRAME_BYTES_MAX);
            let mut frame = (text.len() as u32).to_be_bytes().to_vec();
            frame.extend(text.bytes());
            let _ = read::<Answer>(&mut frame.as_slice(), FRAME_BYTES_MAX);
        }
    }

    fn round(ask: &Ask) -> Ask {
        let mut bytes = Vec::new();
        write(&mut bytes, ask).unwrap();
        read(&mut bytes.as_slice(), FRAME_BYTES_MAX).unwrap().unwrap()
    }

    #[test]
    fn what_is_said_is_understood() {
        let mut settings = Settings::new("127.0.0.1:7001".parse().unwrap());
        settings.sse_share = 0.1 + 0.2;
        let share = Share { first: 3, threads: 2 };
        let begin = Begin {
            run: u64::MAX - 1,
            epoch_us: -5,
            settings: settings.clone(),
            share,
            processes: 2,
            connections: 9,
        };
        let Ask::Begin(read) = round(&Ask::Begin(Box::new(begin))) else { panic!() };
        assert_eq!((read.run, read.epoch_us, read.share), (u64::MAX - 1, -5, share));
        assert_eq!(read.settings.sse_share.to_bits(), settings.sse_share.to_bits(), "to the last bit");
        let wave =
            Wave { first: 1, count: 2, rate: f64::INFINITY, manner: Manner::Stay, dwell: Duration::ZERO };
        let Ask::Do(Command::Open(read, 7)) = round(&Ask::Do(Command::Open(wave, 7))) else { panic!() };
        assert_eq!(read, wave);
    }

    #[test]
    fn bad_frames_are_errors_and_an_end_is_an_end() {
        let read = |bytes: &[u8], most| read::<Ask>(&mut &*bytes, most).map_err(|error| error.to_string());
        assert!(matches!(read(b"", 100), Ok(None)));
        let mut good = Vec::new();
        write(&mut good, &Ask::Report).unwrap();
        assert!(matches!(read(&good, 100), Ok(Some(Ask::Report))));
        for cut in 1..good.len() {
            assert!(read(&good[..cut], 100).unwrap_err().contains("end of file"), "{cut}");
        }
        let long = read(&[0, 0, 0, 101], 100).unwrap_err();
        assert_eq!(long, "a frame of 101 bytes, and 100 are allowed");
        assert!(read(&[255; 8], FRAME_BYTES_MAX).unwrap_err().contains("4294967295"));
        for rubbish in ["null", "{}", "\"unheard\"", "[[[[", "\u{0}"] {
            let mut bytes = (rubbish.len() as u32).to_be_bytes().to_vec();
            bytes.extend(rubbish.bytes());
            assert!(read(&bytes, 100).unwrap_err().contains("not understood"), "{rubbish}");
        }
        let deep = "[".repeat(100_000);
        let mut bytes = (deep.len() as u32).to_be_bytes().to_vec();
        bytes.extend(deep.bytes());
        assert!(read(&bytes, FRAME_BYTES_MAX).is_err());
    }
}
