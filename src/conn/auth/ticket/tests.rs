//! Tickets, good and bad, and used by several at once.

use super::{
    super::{HeaderAuth, cookie::testing::cookie, signed::testing::signed, testing::*, with_tickets},
    *,
};
use crate::{
    config::{Config, Cookie},
    model::Lanes,
    stats::BuildInfo,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Barrier};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "an-older-key-that-is-long-enough-too";
/// A day in 2033: the system's clock has no say.
const NOW_S: u64 = 2_000_000_000;
const NOW_MS: u64 = NOW_S * 1000;
const HOUR_MS: u64 = 3_600_000;

fn rules(keys: Option<&str>, used: usize) -> Result<TicketRules, String> {
    TicketRules::new(&config::Tickets { keys: keys.map(Secret::new), ttl_ms: 30_000, used })
}

fn with_keys(keys: Option<&str>, used: usize) -> Tickets {
    let stats = Arc::new(NodeStats::new(1, &Lanes::default(), BuildInfo::current()));
    Tickets::new(rules(keys, used).unwrap(), None, stats).unwrap()
}

fn tickets() -> Tickets {
    with_keys(Some(KEY), 1_000)
}

fn order<'a>(user: &'a str, id: &'a str) -> TicketOrder<'a> {
    TicketOrder { user, device: None, ttl_ms: None, ends_unix_s: None, id }
}

/// Judges it, and uses it up if it is good, as a handshake does.
fn bring(tickets: &Tickets, text: &str, unix_ms: u64) -> Result<Identity<'static>, Reason> {
    let request = request(&format!("/ws?a=b&ticket={text}"), &[]);
    let head = head(&request);
    let handshake = handshake(&head, unix_ms);
    let Verdict::Accept(identity) = tickets.authenticate(&handshake) else {
        return Err(Reason::AuthFailed);
    };
    let user = Cow::Owned(identity.user.into_owned());
    let device = identity.device.map(|device| Cow::Owned(device.into_owned()));
    tickets.use_up(&handshake)?;
    Ok(Identity { user, device, ..identity })
}

fn count(tickets: &Tickets, result: TicketResult) -> u64 {
    tickets.stats.tickets_of(result)
}

fn is_good(tickets: &Tickets, text: &str) -> bool {
    bring(tickets, text, NOW_MS).is_ok()
}

fn signed_claims(claims: &Value) -> String {
    signed(VERSION, KEY, &claims.to_string())
}

#[test]
fn a_ticket_says_whom_it_is_for_and_counts_once() {
    let tickets = tickets();
    let order = TicketOrder {
        device: Some("a \"tab\""),
        ends_unix_s: Some(NOW_S + 600),
        ttl_ms: Some(5_500),
        ..order("jürgen", "1")
    };
    let ticket = tickets.make(&order, NOW_MS).unwrap();
    assert_eq!(ticket.expires_unix_s, NOW_S + 6);
    let expected = Identity {
        user: "jürgen".into(),
        device: Some("a \"tab\"".into()),
        issued_unix_s: None,
        expires_unix_s: Some(NOW_S + 600),
    };
    assert_eq!(bring(&tickets, &ticket.text, NOW_MS + 5_999), Ok(expected));
    assert_eq!(bring(&tickets, &ticket.text, NOW_MS + 5_999), Err(Reason::AuthFailed));
    // Another one for the same is another one.
    let second = tickets.make(&TicketOrder { id: "2", ..order }, NOW_MS).unwrap();
    assert!(second.text != ticket.text && is_good(&tickets, &second.text));
    let counts = [TicketResult::Made, TicketResult::Accepted, TicketResult::Used];
    assert_eq!(counts.map(|result| count(&tickets, result)), [2, 2, 1]);
    assert!(
        ticket.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
        "it needs no escape in a URL"
    );
}

#[test]
fn looking_at_a_ticket_does_not_use_it_up() {
    let tickets = tickets();
    let ticket = tickets.make(&order("ada", "1"), NOW_MS).unwrap();
    let request = request(&format!("/sse?ticket={}", ticket.text), &[]);
    let head = head(&request);
    let handshake = handshake(&head, NOW_MS);
    for _ in 0..3 {
        assert!(matches!(tickets.authenticate(&handshake), Verdict::Accept(_)));
    }
    assert!(!tickets.uses_cookie(&handshake) && tickets.is_brought_by_page(&handshake));
    assert_eq!(tickets.use_up(&handshake), Ok(()));
    assert_eq!(tickets.authenticate(&handshake), Verdict::Refuse(Reason::AuthFailed));
    assert_eq!(tickets.use_up(&handshake), Err(Reason::AuthFailed));
}

#[test]
fn clocks_that_differ_make_no_ticket_live_longer() {
    let tickets = tickets();
    let make =
        |ttl_ms, unix_ms| tickets.make(&TicketOrder { ttl_ms, ..order("ada", "1") }, unix_ms).unwrap().text;
    let rows = [
        (None, 0, true),
        (None, 29_999, true),
        (None, 30_000, false),
        (Some(1), 999, true),
        (Some(1), 1_000, false),
        (Some(300_000), 299_999, true),
        (Some(300_000), 300_000, false),
        // More than the most is cut to it.
        (Some(u64::MAX), 299_999, true),
        (Some(u64::MAX), 300_000, false),
        (None, HOUR_MS, false),
    ];
    for (ttl_ms, later_ms, good) in rows {
        let fresh = with_keys(Some(KEY), 1);
        let seen = bring(&fresh, &make(ttl_ms, NOW_MS), NOW_MS + later_ms);
        assert_eq!(seen.is_ok(), good, "{ttl_ms:?} {later_ms}");
    }
    // The node that made it is ahead: by a little, by an hour.
    assert!(bring(&tickets, &make(Some(300_000), NOW_MS + 60_000), NOW_MS).is_ok());
    assert!(bring(&tickets, &make(None, NOW_MS + HOUR_MS), NOW_MS).is_err());
    for unix_ms in [0, u64::MAX] {
        let _ = tickets.make(&order("ada", "1"), unix_ms);
        assert!(bring(&tickets, &make(None, NOW_MS), unix_ms).is_err());
    }
}

#[test]
fn no_ticket_outlives_the_end_of_its_connection() {
    let tickets = tickets();
    let order = TicketOrder { ends_unix_s: Some(NOW_S + 3), ..order("ada", "1") };
    let ticket = tickets.make(&order, NOW_MS).unwrap();
    assert_eq!(ticket.expires_unix_s, NOW_S + 3);
    assert!(bring(&tickets, &ticket.text, NOW_MS + 3_000).is_err());
    let ended = signed_claims(&json!({ "id": "1", "user": "ada", "exp": NOW_S + 9, "end": NOW_S }));
    assert!(!is_good(&tickets, &ended));
}

#[test]
fn claims_are_judged() {
    let tickets = tickets();
    let exp = NOW_S + 30;
    let rows = [
        (json!({ "id": "1", "user": "ada", "exp": exp }), true),
        (json!({ "id": "2", "user": "ada", "exp": exp, "more": [1] }), true),
        (json!({ "user": "ada", "exp": exp }), false),
        (json!({ "id": "1", "exp": exp }), false),
        (json!({ "id": "1", "user": "ada" }), false),
        (json!({ "id": "1", "user": 7, "exp": exp }), false),
        (json!({ "id": "1", "user": "ada", "exp": "soon" }), false),
        (json!({ "id": "1", "user": "ada", "exp": u64::MAX }), false),
        (json!({ "id": "1", "user": "ada", "exp": -1 }), false),
        (json!(["1", "ada", exp]), false),
    ];
    for (claims, good) in rows {
        assert_eq!(is_good(&tickets, &signed_claims(&claims)), good, "{claims}");
    }
}

#[test]
fn a_ticket_is_read_to_the_letter() {
    let tickets = tickets();
    let good = tickets.make(&order("ada", "1"), NOW_MS).unwrap().text;
    let (text, code) = good.rsplit_once('.').unwrap();
    let claims = text.strip_prefix("t1.").unwrap();
    let long = "A".repeat(5_000);
    let bad = [
        "",
        ".",
        "..",
        "t1",
        "t1.",
        "t1..",
        claims,
        text,
        &good[..good.len() - 1],
        &format!("{good}A"),
        &format!("{good}="),
        &format!("{good}."),
        &format!("t2.{claims}.{code}"),
        &format!("v1.{claims}.{code}"),
        &format!("t1.{claims}A.{code}"),
        &format!("t1.{claims}.{}", "A".repeat(43)),
        &format!("t1.{long}.{code}"),
        "%FF",
        "%00",
        "none",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
    ];
    for bad in bad {
        assert!(!is_good(&tickets, bad), "{bad}");
    }
    assert_eq!(count(&tickets, TicketResult::Bad), bad.len() as u64);
    assert!(is_good(&tickets, &good), "and it was not used up");
}

#[test]
fn a_cookie_is_no_ticket_and_a_ticket_no_cookie() {
    let tickets = tickets();
    let claims = json!({ "id": "1", "user": "ada", "exp": NOW_S + 30 });
    assert!(!is_good(&tickets, &cookie(KEY, &claims.to_string())));
    let ticket = signed_claims(&claims);
    let config = Cookie { name: "session".into(), keys: Some(Secret::new(KEY)), leeway_s: 0 };
    let cookies = super::super::CookieAuth::from_config(&config).unwrap();
    for (value, user) in [(&ticket, None), (&cookie(KEY, &claims.to_string()), Some("ada"))] {
        let request = request("/ws", &[&format!("Cookie: session={value}")]);
        let head = head(&request);
        match (cookies.authenticate(&handshake(&head, NOW_MS)), user) {
            (Verdict::Accept(identity), Some(user)) => assert_eq!(identity.user, user),
            (Verdict::Refuse(_), None) => {}
            (verdict, _) => panic!("{value}: {verdict:?}"),
        }
    }
}

#[test]
fn keys_are_rotated_and_what_was_used_stays_used() {
    let two = with_keys(Some(&format!("{KEY}\n{OLD}")), 10);
    let by_old = with_keys(Some(OLD), 10).make(&order("ada", "1"), NOW_MS).unwrap().text;
    let by_new = two.make(&order("ada", "2"), NOW_MS).unwrap().text;
    assert!(is_good(&two, &by_old), "all are accepted");
    assert!(is_good(&with_keys(Some(KEY), 1), &by_new), "the first signs");
    two.set_rules(rules(Some(&format!("{OLD}\n{KEY}")), 10).unwrap());
    assert!(!is_good(&two, &by_old), "used before");
    assert!(rules(Some("short"), 10).is_err_and(|error| error.contains("auth.tickets.keys")));
    assert!(is_good(&two, &by_new));
    two.set_rules(rules(Some(OLD), 10).unwrap());
    assert!(!is_good(&two, &two_of(KEY)) && is_good(&two, &two_of(OLD)));
    let none = with_keys(None, 10);
    assert!(none.make(&order("ada", "1"), NOW_MS).is_none() && !is_good(&none, &by_new));
    none.set_rules(rules(Some(KEY), 10).unwrap());
    assert!(is_good(&none, &by_new));
    // What was drawn counts as long as nothing is given.
    let stats = Arc::new(NodeStats::new(1, &Lanes::default(), BuildInfo::current()));
    let drawn = Tickets::new(rules(None, 10).unwrap(), Some(Secret::new(OLD)), stats).unwrap();
    assert!(is_good(&drawn, &two_of(OLD)));
    drawn.set_rules(rules(Some(KEY), 10).unwrap());
    assert!(!is_good(&drawn, &two_of(OLD)) && is_good(&drawn, &two_of(KEY)));
    assert_eq!(format!("{none:?}"), "Tickets { ttl_ms: 30000, .. }");
}

fn two_of(key: &str) -> String {
    with_keys(Some(key), 1).make(&order("ada", "3"), NOW_MS).unwrap().text
}

#[test]
fn a_ticket_decides_alone() {
    let tickets = Arc::new(tickets());
    let both = with_tickets(tickets.clone(), Arc::new(HeaderAuth::new("X-CUSTOMER_ID")));
    let good = tickets.make(&order("by-ticket", "1"), NOW_MS).unwrap().text;
    let rows = [
        ("/ws".to_owned(), Some("by-header"), false),
        ("/ws?tickets=1".into(), Some("by-header"), false),
        (format!("/ws?ticket={good}"), Some("by-ticket"), true),
        ("/ws?ticket=".into(), None, true),
        ("/ws?ticket=%FF".into(), None, true),
        (format!("/ws?ticket=x&ticket={good}"), None, true),
    ];
    for (target, user, by_ticket) in rows {
        let request = request(&target, &["X-CUSTOMER_ID: by-header"]);
        let head = head(&request);
        let handshake = handshake(&head, NOW_MS);
        match (both.authenticate(&handshake), user) {
            (Verdict::Accept(identity), Some(user)) => {
                assert_eq!(identity.user, user, "{target}");
                assert_eq!(both.use_up(&handshake), Ok(()), "{target}");
                assert_eq!(both.use_up(&handshake).is_err(), by_ticket, "{target}");
            }
            (Verdict::Refuse(reason), None) => assert_eq!(reason, Reason::AuthFailed, "{target}"),
            (verdict, _) => panic!("{target}: {verdict:?}"),
        }
        assert_eq!(both.is_brought_by_page(&handshake), by_ticket, "{target}");
        assert!(!both.uses_cookie(&handshake), "{target}");
    }
}

#[test]
fn when_no_more_can_be_remembered_no_more_are_used() {
    let tickets = with_keys(Some(KEY), 2);
    let make = |id, unix_ms| tickets.make(&order("ada", id), unix_ms).unwrap().text;
    let [one, two, three] = ["1", "2", "3"].map(|id| make(id, NOW_MS));
    assert!(is_good(&tickets, &one) && is_good(&tickets, &two));
    assert_eq!(bring(&tickets, &three, NOW_MS), Err(Reason::Full));
    assert_eq!(bring(&tickets, &one, NOW_MS), Err(Reason::AuthFailed), "it is not forgotten for another");
    assert_eq!(count(&tickets, TicketResult::NoRoom), 1);
    // When those have ended there is room again.
    let later = make("4", NOW_MS + 30_000);
    assert!(bring(&tickets, &later, NOW_MS + 30_000).is_ok());
}

#[test]
fn of_several_at_once_one_uses_a_ticket() {
    let tickets = tickets();
    for round in 0..50 {
        let text = tickets.make(&order("ada", &round.to_string()), NOW_MS).unwrap().text;
        let start = Barrier::new(4);
        let won = std::thread::scope(|scope| {
            let shards = [(); 4].map(|()| {
                scope.spawn(|| {
                    start.wait();
                    is_good(&tickets, &text)
                })
            });
            shards.into_iter().map(|shard| u32::from(shard.join().unwrap())).sum::<u32>()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn the_default_has_no_keys_and_lives_half_a_minute() {
    let config = Config::default().auth.tickets;
    assert!(config.keys.is_none());
    assert_eq!((config.ttl_ms, config.used), (30_000, 262_144));
}

proptest! {
    /// Against one that forgets nothing, whatever comes.
    #[test]
    fn used_ones_are_remembered_as_long_as_they_count(
        uses in prop::collection::vec((0u64..6, 0u64..4, 0u64..8_000), 0..60),
        max in 1usize..8,
    ) {
        let mut used = Used { max, marks: BTreeSet::new() };
        let mut twin: HashMap<Mark, ()> = HashMap::new();
        let mut now_ms = 0;
        for (ends_s, code, step_ms) in uses {
            now_ms += step_ms / 8;
            let mark = (now_ms / 1_000 + 1 + ends_s, code);
            let before = twin.contains_key(&mark);
            match used.insert(mark, now_ms) {
                Ok(()) => {
                    prop_assert!(!before);
                    twin.insert(mark, ());
                }
                Err(TicketResult::Used) => prop_assert!(before),
                Err(result) => {
                    prop_assert_eq!(result, TicketResult::NoRoom);
                    let count = twin.keys().filter(|(ends_s, _)| ends_s * 1_000 > now_ms).count();
                    prop_assert!(!before && count >= max);
                }
            }
            prop_assert!(used.marks.len() <= max);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}|t1\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{43}") {
        let text = text.replace(' ', "");
        let tickets = tickets();
        let line = format!("GET /ws?ticket={text} HTTP/1.1\r\nHost: h\r\n\r\n");
        if let Ok(Some((head, _))) = crate::proto::http::parse_head(line.as_bytes(), 1024) {
            prop_assert!(matches!(tickets.authenticate(&handshake(&head, NOW_MS)), Verdict::Refuse(_)));
        }
    }
}
