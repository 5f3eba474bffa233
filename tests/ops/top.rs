//! `holdfast top` with real nodes: in a terminal, and without one.

use crate::{
    client::{Sse, Ws},
    node::{Node, Plan, without_our_environment},
    terminal::Terminal,
};
use std::process::{Command, Output};

/// Three connections, of both kinds.
struct Clients(#[allow(dead_code)] [Ws; 2], #[allow(dead_code)] Sse);

fn connect(node: &Node) -> Clients {
    let [one, two] = ["phone", "tv"].map(|device| Ws::user(node, "ada", device));
    Clients([one, two], Sse::user(node, "grace", "laptop"))
}

fn top(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    without_our_environment(&mut command);
    command.arg("top").args(arguments).output().unwrap()
}

#[test]
fn a_person_watches_two_nodes_of_which_one_hangs() {
    let nodes = ["push-a", "push-b"].map(|id| Plan::new(&[]).id(id).start());
    let clients = connect(&nodes[0]);
    let [a, b] = nodes.each_ref().map(|node| node.internal.to_string());
    let mut terminal =
        Terminal::start((100, 30), &["top", "--every", "100ms", "--internal", &a, "--internal", &b]);
    let screen = terminal.wait(&["2 nodes: 2 serving", "connections 3 of", "push-a", "push-b"]);
    let row = |name: &str| screen.iter().find(|line| line.starts_with(&format!(" {name} "))).unwrap().clone();
    let cells = |row: String| row.split_whitespace().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells(row("push-a")), ["push-a", "serving", "3"]);
    assert_eq!(cells(row("push-b")), ["push-b", "serving", "0"]);
    // The detail of the first: what is counted, and that rates are there.
    terminal.wait(&["sse 1", "websocket 2", "shards"]);
    drop(clients);
    terminal.wait(&["connections 0 of", "client_gone"]);
    // One that hangs is told so, and no key waits for it.
    nodes[1].signal("STOP");
    terminal.press("?");
    terminal.wait(&["Any key closes this"]);
    terminal.press("x");
    terminal.wait(&["1 serving, 1 silent", "did not answer in time"]);
    nodes[1].signal("CONT");
    terminal.wait(&["2 nodes: 2 serving"]);
    // It fits another window, and a filter is typed.
    terminal.resize(60, 15);
    terminal.press("/push-b");
    let screen = terminal.wait(&["filter: push-b_", "push-b", "every 100ms"]);
    assert!(!screen.iter().any(|line| line.contains("push-a")), "{screen:?}");
    terminal.press("\\x1b");
    terminal.wait(&["push-a"]);
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_signal_and_ctrl_c_give_the_terminal_back() {
    let node = Node::start(&[]);
    let address = node.internal.to_string();
    for way in ["TERM", "HUP", "ctrl-c"] {
        let mut terminal = Terminal::start((80, 24), &["top", "--internal", &address]);
        terminal.wait(&["1 node: 1 serving"]);
        match way {
            "ctrl-c" => terminal.press("\\x03"),
            signal => terminal.signal(signal),
        }
        assert_eq!(terminal.end(), 0, "{way}");
    }
}

#[test]
fn scripts_get_a_table_or_json_and_an_exit_code() {
    let node = Plan::new(&["internal.token=secret"]).id("push-a").start();
    let _clients = connect(&node);
    let address = node.internal.to_string();
    let text = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let ask = |more: &[&str]| top(&[&["--every", "100ms", "--internal", &address], more].concat());

    let table = ask(&["--once", "--token", "secret"]);
    assert_eq!(table.status.code(), Some(0));
    let words = text(&table);
    assert!(words.starts_with("3 of "), "{words}");
    let row = words.lines().find(|line| line.starts_with("push-a")).unwrap();
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["push-a", "-", "serving", "3"]);

    let json: serde_json::Value =
        serde_json::from_str(&text(&ask(&["--json", "--token", "secret"]))).unwrap();
    assert_eq!(
        (json["fleet"]["connections"].as_u64(), json["nodes"][0]["node"].as_str()),
        (Some(3), Some("push-a"))
    );
    assert_eq!(json["nodes"][0]["per_second"]["accepted"], 0.0);

    let refused = ask(&["--once"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("wants a token"), "{}", text(&refused));

    let no_terminal = ask(&["--token", "secret"]);
    assert_eq!(no_terminal.status.code(), Some(2));
    let why = String::from_utf8_lossy(&no_terminal.stderr);
    assert_eq!(why, "holdfast: this is no terminal: --once prints a table, --json an object\n");
}
