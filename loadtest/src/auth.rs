//! How a coordinator and an agent prove to each other that they know the same token, without saying it.
//!
//! Each sends a nonce and HMAC-SHA-256 by the token of its role and both nonces, so that nothing that was heard before proves
//! anything. What follows on the connection is neither encrypted nor signed. Frames are those of [`crate::wire`], but small.

use crate::wire;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use socket2::{SockRef, TcpKeepalive};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// The longest frame before a peer has proved anything, bytes.
const FRAME_BYTES_MAX: usize = 1_024;
const NONCE_BYTES: usize = 32;
/// How long it may take, all in all.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection without a word is asked after after this time, then every `KEEP_ALIVE_EACH`, `KEEP_ALIVE_TIMES` times.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_EACH: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMES: u32 = 4;
/// How long what was sent may wait for its acknowledgement.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// Of words that a stranger has for us, characters that are shown.
const WORDS_MAX: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    /// The coordinator's nonce.
    Hello(String),
    /// The agent's.
    Challenge(String),
    /// The coordinator's proof.
    Proof(String),
    /// The agent's.
    Welcome(String),
    /// Why not.
    Refused(String),
}

/// Whose proof.
#[derive(Clone, Copy)]
enum Role {
    Coordinator,
    Agent,
}

/// Has a peer that is gone without a word be noticed within some 20 s.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let asked = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE_EACH)
        .with_retries(KEEP_ALIVE_TIMES);
    socket.set_tcp_keepalive(&asked)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// The coordinator's side.
///
/// # Errors
/// What is wrong, in words.
pub fn greet(stream: &TcpStream, token: &str) -> Result<(), String> {
    let mut timed = Timed { stream, until: Instant::now() + PATIENCE };
    let mine = nonce().map_err(|error| error.to_string())?;
    let stranger = |error: io::Error| format!("what answers there is no agent of a load test ({error})");
    send(&mut timed, &Word::Hello(BASE64.encode(mine))).map_err(stranger)?;
    let theirs = match receive(&mut timed).map_err(stranger)? {
        Word::Challenge(text) => read_nonce(&text).ok_or("it sends no challenge that can be met")?,
        Word::Refused(why) => return Err(shown(&why)),
        _ => return Err("what answers there is no agent of a load test".into()),
    };
    send(&mut timed, &Word::Proof(proof(token, Role::Coordinator, &mine, &theirs))).map_err(stranger)?;
    match receive(&mut timed).map_err(stranger)? {
        Word::Welcome(text) if is_proof(&text, token, Role::Agent, &mine, &theirs) => Ok(()),
        Word::Welcome(_) => Err("it does not know the token: is it the right agent?".into()),
        Word::Refused(why) => Err(shown(&why)),
        _ => Err("what answers there is no agent of a load test".into()),
    }
}

/// A coordinator that has proved to know the token, and waits for a word.
pub struct Proved<'a> {
    stream: &'a TcpStream,
    welcome: String,
}

/// The agent's side.
///
/// # Errors
/// What is wrong, in words; the peer was told where it can be.
pub fn challenge<'a>(stream: &'a TcpStream, token: &str) -> Result<Proved<'a>, String> {
    let mut timed = Timed { stream, until: Instant::now() + PATIENCE };
    let stranger = |error: io::Error| format!("no coordinator of a load test ({error})");
    let Word::Hello(text) = receive(&mut timed).map_err(stranger)? else {
        return Err("no coordinator of a load test".into());
    };
    let theirs = read_nonce(&text).ok_or("no coordinator of a load test (its nonce is of another size)")?;
    let mine = nonce().map_err(|error| error.to_string())?;
    send(&mut timed, &Word::Challenge(BASE64.encode(mine))).map_err(stranger)?;
    let proved = match receive(&mut timed).map_err(stranger)? {
        Word::Proof(text) => is_proof(&text, token, Role::Coordinator, &theirs, &mine),
        _ => false,
    };
    if !proved {
        // It may have gone.
        let _ = send(
            &mut timed,
            &Word::Refused("the token is not the agent's: give both the same --token-file".into()),
        );
        return Err("it does not know the token".into());
    }
    Ok(Proved { stream, welcome: proof(token, Role::Agent, &theirs, &mine) })
}

impl Proved<'_> {
    /// Lets it in.
    ///
    /// # Errors
    /// When it is gone.
    pub fn welcome(self) -> io::Result<()> {
        send(
            &mut Timed { stream: self.stream, until: Instant::now() + PATIENCE },
            &Word::Welcome(self.welcome),
        )
    }

    /// Says why it cannot come in.
    pub fn refuse(self, why: &str) {
        // It may have gone.
        let _ = send(
            &mut Timed { stream: self.stream, until: Instant::now() + PATIENCE },
            &Word::Refused(why.into()),
        );
    }
}

/// A connection on which all together may take only so long.
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send(to: &mut Timed<'_>, word: &Word) -> io::Result<()> {
    wire::write(to, word)
}

fn receive(from: &mut Timed<'_>) -> io::Result<Word> {
    match wire::read(from, FRAME_BYTES_MAX) {
        Ok(Some(word)) => Ok(word),
        Ok(None) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it has ended the connection")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"))
        }
        Err(error) => Err(error),
    }
}

/// From the kernel, so that nobody foresees it.
fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    Ok(nonce)
}

fn read_nonce(text: &str) -> Option<[u8; NONCE_BYTES]> {
    BASE64.decode(text).ok()?.try_into().ok()
}

fn mac(token: &str, role: Role, coordinator: &[u8; NONCE_BYTES], agent: &[u8; NONCE_BYTES]) -> Hmac<Sha256> {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("any length will do");
    mac.update(match role {
        Role::Coordinator => b"holdfast load test: coordinator\n",
        Role::Agent => b"holdfast load test: agent\n",
    });
    mac.update(coordinator);
    mac.update(agent);
    mac
}

fn proof(token: &str, role: Role, coordinator: &[u8; NONCE_BYTES], agent: &[u8; NONCE_BYTES]) -> String {
    BASE64.encode(mac(token, role, coordinator, agent).finalize().into_bytes())
}

/// Compares in a time that says nothing about where they differ.
fn is_proof(
    text: &str,
    token: &str,
    role: Role,
    coordinator: &[u8; NONCE_BYTES],
    agent: &[u8; NONCE_BYTES],
) -> bool {
    let Ok(given) = BASE64.decode(text) else { return false };
    mac(token, role, coordinator, agent).verify_slice(&given).is_ok()
}

/// Words of a stranger.
fn shown(words: &str) -> String {
    words.chars().filter(|character| !character.is_control()).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_token_role_and_pair_of_nonces() {
        let (a, b) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(a, b);
        let text = proof("secret", Role::Agent, &a, &b);
        assert!(is_proof(&text, "secret", Role::Agent, &a, &b));
        assert!(!is_proof(&text, "Secret", Role::Agent, &a, &b));
        assert!(!is_proof(&text, "secret", Role::Coordinator, &a, &b), "no reflection");
        assert!(!is_proof(&text, "secret", Role::Agent, &b, &a));
        for bad in ["", "AAAA", "*", &text[..text.len() - 4]] {
            assert!(!is_proof(bad, "secret", Role::Agent, &a, &b), "{bad}");
        }
        assert_eq!(shown("a\u{1b}[2J\nb"), "a[2Jb");
    }

    #[test]
    fn a_mac_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let bytes = mac.finalize().into_bytes();
        assert_eq!(bytes[..4], [0x5b, 0xdc, 0xc1, 0x46]);
    }
}
