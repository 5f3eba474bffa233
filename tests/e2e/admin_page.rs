//! The admin page in a browser: it shows what the node does, does what an operator asks, and can be used by everybody.

use crate::{
    client::{Sse, Ws},
    node::{Node, Plan},
    npm,
    tab::Tab,
};
use holdfast::model::{Outcome, Reason, reason::Advice};
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

const MODULES: &str = include_str!("scripts/page.mjs");
/// A name that would be markup, if it were taken for it.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";
/// What sticks out of the window to the right, but for what scrolls on its own.
pub const OVERFLOW: &str = "document.documentElement.scrollWidth - document.documentElement.clientWidth";

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/page")
}

fn open(node: &Node) -> Tab {
    Tab::open(&format!("http://{}/", node.internal))
}

fn text(tab: &mut Tab, selector: &str) -> String {
    let shown = tab.eval(&format!("document.querySelector({}).innerText", json!(selector)));
    shown.as_str().unwrap().to_owned()
}

/// Nothing was complained of, and no name has become an element.
pub fn assert_content(tab: &mut Tab) {
    assert_eq!(tab.complaints, Vec::<String>::new());
    assert_eq!(tab.eval("document.querySelectorAll('main img, main script, main style').length"), 0);
}

/// Confirms what the dialog asks.
fn confirm(tab: &mut Tab, title: &str) {
    tab.wait_for("#confirm-title", title);
    tab.click("#confirm-yes");
}

/// Violations that axe finds, by rule, each with the elements; the page is taken as it is.
fn axe(tab: &mut Tab) -> Value {
    tab.eval(
        "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
           violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, any }) =>
             `${html.slice(0, 120)} (${any.map(({ message }) => message).join('; ')})`).join(', ')}`))",
    )
}

#[test]
fn figures_follow_what_connects_and_actions_reach_it() {
    let node = Plan::new(&["lifetime.grace=10s"]).shards(2).kafka("embedded").start();
    let mut tab = open(&node);
    tab.wait_for("#state", "Serving");
    tab.wait_for("#stream", "live");
    tab.wait_for("#total", "0");
    tab.wait_for("#due-verdict", "Nobody is here");
    let mut crowd: Vec<Ws> = (0..30).map(|number| Ws::user(&node, &format!("u{number}"), "phone")).collect();
    let _streams: Vec<Sse> = (0..5).map(|number| Sse::user(&node, &format!("u{number}"), "tv")).collect();
    tab.wait_for("#total", "35");
    tab.wait("document.querySelector('#protocols').innerText.replace(/\\s+/g, ' ') === 'WebSocket 30 SSE 5'");
    tab.wait("Number(document.querySelector('#shard-words').innerText.match(/to (\\d+)/)[1]) >= 18");
    tab.wait_for("#ages-verdict", "35 came together, within the last");
    crowd.drain(..10).for_each(Ws::close);
    tab.wait_for("#total", "25");
    tab.wait_for("#closes", "client closed");
    tab.wait_for("#closes", "come back at once");
    tab.wait("parseFloat(document.querySelector('#closes .n').innerText) > 0");
    look_up_push_and_disconnect(&mut tab, &node);
    brake_a_lane(&mut tab);
    drain_by_keyboard(&mut tab, &node);
    assert_content(&mut tab);
    // The node dies; the page says so, and comes back when another one listens.
    let internal = node.internal;
    drop(node);
    tab.wait_for("#stream", "No word from the node");
    assert_eq!(tab.eval("document.querySelector('#figures').dataset.stale"), "yes");
    let again = Plan::new(&[]).internal_at(internal).start();
    tab.wait_for("#stream", "live");
    tab.wait_for("#notice", "The node has started again");
    tab.wait_for("#queue", "reads no queue");
    tab.wait("document.querySelector('#total').innerText === '0'");
    drop(again);
    assert_content(&mut tab);
}

/// Names of any kind are names, and what becomes of a push is shown by device.
fn look_up_push_and_disconnect(tab: &mut Tab, node: &Node) {
    let long = "x".repeat(256);
    let mut phone = Ws::user(node, HOSTILE, HOSTILE);
    let mut other = Ws::user(node, HOSTILE, &long);
    tab.fill("#user", "nobody");
    tab.press("Enter");
    tab.wait_for("#find-result", "Not connected: nobody");
    tab.fill("#user", HOSTILE);
    tab.press("Enter");
    tab.wait_for("#find-result", &format!("2 devices of {HOSTILE}"));
    let shown = text(tab, "#devices");
    assert!(shown.contains(HOSTILE) && shown.contains(&long) && shown.contains("websocket"), "{shown}");
    tab.shape(360, 740, "light");
    assert_eq!(tab.eval(OVERFLOW), 0);
    tab.shape(1_280, 900, "light");
    tab.fill("#push-body", "grüße");
    tab.click("#push");
    tab.wait_for("#push-result", "Arrived at 2 of 2 devices");
    tab.wait("document.querySelectorAll('#outcomes tr').length === 2");
    assert!(text(tab, "#outcomes").contains("written"));
    assert_eq!((phone.text(), other.text()), ("grüße".into(), "grüße".into()));
    tab.eval("document.querySelector('#push-kind').value = 'json'");
    tab.fill("#push-body", "{no");
    tab.click("#push");
    tab.wait_for("#push-result", "the body is");
    tab.fill("#push-body", r#"{"a":1}"#);
    tab.fill("#push-device", "away");
    tab.click("#push");
    tab.wait_for("#push-result", "Offline: no such user or device is connected");
    // Escape leaves it, and nothing happens.
    tab.click("#devices [data-disconnect]");
    tab.wait_for("#confirm-text", HOSTILE);
    tab.press("Escape");
    tab.wait("!document.querySelector('#confirm').open");
    tab.click("#devices [data-disconnect]");
    confirm(tab, "Disconnect a device?");
    tab.wait_for("#find-result", "1 device was asked to leave.");
    assert_eq!(phone.text(), "_CLOSE_");
    phone.close();
    tab.click("#disconnect-user");
    tab.wait_for("#confirm-title", "Disconnect the user?");
    tab.eval("document.querySelector('#confirm-select').value = '10m'");
    confirm(tab, "Disconnect the user?");
    tab.wait_for("#find-result", "The user is kept out.");
    assert_eq!(other.text(), "_CLOSE_");
    other.close();
    tab.wait_for("#goaways", "operator");
    assert_eq!(tab.eval("document.title.includes('owned')"), false);
}

fn brake_a_lane(tab: &mut Tab) {
    assert_eq!(text(tab, "#lanes tr:last-child th"), "low", "the highest first");
    tab.click("#lanes tr:last-child button");
    confirm(tab, "Pause a lane?");
    tab.wait_for("#lanes-result", "Lane low is paused.");
    tab.wait_for("#lanes tr:last-child", "Paused");
    tab.click("#lanes tr:last-child button");
    tab.wait_for("#lanes-result", "Lane low is read again.");
    tab.wait_for("#lanes tr:last-child", "Reading");
    tab.click("#lanes tr:last-child button + button");
    confirm(tab, "Skip messages?");
    tab.wait_for("#lanes tr:last-child", "without what is from before 20");
}

/// Without a mouse: every control is reached, in order and visibly; a drain is begun, watched and taken back.
fn drain_by_keyboard(tab: &mut Tab, node: &Node) {
    tab.eval("document.activeElement.blur(); document.querySelector('.skip').focus()");
    let focused = "(() => { const { id, tagName, className } = document.activeElement; return id || `${tagName}.${className}`; })()";
    let mut order: Vec<String> = Vec::new();
    while order.last().is_none_or(|last| last != "drain-start") {
        assert!(order.len() < 80, "{order:?}");
        tab.press("Tab");
        let here = tab.eval(focused).as_str().unwrap().to_owned();
        let outline = tab.eval("getComputedStyle(document.activeElement).outlineStyle");
        assert!(outline == "solid" || outline == "auto", "the focus on {here} is seen");
        order.push(here);
    }
    let place =
        |id: &str| order.iter().position(|one| one == id).unwrap_or_else(|| panic!("{id}: {order:?}"));
    let ids = [
        "user",
        "find",
        "push-user",
        "push-device",
        "push-lane",
        "push-ttl",
        "push-kind",
        "push-body",
        "push",
    ];
    assert!(ids.windows(2).all(|pair| place(pair[0]) < place(pair[1])), "{order:?}");
    tab.press("Enter");
    tab.wait_for("#confirm-title", "Drain this node?");
    assert_eq!(tab.eval(focused), "confirm-no", "the harmless way first");
    tab.press("Tab");
    tab.press("Enter");
    tab.wait_for("#drain-result", "The drain has begun.");
    tab.wait_for("#state", "Draining");
    tab.wait_for("#drain-time", "at the latest");
    assert_eq!(node.ask("GET", "/readyz", b"").status, 503);
    tab.wait("document.querySelector('#drain-steps [aria-current]').innerText.startsWith('Not ready')");
    assert_eq!(text(tab, "#drain-remaining"), "25");
    tab.click("#drain-cancel");
    tab.wait_for("#drain-result", "Taken back");
    tab.wait_for("#state", "Serving");
    tab.wait("document.querySelector('#drain-progress').hidden");
}

#[test]
fn a_token_is_asked_for_kept_by_nobody_and_decides_what_is_offered() {
    let tokens = "internal.tokens=shop:send:s-token-abc,eyes:read:r-token-abc,ops:admin:a-token-abc";
    let node = Node::start(&[tokens]);
    let _ada = Ws::user(&node, "ada", "tv");
    let mut tab = open(&node);
    let sign_in = |tab: &mut Tab, token: &str| {
        tab.wait("!document.querySelector('#signin').hidden");
        assert_eq!(tab.eval("document.querySelector('#figures').hidden"), true);
        tab.fill("#token", token);
        tab.press("Enter");
    };
    let sign_out = |tab: &mut Tab| {
        tab.eval("window.before = true");
        tab.click("#sign-out");
        tab.wait("!window.before && document.readyState === 'complete'");
    };
    sign_in(&mut tab, "not-a-token");
    tab.wait_for("#signin-result", "This token is not known here.");
    sign_in(&mut tab, "r-token-abc");
    tab.wait_for("#session", "Signed in as eyes (read)");
    tab.wait_for("#total", "1");
    for (control, reason) in
        [("#push", "#push-denied"), ("#drain-start", "#drain-denied"), ("#lanes button", "#lanes-denied")]
    {
        if tab.eval(&format!("document.querySelector('{control}') === null")) == true {
            continue;
        }
        assert_eq!(tab.eval(&format!("document.querySelector('{control}').disabled")), true, "{control}");
        tab.wait_for(reason, "A token of role read may not");
    }
    tab.fill("#user", "ada");
    tab.press("Enter");
    tab.wait_for("#devices", "tv");
    assert_eq!(
        tab.eval("[...document.querySelectorAll('#devices button')].every(({ disabled }) => disabled)"),
        true
    );
    let kept = "localStorage.length + sessionStorage.length + document.cookie.length + document.querySelector('#token').value.length";
    assert_eq!(tab.eval(kept), 0);
    sign_out(&mut tab);
    // A session that ends elsewhere is asked for again.
    sign_in(&mut tab, "a-token-abc");
    tab.wait_for("#session", "Signed in as ops (admin)");
    assert_eq!(tab.eval("document.querySelector('#drain-start').disabled"), false);
    tab.eval("fetch('v1/session', { method: 'DELETE' }).then(({ status }) => status)");
    tab.wait_for("#stream", "not signed in");
    sign_in(&mut tab, "s-token-abc");
    tab.wait_for("#notice", "may push, and not look");
    assert_eq!(tab.eval("document.querySelector('#connections').checkVisibility()"), false);
    tab.fill("#push-user", "ada");
    tab.click("#push");
    tab.wait_for("#outcomes", "written");
    assert_content(&mut tab);
}

#[test]
fn everybody_can_use_it_at_any_width_light_and_dark() {
    let node = Plan::new(&[]).shards(2).kafka("embedded").start();
    let _crowd: Vec<Ws> = (0..12).map(|number| Ws::user(&node, "ada", &format!("d{number}"))).collect();
    node.push("ada/push?lane=high", "hello");
    let mut tab = open(&node);
    tab.wait_for("#total", "12");
    tab.fill("#user", "ada");
    tab.press("Enter");
    tab.wait_for("#find-result", "12 devices");
    tab.fill("#push-body", "hello");
    tab.click("#push");
    tab.wait_for("#push-result", "Arrived at 12");
    tab.eval("for (const details of document.querySelectorAll('details')) details.open = true");
    tab.wait("document.querySelectorAll('#minutes tr, #shards tr, #ages-rows tr').length > 3");
    let window = "document.querySelector('input[name=window]:checked').value";
    tab.eval("document.querySelector('input[name=window]').focus()");
    tab.press("ArrowRight");
    assert_eq!(tab.eval(window), "60000");
    tab.eval(&npm::file("axe-core/axe.min.js"));
    for (width, height, scheme) in
        [(1_280, 900, "light"), (1_280, 900, "dark"), (360, 740, "light"), (320, 640, "dark")]
    {
        tab.shape(width, height, scheme);
        let overflow = tab.eval(OVERFLOW);
        assert!(overflow.as_i64().unwrap() <= 0, "{width}: {overflow} px too wide");
        assert_eq!(axe(&mut tab), json!([]), "{width} {scheme}");
    }
    // A dialog and a drain, too.
    tab.click("#disconnect-user");
    tab.wait_for("#confirm-title", "Disconnect the user?");
    assert_eq!(axe(&mut tab), json!([]), "the dialog");
    assert_eq!(tab.eval(OVERFLOW), 0);
    tab.press("Escape");
    node.ask("POST", "/v1/drain", b"");
    tab.wait_for("#drain-time", "at the latest");
    assert_eq!(axe(&mut tab), json!([]), "a drain");
    let spoken = tab.spoken();
    for part in [
        "textbox User",
        "button Take the drain back",
        "heading Connections",
        "radio last minute",
        "table Devices of the user that are connected",
    ] {
        assert!(spoken.iter().any(|one| one == part), "{part}: {spoken:?}");
    }
    assert_content(&mut tab);
}

#[test]
fn what_needs_no_document_counts_right_and_has_the_nodes_words() {
    let modules = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "js") {
            fs::copy(&path, modules.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::write(modules.path().join("package.json"), r#"{"type":"module"}"#).unwrap();
    let advice = |reason: Reason| match reason.consequence().advice {
        Advice::Never => "never",
        Advice::BackOff => "back_off",
        Advice::Now => "now",
    };
    let reasons: Map<String, Value> =
        Reason::ALL.into_iter().map(|reason| (reason.label().to_owned(), advice(reason).into())).collect();
    let outcomes: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::label).collect();
    let known = json!({ "reasons": reasons, "outcomes": outcomes }).to_string();
    assert_eq!(npm::run_alone(MODULES, &[&modules.path().display().to_string(), &known]), "good\n");
}
