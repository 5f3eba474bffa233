use super::{super::testing::*, *};
use crate::kit::mailbox::{Receiver, Wake, mailbox};
use std::sync::Arc;

struct Deaf;

impl Wake for Deaf {
    fn wake(&self) {}
}

fn auth(credentials: &[&str], room: usize) -> (HttpAuth, Receiver<Asked>) {
    let (sender, receiver) = mailbox(&[room], Arc::new(Deaf));
    let config = config::Http {
        url: Some("http://127.0.0.1/".into()),
        credentials: credentials.iter().map(|&name| name.into()).collect(),
        ..config::Http::default()
    };
    (HttpAuth::from_config(&config, Some(sender)).unwrap(), receiver)
}

fn usual() -> (HttpAuth, Receiver<Asked>) {
    auth(&["authorization", "cookie"], 10)
}

/// What was asked, as text.
fn asked(receiver: &mut Receiver<Asked>) -> Vec<String> {
    let mut all = Vec::new();
    receiver.take(100, &mut all);
    let text = |asked: &Asked| {
        let line = |(name, value)| format!("{name}: {}", String::from_utf8_lossy(value));
        let lines: Vec<String> = asked.question.headers().map(line).collect();
        format!("{} {}", asked.question.target(), lines.join(", "))
    };
    all.iter().map(text).collect()
}

#[test]
fn what_brings_a_credential_is_asked_about_and_the_rest_is_refused_unasked() {
    let rows: &[(&str, &[&str], bool, bool)] = &[
        // Target, lines, whether there is a credential, whether a browser added it by itself.
        ("/ws", &[], false, false),
        ("/ws?user=ada", &["X-CUSTOMER_ID: ada"], false, false),
        ("/ws", &["Cookie: "], false, false),
        ("/ws", &["cookie: a=b"], true, true),
        ("/ws", &["Authorization: Bearer x"], true, false),
        ("/ws", &["AUTHORIZATION: bearer x"], true, false),
        ("/ws", &["Authorization: Basic dTpw"], true, true),
        ("/ws", &["Authorization: Bearer x", "Cookie: a=b"], true, true),
        ("/ws?token=x", &[], true, false),
        ("/ws?a=b&%74oken=x", &[], true, false),
        ("/ws?token=", &[], true, false),
        ("/ws?token=x", &["Cookie: a=b"], true, true),
        ("/ws?tokens=x", &[], false, false),
    ];
    for (target, lines, found, by_browser) in rows {
        let (auth, mut receiver) = usual();
        let text = request(target, lines);
        let head = head(&text);
        let handshake = handshake(&head, 0);
        assert_eq!(auth.finds_credential(&handshake), *found, "{text}");
        assert_eq!(auth.uses_cookie(&handshake), *by_browser, "{text}");
        let verdict = auth.authenticate(&handshake);
        let refused = Verdict::Refuse(Reason::AuthFailed);
        assert_eq!(verdict, if *found { Verdict::Deferred } else { refused }, "{text}");
        assert_eq!(asked(&mut receiver).len(), usize::from(*found), "{text}");
    }
    let (auth, mut receiver) = usual();
    let text = request("/ws?token=%FF", &["Cookie: a=b"]);
    let head = head(&text);
    assert!(auth.finds_credential(&handshake(&head, 0)));
    assert_eq!(auth.authenticate(&handshake(&head, 0)), Verdict::Refuse(Reason::AuthFailed));
    assert!(asked(&mut receiver).is_empty());
}

#[test]
fn the_question_is_what_the_client_sent_without_what_is_not_for_others() {
    let (auth, mut receiver) = auth(&["x-api-key"], 10);
    let text = request(
        "/ws?device=phone",
        &[
            "X-Api-Key: k1",
            "Cookie: session=private",
            "Authorization: Bearer private",
            "Upgrade: websocket",
            "Connection: Upgrade, X-Hop",
            "X-Hop: private",
            "Sec-WebSocket-Key: private",
            "X-Forwarded-For: 10.0.0.1",
            "Origin: https://app.example",
            "x-api-key: k2",
        ],
    );
    let head = head(&text);
    assert_eq!(auth.authenticate(&handshake(&head, 0)), Verdict::Deferred);
    let lines = "X-Api-Key: k1, Origin: https://app.example, x-api-key: k2";
    assert_eq!(asked(&mut receiver), [format!("/ws?device=phone {lines}")]);
}

#[test]
fn without_room_it_is_unavailable() {
    let text = request("/ws", &["Cookie: a=b"]);
    let head = head(&text);
    let (auth, receiver) = auth(&["cookie"], 1);
    assert_eq!(auth.authenticate(&handshake(&head, 0)), Verdict::Deferred);
    let unavailable = Verdict::Refuse(Reason::AuthUnavailable);
    assert_eq!(auth.authenticate(&handshake(&head, 0)), unavailable);
    drop(receiver);
    assert_eq!(auth.authenticate(&handshake(&head, 0)), unavailable);
    assert!(
        HttpAuth::from_config(&config::Http::default(), None)
            .is_err_and(|error| error.contains("auth.http.url"))
    );
}
