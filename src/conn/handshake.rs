//! From the first byte to an identity: PROXY header, request head, admission, authentication, registration, answer.
//!
//! Owns the order of the checks: cheap before dear, and nothing is remembered of a client that is refused.

use super::{
    Connection, Context, Phase, Step, Tools,
    auth::{self, Handshake, Identity, Verdict},
    flag,
};
use crate::{
    config::{ProxyProtocol, duration},
    directory::{Arrival, Refused},
    kit::{time::Tick, token_bucket::TokenBucket},
    model::{Protocol, Reason, identifier},
    proto::{
        http::{self, Head, HeadError, Upgrade, UpgradeError},
        proxy::{self, Proxied},
        sse, ws,
    },
    stats::Pressure,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::Ordering,
};

/// A refused client comes back after 1 to so many seconds: spread enough that a full second of refusals does not return
/// within one.
const RETRY_AFTER_S_MAX: u64 = 10;
/// The `retry:` of an accepted event stream lies between this and twice this, ms: what a browser waits after a lost
/// connection. Zuul's sample has 5 s.
const SSE_RETRY_MS: u64 = 5_000;
/// A token's goaway is spread over this share of its life …
const TOKEN_SPREAD_SHARE: u64 = 10;
/// … but at most over so many seconds before it ends.
const TOKEN_SPREAD_S_MAX: u64 = 300;
/// A record outlives its connection's bounded life by this, s.
const RECORD_GRACE_MS: u64 = 30_000;

/// How a stretch of request bytes was read.
enum Reading {
    /// It is not complete; so many bytes of it are done with.
    More { used: usize, peer: IpAddr, proxied: bool },
    /// It was answered.
    Done(Step),
}

/// What a request asks for.
enum Wanted<'b> {
    Websocket(Upgrade<'b>),
    EventStream,
}

impl Wanted<'_> {
    fn protocol(&self) -> Protocol {
        match self {
            Wanted::Websocket(_) => Protocol::Websocket,
            Wanted::EventStream => Protocol::Sse,
        }
    }
}

impl Connection {
    /// Nothing came with the connection itself: remembers its peer while it waits.
    pub fn handle_silence(&mut self, context: &mut Context<'_>) -> Step {
        if context.tools.opening > context.tools.settings.opening_max {
            return Step::Gone(Reason::Full);
        }
        let peer = context.peer;
        self.lent(context.tools, context.handle).peer = peer;
        Step::Stay
    }

    pub(super) fn handle_head_bytes(&mut self, context: &mut Context<'_>, input: &[u8]) -> Step {
        let held = context.tools.lents.get_mut(self.lent).map(|lent| {
            let peer = lent.peer.unwrap_or(NOBODY);
            (std::mem::take(&mut lent.head), peer, lent.proxied)
        });
        let Some((mut head, peer, proxied)) = held else {
            // Almost always the whole head comes at once, and is read where it lies.
            let peer = context.peer.unwrap_or(NOBODY);
            return match self.read_request(context, input, peer, false) {
                Reading::Done(step) => step,
                Reading::More { used, peer, proxied } => {
                    let rest = input.get(used..).unwrap_or_default();
                    self.hold_head(context, rest.to_vec(), peer, proxied)
                }
            };
        };
        head.extend_from_slice(input);
        // A head ends with a line, and so does every reason to refuse one early but its size.
        if !input.contains(&b'\n') && proxied && head.len() <= context.tools.settings.head_bytes {
            return self.hold_head(context, head, peer, proxied);
        }
        match self.read_request(context, &head, peer, proxied) {
            Reading::Done(step) => step,
            Reading::More { used, peer, proxied } => {
                head.drain(..used);
                self.hold_head(context, head, peer, proxied)
            }
        }
    }

    fn hold_head(&mut self, context: &mut Context<'_>, head: Vec<u8>, peer: IpAddr, proxied: bool) -> Step {
        if context.tools.opening > context.tools.settings.opening_max {
            return self.refuse(context, Reason::Full, None);
        }
        let lent = self.lent(context.tools, context.handle);
        lent.head = head;
        lent.peer = Some(peer);
        lent.proxied = proxied;
        Step::Stay
    }

    fn read_request(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        mut peer: IpAddr,
        mut proxied: bool,
    ) -> Reading {
        let mut used = 0;
        if !proxied {
            match read_proxy_header(context.tools, bytes, peer) {
                Ok(None) => return Reading::More { used, peer, proxied },
                Ok(Some((address, length))) => (peer, used) = (address, length),
                Err(()) => return Reading::Done(self.refuse_with_rest(context, Reason::BadProxyHeader)),
            }
            proxied = true;
        }
        let rest = bytes.get(used..).unwrap_or_default();
        match http::parse_head(rest, context.tools.settings.head_bytes) {
            Ok(None) => Reading::More { used, peer, proxied },
            // Nothing may follow a request that has no body until it is answered.
            Ok(Some((head, length))) if length < rest.len() => {
                let served = matches!(head.method(), "GET" | "OPTIONS");
                let reason = if served { Reason::BadRequest } else { Reason::MethodNotAllowed };
                Reading::Done(self.refuse_with_rest(context, reason))
            }
            Ok(Some((head, _))) => Reading::Done(self.answer(context, &head, peer)),
            Err(HeadError::TooLarge) => Reading::Done(self.refuse_with_rest(context, Reason::HeadTooLarge)),
            Err(HeadError::Malformed(_)) => Reading::Done(self.refuse_with_rest(context, Reason::BadRequest)),
        }
    }

    fn answer(&mut self, context: &mut Context<'_>, head: &Head<'_>, peer: IpAddr) -> Step {
        let (method, path) = (head.method(), head.path());
        if method == "OPTIONS" && path == "/sse" && context.tools.settings.origins.is_some() {
            return answer_preflight(context, head);
        }
        if method != "GET" {
            return self.refuse(context, Reason::MethodNotAllowed, None);
        }
        let wanted = match path {
            "/ws" => match http::websocket_upgrade(head, context.tools.settings.deflate) {
                Ok(upgrade) => Wanted::Websocket(upgrade),
                Err(UpgradeError::BadVersion) => return self.refuse(context, Reason::BadVersion, None),
                Err(UpgradeError::NotAnUpgrade | UpgradeError::Malformed(_)) => {
                    return self.refuse(context, Reason::BadRequest, None);
                }
            },
            "/sse" => Wanted::EventStream,
            "/healthcheck" => return answer_health_check(context),
            _ => return self.refuse(context, Reason::NotFound, None),
        };
        let handshake = Handshake::new(head, peer, wanted.protocol(), context.now.unix_ms)
            .of(context.mail, context.handle.key);
        self.admit(context, &handshake, &wanted)
    }

    fn admit(&mut self, context: &mut Context<'_>, handshake: &Handshake<'_>, wanted: &Wanted<'_>) -> Step {
        let Handshake { head, peer, .. } = *handshake;
        let tools = &mut *context.tools;
        let authenticator = tools.authenticator.clone();
        let cookie = authenticator.uses_cookie(handshake);
        if !auth::origin_allowed(head, tools.settings.origins.as_deref(), cookie) {
            return self.refuse(context, Reason::BadOrigin, None);
        }
        let origin = auth::cors_origin(head, tools.settings.origins.as_deref());
        if let Some(reason) = overload(tools, context.now.micros) {
            return self.refuse(context, reason, Some((wanted, origin)));
        }
        let identity = match authenticator.authenticate(handshake) {
            Verdict::Accept(identity) => identity,
            Verdict::Refuse(reason) => return self.refuse(context, reason, Some((wanted, origin))),
            Verdict::Deferred => {
                return self.refuse(context, Reason::AuthUnavailable, Some((wanted, origin)));
            }
        };
        let Ok(wishes) = Wishes::read(head, &identity, &context.tools.settings) else {
            return self.refuse(context, Reason::BadIdentity, None);
        };
        if context.tools.shared.blocks.is_blocked(&identity.user, context.now.unix_ms) {
            return self.refuse(context, Reason::Blocked, None);
        }
        if !self.enter_address(context, peer) {
            return self.refuse(context, Reason::AddressLimit, Some((wanted, origin)));
        }
        self.accept(context, &identity, &wishes, wanted, origin)
    }

    /// Registers, then answers: it can be found before the client knows that it is connected.
    fn accept(
        &mut self,
        context: &mut Context<'_>,
        identity: &Identity<'_>,
        wishes: &Wishes<'_>,
        wanted: &Wanted<'_>,
        origin: Option<&str>,
    ) -> Step {
        let shared = context.tools.shared.clone();
        if shared.open.fetch_add(1, Ordering::Relaxed) >= shared.capacity.load(Ordering::Relaxed) {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            return self.refuse(context, Reason::Full, Some((wanted, origin)));
        }
        let ends_ms = self.draw_lifetime(context, identity);
        let arrival = Arrival {
            user: &identity.user,
            device: wishes.device.as_deref(),
            handle: context.handle,
            protocol: wanted.protocol(),
            began_ms: context.now.millis(),
            ends_ms,
        };
        match context.tools.directory.register(&arrival) {
            Ok(registered) => {
                self.record = registered.record;
                let displaced = registered.displaced.map(|handle| (handle, Reason::Displaced));
                let evicted = registered.evicted.map(|handle| (handle, Reason::UserLimit));
                context.tools.displaced.extend(displaced.into_iter().chain(evicted));
            }
            Err(refused) => {
                shared.open.fetch_sub(1, Ordering::Relaxed);
                return match refused {
                    Refused::Full => self.refuse(context, Reason::Full, Some((wanted, origin))),
                    Refused::Fight => self.part_fighters(context, wanted),
                };
            }
        }
        self.leave_opening(context.tools, Phase::Open);
        self.set(flag::ACCEPTED, true);
        self.last_seen = context.tick;
        self.ping_s = wishes.ping_s;
        context.tools.stats.opened(wanted.protocol());
        let retry_ms = context.tools.random.between(SSE_RETRY_MS, 2 * SSE_RETRY_MS) as u32;
        let out = &mut context.tools.out;
        match wanted {
            Wanted::Websocket(upgrade) => {
                if let Some(deflate) = &upgrade.deflate {
                    self.set_deflate(deflate.server_window_bits());
                }
                http::write_switching_protocols(out, upgrade.key, upgrade.deflate.as_ref(), None);
            }
            Wanted::EventStream => {
                self.set(flag::SSE, true);
                sse::write_head(out, retry_ms, origin);
            }
        }
        Step::Stay
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
    fn part_fighters(&mut self, context: &mut Context<'_>, wanted: &Wanted<'_>) -> Step {
        let reason = Reason::TakeoverFight;
        match wanted {
            Wanted::EventStream => {
                http::write_response(&mut context.tools.out, 204, &[], true);
                Step::Gone(reason)
            }
            Wanted::Websocket(upgrade) => {
                let out = &mut context.tools.out;
                http::write_switching_protocols(out, upgrade.key, None, None);
                let row = reason.consequence();
                ws::write_close(out, row.code, row.text);
                self.leave_opening(context.tools, Phase::Closing);
                context.tools.stats.handshake_refused(reason);
                self.start_closing(context, reason)
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

    /// Refuses a request that was read in full: gone as soon as the answer is written.
    fn refuse(
        &mut self,
        context: &mut Context<'_>,
        reason: Reason,
        wanted: Option<(&Wanted<'_>, Option<&str>)>,
    ) -> Step {
        let row = reason.consequence();
        let Tools { out, random, .. } = &mut *context.tools;
        match (row.status, wanted) {
            // An EventSource that meets any status but 200 gives up for good.
            (503, Some((Wanted::EventStream, origin))) => {
                sse::write_refusal(out, random.between(1_000, RETRY_AFTER_S_MAX * 1_000) as u32, origin);
            }
            (503, _) => {
                let retry_after = random.between(1, RETRY_AFTER_S_MAX).to_string();
                http::write_response(out, 503, &[("Retry-After", &retry_after)], true);
            }
            (426, _) => {
                let headers = [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")];
                http::write_response(out, 426, &headers, true);
            }
            (405, _) => http::write_response(out, 405, &[("Allow", "GET")], true),
            (status, _) => http::write_response(out, status, &[], true),
        }
        Step::Gone(reason)
    }

    /// Refuses a request of which more may be on its way: what comes is dropped for a while, since closing on unread bytes
    /// resets the connection and takes the answer with it.
    fn refuse_with_rest(&mut self, context: &mut Context<'_>, reason: Reason) -> Step {
        let _ = self.refuse(context, reason, None);
        context.tools.stats.handshake_refused(reason);
        self.leave_opening(context.tools, Phase::Closing);
        self.start_closing(context, reason)
    }

    /// The handshake was too slow.
    pub(super) fn handle_handshake_timeout(&mut self, context: &mut Context<'_>) -> Step {
        self.refuse(context, Reason::HandshakeTimeout, None)
    }

    fn leave_opening(&mut self, tools: &mut Tools, phase: Phase) {
        debug_assert_eq!(self.phase, Phase::Opening);
        tools.opening -= 1;
        self.phase = phase;
        if let Some(lent) = tools.lents.get_mut(self.lent) {
            lent.head = Vec::new();
        }
        self.give_back(tools);
    }
}

/// Stands for a peer that is not known, which is nobody's friend.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What the client asks for besides the connection itself.
struct Wishes<'h> {
    device: Option<std::borrow::Cow<'h, str>>,
    ping_s: u16,
}

impl<'h> Wishes<'h> {
    fn read(head: &Head<'h>, identity: &Identity<'h>, settings: &super::Settings) -> Result<Self, ()> {
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

/// Reads a PROXY header where there may be one. `Ok(None)`: not complete.
fn read_proxy_header(tools: &Tools, bytes: &[u8], peer: IpAddr) -> Result<Option<(IpAddr, usize)>, ()> {
    let settings = &tools.settings;
    let trusted = || settings.proxy_from.iter().any(|network| network.contains(&peer));
    if settings.proxy_protocol == ProxyProtocol::Off || !trusted() {
        return Ok(Some((peer, 0)));
    }
    if !proxy::may_be_proxy(bytes) {
        return if settings.proxy_protocol == ProxyProtocol::Require { Err(()) } else { Ok(Some((peer, 0))) };
    }
    match proxy::parse_proxy(bytes) {
        Ok(None) => Ok(None),
        Ok(Some((Proxied::Address(address), length))) => Ok(Some((address.ip(), length))),
        Ok(Some((Proxied::Keep, length))) => Ok(Some((peer, length))),
        Err(_) => Err(()),
    }
}

/// Why no handshake is taken now, whoever asks.
fn overload(tools: &mut Tools, now_us: u64) -> Option<Reason> {
    let shared = &tools.shared;
    if tools.refusing {
        return Some(Reason::Draining);
    }
    let full = shared.open.load(Ordering::Relaxed) >= shared.capacity.load(Ordering::Relaxed);
    if full || shared.pressure() >= Pressure::Refuse {
        return Some(Reason::Full);
    }
    let admitted = tools.admission.as_mut().is_none_or(|bucket: &mut TokenBucket| bucket.try_take(now_us));
    (!admitted).then_some(Reason::AdmissionRate)
}

fn answer_health_check(context: &mut Context<'_>) -> Step {
    let draining = context.tools.shared.draining.load(Ordering::Relaxed);
    http::write_response(&mut context.tools.out, if draining { 503 } else { 200 }, &[], true);
    Step::Gone(Reason::Answered)
}

fn answer_preflight(context: &mut Context<'_>, head: &Head<'_>) -> Step {
    let settings = context.tools.settings.clone();
    let out = &mut context.tools.out;
    match auth::cors_origin(head, settings.origins.as_deref()) {
        Some(origin) => {
            let asked = head.header("access-control-request-headers").unwrap_or("");
            let mut headers = vec![
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Allow-Methods", "GET"),
                ("Access-Control-Max-Age", "600"),
                ("Vary", "Origin"),
            ];
            if !asked.is_empty() {
                headers.push(("Access-Control-Allow-Headers", asked));
            }
            http::write_response(out, 204, &headers, true);
            Step::Gone(Reason::Answered)
        }
        None => {
            http::write_response(out, 403, &[], true);
            Step::Gone(Reason::BadOrigin)
        }
    }
}

/// When the first ping of a connection is due: somewhere in the second half of its interval, so that connections that
/// came together are not pinged together.
pub(super) fn first_ping(tick: Tick, ping_s: u16, random: &mut crate::kit::random::Random) -> Tick {
    let interval_ms = u64::from(ping_s) * 1_000;
    tick.plus_ms(random.between(interval_ms / 2, interval_ms))
}
