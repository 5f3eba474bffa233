//! What a backend asks for when it wants a ticket for a client, and what it gets.

/// Whom a ticket is for.
#[derive(Clone, Copy, Debug)]
pub struct TicketOrder<'a> {
    /// The user.
    pub user: &'a str,
    /// The device; None: the client may name it.
    pub device: Option<&'a str>,
    /// Its life, ms, cut to the longest that there is; None: `auth.tickets.ttl`.
    pub ttl_ms: Option<u64>,
    /// When the connection that it opens ends (4002), seconds since 1970.
    pub ends_unix_s: Option<u64>,
    /// Tells it from all others; no secret.
    pub id: &'a str,
}

/// A ticket. It has no `Debug`: whoever reads it can be its user.
#[derive(Clone, PartialEq, Eq)]
pub struct MadeTicket {
    /// What the page brings.
    pub text: String,
    /// When it ends, seconds since 1970.
    pub expires_unix_s: u64,
}
