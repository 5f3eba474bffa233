use super::*;
use crate::ops::fleet::{Counts, Rates, Shard};
use ratatui::{Terminal, backend::TestBackend};

const EVERY: Duration = Duration::from_secs(1);

fn labelled<T: Copy>(entries: &[(&str, T)]) -> Vec<(String, T)> {
    entries.iter().map(|(label, value)| ((*label).to_owned(), *value)).collect()
}

fn counts(connections: u64) -> Counts {
    Counts {
        connections,
        capacity: 500_000,
        protocols: labelled(&[("sse", connections / 8), ("websocket", connections - connections / 8)]),
        refused: labelled(&[("full", 0), ("bad_origin", 17), ("auth_failed", 204)]),
        closed: labelled(&[
            ("lifetime", 1_203_441),
            ("client_closed", 88_120),
            ("dead_peer", 930),
            ("drain", 0),
        ]),
        messages: labelled(&[("acked", 9_812_001), ("written", 310_400), ("slow", 12)]),
        lag: labelled(&[("high", 0), ("normal", 12), ("low", 20_480)]),
        drain_phase: "serving".into(),
        resident: Some(61_000_000),
        bytes_per_connection: Some(121),
        shards: vec![
            Shard { connections: connections / 2, loop_lag_p99_ms: Some(0.31), ..Shard::default() },
            Shard { connections: connections - connections / 2, outbox_bytes: 81_920, ..Shard::default() },
        ],
        ..Counts::default()
    }
}

fn rates(opened: f64, closed: f64) -> Rates {
    Rates {
        seconds: 1.0,
        opened,
        refused: 2.0,
        closed,
        messages: 1_520.0,
        messages_by: labelled(&[("acked", 1_400.0), ("written", 119.6), ("slow", 0.4)]),
        refused_by: labelled(&[("full", 0.0), ("bad_origin", 0.0), ("auth_failed", 2.0)]),
        closed_by: labelled(&[
            ("lifetime", closed - 3.0),
            ("client_closed", 3.0),
            ("dead_peer", 0.0),
            ("drain", 0.0),
        ]),
        bytes_received: 51_200.0,
        bytes_sent: 1_048_576.0,
        cores: Some(0.42),
        handshake_p99_ms: Some(2.5),
        delivery_p99_ms: Some(5.0),
        loop_lag_p99_ms: Some(0.25),
    }
}

fn node(id: &str, region: &str, connections: u64) -> NodeView {
    NodeView {
        address: format!("{id}.push.internal:7008"),
        id: id.into(),
        region: region.into(),
        version: "0.1.0".into(),
        state: State::Serving,
        connections,
        capacity: 500_000,
        counts: Some(counts(connections)),
        rates: Some(rates(112.0, 111.0)),
    }
}

fn silent(id: &str, connections: u64, why: &str) -> NodeView {
    let state = State::Silent(why.into());
    NodeView { state, counts: None, rates: None, ..node(id, "eu-west", connections) }
}

/// Three nodes that serve, one that leaves, one that is gone.
fn five(at: u64) -> View {
    let leaving = NodeView { state: State::Draining, ..node("push-3", "eu-west", 48_211) };
    let mut nodes = vec![
        node("push-0", "eu-north", 301_118),
        node("push-1", "eu-north", 287_402),
        node("push-2", "eu-west", 466_900),
    ];
    nodes.push(leaving);
    nodes.push(silent("push-4", 290_017, "push-4.push.internal:7008 did not answer in time"));
    View { at: Duration::from_secs(at), nodes }
}

/// The same after two minutes, in which a node was lost: its clients come back within some seconds.
fn herd() -> App {
    let mut app = App::new(EVERY);
    for at in 0..120 {
        let mut view = five(at);
        let (lost, crowd) = match at {
            0..60 => (0, 112.0),
            60..75 => (290_017 - 19_000 * (at - 60), 18_000.0 - 1_000.0 * (at - 60) as f64),
            _ => (0, 130.0),
        };
        view.nodes[4].connections -= lost;
        view.nodes[0].rates = Some(rates(crowd, 111.0));
        app.update(view);
    }
    app
}

fn screen(app: &mut App, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal.draw(|frame| app.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| {
        let mut line = String::new();
        let mut x = 0;
        while x < columns {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += figures::width(symbol).max(1) as u16;
        }
        format!("{}\n", line.trim_end())
    };
    (0..lines).map(line).collect()
}

/// Compares with a captured screen; with UPDATE_DOCS set, captures it.
fn assert_screen(name: &str, actual: &str) {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/ops/top/screens/{name}.txt"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == actual, "{}: expected\n{expected}\nfound\n{actual}", path.display());
}

/// The same of the screen that a page shows.
#[test]
fn the_page_shows_what_is_drawn() {
    const OPENS: &str = "```text\nholdfast top";
    let mut app = herd();
    app.key(Key::Down);
    app.key(Key::Down);
    let drawn = screen(&mut app, 120, 28);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/top.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let begins = page.find(OPENS).unwrap() + "```text\n".len();
    let ends = begins + page[begins..].find("```").unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{drawn}{}", &page[..begins], &page[ends..])).unwrap();
    }
    let shown = std::fs::read_to_string(&path).unwrap();
    assert!(shown.contains(&drawn), "UPDATE_DOCS=1 draws it anew:\n{drawn}");
}

fn press(app: &mut App, keys: &str) {
    keys.chars().for_each(|c| app.key(Key::Char(c)));
}

#[test]
fn a_wide_terminal_shows_everything() {
    let mut app = herd();
    app.key(Key::Down);
    app.key(Key::Down);
    assert_screen("wide", &screen(&mut app, 150, 40));
}

#[test]
fn the_usual_terminal() {
    assert_screen("80x24", &screen(&mut herd(), 80, 24));
}

#[test]
fn a_small_terminal() {
    assert_screen("60x15", &screen(&mut herd(), 60, 15));
}

#[test]
fn no_node_answers() {
    let mut app = App::new(EVERY);
    assert_screen("before", &screen(&mut app, 80, 24));
    let why = "nothing listens at 10.0.0.7:7008: is the node running there?";
    let node = NodeView {
        id: String::new(),
        region: String::new(),
        capacity: 0,
        version: String::new(),
        ..silent("10.0.0.7:7008", 0, why)
    };
    let node = NodeView { address: "10.0.0.7:7008".into(), ..node };
    app.update(View { at: EVERY, nodes: vec![node] });
    assert_screen("nobody", &screen(&mut app, 80, 24));
}

#[test]
fn an_empty_fleet() {
    let mut app = App::new(EVERY);
    app.update(View::default());
    assert!(screen(&mut app, 80, 24).contains("no node is known"));
}

#[test]
fn names_are_long_and_numbers_huge() {
    let mut app = App::new(EVERY);
    let mut odd = node(
        "a-name-that-somebody-has-generated-and-that-does-not-end-where-the-column-does",
        "日本語-東京-1",
        u64::MAX,
    );
    odd.capacity = u64::MAX;
    odd.version = "9.9.9-rc.1+a.very.long.build".into();
    odd.counts = Some(Counts {
        resident: Some(u64::MAX),
        bytes_per_connection: Some(u64::MAX),
        lag: labelled(&[("low", u64::MAX)]),
        ..counts(u64::MAX)
    });
    odd.rates = Some(Rates { loop_lag_p99_ms: Some(1e300), ..rates(1e30, 1e18) });
    app.update(View {
        at: EVERY,
        nodes: vec![odd.clone(), node("b", "", 1), NodeView { id: "c".into(), ..odd }],
    });
    assert_screen("odd", &screen(&mut app, 110, 24));
}

#[test]
fn the_keys_are_explained() {
    let mut app = herd();
    press(&mut app, "?");
    assert_screen("help", &screen(&mut app, 80, 24));
    press(&mut app, "q");
    assert!(!app.is_done(), "a key closes the help first");
    press(&mut app, "q");
    assert!(app.is_done());
}

#[test]
fn nothing_is_too_small_or_too_large_to_draw() {
    let sizes = [(1, 1), (3, 50), (39, 8), (40, 7), (40, 8), (41, 9), (60, 10), (200, 11), (300, 100)];
    for keys in ["", "?", "d", "/x"] {
        for mut app in [herd(), App::new(EVERY)] {
            press(&mut app, keys);
            for (columns, lines) in sizes {
                screen(&mut app, columns, lines);
            }
        }
    }
}

/// Names in the order of the screen.
fn names(app: &App) -> Vec<&str> {
    app.nodes().iter().map(|node| node.name()).collect()
}

fn sort_by(app: &mut App, column: Column) {
    screen(app, 200, 40);
    while app.sort != column {
        press(app, "s");
    }
}

#[test]
fn the_table_is_sorted_by_any_column() {
    let mut app = herd();
    assert_eq!(names(&app), ["push-0", "push-1", "push-2", "push-3", "push-4"]);
    sort_by(&mut app, Column::Connections);
    assert_eq!(names(&app), ["push-2", "push-0", "push-4", "push-1", "push-3"]);
    press(&mut app, "r");
    assert_eq!(names(&app), ["push-3", "push-1", "push-4", "push-0", "push-2"]);
    sort_by(&mut app, Column::State);
    assert_eq!(names(&app)[0], "push-3");
    // Who has no such number is last either way.
    sort_by(&mut app, Column::In);
    assert_eq!(names(&app)[4], "push-4");
    press(&mut app, "r");
    assert_eq!(names(&app)[4], "push-4");
    press(&mut app, "S");
    assert_eq!(app.sort, Column::Full);
}

#[test]
fn a_narrow_terminal_sorts_by_what_it_shows() {
    let mut app = herd();
    screen(&mut app, 60, 15);
    for _ in 0..20 {
        press(&mut app, "s");
        assert!(app.shown.contains(&app.sort));
    }
}

#[test]
fn the_selection_stays_with_its_node() {
    let mut app = herd();
    app.key(Key::Down);
    assert_eq!(app.selected.as_deref(), Some("push-1"));
    sort_by(&mut app, Column::Connections);
    assert!(screen(&mut app, 80, 24).lines().any(|line| line.starts_with(">push-1")));
    app.key(Key::Up);
    assert_eq!(app.selected.as_deref(), Some("push-4"));
    app.key(Key::End);
    assert_eq!(app.selected.as_deref(), Some("push-3"));
    app.key(Key::PageDown);
    assert_eq!(app.selected.as_deref(), Some("push-3"));
    app.key(Key::Home);
    assert_eq!(app.selected.as_deref(), Some("push-2"));
    // It is gone: the first row stands in for it.
    for at in [200, 300] {
        app.update(View { at: Duration::from_secs(at), nodes: vec![node("x", "", 1)] });
    }
    screen(&mut app, 80, 24);
    app.key(Key::Down);
    assert_eq!(app.selected.as_deref(), Some("x"));
}

#[test]
fn a_long_table_scrolls_with_the_selection() {
    let mut app = App::new(EVERY);
    let nodes: Vec<NodeView> = (0..100).map(|at| node(&format!("n{at:03}"), "", at)).collect();
    app.update(View { at: EVERY, nodes });
    let seen = |app: &mut App| screen(app, 80, 24).contains(&app.selected.clone().unwrap_or("n000".into()));
    assert!(seen(&mut app));
    for key in [Key::End, Key::PageUp, Key::PageUp, Key::Up, Key::Home, Key::PageDown, Key::Down] {
        app.key(key);
        assert!(seen(&mut app), "{key:?}");
    }
}

#[test]
fn a_filter_is_typed() {
    let mut app = herd();
    press(&mut app, "/WEST");
    assert_eq!(names(&app), ["push-2", "push-3", "push-4"]);
    assert!(screen(&mut app, 80, 24).contains("filter: WEST_"));
    app.key(Key::Enter);
    // A q is a key again, and the filter stays until it is dropped.
    assert!(screen(&mut app, 80, 24).contains("/ filter: WEST"));
    press(&mut app, "/x");
    assert!(screen(&mut app, 80, 24).contains("no node matches the filter"));
    app.key(Key::Backspace);
    assert_eq!(names(&app).len(), 3);
    app.key(Key::Escape);
    assert_eq!(names(&app).len(), 5);
    assert!(!app.is_done());
}

#[test]
fn a_pause_keeps_the_screen_and_loses_no_history() {
    let mut app = App::new(EVERY);
    app.update(View { at: EVERY, nodes: vec![node("a", "", 10)] });
    press(&mut app, "p");
    for at in 2..1_000 {
        app.update(View { at: EVERY * at, nodes: vec![node("a", "", 20)] });
    }
    let still = screen(&mut app, 80, 24);
    assert!(still.contains("PAUSED") && app.totals.connections == 10);
    press(&mut app, "p");
    assert_eq!(app.totals.connections, 20);
    assert_eq!(app.history.within(usize::MAX).0.len(), totals::HISTORY_MAX);
    assert!(!screen(&mut app, 80, 24).contains("PAUSED"));
}

#[test]
fn a_node_that_has_gone_keeps_its_row_for_a_minute() {
    let mut app = App::new(EVERY);
    let view =
        |at, ids: &[&str]| View { at: EVERY * at, nodes: ids.iter().map(|id| node(id, "", 10)).collect() };
    app.update(view(1, &["a", "b"]));
    app.update(view(2, &["a"]));
    assert_eq!(names(&app), ["a", "b"]);
    assert_eq!((app.totals.nodes(), app.totals.connections), (1, 10));
    let seen = screen(&mut app, 80, 24);
    assert!(seen.contains("gone: it has left") && seen.contains("1 node: 1 serving"), "{seen}");
    app.update(view(61, &["a"]));
    assert_eq!(names(&app), ["a", "b"]);
    app.update(view(62, &["a"]));
    assert_eq!(names(&app), ["a"]);
    // One that is back is one row.
    app.update(view(63, &["b"]));
    app.update(view(64, &["a", "b"]));
    assert_eq!((names(&app), app.gone.len()), (vec!["a", "b"], 0));
    // Also across a pause.
    press(&mut app, "p");
    app.update(view(65, &["a"]));
    press(&mut app, "p");
    assert_eq!((names(&app), app.gone.len()), (vec!["a", "b"], 1));
}

#[test]
fn the_detail_comes_and_goes() {
    let mut app = herd();
    let shows = |app: &mut App, lines| screen(app, 80, lines).contains("closes");
    let detail = |app: &mut App, lines| screen(app, 80, lines).contains("client_closed 3.0/s");
    assert!(shows(&mut app, 24) && detail(&mut app, 40));
    app.key(Key::Enter);
    assert!(!detail(&mut app, 40), "it was there, so that Enter takes it away");
    app.key(Key::Enter);
    assert!(detail(&mut app, 40));
    assert!(detail(&mut app, 24));
    app.key(Key::End);
    assert!(
        screen(&mut app, 80, 24).contains("silent      push-4.push.internal:7008 did not answer in time")
    );
}

#[test]
fn ctrl_c_ends_it_whatever_is_open() {
    for keys in ["", "?", "/a", "p"] {
        let mut app = herd();
        press(&mut app, keys);
        app.key(Key::Interrupt);
        assert!(app.is_done(), "{keys}");
    }
}

#[test]
fn a_fleet_adds_up() {
    let totals = Totals::of(&five(1));
    assert_eq!((totals.serving, totals.draining, totals.silent), (3, 1, 1));
    assert_eq!(
        (totals.connections, totals.capacity),
        (301_118 + 287_402 + 466_900 + 48_211 + 290_017, 2_500_000)
    );
    let flow = totals.flow.unwrap();
    assert_eq!((flow.opened, flow.closed, flow.refused, flow.messages), (448.0, 444.0, 8.0, 6_080.0));
    assert_eq!(totals.lag, labelled(&[("high", 0), ("normal", 48), ("low", 81_920)]));
    assert_eq!(Totals::of(&View::default()).utilization(), None);
}

#[test]
fn scripts_get_rows_and_json() {
    let rows = rows(&five(1));
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row.len() == Column::ALL.len() && row.iter().all(|cell| !cell.is_empty())));
    let json = json(&five(1));
    assert_eq!(json["fleet"]["connections"], 1_393_648);
    assert_eq!(json["fleet"]["per_second"]["accepted"], 448.0);
    assert_eq!(json["nodes"][4]["state"], "silent");
    assert_eq!(json["nodes"][4]["why"], "push-4.push.internal:7008 did not answer in time");
    assert_eq!(json["nodes"][0]["per_second"]["closed_by_reason"]["lifetime"], 108.0);
    assert!(json["nodes"][4]["per_second"].is_null());
    assert_eq!(
        Totals::of(&five(1)).line(),
        "1,393,648 of 2,500,000 connections (55.7 %); handshakes 448/s, refused 8.0/s, closes 444/s, messages 6,080/s; \
         delivery p99 5.00 ms; queued: high 0, normal 48, low 81,920"
    );
}
