//! Sessions of the admin page: what a browser holds in place of a token.
//!
//! Owns the open sessions and their ids. An id is 32 bytes from the kernel's generator; who offers one is compared with all
//! of them in constant time. A session lasts for [`LIFE`], and no longer than its token. At most [`SESSIONS_MAX`] are open:
//! one more ends the oldest, which only somebody with a token can bring about.
//!
//! Nothing slows down those who try tokens. They may try them at every endpoint, and a token is chosen at random: at a
//! million tries a second, one of 32 bytes is not found before the sun goes out.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use std::{
    fs::File,
    io::{self, Read},
    time::Duration,
};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// The cookie's name.
pub const COOKIE_NAME: &str = "holdfast_session";
/// How long a session lasts, whatever is done in it.
pub const LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Sessions open at once.
pub const SESSIONS_MAX: usize = 256;
/// Cookies of our name in one request that are looked at. A browser sends one.
const OFFERED_MAX: usize = 4;
/// Of an id.
const ID_BYTES: usize = 32;

/// See the module.
#[derive(Default)]
pub struct Sessions {
    /// The oldest first.
    open: Vec<Session>,
    opened: u64,
}

struct Session {
    /// Names it within the process; not a secret.
    number: u64,
    /// What the browser offers.
    id: String,
    /// The place of its token.
    token: usize,
    ends: Instant,
}

impl Sessions {
    /// Opens a session for the token at a place. Returns its number and its id.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn open(&mut self, token: usize, now: Instant) -> io::Result<(u64, String)> {
        let mut bytes = [0; ID_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        self.open.retain(|session| now < session.ends);
        if self.open.len() >= SESSIONS_MAX {
            self.open.remove(0);
        }
        self.opened += 1;
        self.open.push(Session { number: self.opened, id: id.clone(), token, ends: now + LIFE });
        Ok((self.opened, id))
    }

    /// The number and the token's place of the session with an id. Looks at every one, however early it finds it.
    pub fn find(&self, id: &[u8], now: Instant) -> Option<(u64, usize)> {
        let mut found = None;
        for session in &self.open {
            if bool::from(session.id.as_bytes().ct_eq(id)) {
                found = Some(session);
            }
        }
        found.filter(|session| now < session.ends).map(|session| (session.number, session.token))
    }

    /// Whether a session has not ended.
    pub fn is_open(&self, number: u64, now: Instant) -> bool {
        self.open.iter().any(|session| session.number == number && now < session.ends)
    }

    /// Ends a session.
    pub fn close(&mut self, number: u64) {
        self.open.retain(|session| session.number != number);
    }

    /// The token at each place is at another now, or gone: then so are its sessions.
    pub fn move_tokens(&mut self, places: &[Option<usize>]) {
        self.open.retain_mut(|session| match places.get(session.token).copied().flatten() {
            Some(place) => {
                session.token = place;
                true
            }
            None => false,
        });
    }

    /// How many are open.
    pub fn count(&self, now: Instant) -> usize {
        self.open.iter().filter(|session| now < session.ends).count()
    }
}

/// What a `Cookie` header offers as ids (RFC 6265 5.4).
pub fn offered(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = cookies.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let values = pairs.filter_map(|pair| pair.strip_prefix(COOKIE_NAME.as_bytes())?.strip_prefix(b"="));
    values.take(OFFERED_MAX)
}

/// The value of `Set-Cookie` that gives a browser an id. It is not `Secure`, since the port itself speaks plain HTTP.
pub fn set_cookie(id: &str) -> String {
    format!("{COOKIE_NAME}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}", LIFE.as_secs())
}

/// The value of `Set-Cookie` that takes it back.
pub fn clear_cookie() -> String {
    format!("{COOKIE_NAME}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_id_until_its_time_is_over() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (number, id) = sessions.open(3, now).unwrap();
        let (other, other_id) = sessions.open(1, now).unwrap();
        assert_eq!((id.len(), number != other, id != other_id), (43, true, true));
        assert_eq!(sessions.find(id.as_bytes(), now), Some((number, 3)));
        assert_eq!(sessions.find(&id.as_bytes()[..42], now), None);
        assert_eq!(sessions.find(b"", now), None);
        let later = now + LIFE;
        assert!(sessions.is_open(number, now) && !sessions.is_open(number, later));
        assert_eq!(sessions.find(id.as_bytes(), later), None);
        sessions.close(number);
        assert!(!sessions.is_open(number, now) && sessions.is_open(other, now));
        sessions.open(1, later).unwrap();
        assert_eq!(
            (sessions.count(later), sessions.open.len()),
            (1, 1),
            "those whose time is over make room"
        );
    }

    #[test]
    fn one_too_many_ends_the_oldest() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let opened: Vec<_> = (0..=SESSIONS_MAX).map(|_| sessions.open(0, now).unwrap()).collect();
        assert_eq!(sessions.count(now), SESSIONS_MAX);
        assert!(!sessions.is_open(opened[0].0, now));
        assert!(opened[1..].iter().all(|(number, _)| sessions.is_open(*number, now)));
    }

    #[test]
    fn they_go_with_their_tokens() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let ids: Vec<String> = (0..3).map(|token| sessions.open(token, now).unwrap().1).collect();
        sessions.move_tokens(&[Some(1), None, Some(0)]);
        let token = |id: &String| sessions.find(id.as_bytes(), now).map(|(_, token)| token);
        assert_eq!(ids.iter().map(token).collect::<Vec<_>>(), [Some(1), None, Some(0)]);
        sessions.move_tokens(&[]);
        assert_eq!(sessions.count(now), 0);
    }

    #[test]
    fn cookies() {
        let all = |text: &'static str| offered(text.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all("holdfast_session=abc"), [b"abc"]);
        assert_eq!(all("a=b;holdfast_session=one; c; holdfast_session=two"), [b"one", b"two"]);
        assert!(all("xholdfast_session=abc; holdfast_sessions=abc; holdfast_session").is_empty());
        assert_eq!(offered("holdfast_session=x; ".repeat(50).as_bytes()).count(), OFFERED_MAX);
    }
}
