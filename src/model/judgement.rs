//! A verdict that is given later, from any thread: the promise of one.
//!
//! Owns the way back to the handshake that waits. Nobody waits for room there: a verdict that finds none is lost, and the
//! handshake ends when its time is over.

use super::{
    Identity, Reason,
    mail::{ToShard, post_control},
};
use crate::kit::{mailbox::Sender, slab::Key};
use std::fmt;

/// The right and the duty to say, once and from any thread, who a client is. One that is dropped says that nobody knows:
/// the client is told to come again ([`Reason::AuthUnavailable`]).
///
/// A client that has gone meanwhile is not missed: what is said of it is heard by nobody.
#[must_use = "the client waits for it"]
pub struct Judgement(Option<Home>);

struct Home {
    shard: Sender<ToShard>,
    key: Key,
}

impl Judgement {
    /// Of the handshake with this key, which waits in this shard.
    pub fn new(shard: Sender<ToShard>, key: Key) -> Self {
        Self(Some(Home { shard, key }))
    }

    /// Of no handshake.
    pub fn of_nobody() -> Self {
        Self(None)
    }

    /// Lets the client in as this identity. What is true of every handshake is looked at after this: whether names are
    /// well formed, blocks, and limits.
    pub fn accept(mut self, identity: Identity<'static>) {
        self.give(Ok(identity));
    }

    /// Refuses it: [`Reason::AuthFailed`], or [`Reason::AuthUnavailable`] where whoever had to be asked does not answer.
    pub fn refuse(mut self, reason: Reason) {
        self.give(Err(reason));
    }

    fn give(&mut self, verdict: Result<Identity<'static>, Reason>) {
        if let Some(Home { shard, key }) = self.0.take() {
            // Without room the handshake's own time-out is what tells the client.
            let _ = post_control(&shard, ToShard::Identified { key, verdict: Box::new(verdict) });
        }
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        self.give(Err(Reason::AuthUnavailable));
    }
}

impl fmt::Debug for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Judgement").field(&self.0.as_ref().map(|home| home.key)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::mailbox::{Wake, mailbox};
    use std::sync::Arc;

    struct Asleep;

    impl Wake for Asleep {
        fn wake(&self) {}
    }

    #[test]
    fn each_judgement_speaks_once() {
        let (sender, mut receiver) = mailbox(&[3], Arc::new(Asleep));
        let keys = [1, 2, 3, 4].map(|index| Key { index, generation: 7 });
        let [first, second, third, fourth] = keys.map(|key| Judgement::new(sender.clone(), key));
        let identity =
            Identity { user: "ann".into(), device: None, issued_unix_s: None, expires_unix_s: None };
        first.accept(identity.clone());
        second.refuse(Reason::AuthFailed);
        drop(third);
        // There is no room: the handshake's time-out has the last word.
        fourth.accept(identity.clone());
        Judgement::of_nobody().accept(identity.clone());
        let mut letters = Vec::new();
        receiver.take(usize::MAX, &mut letters);
        let heard = letters.into_iter().map(|letter| match letter {
            ToShard::Identified { key, verdict } => (key, *verdict),
            other => panic!("{other:?}"),
        });
        let wanted = [
            (keys[0], Ok(identity)),
            (keys[1], Err(Reason::AuthFailed)),
            (keys[2], Err(Reason::AuthUnavailable)),
        ];
        assert_eq!(heard.collect::<Vec<_>>(), wanted);
    }
}
