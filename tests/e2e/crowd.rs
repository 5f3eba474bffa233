//! As many clients as there are descriptors, and more: the surplus is refused and counted, nobody inside notices, and places
//! that become free are given away.

use crate::{
    bystander::Bystander,
    http::Wire,
    node::{Node, Plan, say_loudly, until},
    python::Helper,
};
use std::time::Instant;

/// What the node is allowed, where the host allows as many.
const DESCRIPTORS: u32 = 20_000;
/// How many more come than there are places.
const SURPLUS: u32 = 456;
/// Clients that begin a handshake and do not go on: more than the descriptors that are kept for others than clients.
const BEGUN: u32 = 400;
const LEAVING: u32 = 1_000;

/// Holds connections, from a source address of its own so that ports suffice. Two are needed: each has a limit, too.
const CROWD: &str = include_str!("scripts/crowd.py");

fn numbers(helper: &mut Helper) -> [u32; 2] {
    let line = helper.line();
    let mut numbers = line.split(' ').map(|word| word.parse().unwrap());
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

/// The share of a core that the node uses in a second in which the bystander is pushed to by a connection that was open before.
fn busy(node: &Node, sender: &mut Wire, beside: &mut Bystander) -> f64 {
    let (before, began) = (node.cpu_ticks(), Instant::now());
    while began.elapsed().as_millis() < 1_000 {
        let answer = sender.ask("POST", "/v1/users/beside/push", &[], b"still served");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            (beside.ws.text(), beside.stream.event().data.as_str()),
            ("still served".into(), "still served")
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    (node.cpu_ticks() - before) as f64 / 100.0 / began.elapsed().as_secs_f64()
}

#[test]
fn twenty_thousand_clients_find_the_descriptors_taken() {
    let words = format!("ulimit -n {DESCRIPTORS} 2>/dev/null; exec");
    let node = Plan::new(&["limits.handshake_timeout=1m", "lifetime.mean=10h"]).prelude(&words).start();
    let mut beside = Bystander::of(&node);
    let mut sender = Wire::connect(node.internal);
    let capacity = node.metric("holdfast_connections_capacity") as u32;
    if capacity < DESCRIPTORS - 256 {
        say_loudly(&format!(
            "LESS TESTED: a crowd of {capacity}: the hard limit of descriptors is below {DESCRIPTORS}"
        ));
    }
    let port = node.clients.port().to_string();
    let mut crowds: Vec<Helper> = ["127.0.0.2", "127.0.0.3"]
        .map(|source| Helper::start(&[], CROWD, &["127.0.0.1", &port, source, source]))
        .into();
    let free = capacity - 2;
    let came = (free + SURPLUS).div_ceil(2);
    for crowd in &mut crowds {
        crowd.tell(&format!("open {came}"));
    }
    let [held, refused] =
        crowds.iter_mut().map(numbers).fold([0, 0], |sum, more| [sum[0] + more[0], sum[1] + more[1]]);
    assert_eq!((held, refused), (free, 2 * came - free));
    assert_eq!(node.metric("holdfast_handshakes_total{result=\"full\"}"), f64::from(refused));
    assert_eq!(node.metric("holdfast_connections{protocol=\"websocket\"}"), f64::from(capacity - 1));
    beside.assert_unaware(&node, "a full house");
    // Everybody is served.
    let told = node.ask("POST", "/v1/broadcast", b"to everybody").json();
    assert_eq!(told["outcomes"]["written"], capacity, "{told}");
    assert_eq!(
        (beside.ws.text(), beside.stream.event().data),
        ("to everybody".into(), "to everybody".into())
    );
    for crowd in &mut crowds {
        crowd.tell(&format!("hear {}", "to everybody".len()));
    }
    let heard: u32 = crowds.iter_mut().map(|crowd| crowd.line().parse::<u32>().unwrap()).sum();
    assert_eq!(heard, held);
    let idle = busy(&node, &mut sender, &mut beside);
    assert!(idle < 0.2, "full: {:.0} % of a core", idle * 100.0);
    // Now the descriptors end, which are counted with those who wait for a handshake.
    crowds[0].tell(&format!("begin {BEGUN}"));
    assert_eq!(crowds[0].line(), "begun");
    let short = busy(&node, &mut sender, &mut beside);
    assert!(short < 0.2, "without a descriptor: {:.0} % of a core", short * 100.0);
    crowds[0].tell("end");
    assert_eq!(crowds[0].line(), "ended");
    // Some leave, and as many find a place.
    crowds[0].tell(&format!("leave {LEAVING}"));
    assert_eq!(crowds[0].line(), "left");
    node.wait_for_metric("holdfast_connections{protocol=\"websocket\"}", f64::from(capacity - 1 - LEAVING));
    until("the last of those who had begun", || {
        crowds[1].tell(&format!("open {LEAVING}"));
        (numbers(&mut crowds[1]) == [LEAVING, 0]).then_some(())
    });
    beside.assert_unaware(&node, "the crowd");
}
