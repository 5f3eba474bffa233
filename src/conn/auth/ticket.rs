//! Tickets: what a backend asks the internal port for, and a page brings as `?ticket=`, since a browser's `EventSource` and
//! `WebSocket` send no headers of its own. They count in every mode.
//!
//! A ticket is `t1.CLAIMS.MAC`, as [`super::signed`] has it, so that every node that has the keys believes it. It lives for
//! seconds. Within a node it counts once: it is used up by the handshake that is accepted with it, and remembered until it
//! ends; a handshake that is refused for another reason leaves it as it was. Of what other nodes have used a node knows
//! nothing: there its short life is the only bound.
//!
//! Makes and judges tickets; draws no randomness and reads no clock.

use super::{
    Authenticator, Handshake, Identity, Verdict,
    signed::{Code, Signer},
};
use crate::{
    config::{self, Secret, TICKET_TTL_MS_MAX},
    model::{MadeTicket, Reason, TicketOrder},
    stats::{NodeStats, TicketResult},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard},
};

/// What a ticket begins with.
const VERSION: &str = "t1.";
/// The parameter that brings it.
const PARAMETER: &str = "ticket";
/// Two nodes' clocks may differ by so much before a ticket made by the one seems to live too long to the other, ms.
const CLOCKS_APART_MS: u64 = 60_000;
/// How many ended tickets are forgotten for each that is used: more than one, so that what was a flood once is let go.
const FORGOTTEN_AT_ONCE: usize = 4;

/// The tickets of a node: makes them, judges them, and remembers which were used. One object serves all its threads.
pub struct Tickets {
    rules: RwLock<TicketRules>,
    /// What signs where the rules have no keys; None: then every ticket is a bad one.
    drawn: Option<Signer>,
    used: Mutex<Used>,
    stats: Arc<NodeStats>,
}

/// `auth.tickets.*`, ready for use.
pub struct TicketRules {
    signer: Option<Signer>,
    ttl_ms: u64,
    used: usize,
}

impl TicketRules {
    /// Takes the settings.
    ///
    /// # Errors
    /// What is wrong with the keys, naming the setting.
    pub fn new(config: &config::Tickets) -> Result<Self, String> {
        let signer = config.keys.as_ref().map(signer).transpose()?;
        Ok(Self { signer, ttl_ms: config.ttl_ms, used: config.used })
    }
}

/// What a ticket says.
#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    id: Cow<'a, str>,
    user: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Cow<'a, str>>,
    /// When the ticket ends.
    exp: u64,
    /// When its connection ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
}

/// What is remembered of a used ticket: when it ends, seconds since 1970, and the beginning of its code, which nobody without
/// a key can choose.
type Mark = (u64, u64);

impl Tickets {
    /// By these rules. Where they have no keys, `drawn` are used, if there are any.
    ///
    /// # Errors
    /// What is wrong with the drawn keys.
    pub fn new(rules: TicketRules, drawn: Option<Secret>, stats: Arc<NodeStats>) -> Result<Self, String> {
        let drawn = drawn.as_ref().map(signer).transpose()?;
        let used = Mutex::new(Used { max: rules.used, marks: BTreeSet::new() });
        Ok(Self { rules: RwLock::new(rules), drawn, used, stats })
    }

    /// From now on signs with the first of their keys, and believes them all. What was used stays used.
    pub fn set_rules(&self, rules: TicketRules) {
        self.used().max = rules.used;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    /// Makes a ticket; `None` when there are no keys.
    pub fn make(&self, order: &TicketOrder<'_>, unix_ms: u64) -> Option<MadeTicket> {
        let rules = self.rules();
        let ttl_ms = order.ttl_ms.unwrap_or(rules.ttl_ms).min(TICKET_TTL_MS_MAX);
        let exp = unix_ms.saturating_add(ttl_ms).div_ceil(1_000);
        let exp = order.ends_unix_s.map_or(exp, |ends| ends.min(exp));
        let claims = Claims {
            id: order.id.into(),
            user: order.user.into(),
            device: order.device.map(Cow::Borrowed),
            exp,
            end: order.ends_unix_s,
        };
        let text = rules.signer.as_ref().or(self.drawn.as_ref())?.sign(&claims)?;
        self.stats.ticket(TicketResult::Made);
        Some(MadeTicket { text, expires_unix_s: exp })
    }

    /// Whom the handshake's ticket is for, and its mark; what is wrong with it otherwise.
    fn judge(&self, handshake: &Handshake<'_>) -> Result<(Claims<'static>, Mark), TicketResult> {
        // A parameter that is not UTF-8 is no ticket.
        let text = handshake.head.query_param(PARAMETER).ok().flatten().ok_or(TicketResult::Bad)?;
        let (claims, code) = {
            let rules = self.rules();
            let signer = rules.signer.as_ref().or(self.drawn.as_ref());
            let opened = signer.and_then(|signer| signer.open::<Claims<'static>>(&text));
            opened.ok_or(TicketResult::Bad)?
        };
        let now_ms = handshake.unix_ms;
        let has_ended = |unix_s: u64| now_ms >= unix_s.saturating_mul(1_000);
        if has_ended(claims.exp) || claims.end.is_some_and(has_ended) {
            return Err(TicketResult::Expired);
        }
        // It comes from a node whose clock is far ahead, or is to live longer than any may.
        if claims.exp.saturating_mul(1_000) > now_ms.saturating_add(TICKET_TTL_MS_MAX + CLOCKS_APART_MS) {
            return Err(TicketResult::Bad);
        }
        let mark = (claims.exp, beginning(&code));
        Ok((claims, mark))
    }

    fn rules(&self) -> RwLockReadGuard<'_, TicketRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, result: TicketResult) -> Reason {
        self.stats.ticket(result);
        if result == TicketResult::NoRoom { Reason::Full } else { Reason::AuthFailed }
    }
}

fn signer(keys: &Secret) -> Result<Signer, String> {
    Signer::new(VERSION, keys, "auth.tickets.keys")
}

fn beginning(code: &Code) -> u64 {
    code.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Authenticator for Tickets {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        let judged = self.judge(handshake).and_then(|(claims, mark)| {
            if self.used().marks.contains(&mark) { Err(TicketResult::Used) } else { Ok(claims) }
        });
        match judged {
            Ok(claims) => Verdict::Accept(Identity {
                user: claims.user,
                device: claims.device,
                issued_unix_s: None,
                expires_unix_s: claims.end,
            }),
            Err(result) => Verdict::Refuse(self.refuse(result)),
        }
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        !matches!(handshake.head.query_param(PARAMETER), Ok(None))
    }

    /// Whoever has the ticket got it from the backend: no browser sends one along by itself.
    fn is_brought_by_page(&self, handshake: &Handshake<'_>) -> bool {
        self.finds_credential(handshake)
    }

    fn use_up(&self, handshake: &Handshake<'_>) -> Result<(), Reason> {
        let used = self.judge(handshake).and_then(|(_, mark)| self.used().insert(mark, handshake.unix_ms));
        match used {
            Ok(()) => {
                self.stats.ticket(TicketResult::Accepted);
                Ok(())
            }
            Err(result) => Err(self.refuse(result)),
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("ttl_ms", &self.rules().ttl_ms).finish_non_exhaustive()
    }
}

/// Which tickets were used and have not ended.
struct Used {
    max: usize,
    /// The first ones end first.
    marks: BTreeSet<Mark>,
}

impl Used {
    /// Remembers one that was not used yet. What has not ended is never forgotten: where there is no room left, no more are
    /// used.
    fn insert(&mut self, mark: Mark, unix_ms: u64) -> Result<(), TicketResult> {
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.marks.first() {
                Some(&(ends_s, _)) if unix_ms >= ends_s.saturating_mul(1_000) => {
                    self.marks.pop_first();
                }
                _ => break,
            }
        }
        if self.marks.contains(&mark) {
            return Err(TicketResult::Used);
        }
        if self.marks.len() >= self.max {
            return Err(TicketResult::NoRoom);
        }
        self.marks.insert(mark);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
