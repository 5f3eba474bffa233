//! `auth.mode = "http"`: an endpoint of your own is asked who the client is, off the event loop.
//!
//! Owns what counts as a credential here: header lines of the names in `auth.http.credentials`, and `?token=`. A handshake
//! without any is refused unasked. What is asked, and what is known already, is for whoever takes the questions to say.

use super::{Authenticator, Handshake, Verdict};
use crate::{
    config,
    kit::mailbox::Sender,
    model::{
        Reason,
        question::{Asked, Question},
    },
    proto::http::Head,
};

/// Credentials that a browser adds by itself when any page asks it to connect (RFC 9110, section 11; RFC 6265).
const COOKIE: &str = "cookie";
const AUTHORIZATION: &str = "authorization";

/// Puts questions; see the module.
pub struct HttpAuth {
    /// Names of header lines, lower case.
    credentials: Vec<String>,
    /// None: nobody takes questions.
    questions: Option<Sender<Asked>>,
}

impl HttpAuth {
    /// Takes the settings, and where questions go.
    ///
    /// # Errors
    /// What is wrong, naming the setting: nobody to ask.
    pub fn from_config(config: &config::Http, questions: Option<Sender<Asked>>) -> Result<Self, String> {
        if config.url.is_none() {
            return Err("auth.http.url is not set".into());
        }
        Ok(Self { credentials: config.credentials.clone(), questions })
    }

    fn is_credential(&self, name: &str) -> bool {
        self.credentials.iter().any(|known| name.eq_ignore_ascii_case(known))
    }

    /// What the client sent. Cookies and authorizations that are no credentials here are nobody else's business.
    fn question(&self, handshake: &Handshake<'_>, by_query: bool) -> Question {
        let goes = |name: &str| {
            let is_secret = [COOKIE, AUTHORIZATION].iter().any(|secret| name.eq_ignore_ascii_case(secret));
            !(is_secret && !self.is_credential(name) || is_of_connection(handshake.head, name))
        };
        let headers = handshake.head.headers().filter(|(name, _)| goes(name));
        Question::new(handshake.head.target(), headers, handshake.peer, by_query)
    }

    /// The lines of a name that is a credential.
    fn lines<'a>(&'a self, head: &'a Head<'_>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.is_credential(name).then(|| head.header_lines(name));
        lines.into_iter().flatten().filter(|value| !value.is_empty())
    }
}

impl Authenticator for HttpAuth {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let Ok(token) = handshake.head.query_param("token") else {
            return Verdict::Refuse(Reason::AuthFailed);
        };
        if !self.finds_credential(handshake) {
            return Verdict::Refuse(Reason::AuthFailed);
        }
        let Some(questions) = &self.questions else { return Verdict::Refuse(Reason::AuthUnavailable) };
        let question = self.question(handshake, token.is_some());
        match questions.post(0, Asked { question, judgement: handshake.defer() }) {
            Ok(()) => Verdict::Deferred,
            // Dropped here, it says the same once more, which nobody hears: the handshake does not wait.
            Err(_) => Verdict::Refuse(Reason::AuthUnavailable),
        }
    }

    /// A credential that a browser adds by itself counts as a cookie also where there is another beside it: which of them the
    /// endpoint believes is not known here, and a page could put any `?token=` beside somebody's cookie.
    fn uses_cookie(&self, handshake: &Handshake<'_>) -> bool {
        let is_bearer =
            |line: &[u8]| line.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
        self.lines(handshake.head, COOKIE).next().is_some()
            || self.lines(handshake.head, AUTHORIZATION).any(|line| !is_bearer(line))
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        let head = handshake.head;
        // A parameter that cannot be a token is a bad credential rather than none.
        let by_query = !matches!(head.query_param("token"), Ok(None));
        by_query || self.credentials.iter().any(|name| self.lines(head, name).next().is_some())
    }
}

/// Whether the client's Connection header says that a line is for the next hop alone (RFC 9110, section 7.6.1). What is not for
/// passing on by its name is left out elsewhere.
fn is_of_connection(head: &Head<'_>, name: &str) -> bool {
    head.has_token("connection", name)
}

#[cfg(test)]
mod tests;
