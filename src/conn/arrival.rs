//! From an identity to an open connection: the client's wishes, blocks, limits, registration, and the answer.
//!
//! Owns what is true of every connection that is let in, whenever and however its identity came.

use super::{
    Connection, Context, Phase, Settings, Step, Tools,
    auth::{self, Handshake},
    flag,
    handshake::{Request, Wanted},
};
use crate::{
    config::duration,
    directory::{Arrival, RECORD_GRACE_MS, Refused},
    kit::{random::Random, time::Tick},
    model::{Identity, Reason, identifier},
    proto::{
        http::{self, Head, Upgrade},
        sse, ws,
    },
};
use std::{borrow::Cow, net::IpAddr, sync::atomic::Ordering};

/// The `retry:` of an accepted event stream lies between this and twice this, ms: what a browser waits after a lost
/// connection. Zuul's sample has 5 s.
const SSE_RETRY_MS: u64 = 5_000;
/// A token's goaway is spread over this share of its life …
const TOKEN_SPREAD_SHARE: u64 = 10;
/// … but at most over so many seconds before it ends.
const TOKEN_SPREAD_S_MAX: u64 = 300;

impl Connection {
    /// Its identity is known, be it at once or later: what is left to be looked at, and then it is open. Where a
    /// token came by frame, `by_token` is the handshake that has it: a credential that counts once is used up by that.
    pub(super) fn arrive(
        &mut self,
        context: &mut Context<'_>,
        identity: &Identity<'_>,
        request: &Request<'_>,
        by_token: Option<&Handshake<'_>>,
    ) -> Step {
        let Ok(wishes) = Wishes::read(request.head, identity, &context.tools.settings) else {
            return self.refuse(context, Reason::BadIdentity, Some(request));
        };
        if context.tools.shared.blocks.is_blocked(&identity.user, context.now.unix_ms) {
            return self.refuse(context, Reason::Blocked, Some(request));
        }
        if !self.enter_address(context, request.peer) {
            return self.refuse(context, Reason::AddressLimit, Some(request));
        }
        self.accept(context, identity, &wishes, request, by_token)
    }

    /// Registers, then answers: it can be found before the client knows that it is connected.
    fn accept(
        &mut self,
        context: &mut Context<'_>,
        identity: &Identity<'_>,
        wishes: &Wishes<'_>,
        request: &Request<'_>,
        by_token: Option<&Handshake<'_>>,
    ) -> Step {
        let shared = context.tools.shared.clone();
        if shared.open.fetch_add(1, Ordering::Relaxed) >= shared.capacity.load(Ordering::Relaxed) {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            return self.refuse(context, Reason::Full, Some(request));
        }
        // Before it is registered: who comes with a credential that was used must put nobody out of a place.
        let whole = request.handshake(context);
        if let Err(reason) = context.tools.authenticator.use_up(by_token.unwrap_or(&whole)) {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            return self.refuse(context, reason, Some(request));
        }
        let ends_ms = self.draw_lifetime(context, identity);
        let arrival = Arrival {
            user: &identity.user,
            device: wishes.device.as_deref(),
            handle: context.handle,
            protocol: request.wanted.protocol(),
            began_ms: context.now.millis(),
            ends_ms,
        };
        match context.tools.directory.register(&arrival) {
            Ok(registered) => {
                self.record = registered.record;
                let displaced = registered.displaced.map(|handle| (handle, Reason::Displaced));
                let evicted = registered.evicted.map(|handle| (handle, Reason::UserLimit));
                // Whoever was blocked since the look at that was not found by the one who looked for them to close them.
                let is_blocked = shared.blocks.is_blocked(&identity.user, context.now.unix_ms);
                let blocked = is_blocked.then_some((context.handle, Reason::Blocked));
                let gone = displaced.into_iter().chain(evicted).chain(blocked);
                context.tools.displaced.extend(gone);
            }
            Err(refused) => {
                shared.open.fetch_sub(1, Ordering::Relaxed);
                return match refused {
                    Refused::Full => self.refuse(context, Reason::Full, Some(request)),
                    Refused::Fight => self.part_fighters(context, request),
                };
            }
        }
        let is_answered = self.phase.is_nameless();
        self.stop_waiting(context.tools, Phase::Open);
        self.set(flag::ACCEPTED, true);
        self.last_seen = context.tick;
        self.ping_s = wishes.ping_s;
        context.tools.stats.opened(request.wanted.protocol());
        match &request.wanted {
            Wanted::Websocket(_) if is_answered => {}
            Wanted::Websocket(upgrade) => self.switch_protocols(context.tools, upgrade),
            Wanted::EventStream => {
                self.set(flag::SSE, true);
                let origin = request.cors_origin(context);
                let Tools { out, random, .. } = &mut *context.tools;
                let retry_ms = random.between(SSE_RETRY_MS, 2 * SSE_RETRY_MS) as u32;
                sse::write_head(out, retry_ms, origin);
            }
        }
        Step::Stay
    }

    /// Answers that it is a WebSocket from now on.
    pub(super) fn switch_protocols(&mut self, tools: &mut Tools, upgrade: &Upgrade<'_>) {
        if let Some(deflate) = &upgrade.deflate {
            self.set_deflate(deflate.server_window_bits());
        }
        http::write_switching_protocols(&mut tools.out, upgrade.key, upgrade.deflate.as_ref(), None);
    }

    /// Sets the goaway, and the end where a token has one. Returns when the life of its record ends, monotonic ms.
    fn draw_lifetime(&mut self, context: &mut Context<'_>, identity: &Identity<'_>) -> u64 {
        let settings = context.tools.settings.clone();
        let random = &mut context.tools.random;
        let life_ms = settings.lifetime.draw_ms(random);
        let unix_ms = context.now.unix_ms;
        self.ends_at = context.tick.plus_ms(life_ms);
        let mut left_at_most_ms = life_ms + settings.grace_ms;
        if let Some(expires_s) = identity.expires_unix_s {
            let left_ms = expires_s.saturating_mul(1_000).saturating_sub(unix_ms);
            // A token that outlives the connection has no say in its end.
            if left_ms < life_ms + settings.grace_ms {
                let issued_s = identity.issued_unix_s.unwrap_or(unix_ms / 1_000).min(expires_s);
                let spread_s = ((expires_s - issued_s) / TOKEN_SPREAD_SHARE).min(TOKEN_SPREAD_S_MAX);
                let early_ms = random.between(0, spread_s * 1_000);
                self.expires_at = context.tick.plus_ms(left_ms);
                self.set(flag::EXPIRES, true);
                if left_ms.saturating_sub(early_ms) < life_ms {
                    self.ends_at = context.tick.plus_ms(left_ms.saturating_sub(early_ms));
                    self.set(flag::ENDS_BY_TOKEN, true);
                }
                left_at_most_ms = left_at_most_ms.min(left_ms);
            }
        }
        context.now.millis() + left_at_most_ms + RECORD_GRACE_MS
    }

    /// Past the brake on takeovers the newcomer is told not to come back: 4001, or a 204, which ends an `EventSource`.
    fn part_fighters(&mut self, context: &mut Context<'_>, request: &Request<'_>) -> Step {
        let reason = Reason::TakeoverFight;
        match &request.wanted {
            Wanted::Websocket(_) if self.phase.is_nameless() => self.close(context, reason),
            Wanted::Websocket(upgrade) => {
                let out = &mut context.tools.out;
                http::write_switching_protocols(out, upgrade.key, None, None);
                let row = reason.consequence();
                ws::write_close(out, row.code, row.text);
                self.start_closing(context, reason)
            }
            Wanted::EventStream => {
                http::write_response(&mut context.tools.out, 204, &[], true);
                Step::Gone(reason)
            }
        }
    }

    fn enter_address(&mut self, context: &mut Context<'_>, peer: IpAddr) -> bool {
        let max = context.tools.settings.per_address_max;
        if max == 0 {
            return true;
        }
        let entered = context.tools.shared.addresses.try_enter(peer, max);
        if entered {
            self.set(flag::ADDRESS, true);
            context.tools.addresses.insert(context.handle.key.index, peer);
        }
        entered
    }
}

/// What the client asks for besides the connection itself.
struct Wishes<'h> {
    device: Option<Cow<'h, str>>,
    ping_s: u16,
}

impl<'h> Wishes<'h> {
    fn read(head: &Head<'h>, identity: &Identity<'h>, settings: &Settings) -> Result<Self, ()> {
        let device = match &identity.device {
            Some(device) => Some(device.clone()),
            None => auth::device_from_request(head, &settings.device_header),
        };
        identifier::check(&identity.user).map_err(|_| ())?;
        device.as_deref().map_or(Ok(()), identifier::check).map_err(|_| ())?;
        let ping_s = match head.query_param("ping").map_err(|_| ())? {
            None => settings.ping_s,
            Some(text) => {
                let seconds = duration::parse_query_ms(&text).ok_or(())?.div_ceil(1_000);
                let wanted = u16::try_from(seconds).unwrap_or(u16::MAX);
                wanted.clamp(settings.ping_min_s, settings.ping_max_s)
            }
        };
        Ok(Self { device, ping_s })
    }
}

/// When the first ping of a connection is due: somewhere in the second half of its interval, so that connections that
/// came together are not pinged together.
pub(super) fn first_ping(tick: Tick, ping_s: u16, random: &mut Random) -> Tick {
    let interval_ms = u64::from(ping_s) * 1_000;
    tick.plus_ms(random.between(interval_ms / 2, interval_ms))
}
