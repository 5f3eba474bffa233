//! A node whose clients bring a session, which a store has to be asked about: on a thread of its own, while the event loops
//! serve everybody else.
//!
//! ```text
//! HOLDFAST_AUTH_FIRST_FRAME=true cargo run --example session_auth
//! curl -N -H 'Authorization: Bearer s-ada' http://127.0.0.1:7001/sse
//! ```

use holdfast::{
    config::{Config, Sources, load},
    conn::auth::{Authenticator, Handshake, Identity, Judgement, Verdict},
    model::Reason,
    server::{self, Ended},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    error::Error,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Questions that may wait for the store; with more, clients are told to come back later.
const QUESTIONS: usize = 1_000;

struct Question {
    session: String,
    judgement: Judgement,
}

struct Sessions {
    questions: SyncSender<Question>,
}

impl Authenticator for Sessions {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let Some(session) = session(handshake) else { return Verdict::Refuse(Reason::AuthFailed) };
        let question = Question { session: session.to_owned(), judgement: handshake.defer() };
        match self.questions.try_send(question) {
            Ok(()) => Verdict::Deferred,
            Err(_) => Verdict::Refuse(Reason::AuthUnavailable),
        }
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        session(handshake).is_some()
    }
}

fn session<'h>(handshake: &Handshake<'h>) -> Option<&'h str> {
    handshake.head.header("authorization")?.strip_prefix("Bearer ")
}

/// Answers one question after the other. A client that has left meanwhile does not hear the answer.
fn answer(questions: &Receiver<Question>, store: &HashMap<&str, &'static str>) {
    for Question { session, judgement } in questions {
        // Here a database would be asked. Who drops a judgement has said that nobody could tell.
        thread::sleep(Duration::from_millis(20));
        match store.get(session.as_str()) {
            Some(user) => judgement.accept(Identity {
                user: Cow::Borrowed(user),
                device: None,
                issued_unix_s: None,
                expires_unix_s: None,
            }),
            None => judgement.refuse(Reason::AuthFailed),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = HashMap::from([("s-ada", "ada"), ("s-bob", "bob")]);
    let (questions, asked) = sync_channel(QUESTIONS);
    thread::Builder::new().name("sessions".into()).spawn(move || answer(&asked, &store))?;
    // Like `holdfast serve`, it takes its settings from HOLDFAST_... variables.
    let (config, warnings): (Config, _) =
        load(&Sources { env: std::env::vars().collect(), ..Sources::default() })?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    match server::run_with(config, Arc::new(Sessions { questions }))? {
        Ended::Drained => Ok(()),
        Ended::CutShort | Ended::Superseded => Err("stopped before the drain was over".into()),
    }
}
