//! A wall before a node's internal port: other nodes reach it no more, while the registry, its clients and its senders do.

use crate::{
    client::Ws,
    fleet::{Fleet, LONG, expect, plan, written},
    registry::Registry,
    traffic::Traffic,
};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

const DELIVERY: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_secs(3);
const QUICK: Duration = Duration::from_millis(700);

/// A port with a gate. It lives as long as the process: its threads end with their connections.
struct Wall {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    behind: OnceLock<SocketAddr>,
    is_shut: AtomicBool,
}

impl Wall {
    fn build() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::<State>::default());
        let shared = state.clone();
        thread::spawn(move || {
            for outer in listener.incoming().map_while(Result::ok) {
                shared.wait_open();
                let Some(Ok(inner)) = shared.behind.get().map(TcpStream::connect) else { continue };
                for (from, to) in [(&outer, &inner), (&inner, &outer)] {
                    from.set_nodelay(true).unwrap();
                    let (from, to, shared) =
                        (from.try_clone().unwrap(), to.try_clone().unwrap(), shared.clone());
                    thread::spawn(move || carry(from, to, &shared));
                }
            }
        });
        Self { address, state }
    }

    /// Nothing gets through, and nobody is told; what is sent meanwhile arrives later, as TCP sees to it.
    fn shut(&self, is_shut: bool) {
        self.state.is_shut.store(is_shut, Relaxed);
    }
}

impl State {
    fn wait_open(&self) {
        while self.is_shut.load(Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut room = [0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut room) {
        state.wait_open();
        if to.write_all(&room[..length]).is_err() {
            break;
        }
    }
    state.wait_open();
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_node_that_others_cannot_reach_holds_up_nobody_else() {
    let (registry, wall) = (Registry::single(), Wall::build());
    let (url, sets) = (registry.url(), ["delivery.timeout=1s"]);
    let advertised = format!("node.advertise={}", wall.address);
    let mut nodes = vec![plan("node-1", &url, &sets).start(), plan("node-2", &url, &sets).start()];
    nodes.push(plan("node-3", &url, &[&sets[..], &[&advertised]].concat()).start());
    wall.state.behind.set(nodes[2].internal).unwrap();
    let fleet = Fleet { registry, nodes, silent: None };
    fleet.wait_whole();
    let mut older = Ws::user(fleet.node(2), "ada", "tv");
    let mut there = Ws::user(fleet.node(2), "grace", "tv");
    let mut beside = Ws::user(fleet.node(1), "grace", "beside");
    fleet.wait_devices("ada", &[("tv", 2)]);
    fleet.wait_devices("grace", &[("beside", 1), ("tv", 2)]);
    let traffic = Traffic::start(&fleet, 16);
    wall.shut(true);
    for node in &fleet.nodes[..2] {
        let began = Instant::now();
        let failed = ("tv".to_owned(), "failed".to_owned());
        thread::scope(|scope| {
            let push = scope.spawn(|| node.push("grace/push", &node.id));
            // The other device does not wait for this one.
            assert_eq!(beside.text(), node.id);
            assert!(began.elapsed() < QUICK, "{:?}", began.elapsed());
            assert_eq!(push.join().unwrap(), (200, vec![written(&["beside"]).remove(0), failed]));
        });
        assert!(began.elapsed() < 2 * DELIVERY + SLACK, "{:?}", began.elapsed());
        assert_eq!(node.push("grace/push?device=tv", "x").0, 503);
    }
    // It reaches the others itself, and its own.
    let node = fleet.node(2);
    assert_eq!(node.push("grace/push", "from within"), (200, written(&["beside", "tv"])));
    assert_eq!(beside.text(), "from within");
    // The displaced is told when that can be done; until then it is left alone, and gets nothing from others.
    let mut newer = Ws::user(fleet.node(0), "ada", "tv");
    for node in &fleet.nodes[..2] {
        expect("the newer connection", LONG, &(200, written(&["tv"])), || {
            node.push("ada/push", "to the newer")
        });
    }
    assert_eq!(newer.text(), "to the newer");
    wall.shut(false);
    assert_eq!(older.close_frame(), (4001, "displaced".into()));
    fleet.wait_devices("ada", &[("tv", 0)]);
    // What failed may come late; then comes what is sent now.
    for node in &fleet.nodes {
        expect("the way to be open", LONG, &written(&["tv"]), || node.push("grace/push?device=tv", "open").1);
    }
    let heard: Vec<String> =
        std::iter::from_fn(|| Some(there.text())).take_while(|text| text != "open").collect();
    assert!(heard.contains(&"from within".to_owned()), "{heard:?}");
    let rows = [fleet.row("ada", "tv", 0), fleet.row("grace", "tv", 2), fleet.row("grace", "beside", 1)];
    traffic.wait_registered(&fleet, &rows);
    traffic.wait_heard();
    let record = traffic.end();
    let counts = record.check(&fleet.numbered());
    assert_eq!(counts.sessions, record.devices.len(), "nobody is cut off: {counts:?}");
}
