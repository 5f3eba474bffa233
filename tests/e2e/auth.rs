//! Signed cookies, sets of keys and both at once: what is let in, what ends it, and keys that change under a running node.
//!
//! Cookies and tokens are made by the code of `docs/auth.md` as well as here.

use crate::{
    client::{Sse, Ws, upgrade},
    http::Wire,
    node::{Node, until},
    npm, python,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto::sign, encode};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

pub const OLD: &str = "old-key-of-cookies-0123456789abcdef";
pub const NEW: &str = "new-key-of-cookies-0123456789abcdef";
/// Of a set, as base64url says them.
pub const FIRST: &[u8] = b"first-secret-of-a-set-0123456789";
const SECOND: &[u8] = b"second-secret-of-a-set-012345678";
pub const READ_AGAIN: &str = "the keys for clients' credentials were read again";
pub const REFUSED: &str = "the changed keys cannot be used; the old ones stay";

pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn cookie(key: &str, claims: &Value) -> String {
    let text = format!("v1.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mac = sign(text.as_bytes(), &EncodingKey::from_secret(key.as_bytes()), Algorithm::HS256).unwrap();
    format!("{text}.{mac}")
}

pub fn cookie_of(key: &str, user: &str) -> String {
    cookie(key, &json!({ "user": user, "exp": unix_s() + 600 }))
}

pub fn token(secret: &[u8], kid: &str) -> String {
    let header = Header { kid: Some(kid.into()), ..Header::default() };
    let claims = json!({ "sub": "ada", "exp": unix_s() + 600 });
    encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
}

pub fn shared(secret: &[u8], kid: &str) -> Value {
    json!({ "kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode(secret) })
}

/// What a handshake is answered.
pub fn status(node: &Node, headers: &[(&str, &str)]) -> u16 {
    let mut wire = Wire::connect(node.clients);
    wire.send(&upgrade("/ws", headers));
    wire.head().unwrap().status
}

pub fn with_cookie(node: &Node, value: &str) -> u16 {
    status(node, &[("Cookie", &format!("holdfast={value}"))])
}

pub fn with_token(node: &Node, token: &str) -> u16 {
    status(node, &[("Authorization", &format!("Bearer {token}"))])
}

/// Renames it into place, as one should.
pub fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(&fresh, path).unwrap();
}

pub fn wait_for_log(node: &Node, words: &str, times: usize) {
    until(words, || (node.log().matches(words).count() >= times).then_some(()));
}

fn assert_no_secret(node: &Node, secrets: &[&str]) {
    let log = node.log();
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// The block of docs/auth.md in this language below this heading.
pub fn snippet(heading: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/auth.md");
    let page = fs::read_to_string(path).unwrap();
    let part = page.split("\n## ").find(|part| part.starts_with(&format!("{heading}\n"))).unwrap();
    let (_, rest) = part.split_once(&format!("```{language}\n")).unwrap();
    rest.split("\n```").next().unwrap().to_owned()
}

pub fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_signed_cookie_says_who_it_is() {
    let node = Node::start(&["auth.mode=cookie", &format!("auth.cookie.keys={NEW},{OLD}")]);
    let good = cookie(OLD, &json!({ "user": "ada", "device": "phone", "exp": unix_s() + 600 }));
    let line = format!("a=b; holdfast={good}; c=d");
    let mut stream = Sse::open(&node, "/sse?device=other", &[("Cookie", &line)]);
    assert_eq!(node.push("ada/push", "x").1, [("phone".into(), "written".into())]);
    assert_eq!(stream.event().data, "x");
    // A browser sends a cookie along for any page: then the Origin must be ours.
    Ws::open(&node, "/ws", &[("Cookie", &line), ("Origin", "http://push.example")]);
    assert_eq!(status(&node, &[("Cookie", &line), ("Origin", "https://evil.example")]), 403);
    let ended = cookie(OLD, &json!({ "user": "ada", "exp": unix_s() - 3600 }));
    let endless = cookie(OLD, &json!({ "user": "ada" }));
    let nobodys = cookie_of("some-other-key-of-cookies-0123456789", "ada");
    let twice = format!("{good}; holdfast={nobodys}");
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    for bad in [&ended, &endless, &nobodys, &twice, &forged, "", "v1..", &"x".repeat(8_000)] {
        assert_eq!(with_cookie(&node, bad), 401, "{bad}");
    }
    let many = (0..400).map(|n| format!("c{n}=x; ")).collect::<String>();
    assert_eq!(status(&node, &[("Cookie", &format!("{many}holdfast={good}"))]), 101);
    assert_eq!(status(&node, &[("X-CUSTOMER_ID", "ada")]), 401);
    assert_eq!(with_cookie(&node, &cookie_of(NEW, "a\nb")), 400);
    let (_, mac) = good.rsplit_once('.').unwrap();
    assert_no_secret(&node, &[OLD, NEW, mac]);
}

#[test]
fn a_cookie_that_ends_brings_goaway_first_and_4002_at_its_end() {
    let node = Node::start(&[
        "auth.mode=cookie",
        "auth.cookie.leeway=0s",
        "lifetime.grace=300ms",
        &format!("auth.cookie.keys={NEW}"),
    ]);
    let now = unix_s();
    // Made a minute ago: the last tenth of its life is 6 s, over which the goaways are spread.
    let value = cookie(NEW, &json!({ "user": "ada", "iat": now - 57, "exp": now + 3 }));
    let mut ws = Ws::open(&node, "/ws", &[("Cookie", &format!("holdfast={value}"))]);
    assert_eq!(ws.text(), "_CLOSE_");
    assert_eq!(ws.close_frame().0, 4002);
    node.wait_for_metric("holdfast_goaways_total{reason=\"token_expired\"}", 1.0);
}

#[test]
fn keys_of_cookies_change_without_a_restart() {
    let (_folder, path) = file(&format!("{OLD}\n"));
    let node = Node::start(&["auth.mode=cookie", &format!("auth.cookie.keys_file={}", path.display())]);
    let (by_old, by_new) = (cookie_of(OLD, "ada"), cookie_of(NEW, "ada"));
    let line = format!("holdfast={}", cookie_of(OLD, "bob"));
    let mut open = Ws::open(&node, "/ws", &[("Cookie", &line)]);
    assert_eq!(with_cookie(&node, &by_new), 401);
    write(&path, &format!("{OLD}\n{NEW}\n"));
    wait_for_log(&node, READ_AGAIN, 1);
    assert_eq!((with_cookie(&node, &by_old), with_cookie(&node, &by_new)), (101, 101));
    // One that is no key leaves those in force.
    write(&path, "short-and-secret\n");
    wait_for_log(&node, REFUSED, 1);
    assert_eq!((with_cookie(&node, &by_old), with_cookie(&node, &by_new)), (101, 101));
    write(&path, &format!("{NEW}\n"));
    wait_for_log(&node, READ_AGAIN, 2);
    assert_eq!((with_cookie(&node, &by_old), with_cookie(&node, &by_new)), (401, 101));
    // What is open stays.
    assert_eq!(node.push_one("bob/push", "still here"), "written");
    assert_eq!(open.text(), "still here");
    assert_eq!(node.log().matches(REFUSED).count(), 1, "said once");
    assert_eq!(node.metric("holdfast_key_reloads_total{result=\"ok\"}"), 2.0);
    assert_eq!(node.metric("holdfast_key_reloads_total{result=\"refused\"}"), 1.0);
    assert_no_secret(&node, &[OLD, NEW, "short-and-secret", &by_old, &by_new]);
}

#[test]
fn a_set_of_keys_changes_without_a_restart() {
    let first = shared(FIRST, "first");
    let private =
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "careless", "x": "AAAA", "d": "c2VjcmV0LWQ" });
    let (_folder, path) = file(&json!({ "keys": [first, private] }).to_string());
    let node = Node::start(&["auth.mode=jwt", &format!("auth.jwt.jwks_file={}", path.display())]);
    wait_for_log(&node, "key \"careless\": it is a private key", 1);
    let (by_first, by_second) = (token(FIRST, "first"), token(SECOND, "second"));
    assert_eq!((with_token(&node, &by_first), with_token(&node, &by_second)), (101, 401));
    let both = json!({ "keys": [first, shared(SECOND, "second")] }).to_string();
    write(&path, &both);
    wait_for_log(&node, READ_AGAIN, 1);
    assert_eq!((with_token(&node, &by_first), with_token(&node, &by_second)), (101, 101));
    assert_eq!(with_token(&node, &token(SECOND, "first")), 401, "by another's name");
    for (at, bad) in ["{\"keys\": []}", &both[..both.len() / 2]].into_iter().enumerate() {
        write(&path, bad);
        wait_for_log(&node, REFUSED, at + 1);
        assert_eq!((with_token(&node, &by_first), with_token(&node, &by_second)), (101, 101));
    }
    fs::remove_file(&path).unwrap();
    wait_for_log(&node, "the file of a secret cannot be read; the old secret stays", 1);
    assert_eq!(with_token(&node, &by_second), 101);
    write(&path, &json!({ "keys": [shared(SECOND, "second")] }).to_string());
    wait_for_log(&node, READ_AGAIN, 2);
    assert_eq!((with_token(&node, &by_first), with_token(&node, &by_second)), (401, 101));
    let (first, second) = (URL_SAFE_NO_PAD.encode(FIRST), URL_SAFE_NO_PAD.encode(SECOND));
    assert_no_secret(&node, &[&first, &second, "c2VjcmV0LWQ", &by_first, &by_second]);
}

#[test]
fn of_two_ways_the_first_that_is_there_decides() {
    let (_folder, path) = file(&json!({ "keys": [shared(FIRST, "first")] }).to_string());
    let node = Node::start(&[
        "auth.mode=jwt,cookie",
        &format!("auth.jwt.jwks_file={}", path.display()),
        &format!("auth.cookie.keys={NEW}"),
    ]);
    let bearer = format!("Bearer {}", token(FIRST, "first"));
    let bad_bearer = format!("Bearer {}", token(SECOND, "first"));
    let line = format!("holdfast={}", cookie_of(NEW, "eve"));
    let both = [("Authorization", bearer.as_str()), ("Cookie", &line)];
    let mut ws = Ws::open(&node, "/ws", &both);
    assert_eq!(node.push_one("ada/push", "by token"), "written");
    assert_eq!(ws.text(), "by token");
    let mut ws = Ws::open(&node, "/ws", &[("Cookie", &line)]);
    assert_eq!(node.push_one("eve/push", "by cookie"), "written");
    assert_eq!(ws.text(), "by cookie");
    // The worse credential does not help the better one out.
    assert_eq!(status(&node, &[("Authorization", &bad_bearer), ("Cookie", &line)]), 401);
    assert_eq!(status(&node, &[]), 401);
    // Where the token decides, no page can have sent it.
    let elsewhere = ("Origin", "https://app.example");
    assert_eq!(status(&node, &[both[0], both[1], elsewhere]), 101);
    assert_eq!(status(&node, &[both[1], elsewhere]), 403);
}

#[test]
fn what_the_page_says_makes_a_good_cookie() {
    let node = Node::start(&["auth.mode=cookie", &format!("auth.cookie.keys={NEW}")]);
    let script = format!("{}\nimport sys\nprint(make_cookie(*sys.argv[1:]))", snippet("Cookie", "python"));
    let from_python = python::run(&script, &[NEW, "jürgen", "phone"]);
    let script = format!("{}\nconsole.log(makeCookie('{NEW}', 'jürgen', 'tab'));", snippet("Cookie", "js"));
    let from_node = npm::run_alone(&script, &[]);
    let script = format!("{}\nconsole.log(makeCookie('{NEW}', 'ada'));", snippet("Cookie", "js"));
    let without_device = npm::run_alone(&script, &[]);
    let lines = [from_python, from_node, without_device].map(|value| format!("holdfast={}", value.trim()));
    let _open = [&lines[0], &lines[1], &lines[2]]
        .map(|line| Ws::open(&node, "/ws?device=asked", &[("Cookie", line)]));
    let (_, outcomes) = node.push("j%C3%BCrgen/push", "x");
    assert_eq!(outcomes, [("phone".into(), "written".into()), ("tab".into(), "written".into())]);
    assert_eq!(node.push("ada/push", "x").1, [("asked".into(), "written".into())]);
}

#[test]
fn what_the_page_says_makes_a_good_set_and_token() {
    let script = format!(
        "{}\nconsole.log(JSON.stringify(jwks)); console.log(makeToken('ada', 'phone'));",
        snippet("JWT with a set of keys", "js")
    );
    let printed = npm::run_alone(&script, &[]);
    let (set, token) = printed.trim().split_once('\n').unwrap();
    let (_folder, path) = file(set);
    let node = Node::start(&["auth.mode=jwt", &format!("auth.jwt.jwks_file={}", path.display())]);
    let _open = Ws::open(&node, "/ws", &[("Authorization", &format!("Bearer {token}"))]);
    assert_eq!(node.push("ada/push", "x").1, [("phone".into(), "written".into())]);
}
