//! Tickets: whom they let in, how often, on which node, until when, and who is kept out with one.

use crate::{
    auth::{NEW, OLD, READ_AGAIN, REFUSED, cookie_of, file, snippet, status, unix_s, wait_for_log, write},
    chromium::{SECRET, token},
    client::{CLOSE, Sse, Ws, get, upgrade},
    http::Wire,
    node::{Node, Plan, until},
    npm, python,
};
use serde_json::{Value, json};

/// Asks for one.
pub fn ticket(node: &Node, order: &Value) -> String {
    let answer = node.ask("POST", "/v1/tickets", order.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

pub fn ticket_of(node: &Node, user: &str) -> String {
    ticket(node, &json!({ "user": user }))
}

/// What a WebSocket handshake with this query is answered; one that is accepted ends at once.
fn answered(node: &Node, query: &str) -> u16 {
    let mut wire = Wire::connect(node.clients);
    wire.send(&upgrade(&format!("/ws?{query}"), &[]));
    wire.head().unwrap().status
}

fn bring(node: &Node, ticket: &str) -> u16 {
    answered(node, &format!("ticket={ticket}"))
}

fn count(node: &Node, result: &str) -> f64 {
    node.metric(&format!("holdfast_tickets_total{{result=\"{result}\"}}"))
}

#[test]
fn a_ticket_opens_one_connection_beside_every_mode() {
    let secret = format!("auth.jwt.secret={SECRET}");
    let keys = format!("auth.cookie.keys={NEW}");
    let by_token = format!("Bearer {}", token("eve"));
    let modes: [(&[&str], (&str, &str)); 3] = [
        (&[], ("X-CUSTOMER_ID", "eve")),
        (&["auth.mode=jwt", &secret], ("Authorization", &by_token)),
        (&["auth.mode=cookie", &keys], ("Cookie", &format!("holdfast={}", cookie_of(NEW, "eve")))),
    ];
    for (sets, credential) in modes {
        let node = Node::start(sets);
        let first = ticket(&node, &json!({ "user": "ada", "device": "tab" }));
        let mut ws = Ws::open(&node, &format!("/ws?device=other&ticket={first}"), &[]);
        assert_eq!(node.push("ada/push", "x").1, [("tab".into(), "written".into())], "{sets:?}");
        assert_eq!(ws.text(), "x");
        assert_eq!(bring(&node, &first), 401, "once");
        // From any page: no browser sends one along by itself.
        let second = ticket_of(&node, "ada");
        let from = ("Origin", "https://app.example");
        let mut stream = Sse::open(&node, &format!("/sse?device=page&ticket={second}"), &[from]);
        assert_eq!(stream.head.header("access-control-allow-origin"), Some("*"));
        assert_eq!(stream.head.header("access-control-allow-credentials"), None);
        assert_eq!(node.push("ada/push?device=page", "y").0, 200);
        assert_eq!(stream.event().data, "y");
        // Where there is one, nothing else counts, be it as good as it may.
        for bad in ["", "x", "%FF", &first, &second[..second.len() - 1]] {
            assert_eq!(status_with(&node, bad, &[credential]), 401, "{bad}");
        }
        assert_eq!(status(&node, &[credential]), 101, "{sets:?}");
        assert_eq!((count(&node, "made"), count(&node, "accepted")), (2.0, 2.0));
        assert_eq!((count(&node, "used"), count(&node, "bad")), (2.0, 4.0));
    }
}

fn status_with(node: &Node, ticket: &str, headers: &[(&str, &str)]) -> u16 {
    let mut wire = Wire::connect(node.clients);
    wire.send(&upgrade(&format!("/ws?ticket={ticket}"), headers));
    wire.head().unwrap().status
}

#[test]
fn where_origins_are_named_a_ticket_comes_from_those_only() {
    let node = Node::start(&["clients.origins=https://app.example"]);
    let one = ticket_of(&node, "ada");
    assert_eq!(status_with(&node, &one, &[("Origin", "https://evil.example")]), 403);
    let own = [("Origin", "https://app.example")];
    let stream = Sse::open(&node, &format!("/sse?ticket={one}"), &own);
    assert_eq!(stream.head.header("access-control-allow-origin"), Some("https://app.example"));
}

#[test]
fn a_ticket_counts_on_every_node_that_has_its_key() {
    let keys = format!("auth.tickets.keys={NEW},{OLD}");
    let (one, two) = (Node::start(&[&keys]), Node::start(&[&format!("auth.tickets.keys={NEW}")]));
    let (turned, other) = (Node::start(&[&format!("auth.tickets.keys={OLD},{NEW}")]), Node::start(&[]));
    let made = ticket_of(&one, "ada");
    assert_eq!(bring(&other, &made), 401, "it has a key of its own");
    assert_eq!(bring(&two, &made), 101, "the first key signs");
    // What one node has used another does not know: only its life bounds it there.
    assert_eq!((bring(&two, &made), bring(&turned, &made), bring(&turned, &made)), (401, 101, 401));
    let by_old = ticket_of(&turned, "ada");
    assert_eq!((bring(&two, &by_old), bring(&one, &by_old)), (401, 101), "all keys are accepted");
}

#[test]
fn a_handshake_that_is_refused_for_something_else_leaves_the_ticket_as_it_was() {
    let node = Node::start(&["limits.connections=1"]);
    let made = ticket_of(&node, "ada");
    for bad in ["device=%01", "ping=x", &format!("device={}", "d".repeat(300))] {
        assert_eq!(answered(&node, &format!("ticket={made}&{bad}")), 400, "{bad}");
    }
    let holder = Ws::user(&node, "eve", "");
    assert_eq!(bring(&node, &made), 503, "full");
    let mut stream = Wire::connect(node.clients);
    stream.send(&get(&format!("/sse?ticket={made}"), &[("Origin", "https://app.example")]));
    let head = stream.head().unwrap();
    assert_eq!((head.status, head.header("content-length").is_some()), (200, true), "come back: {head:?}");
    holder.close();
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", 0.0);
    assert_eq!(count(&node, "accepted"), 0.0);
    let _open = Ws::open(&node, &format!("/ws?ticket={made}"), &[]);
    assert_eq!(count(&node, "accepted"), 1.0);
}

#[test]
fn of_many_at_once_one_is_let_in() {
    let node = Plan::new(&[]).shards(4).start();
    for _ in 0..5 {
        let made = ticket_of(&node, "ada");
        let mut wires: Vec<Wire> = (0..16).map(|_| Wire::connect(node.clients)).collect();
        let request = upgrade(&format!("/ws?ticket={made}"), &[]);
        wires.iter_mut().for_each(|wire| wire.send(&request));
        let mut statuses: Vec<u16> = wires.iter_mut().map(|wire| wire.head().unwrap().status).collect();
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (101, [401; 15].as_slice()));
    }
    assert_eq!((count(&node, "accepted"), count(&node, "used")), (5.0, 75.0));
}

#[test]
fn no_more_are_used_than_can_be_remembered() {
    let node = Node::start(&["auth.tickets.used=2", "auth.tickets.ttl=1s"]);
    let long = json!({ "user": "ada", "ttl": "2m" });
    let all = [(); 3].map(|()| ticket(&node, &long));
    assert_eq!(all.each_ref().map(|made| bring(&node, made)), [101, 101, 503]);
    assert_eq!((bring(&node, &all[0]), count(&node, "no_room")), (401, 1.0));
    // One that ends.
    let short = ticket_of(&node, "ada");
    until("its end", || (bring(&node, &short) == 401).then_some(()));
    assert!(count(&node, "expired") >= 1.0);
}

#[test]
fn a_ticket_may_say_when_its_connection_ends() {
    let node = Node::start(&["lifetime.grace=300ms"]);
    let order = json!({ "user": "ada", "exp": unix_s() + 3 });
    let (one, two) = (ticket(&node, &order), ticket(&node, &order));
    let mut ws = Ws::open(&node, &format!("/ws?ticket={one}"), &[]);
    let mut stream = Sse::open(&node, &format!("/sse?ticket={two}"), &[]);
    // So short a life has next to no last tenth in which it could be asked to leave.
    let end = ws.frames_to_end().pop().unwrap();
    assert_eq!((end.op, &end.payload[..2]), (CLOSE, 4002u16.to_be_bytes().as_slice()));
    let close = std::iter::repeat_with(|| stream.event()).find(|event| event.name == "close").unwrap();
    assert!(close.data.starts_with("4002 "), "{close:?}");
    node.wait_for_metric("holdfast_closes_total{reason=\"token_expired\"}", 2.0);
    assert!(unix_s() >= order["exp"].as_u64().unwrap());
}

#[test]
fn a_revoked_user_is_kept_out_whatever_the_credential() {
    let node = Node::start(&[
        "auth.mode=jwt,cookie",
        "auth.jwt.cookie=token",
        &format!("auth.jwt.secret={SECRET}"),
        &format!("auth.cookie.keys={NEW}"),
        "lifetime.grace=200ms",
    ]);
    let made = ticket_of(&node, "ada");
    let mut open = Ws::open(&node, &format!("/ws?ticket={}", ticket_of(&node, "ada")), &[]);
    let by_token = token("ada");
    let ways = [
        ("Authorization", format!("Bearer {by_token}")),
        ("Cookie", format!("token={by_token}")),
        ("Cookie", format!("holdfast={}", cookie_of(NEW, "ada"))),
    ];
    assert_eq!(node.ask("DELETE", "/v1/users/ada?block=2s", b"").status, 202);
    assert_eq!(bring(&node, &made), 401, "made before");
    assert_eq!(bring(&node, &ticket_of(&node, "ada")), 401, "made meanwhile");
    assert_eq!(answered(&node, &format!("token={by_token}")), 401);
    for (name, value) in &ways {
        assert_eq!(status(&node, &[(name, value)]), 401, "{name}");
    }
    assert_eq!(open.text(), "_CLOSE_");
    assert_eq!(open.close_frame().0, 4003);
    assert_eq!(bring(&node, &ticket_of(&node, "bob")), 101, "only that user");
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"blocked\"}"), 6.0);
    // It ends by itself, and has used nothing up.
    until("the end of the block", || (bring(&node, &made) == 101).then_some(()));
}

#[test]
fn keys_of_tickets_change_without_a_restart() {
    let (_folder, path) = file(&format!("{OLD}\n"));
    let node = Node::start(&[&format!("auth.tickets.keys_file={}", path.display())]);
    let by_old = [(); 3].map(|()| ticket(&node, &json!({ "user": "ada", "ttl": "5m" })));
    assert_eq!(bring(&node, &by_old[0]), 101);
    write(&path, &format!("{NEW}\n{OLD}\n"));
    wait_for_log(&node, READ_AGAIN, 1);
    let by_new = ticket(&node, &json!({ "user": "ada", "ttl": "5m" }));
    assert_eq!((bring(&node, &by_old[0]), bring(&node, &by_old[1])), (401, 101), "used is used");
    write(&path, "short-and-secret\n");
    wait_for_log(&node, REFUSED, 1);
    write(&path, &format!("{NEW}\n"));
    wait_for_log(&node, READ_AGAIN, 2);
    assert_eq!((bring(&node, &by_old[2]), bring(&node, &by_new)), (401, 101));
    assert_eq!(node.metric("holdfast_key_reloads_total{result=\"ok\"}"), 2.0);
}

#[test]
fn what_the_page_says_asks_for_a_good_ticket() {
    let node = Node::start(&["internal.token=a-token-of-the-backend"]);
    let internal = node.internal.to_string();
    let arguments = [internal.as_str(), "a-token-of-the-backend", "jürgen", "phone"];
    let heading = "Tickets, for browsers";
    let script = format!("{}\nimport sys\nprint(make_ticket(*sys.argv[1:]))", snippet(heading, "python"));
    let from_python = python::run(&script, &arguments);
    let script =
        format!("{}\nconsole.log(await makeTicket(...process.argv.slice(1)));", snippet(heading, "js"));
    let from_node = npm::run_alone(&script, &[&internal, "a-token-of-the-backend", "jürgen"]);
    let _open = [from_python, from_node]
        .map(|made| Ws::open(&node, &format!("/ws?device=asked&ticket={}", made.trim()), &[]));
    let bearer = ("Authorization", "Bearer a-token-of-the-backend");
    let answer = node.ask_with("GET", "/v1/users/j%C3%BCrgen/devices", &[bearer], b"").json();
    let mut devices: Vec<_> =
        answer["devices"].as_array().unwrap().iter().map(|row| row["device"].as_str().unwrap()).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["asked", "phone"]);
    assert_eq!(node.ask("POST", "/v1/tickets", b"{\"user\":\"ada\"}").status, 401);
}
