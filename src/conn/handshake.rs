//! From the first byte to a verdict: PROXY header, request head, admission, authentication, and the answer to who is
//! refused. What follows a good verdict is [`super::arrival`]'s, and one that is waited for [`super::waiting`]'s.
//!
//! Owns the order of the checks: cheap before dear, and nothing is remembered of a client that is refused.

use super::{
    Connection, Context, Phase, Step, Tools,
    auth::{self, Handshake, Verdict},
};
use crate::{
    config::ProxyProtocol,
    kit::token_bucket::TokenBucket,
    model::{Protocol, Reason},
    proto::{
        http::{self, Head, HeadError, Upgrade, UpgradeError},
        proxy::{self, Proxied},
        sse,
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
/// How a stretch of request bytes was read.
enum Reading {
    /// It is not complete; so many bytes of it are done with.
    More { used: usize, peer: IpAddr, proxied: bool },
    /// It was answered.
    Done(Step),
}

/// What a request asks for.
pub(super) enum Wanted<'b> {
    Websocket(Upgrade<'b>),
    EventStream,
}

impl<'b> Wanted<'b> {
    /// Reads it from a `GET`.
    pub(super) fn read(head: &Head<'b>, deflate: bool) -> Result<Self, Reason> {
        match head.path() {
            "/ws" => match http::websocket_upgrade(head, deflate) {
                Ok(upgrade) => Ok(Wanted::Websocket(upgrade)),
                Err(UpgradeError::BadVersion) => Err(Reason::BadVersion),
                Err(UpgradeError::NotAnUpgrade | UpgradeError::Malformed(_)) => Err(Reason::BadRequest),
            },
            "/sse" => Ok(Wanted::EventStream),
            _ => Err(Reason::NotFound),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Wanted::Websocket(_) => Protocol::Websocket,
            Wanted::EventStream => Protocol::Sse,
        }
    }
}

/// A request for a connection.
pub(super) struct Request<'b> {
    pub head: &'b Head<'b>,
    /// The bytes of the head.
    pub raw: &'b [u8],
    pub peer: IpAddr,
    pub wanted: Wanted<'b>,
}

impl<'b> Request<'b> {
    pub(super) fn handshake<'h>(&'h self, context: &Context<'h>) -> Handshake<'h> {
        Handshake::new(self.head, self.peer, self.wanted.protocol(), context.now.unix_ms)
            .of(context.mail, context.handle.key)
    }

    /// The Origin that the answer to a page names; `*`: whatever it is.
    pub(super) fn cors_origin(&self, context: &Context<'_>) -> Option<&'b str> {
        let Tools { settings, authenticator, .. } = &*context.tools;
        let origins = settings.origins.as_deref();
        let any = || origins.is_none() && authenticator.is_brought_by_page(&self.handshake(context));
        auth::cors_origin(self.head, origins).or_else(|| any().then_some("*"))
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
            Ok(Some((head, _))) => Reading::Done(self.answer(context, &head, rest, peer)),
            Err(HeadError::TooLarge) => Reading::Done(self.refuse_with_rest(context, Reason::HeadTooLarge)),
            Err(HeadError::Malformed(_)) => Reading::Done(self.refuse_with_rest(context, Reason::BadRequest)),
        }
    }

    fn answer(&mut self, context: &mut Context<'_>, head: &Head<'_>, raw: &[u8], peer: IpAddr) -> Step {
        let (method, path) = (head.method(), head.path());
        if method == "OPTIONS" && path == "/sse" && context.tools.settings.origins.is_some() {
            return answer_preflight(context, head);
        }
        if method != "GET" {
            return self.refuse(context, Reason::MethodNotAllowed, None);
        }
        if path == "/healthcheck" {
            return answer_health_check(context);
        }
        match Wanted::read(head, context.tools.settings.deflate) {
            Ok(wanted) => self.admit(context, &Request { head, raw, peer, wanted }),
            Err(reason) => self.refuse(context, reason, None),
        }
    }

    fn admit(&mut self, context: &mut Context<'_>, request: &Request<'_>) -> Step {
        let handshake = request.handshake(context);
        let tools = &mut *context.tools;
        let authenticator = tools.authenticator.clone();
        let cookie = authenticator.uses_cookie(&handshake);
        if !auth::origin_allowed(request.head, tools.settings.origins.as_deref(), cookie) {
            return self.refuse(context, Reason::BadOrigin, None);
        }
        if let Some(reason) = shut(tools).or_else(|| too_fast(tools, context.now.micros)) {
            return self.refuse(context, reason, Some(request));
        }
        if let (Some(timeout_ms), Wanted::Websocket(upgrade)) =
            (tools.settings.first_frame_ms, &request.wanted)
            && !authenticator.finds_credential(&handshake)
        {
            return self.await_token(context, request, upgrade, timeout_ms);
        }
        match authenticator.authenticate(&handshake) {
            Verdict::Accept(identity) => self.arrive(context, &identity, request, None),
            Verdict::Refuse(reason) => self.refuse(context, reason, Some(request)),
            Verdict::Deferred => self.await_verdict(context, request),
        }
    }

    /// Refuses a request that was read in full: gone as soon as the answer is written. Where the answer was a 101, it is
    /// closed.
    pub(super) fn refuse(
        &mut self,
        context: &mut Context<'_>,
        reason: Reason,
        request: Option<&Request<'_>>,
    ) -> Step {
        if self.phase.is_nameless() {
            return self.close(context, reason);
        }
        let row = reason.consequence();
        // That of a stream.
        let stream = request.filter(|request| matches!(request.wanted, Wanted::EventStream));
        let origin = stream.and_then(|request| request.cors_origin(context));
        let Tools { out, random, .. } = &mut *context.tools;
        match (row.status, stream) {
            // An EventSource that meets any status but 200 gives up for good.
            (503, Some(_)) => {
                let retry_ms = random.between(1_000, RETRY_AFTER_S_MAX * 1_000) as u32;
                sse::write_refusal(out, retry_ms, origin);
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
            // A page that fetches its stream reads why it gets none: it may need another credential.
            (status, _) => http::write_response(out, status, &http::cors_headers(origin), true),
        }
        Step::Gone(reason)
    }

    /// Refuses a request of which more may be on its way: what comes is dropped for a while, since closing on unread bytes
    /// resets the connection and takes the answer with it.
    pub(super) fn refuse_with_rest(&mut self, context: &mut Context<'_>, reason: Reason) -> Step {
        let _ = self.refuse(context, reason, None);
        self.start_closing(context, reason)
    }

    /// It waits no longer, and needs its request no longer.
    pub(super) fn stop_waiting(&mut self, tools: &mut Tools, phase: Phase) {
        debug_assert!(self.phase.waits());
        tools.opening -= 1;
        self.phase = phase;
        if let Some(lent) = tools.lents.get_mut(self.lent) {
            lent.head = Vec::new();
        }
        self.give_back(tools);
    }
}

/// Stands for a peer that is not known, which is nobody's friend.
pub(super) const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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

/// Why nobody is let in now, whoever asks.
pub(super) fn shut(tools: &Tools) -> Option<Reason> {
    let shared = &tools.shared;
    if tools.refusing {
        return Some(Reason::Draining);
    }
    let full = shared.open.load(Ordering::Relaxed) >= shared.capacity.load(Ordering::Relaxed);
    (full || shared.pressure() >= Pressure::Refuse).then_some(Reason::Full)
}

/// Takes a handshake's share of `limits.handshakes_per_second`: once for each, however long it waits afterwards.
fn too_fast(tools: &mut Tools, now_us: u64) -> Option<Reason> {
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
            let mut headers = http::cors_headers(Some(origin));
            headers.extend([("Access-Control-Allow-Methods", "GET"), ("Access-Control-Max-Age", "600")]);
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
