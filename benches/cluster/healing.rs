//! How long a node needs to register all connections again after Redis has lost everything, and what pushes notice of it.

use crate::{
    clients::{Clients, user},
    http::Connection,
    outcome::{Outcome, median, quantile},
    process::{Node, Redis, until},
    registrations::nobody_left,
    table::Table,
};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

const CONNECTIONS: u32 = 15_000;
const TURNS: usize = 4;
const SENDERS: u32 = 4;
/// Between two pushes of a sender.
const EVERY: Duration = Duration::from_millis(4);
/// Before Redis loses everything.
const CALM: Duration = Duration::from_secs(3);
/// And so much longer each time: the node looks once a second, and is to be met at different moments between two looks.
const SHIFT: Duration = Duration::from_millis(230);
/// Keys that are no user's, at most: leases and marks.
const OTHER_KEYS: u64 = 8;

/// When Redis had lost everything, when the first record was back, and when the last.
struct Loss {
    lost: Instant,
    noticed: Instant,
    back: Instant,
}

/// When a push was due, and how long from then on until its outcome was there, ms.
type Pushed = (Instant, f64);

pub fn measure(redis: &Redis, table: &mut Table) -> Outcome<()> {
    redis.flush()?;
    let node = Node::start("one", &redis.url())?;
    let clients = Clients::open(node.clients, 0..CONNECTIONS)?;
    until("all registrations", || Ok(node.registered()? >= CONNECTIONS))?;
    let stops = AtomicBool::new(false);
    let (losses, pushed) = thread::scope(|scope| -> Outcome<_> {
        let senders: Vec<_> = (0..SENDERS)
            .map(|at| {
                scope.spawn({
                    let stops = &stops;
                    move || send(node.internal, at, stops)
                })
            })
            .collect();
        let losses: Outcome<Vec<Loss>> =
            (0..TURNS as u32).map(|turn| lose(redis, CALM + SHIFT * turn)).collect();
        stops.store(true, Relaxed);
        let mut pushed = Vec::new();
        for sender in senders {
            pushed.append(&mut sender.join().map_err(|_| "a sender has panicked")??);
        }
        Ok((losses?, pushed))
    })?;
    nobody_left(&[&clients])?;
    tell(&losses, &pushed, table);
    Ok(())
}

fn tell(losses: &[Loss], pushed: &[Pushed], table: &mut Table) {
    let between = |from: &dyn Fn(&Loss) -> Instant, to: &dyn Fn(&Loss) -> Instant| -> Vec<f64> {
        let within = |due: Instant| losses.iter().any(|loss| due >= from(loss) && due < to(loss));
        pushed.iter().filter(|(due, _)| within(*due)).map(|&(_, ms)| ms).collect()
    };
    let before = between(&|loss| loss.lost - CALM, &|loss| loss.lost);
    let during = between(&|loss| loss.noticed, &|loss| loss.back);
    let seconds = |of: &dyn Fn(&Loss) -> Duration| -> Vec<f64> {
        losses.iter().map(|loss| of(loss).as_secs_f64()).collect()
    };
    let (notice, heal) =
        (seconds(&|loss| loss.noticed - loss.lost), seconds(&|loss| loss.back - loss.noticed));
    table.alone("15,000 registered again, from the first record on, s", format!("{:.2}", median(&heal)), "5");
    table.alone("until the first record is back, s", format!("{:.2}", median(&notice)), "");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let figure = format!("push latency {name} meanwhile, ms; floor: before the loss");
        table.ratio(
            &figure,
            quantile(&before, share),
            quantile(&during, share),
            2,
            if share == 0.99 { "2" } else { "" },
        );
    }
    let list =
        |values: &[f64]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ");
    table.remark(format!(
        "The losses, s: noticed after {}; all back after {} more. {} pushes before, {} meanwhile, {:.0} a second.",
        list(&notice),
        list(&heal),
        before.len(),
        during.len(),
        f64::from(SENDERS) / EVERY.as_secs_f64()
    ));
}

fn lose(redis: &Redis, calm: Duration) -> Outcome<Loss> {
    let mut connection = redis.connection()?;
    let mut keys = || -> Outcome<u64> { Ok(redis::cmd("DBSIZE").query(&mut connection)?) };
    thread::sleep(calm);
    redis.flush()?;
    let lost = Instant::now();
    until("the first record", || Ok(keys()? > OTHER_KEYS))?;
    let noticed = Instant::now();
    until("the last record", || Ok(keys()? > u64::from(CONNECTIONS)))?;
    Ok(Loss { lost, noticed, back: Instant::now() })
}

/// Pushes at a steady rate, whether or not the node keeps up.
fn send(internal: SocketAddr, sender: u32, stops: &AtomicBool) -> Outcome<Vec<Pushed>> {
    let mut connection = Connection::open(internal)?;
    let began = Instant::now() + EVERY * sender / SENDERS;
    let mut pushed = Vec::new();
    for at in 0.. {
        let due = began + EVERY * at;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stops.load(Relaxed) {
            break;
        }
        let path =
            format!("/v1/users/{}/push", user((at * SENDERS + sender).wrapping_mul(7_919) % CONNECTIONS));
        let answer = connection.ask("POST", &path, "text/plain", &[b'x'; 110])?;
        if answer.status != 200 {
            return Err(format!("a push was answered {}", answer.status).into());
        }
        pushed.push((due, due.elapsed().as_secs_f64() * 1e3));
    }
    Ok(pushed)
}
