//! The audit log: whoever was refused for a token, a bounded number of lines a second.
//!
//! What was done is written where it is done, in lines of the same form: target `audit`, the token's name, the action, what it
//! was done to, and an outcome: `begun`, `done`, `partly` (a node did not answer, or not all could be asked), `unchanged` or
//! `nothing` (there was nothing to do).

use super::{app::App, gate::Headers, reply::Refusal};
use hyper::http::request::Parts;
use std::sync::{Mutex, PoisonError};

/// Lines a second about refusals; more are counted in the next line that there is room for. Whoever guesses tokens, or a
/// program with the wrong one, must not fill a disk.
const LINES_MAX: u32 = 5;
/// How much of a path a line shows, bytes.
const PATH_BYTES_MAX: usize = 256;

/// How many lines there were in a second.
#[derive(Default)]
pub struct Refused(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    second: u64,
    said: u32,
    unsaid: u64,
}

impl Refused {
    /// Whether there is room for a line; then, how many before it had none.
    fn room(&self, second: u64) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.second != second {
            (lines.second, lines.said) = (second, 0);
        }
        if lines.said == LINES_MAX {
            lines.unsaid += 1;
            return None;
        }
        lines.said += 1;
        Some(std::mem::take(&mut lines.unsaid))
    }
}

/// Writes that a token was refused: one whose role does not suffice, or one that is not known. A request without any is not
/// worth a line.
pub fn refused(app: &App, parts: &Parts, refusal: &Refusal) {
    let headers = Headers::of(&parts.headers, &app.identity());
    let caller = app.gate.caller(&headers);
    let token = match (refusal.error, &caller) {
        ("forbidden", Some(caller)) => caller.name(),
        ("unauthorized", _) if headers.brings_a_token() => "?",
        _ => return,
    };
    let Some(unsaid) = app.refused.room(app.control.clock.now().unix_ms / 1_000) else { return };
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let path = path.get(..PATH_BYTES_MAX).unwrap_or(path);
    let why = refusal.error;
    tracing::warn!(target: "audit", token, action = "refused", method, path, outcome = why, unsaid, "audit");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_those_without_room_are_counted() {
        let refused = Refused::default();
        let rooms: Vec<_> = (0..LINES_MAX + 3).map(|_| refused.room(7)).collect();
        assert_eq!(rooms.iter().flatten().count(), LINES_MAX as usize);
        assert_eq!(rooms[LINES_MAX as usize..], [None, None, None]);
        assert_eq!((refused.room(8), refused.room(8)), (Some(3), Some(0)));
    }
}
