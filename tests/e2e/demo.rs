//! The demo in a browser: a newcomer opens it, pushes to it from a terminal, and sees what a client goes through.

use crate::{
    node::{Node, Plan},
    tab::Tab,
};
use std::process::Command;

/// The jitter of a client that behaves takes seconds, which a test has not.
const HASTE: &str = "Math.random = () => 0.02";

fn open(node: &Node, query: &str) -> Tab {
    let mut tab = Tab::open(&format!("http://{}/demo{query}", node.internal));
    tab.eval(HASTE);
    tab
}

/// Runs the command that the page shows.
fn run_shown(tab: &mut Tab, more: &str) -> String {
    let shown = tab.eval("document.querySelector('#curl').innerText").as_str().unwrap().to_owned();
    let output = Command::new("sh").args(["-c", &format!("{shown} -s {more}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_newcomer_connects_hears_a_push_and_sees_the_client_come_back() {
    let node = Node::start(&["lifetime.grace=2s"]);
    let mut tab = open(&node, "?user=ada%20l&device=it's%20a%20tab");
    tab.wait_for("#state", "Connected as ada l, it's a tab");
    assert!(run_shown(&mut tab, "").contains(r#""outcome":"written""#));
    tab.wait_for("#log", "hello");
    // By keyboard: what a person types, and Enter.
    tab.fill("#message", "<b>grüße</b>");
    tab.press("Enter");
    tab.wait_for("#outcome", "it's a tab: written");
    tab.wait_for("#log", "<b>grüße</b>");
    // Asked to leave, it leaves and comes back.
    tab.click("#ask");
    tab.wait_for("#outcome", "Asked to leave");
    tab.wait_for("#log", "goaway");
    tab.wait_for("#log", "this client has left, as it was asked to");
    tab.wait("document.querySelectorAll('#log [data-kind=connected]').length === 2");
    assert!(run_shown(&mut tab, "-d again").contains(r#""outcome":"written""#));
    tab.wait_for("#log", "again");
    // Somebody else has its name: it stays away until it is told otherwise.
    let mut other = crate::client::Ws::user(&node, "ada l", "it's a tab");
    tab.wait_for("#log", "4001 displaced: the node closed it; do not come back by yourself");
    tab.wait_for("#state", "does not come back by itself");
    tab.click("#connect");
    tab.wait_for("#state", "Connected as");
    assert_eq!(other.close_frame().0, 4001);
    tab.click("#leave");
    tab.wait_for("#log", "1000: the page closed it");
    assert_eq!(tab.complaints, Vec::<String>::new());
}

#[test]
fn where_a_name_is_not_believed_it_connects_by_a_ticket() {
    let node = Node::start(&["auth.mode=jwt", "auth.jwt.secret=a-secret-of-at-least-thirty-two-bytes"]);
    let mut tab = open(&node, "?user=ada&device=tab-1");
    tab.wait_for("#state", "Connected as ada, tab-1");
    assert!(run_shown(&mut tab, "").contains(r#""device":"tab-1","outcome":"written""#));
    tab.wait_for("#log", "hello");
    // A ticket counts once: to come back it gets another.
    tab.click("#ask");
    tab.wait("document.querySelectorAll('#log [data-kind=connected]').length === 2");
    assert_eq!(tab.complaints, Vec::<String>::new());
}

#[test]
fn whoever_may_not_use_the_demo_is_told_what_to_do() {
    let closed = ["internal.token=a-token-of-a-good-length", "clients.origins=https://app.example"];
    let node = Plan::new(&closed).start();
    let mut tab = open(&node, "");
    tab.wait_for("#notice", "sign in on its page");
    assert_eq!(tab.eval("document.querySelector('#connect').disabled"), true);
    let sign_in = "fetch('v1/session', { method: 'POST', headers: { Authorization: 'Bearer a-token-of-a-good-length' } })";
    assert_eq!(tab.eval(&format!("{sign_in}.then(({{ status }}) => status)")), 204);
    tab.go(&format!("http://{}/demo", node.internal));
    tab.wait_for("#notice", &format!("refuses pages of http://{}", node.internal));
    tab.wait_for("#log", "it is not in clients.origins");
    // The page's policy holds: it reaches its own port and the client port, and nothing else.
    let reached = tab.eval("fetch('http://127.0.0.1:1/').then(() => 'reached', () => 'refused')");
    assert_eq!(
        (reached.as_str(), !tab.complaints.is_empty()),
        (Some("refused"), true),
        "{:?}",
        tab.complaints
    );
}

#[test]
fn it_fits_a_phone_and_says_its_parts_by_name() {
    let node = Node::start(&[]);
    let mut tab = open(&node, "?user=ada&device=tab-1");
    tab.wait_for("#state", "Connected as ada");
    for (name, width, height, scheme) in [
        ("phone-dark", 320, 640, "dark"),
        ("phone-light", 390, 844, "light"),
        ("wide-light", 1_200, 800, "light"),
        ("wide-dark", 1_200, 800, "dark"),
    ] {
        tab.shape(width, height, scheme);
        let overflow = tab.eval("document.documentElement.scrollWidth - innerWidth");
        assert!(overflow.as_i64().unwrap() <= 0, "{name}: {overflow} px too wide");
        let small =
            "[...document.querySelectorAll('button, input')].filter((one) => one.offsetHeight < 32).length";
        assert_eq!(tab.eval(small), 0, "{name}");
        if let Some(folder) = std::env::var_os("PICTURES") {
            std::fs::write(std::path::Path::new(&folder).join(format!("demo-{name}.png")), tab.picture())
                .unwrap();
        }
    }
    let spoken = tab.spoken();
    for part in [
        "textbox User",
        "textbox Device",
        "button Connect",
        "textbox Message",
        "button Push",
        "log What happened",
    ] {
        assert!(spoken.iter().any(|one| one == part), "{part}: {spoken:?}");
    }
}
