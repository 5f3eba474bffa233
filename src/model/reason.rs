//! Why a handshake was refused or a connection ended.
//!
//! Owns the one table in which a reason becomes a close code, an HTTP status, a metric label, a log level and advice to
//! the client. No other code chooses any of these.

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is a row of the table below")]
pub enum Reason {
    // Refusals of a handshake.
    BadRequest,
    BadIdentity,
    AuthFailed,
    BadOrigin,
    NotFound,
    MethodNotAllowed,
    HandshakeTimeout,
    BadVersion,
    HeadTooLarge,
    BadProxyHeader,
    Full,
    Draining,
    AdmissionRate,
    AddressLimit,
    TakeoverFight,
    Blocked,
    AuthUnavailable,
    NoToken,
    TokenExpected,
    NoDescriptor,
    /// Answered in full, not held: a health check or a CORS preflight.
    Answered,
    // Ends of an open connection.
    ClientClosed,
    ClientGone,
    DeadPeer,
    Lifetime,
    TokenExpired,
    Drain,
    Displaced,
    UserLimit,
    Operator,
    SlowClient,
    BufferPressure,
    ProtocolError,
    InvalidPayload,
    MessageTooBig,
    InboundRate,
    ServerError,
}

/// What a client should do after a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Do not come back by yourself.
    Never,
    /// Come back after a jittered pause.
    BackOff,
    /// Come back at once (with the jitter that the goaway asked for).
    Now,
}

/// How loudly one such end is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loudness {
    /// Expected in numbers: only counted, and logged when debugging.
    Debug,
    /// An operator may want to see it.
    Info,
    /// Something is wrong on our side.
    Error,
}

/// A reason's consequences.
#[derive(Clone, Copy, Debug)]
pub struct Consequence {
    /// Metric label, `snake_case`.
    pub label: &'static str,
    /// HTTP status of a refused WebSocket handshake.
    pub status: u16,
    /// WebSocket close code (RFC 6455 7.4; 4000-4999 are ours).
    pub code: u16,
    /// Reason text of the close frame and of the `close` event.
    pub text: &'static str,
    /// How loudly it is logged.
    pub loudness: Loudness,
    /// Advice to the client.
    pub advice: Advice,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Reason; 37] = {
        use Reason::*;
        [
            BadRequest,
            BadIdentity,
            AuthFailed,
            BadOrigin,
            NotFound,
            MethodNotAllowed,
            HandshakeTimeout,
            BadVersion,
            HeadTooLarge,
            BadProxyHeader,
            Full,
            Draining,
            AdmissionRate,
            AddressLimit,
            TakeoverFight,
            Blocked,
            AuthUnavailable,
            NoToken,
            TokenExpected,
            NoDescriptor,
            Answered,
            ClientClosed,
            ClientGone,
            DeadPeer,
            Lifetime,
            TokenExpired,
            Drain,
            Displaced,
            UserLimit,
            Operator,
            SlowClient,
            BufferPressure,
            ProtocolError,
            InvalidPayload,
            MessageTooBig,
            InboundRate,
            ServerError,
        ]
    };

    /// The table.
    #[rustfmt::skip]
    pub const fn consequence(self) -> Consequence {
        use {Advice::{BackOff, Never, Now}, Loudness::{Debug, Error, Info}};
        let (label, status, code, text, loudness, advice) = match self {
            Reason::BadRequest       => ("bad_request",        400, 1002, "Malformed request",          Debug, Never),
            Reason::BadIdentity      => ("bad_identity",       400, 1008, "Unusable user or device",    Debug, Never),
            Reason::AuthFailed       => ("auth_failed",        401, 1008, "Auth failed",                Debug, Never),
            Reason::BadOrigin        => ("bad_origin",         403, 1008, "Origin not allowed",         Debug, Never),
            Reason::NotFound         => ("not_found",          404, 1008, "Not found",                  Debug, Never),
            Reason::MethodNotAllowed => ("method_not_allowed", 405, 1008, "Method not allowed",         Debug, Never),
            Reason::HandshakeTimeout => ("handshake_timeout",  408, 1008, "Handshake too slow",         Debug, BackOff),
            Reason::BadVersion       => ("bad_version",        426, 1002, "Unsupported version",        Debug, Never),
            Reason::HeadTooLarge     => ("head_too_large",     431, 1009, "Head too large",             Debug, Never),
            Reason::BadProxyHeader   => ("bad_proxy_header",   400, 1002, "Malformed PROXY header",     Info,  Never),
            Reason::Full             => ("full",               503, 1013, "Server full",                Debug, BackOff),
            Reason::Draining         => ("draining",           503, 1001, "Server going away",          Debug, BackOff),
            Reason::AdmissionRate    => ("admission_rate",     503, 1013, "Too many handshakes",        Debug, BackOff),
            Reason::AddressLimit     => ("address_limit",      503, 1013, "Too many from this address", Debug, BackOff),
            Reason::TakeoverFight    => ("takeover_fight",     503, 4001, "displaced",                  Info,  Never),
            Reason::Blocked          => ("blocked",            401, 4003, "Closed by an operator",      Debug, Never),
            Reason::AuthUnavailable  => ("auth_unavailable",   503, 1013, "Auth unavailable",           Debug, BackOff),
            Reason::NoToken          => ("no_token",           408, 1008, "No token came in time",      Debug, BackOff),
            Reason::TokenExpected    => ("token_expected",     400, 1008, "Expected a token as text",   Debug, Never),
            Reason::NoDescriptor     => ("no_descriptor",      503, 1013, "Server full",                Debug, BackOff),
            Reason::Answered         => ("answered",           200, 1000, "",                           Debug, Now),
            Reason::ClientClosed     => ("client_closed",      200, 1000, "",                           Debug, Now),
            Reason::ClientGone       => ("client_gone",        200, 1006, "",                           Debug, Now),
            Reason::DeadPeer         => ("dead_peer",          200, 1001, "No answer to pings",         Debug, Now),
            Reason::Lifetime         => ("lifetime",           200, 1000, "Server closed connection",   Debug, Now),
            Reason::TokenExpired     => ("token_expired",      401, 4002, "token expired",              Debug, BackOff),
            Reason::Drain            => ("drain",              503, 1001, "Server going away",          Debug, Now),
            Reason::Displaced        => ("displaced",          200, 4001, "displaced",                  Debug, Never),
            Reason::UserLimit        => ("user_limit",         200, 4001, "too many connections",       Debug, Never),
            Reason::Operator         => ("operator",           200, 4003, "closed by an operator",      Debug, Never),
            Reason::SlowClient       => ("slow_client",        503, 1013, "Too slow",                   Debug, BackOff),
            Reason::BufferPressure   => ("buffer_pressure",    503, 1013, "Server out of buffers",      Debug, BackOff),
            Reason::ProtocolError    => ("protocol_error",     400, 1002, "Protocol error",             Debug, Never),
            Reason::InvalidPayload   => ("invalid_payload",    400, 1007, "Invalid payload",            Debug, Never),
            Reason::MessageTooBig    => ("message_too_big",    413, 1009, "Message too big",            Debug, Never),
            Reason::InboundRate      => ("inbound_rate",       429, 1008, "Too many frames",            Debug, BackOff),
            Reason::ServerError      => ("server_error",       500, 1011, "Server error",               Error, BackOff),
        };
        Consequence { label, status, code, text, loudness, advice }
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        self.consequence().label
    }

    /// Reads back a number made by `as u8`.
    pub fn from_u8(number: u8) -> Option<Reason> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_once_and_in_order() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
            assert_eq!(Reason::from_u8(at as u8), Some(reason));
            let same = Reason::ALL.iter().filter(|other| other.label() == reason.label());
            assert_eq!(same.count(), 1, "{}", reason.label());
        }
        assert_eq!(Reason::from_u8(Reason::ALL.len() as u8), None);
        assert_eq!(Reason::ServerError as usize + 1, Reason::ALL.len());
    }

    #[test]
    fn a_client_is_never_told_to_hurry_back_to_a_full_server() {
        for reason in Reason::ALL {
            let row = reason.consequence();
            if row.status == 503 && reason != Reason::Drain {
                assert_ne!(row.advice, Advice::Now, "{reason:?}");
            }
            assert!(row.text.len() <= 123, "a close frame's reason has at most 123 bytes");
        }
    }
}
