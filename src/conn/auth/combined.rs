//! Several ways at once, `auth.mode = "jwt,cookie"`: the first whose credential is there judges, alone.
//!
//! A credential that is there but bad is refused, and the next is not asked: whoever can take away or spoil the better
//! credential must not be able to choose which one counts.

use super::{Authenticator, Handshake, Verdict};
use crate::model::Reason;
use std::sync::Arc;

/// Asks the first of several that finds a credential.
pub(super) struct Combined(Vec<Arc<dyn Authenticator>>);

impl Combined {
    /// In this order.
    pub(super) fn new(ways: Vec<Arc<dyn Authenticator>>) -> Self {
        Self(ways)
    }

    fn judge(&self, handshake: &Handshake<'_>) -> Option<&dyn Authenticator> {
        self.0.iter().map(AsRef::as_ref).find(|way| way.finds_credential(handshake))
    }
}

impl Authenticator for Combined {
    fn authenticate<'h>(&self, handshake: &Handshake<'h>) -> Verdict<'h> {
        match self.judge(handshake) {
            Some(way) => way.authenticate(handshake),
            None => Verdict::Refuse(Reason::AuthFailed),
        }
    }

    fn uses_cookie(&self, handshake: &Handshake<'_>) -> bool {
        self.judge(handshake).is_some_and(|way| way.uses_cookie(handshake))
    }

    fn finds_credential(&self, handshake: &Handshake<'_>) -> bool {
        self.judge(handshake).is_some()
    }

    fn is_brought_by_page(&self, handshake: &Handshake<'_>) -> bool {
        self.judge(handshake).is_some_and(|way| way.is_brought_by_page(handshake))
    }

    fn use_up(&self, handshake: &Handshake<'_>) -> Result<(), Reason> {
        self.judge(handshake).map_or(Ok(()), |way| way.use_up(handshake))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{cookie::testing::cookie, from_config, testing::*},
        *,
    };
    use crate::config::{Auth, AuthMode, Config, Cookie, Jwt, Secret};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    const SECRET: &str = "a shared secret of some length, for tests";
    const KEY: &str = "a-key-of-cookies-that-is-long-enough";
    const NOW_S: u64 = 2_000_000_000;

    fn auth(modes: &[AuthMode]) -> Arc<dyn Authenticator> {
        let jwt = Jwt {
            algorithms: vec!["HS256".into()],
            secret: Some(Secret::new(SECRET)),
            cookie: Some("token".into()),
            ..Jwt::default()
        };
        let cookie = Cookie { name: "session".into(), keys: Some(Secret::new(KEY)), leeway_s: 0 };
        from_config(&Auth { modes: modes.to_vec(), jwt, cookie, ..Config::default().auth }).unwrap()
    }

    #[test]
    fn the_first_that_is_there_decides_also_when_it_is_bad() {
        let claims = json!({"sub": "by-token", "exp": NOW_S + 60});
        let token =
            encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
        let signed = cookie(KEY, &json!({"user": "by-cookie", "exp": NOW_S + 60}).to_string());
        let (good_token, bad_token) =
            (format!("Authorization: Bearer {token}"), format!("Authorization: Bearer {token}x"));
        let (good_cookie, bad_cookie) =
            (format!("Cookie: session={signed}"), format!("Cookie: session={signed}x"));
        let both_cookies = format!("Cookie: session={signed}; token={token}");
        let empty = "Authorization: bearer".to_owned();
        let basic = "Authorization: Basic dTpw".to_owned();
        let jwt_first = [AuthMode::Jwt, AuthMode::Cookie];
        let cookie_first = [AuthMode::Cookie, AuthMode::Jwt];
        type Row<'r> = (&'r [AuthMode], &'r [&'r String], Option<&'r str>, bool);
        let rows: &[Row<'_>] = &[
            (&jwt_first, &[&good_token], Some("by-token"), false),
            (&jwt_first, &[&good_cookie], Some("by-cookie"), true),
            (&jwt_first, &[&good_token, &good_cookie], Some("by-token"), false),
            (&jwt_first, &[&bad_token, &good_cookie], None, false),
            (&jwt_first, &[&good_token, &bad_cookie], Some("by-token"), false),
            (&jwt_first, &[&basic, &good_cookie], Some("by-cookie"), true),
            (&jwt_first, &[&both_cookies], Some("by-token"), true),
            (&jwt_first, &[&empty, &good_cookie], None, false),
            (&jwt_first, &[&basic, &good_token, &good_cookie], None, false),
            (&jwt_first, &[], None, false),
            (&cookie_first, &[&good_token, &good_cookie], Some("by-cookie"), true),
            (&cookie_first, &[&good_token, &bad_cookie], None, true),
            (&cookie_first, &[&good_token], Some("by-token"), false),
            (&cookie_first, &[&both_cookies], Some("by-cookie"), true),
        ];
        for (modes, lines, user, rides_on_cookie) in rows {
            let lines: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
            let text = request("/ws", &lines);
            let head = head(&text);
            let handshake = handshake(&head, NOW_S * 1000);
            let auth = auth(modes);
            let found = match auth.authenticate(&handshake) {
                Verdict::Accept(identity) => Some(identity.user.into_owned()),
                Verdict::Refuse(_) | Verdict::Deferred => None,
            };
            assert_eq!(found.as_deref(), *user, "{modes:?} {text}");
            assert_eq!(auth.uses_cookie(&handshake), *rides_on_cookie, "{modes:?} {text}");
            assert_eq!(auth.finds_credential(&handshake), !lines.is_empty(), "{modes:?} {text}");
        }
        let text = request("/ws?token=%FF", &[&good_cookie]);
        let head = head(&text);
        let verdict = auth(&jwt_first).authenticate(&handshake(&head, NOW_S * 1000));
        assert_eq!(verdict, Verdict::Refuse(Reason::AuthFailed), "a parameter that cannot be a token");
    }
}
