//! The bodies that are pushed: who they are for, which they are, when they were meant to be sent, and filler.
//!
//! A body is text that any byte lost, added, changed or handed to somebody else gives away: it is compared whole with what
//! was written. Never does I/O.

use std::io::Write;

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum To {
    /// One client, by its number.
    Client(u32),
    /// Everybody.
    All,
}

/// What a body says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Whom it is for.
    pub to: To,
    /// Its number among those for the same receiver, from 1.
    pub sequence: u32,
    /// When it was meant to be sent, us since the run began.
    pub meant_us: u64,
}

/// [`Message::meant_us`] of messages whose time under way says nothing.
pub const NOT_TIMED: u64 = 0;

/// What every body begins with.
const MARK: &str = "hf1";
/// A line of filler, with its end. A body of several lines also tries the lines of an event.
const LINE: usize = 61;

/// The least size of a body, bytes: its first words fit in whatever the numbers are, so that filler proves the size.
pub const SIZE_MIN: usize = 80;

/// Appends a body of `size` bytes, at least [`SIZE_MIN`].
pub fn write(out: &mut Vec<u8>, run: u64, message: &Message, size: usize) {
    let (begin, size) = (out.len(), size.max(SIZE_MIN));
    // Writing to a Vec can not fail.
    let _ = match message.to {
        To::Client(client) => write!(out, "{MARK} {run:016x} {client}"),
        To::All => write!(out, "{MARK} {run:016x} *"),
    };
    let _ = write!(out, " {} {} {size}", message.sequence, message.meant_us);
    let seed = message.sequence as usize;
    for at in out.len() - begin..size {
        out.push(if at % LINE == LINE - 1 { b'\n' } else { b'a' + ((at + seed * 7) % 26) as u8 });
    }
}

/// Whether a body begins as every body of a load does, whatever its run.
pub fn is_ours(body: &[u8]) -> bool {
    body.starts_with(MARK.as_bytes())
}

/// Reads a body and compares every byte with what was written; `scratch` is room for that.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read(body: &[u8], run: u64, scratch: &mut Vec<u8>) -> Result<Message, String> {
    let (message, written_run, size) =
        parse(body).ok_or_else(|| format!("an unknown body: {}", shown(body)))?;
    if written_run != run {
        return Err(format!("a message of another run ({written_run:016x}, this is {run:016x})"));
    }
    scratch.clear();
    // A size that was damaged must not ask for gigabytes.
    write(scratch, run, &message, size.min(body.len() + 1));
    if size > body.len() || scratch != body {
        return Err(format!("a damaged body of {} bytes: {}", body.len(), shown(body)));
    }
    Ok(message)
}

fn parse(body: &[u8]) -> Option<(Message, u64, usize)> {
    let mut words = body.splitn(6, |&byte| byte == b' ').map(|word| std::str::from_utf8(word).ok());
    let mut next = || words.next().flatten();
    if next()? != MARK {
        return None;
    }
    let run = u64::from_str_radix(next()?, 16).ok()?;
    let to = match next()? {
        "*" => To::All,
        number => To::Client(number.parse().ok()?),
    };
    let (sequence, meant_us) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let digits = |word: &str| word.bytes().take_while(u8::is_ascii_digit).count();
    let rest = next()?;
    let size = rest.get(..digits(rest))?.parse().ok()?;
    Some((Message { to, sequence, meant_us }, run, size))
}

/// The beginning of some bytes, for words.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let begin = &bytes[..bytes.len().min(80)];
    format!("\"{}\"{}", begin.escape_ascii(), if begin.len() < bytes.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: u64 = 0xfeed;

    fn body(message: &Message, size: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, RUN, message, size);
        out
    }

    #[test]
    fn a_body_has_its_size_and_lines() {
        let message = Message { to: To::Client(7), sequence: 3, meant_us: 1_000_000 };
        let long = body(&message, 300);
        assert_eq!(long.len(), 300);
        assert!(long.contains(&b'\n') && long.is_ascii());
        let short = body(&message, 0);
        assert!(short.starts_with(b"hf1 000000000000feed 7 3 1000000 80") && short.len() == SIZE_MIN);
        let longest = Message { to: To::Client(u32::MAX), sequence: u32::MAX, meant_us: 1 << 50 };
        assert_eq!(body(&longest, 0).len(), SIZE_MIN);
    }

    #[test]
    fn a_message_of_another_run_is_told_apart() {
        let message = Message { to: To::All, sequence: 1, meant_us: 0 };
        let fault = read(&body(&message, 100), RUN + 1, &mut Vec::new()).unwrap_err();
        assert!(fault.contains("another run"), "{fault}");
        assert!(read(b"hello", RUN, &mut Vec::new()).is_err());
        assert!(read(b"", RUN, &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_no_change_goes_unseen(
            client in proptest::option::of(any::<u32>()), sequence: u32, meant_us: u64, size in 0usize..400,
            at: prop::sample::Index, to: u8,
        ) {
            let to_whom = client.map_or(To::All, To::Client);
            let message = Message { to: to_whom, sequence, meant_us };
            let mut whole = body(&message, size);
            prop_assert_eq!(read(&whole, RUN, &mut Vec::new()), Ok(message));
            let at = at.index(whole.len());
            if whole[at] != to {
                whole[at] = to;
                // A changed number of the first line makes another message, which the ledger knows nothing of.
                prop_assert_ne!(read(&whole, RUN, &mut Vec::new()), Ok(message));
            }
            whole.pop();
            prop_assert_ne!(read(&whole, RUN, &mut Vec::new()), Ok(message));
        }
    }
}
