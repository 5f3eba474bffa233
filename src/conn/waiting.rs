//! Handshakes that wait: for a verdict that somebody else gives, or for the first frame, which brings the token.
//!
//! Owns what such a connection may do until then. Its request stays lent to it, since the handshake goes on from there; it
//! is one of `limits.unauthenticated`, has an end, and is found by nobody.
//!
//! ```text
//!             verdict deferred                        good
//!   Opening -------------------> Asking ---------------------------------------> Open
//!      |                                                                          ^
//!      |  no credential: 101                token here, verdict deferred    good  |
//!      +--------------------> Nameless -----------------------------> NamelessAsking
//!                                 |                                               ^
//!                                 +---------- token here and good ----------------+
//! ```

use super::{
    Connection, Context, Phase, Step, Tools,
    auth::{Handshake, Verdict},
    flag,
    handshake::{NOBODY, Request, Wanted, shut},
};
use crate::{
    kit::mutant::Mutant,
    model::{Identity, Protocol, Reason},
    proto::{
        http::{self, Upgrade},
        ws::{self, Decoder, Incoming},
    },
};
use std::ops::ControlFlow;

/// Whether `limits.unauthenticated` leaves no room for one more to wait.
fn is_crowded(tools: &Tools) -> bool {
    tools.opening > tools.settings.opening_max && !Mutant::WaitingWithoutLimit.is_on()
}

/// What a WebSocket that has still to say who it is said.
enum Said {
    Token(String),
    Binary,
    Close(Option<u16>),
}

impl Connection {
    /// Waits for the verdict of somebody else, within what is left of the handshake's time.
    pub(super) fn await_verdict(&mut self, context: &mut Context<'_>, request: &Request<'_>) -> Step {
        if is_crowded(context.tools) {
            return self.refuse(context, Reason::Full, Some(request));
        }
        self.wait_with(context, request, Phase::Asking)
    }

    /// Makes it a WebSocket, and waits for the frame that says who it is.
    pub(super) fn await_token(
        &mut self,
        context: &mut Context<'_>,
        request: &Request<'_>,
        upgrade: &Upgrade<'_>,
        timeout_ms: u64,
    ) -> Step {
        if is_crowded(context.tools) {
            return self.refuse(context, Reason::Full, Some(request));
        }
        self.switch_protocols(context.tools, upgrade);
        self.ends_at = context.tick.plus_ms(timeout_ms);
        self.wait_with(context, request, Phase::Nameless)
    }

    fn wait_with(&mut self, context: &mut Context<'_>, request: &Request<'_>, phase: Phase) -> Step {
        let lent = self.lent(context.tools, context.handle);
        lent.head = request.raw.to_vec();
        lent.peer = Some(request.peer);
        lent.proxied = true;
        self.phase = phase;
        Step::Stay
    }

    /// The verdict is here. One that waits for none is left as it is: it has had its verdict, or its time was over.
    pub fn handle_verdict(
        &mut self,
        context: &mut Context<'_>,
        verdict: Result<Identity<'static>, Reason>,
    ) -> Step {
        if !self.phase.asks() && !Mutant::VerdictCountsTwice.is_on() {
            return Step::Stay;
        }
        self.go_on(context, |connection, context, request| match verdict {
            Ok(identity) => connection.arrive_late(context, &identity, request, None),
            Err(reason) => connection.refuse(context, reason, Some(request)),
        })
    }

    /// Since its request was read the node may have begun to leave, or become full.
    fn arrive_late(
        &mut self,
        context: &mut Context<'_>,
        identity: &Identity<'_>,
        request: &Request<'_>,
        by_token: Option<&Handshake<'_>>,
    ) -> Step {
        match shut(context.tools) {
            Some(reason) if !Mutant::VerdictDespiteDrain.is_on() => {
                self.refuse(context, reason, Some(request))
            }
            _ => self.arrive(context, identity, request, by_token),
        }
    }

    /// Goes on with the request that it has waited with, and keeps it if it waits on.
    fn go_on(
        &mut self,
        context: &mut Context<'_>,
        go_on: impl FnOnce(&mut Self, &mut Context<'_>, &Request<'_>) -> Step,
    ) -> Step {
        let Some(lent) = context.tools.lents.get_mut(self.lent) else {
            return Step::Gone(Reason::ServerError);
        };
        let (raw, peer) = (std::mem::take(&mut lent.head), lent.peer.unwrap_or(NOBODY));
        // It was read before, by limits that may have changed since.
        let Ok(Some((head, _))) = http::parse_head(&raw, raw.len()) else {
            return Step::Gone(Reason::ServerError);
        };
        let Ok(wanted) = Wanted::read(&head, context.tools.settings.deflate) else {
            return Step::Gone(Reason::ServerError);
        };
        let step = go_on(self, context, &Request { head: &head, raw: &raw, peer, wanted });
        if self.phase.waits()
            && let Some(lent) = context.tools.lents.get_mut(self.lent)
        {
            lent.head = raw;
        }
        step
    }

    /// Bytes of a WebSocket that has still to say who it is. The first message must be its token; control frames are handled
    /// before it as ever, and what follows it in the same read is handled as what comes later.
    pub(super) fn handle_nameless_bytes(&mut self, context: &mut Context<'_>, input: &mut [u8]) -> Step {
        let Tools { settings, lents, inflater, out, stats, .. } = &mut *context.tools;
        let mut partial = lents.get_mut(self.lent).and_then(|lent| lent.partial.take());
        let deflate = self.is(flag::DEFLATE).then_some(inflater);
        let mut decoder = Decoder { message_max: settings.head_bytes, deflate, frames: 0 };
        let mut said = None;
        let outcome = decoder.feed_until(&mut partial, input, &mut |incoming| {
            said = match incoming {
                Incoming::Ping(payload) => {
                    ws::write_frame(out, ws::Op::Pong, payload, false);
                    return ControlFlow::Continue(());
                }
                Incoming::Pong(_) => return ControlFlow::Continue(()),
                Incoming::Text(token) => Some(Said::Token(token.to_owned())),
                Incoming::Binary(_) => Some(Said::Binary),
                Incoming::Close(code, _) => Some(Said::Close(code)),
            };
            ControlFlow::Break(())
        });
        stats.frames_in(u64::from(decoder.frames));
        let frames = decoder.frames;
        self.seen(context, frames);
        let rest = match outcome {
            Ok(rest) => rest,
            Err(violation) => return self.fail(context, violation),
        };
        match said {
            None => {
                self.lent(context.tools, context.handle).partial = partial;
                self.check_inbound_rate(context)
            }
            Some(Said::Close(code)) => self.answer_close(context, code),
            Some(Said::Binary) => self.close(context, Reason::TokenExpected),
            Some(Said::Token(token)) => {
                let step = self.judge_token(context, &token);
                let rest = input.len() - rest.min(input.len());
                match input.get_mut(rest..) {
                    Some(_) if Mutant::RestAfterTokenForgotten.is_on() => step,
                    Some(rest) if step == Step::Stay && !rest.is_empty() => self.read_on(context, rest),
                    _ => step,
                }
            }
        }
    }

    /// Judges a token as if the request had brought it as `Authorization: Bearer`.
    fn judge_token(&mut self, context: &mut Context<'_>, token: &str) -> Step {
        // What could be no header's value (RFC 6750 2.1 allows less) is no token.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return self.close(context, Reason::AuthFailed);
        }
        let bearer = format!("Bearer {token}");
        self.go_on(context, |connection, context, request| {
            let Some(head) = request.head.with_authorization(bearer.as_bytes()) else {
                return connection.refuse(context, Reason::HeadTooLarge, Some(request));
            };
            let authenticator = context.tools.authenticator.clone();
            let handshake = Handshake::new(&head, request.peer, Protocol::Websocket, context.now.unix_ms)
                .of(context.mail, context.handle.key);
            match authenticator.authenticate(&handshake) {
                Verdict::Accept(identity) => {
                    connection.arrive_late(context, &identity, request, Some(&handshake))
                }
                Verdict::Refuse(reason) => connection.refuse(context, reason, Some(request)),
                Verdict::Deferred => {
                    connection.phase = Phase::NamelessAsking;
                    connection.ends_at = context.tick.plus_ms(context.tools.settings.handshake_timeout_ms);
                    Step::Stay
                }
            }
        })
    }

    /// Its time is over. Where it is not the client that is late, it is told to come again.
    pub(super) fn handle_handshake_timeout(&mut self, context: &mut Context<'_>) -> Step {
        match self.phase {
            Phase::Asking => self.go_on(context, |connection, context, request| {
                connection.refuse(context, Reason::AuthUnavailable, Some(request))
            }),
            Phase::Nameless => self.close(context, Reason::NoToken),
            Phase::NamelessAsking => self.close(context, Reason::AuthUnavailable),
            _ => self.refuse(context, Reason::HandshakeTimeout, None),
        }
    }
}
