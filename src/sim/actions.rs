//! What happens in a run: clients come, speak, lie, fall silent and leave; senders send; operators act; the host runs short.

use super::{
    choices::Choices,
    ledger::body,
    peer::{Introduction, Manner, Peer},
    plan::Logins,
    rig::Client,
    run::Simulation,
    wire::{self, BINARY, PING, PONG, TEXT},
};
use crate::{
    bridge::drain::DrainOrigin,
    config::ProxyProtocol,
    conn::Phase,
    kit::slab::Key,
    model::{
        Collapse, Handle, Identifier, Lane, LanePolicy, Message, Reason,
        mail::{CONTROL_LANE, ToShard},
    },
    stats::Pressure,
};
use flate2::{Compression, write::DeflateEncoder};
use std::{
    io::{ErrorKind, Write},
    net::IpAddr,
    sync::atomic::Ordering,
};

/// One thing happens.
pub fn act(run: &mut Simulation) {
    match run.choices.below(100) {
        0..18 if run.active.len() < run.plan.peers => connect(run),
        0..45 => speak(run),
        45..70 => push(run),
        70..73 => broadcast(run),
        73..76 => operate(run),
        76 => flood(run),
        77..82 => let_down(run),
        82..85 => run_short(run),
        85 => move_wall_clock(run),
        86 => drain(run),
        91 if run.rig.drain.is_draining() => drain(run),
        87..89 => push_to_the_past(run),
        92..100 => decide(run),
        _ => {}
    }
}

/// Where the n-th address is. The first is trusted to speak the PROXY protocol.
pub fn address(n: u64) -> IpAddr {
    if n == 0 { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([10, 0, 0, n as u8]) }
}

fn connect(run: &mut Simulation) {
    let now_us = run.now_us();
    let choices = &mut run.choices;
    let shard = choices.below(run.rig.shards.len() as u64) as usize;
    let user = format!("u{}", choices.below(run.plan.users));
    let lies = run.plan.liars > 0 && choices.once_in(run.plan.liars);
    let slow = choices.once_in(run.plan.slow);
    let manner = Manner {
        lies,
        reads: if slow { choices.pick(&[0, 1, 100]) } else { usize::MAX },
        answers: !choices.once_in(8),
        leaves: !choices.once_in(4),
    };
    let stream = choices.below(5) < 2;
    let from = address(choices.below(run.plan.addresses));
    let client = Client(run.rig.world.borrow_mut().connect(shard, from));
    if slow {
        let room = choices.pick(&[2_000, 300, 0]);
        run.rig.end(client).set_room(room);
    }
    let mut peer = Peer::new(client, user, manner, stream, now_us);
    let request = request(run, &mut peer, from.is_loopback());
    peer.say(&request);
    if run.choices.once_in(2) {
        peer.attend(&run.rig, &mut run.ledger, &mut run.choices);
    }
    run.active.insert(client.0);
    run.peers.push(peer);
}

/// What a client sends first: mostly a request that is in order.
fn request(run: &mut Simulation, peer: &mut Peer, trusted: bool) -> Vec<u8> {
    let (plan, choices) = (&run.plan, &mut run.choices);
    let mut name = format!("user={}", peer.user);
    let mut query = String::new();
    if choices.once_in(2) {
        query += &format!("&device=d{}", choices.below(2));
    }
    peer.ping_us = plan.config.clients.ping_ms * 1_000;
    if choices.once_in(4) {
        let asked_ms = choices.between(1, 60) * 1_000;
        query += &format!("&ping={}s", asked_ms / 1_000);
        let clients = &plan.config.clients;
        peer.ping_us = asked_ms.clamp(clients.ping_min_ms, clients.ping_max_ms) * 1_000;
    }
    if choices.once_in(8) {
        let (unix_s, life_s) = (run.rig.world.borrow().now().unix_ms / 1_000, choices.between(1, 60));
        name += &format!("&issued={}&expires={}", unix_s - choices.below(60), unix_s + life_s);
        // Its clock begins when the request is read, which a stall or a slow client puts off.
        let latest_ms = plan.wait_max_ms() + life_s * 1_000;
        peer.expires_us = Some(peer.said_us + latest_ms * 1_000);
    }
    let Logins { later, by_frame } = plan.logins;
    if later > 0 && choices.once_in(later) {
        peer.waits = true;
        name += choices.pick(&["&later=1", "&later=1&twice=1"]);
    }
    if !peer.stream && by_frame > 0 && choices.once_in(by_frame) {
        peer.waits = true;
        peer.introduction = Some(introduction(choices, &name));
    } else {
        query = name + &query;
    }
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let mut bytes = match peer.stream {
        true => wire::event_stream(&query),
        false if choices.once_in(2) => wire::upgrade_with(&query, deflate),
        false => wire::upgrade(&query),
    };
    let proxy = plan.config.clients.proxy_protocol;
    if trusted && proxy != ProxyProtocol::Off && !(proxy == ProxyProtocol::Accept && choices.once_in(2)) {
        bytes.splice(..0, b"PROXY TCP4 10.0.0.1 10.0.0.2 4711 7001\r\n".iter().copied());
    }
    if peer.manner.lies && choices.once_in(2) {
        // It may now say anything, of its token and its pings as well.
        peer.expires_us = None;
        peer.ping_us = plan.config.clients.ping_max_ms * 1_000;
        spoil(run, &mut bytes);
    }
    bytes
}

/// A token as the first frame, in one piece or several, with pings before, between and after; or none.
fn introduction(choices: &mut Choices, token: &str) -> Introduction {
    let mut introduction = Introduction { frames: None, pings: Vec::new() };
    if choices.once_in(6) {
        return introduction;
    }
    let mut ping = |choices: &mut Choices, frames: &mut Vec<u8>| {
        if choices.once_in(3) {
            let payload = choices.bytes(2);
            frames.extend(wire::frame(PING, &payload));
            introduction.pings.push(payload);
        }
    };
    let mut frames = Vec::new();
    ping(choices, &mut frames);
    let (first, second) = token.split_at(choices.below(token.len() as u64 + 1) as usize);
    if choices.once_in(3) {
        frames.push(0x01);
        frames.extend(&wire::frame(TEXT, first.as_bytes())[1..]);
        ping(choices, &mut frames);
        frames.extend(wire::frame(0, second.as_bytes()));
    } else {
        let op = if choices.once_in(16) { BINARY } else { TEXT };
        frames.extend(wire::frame(op, token.as_bytes()));
    }
    ping(choices, &mut frames);
    introduction.frames = Some(frames);
    introduction
}

/// Makes something wrong.
fn spoil(run: &mut Simulation, bytes: &mut Vec<u8>) {
    let choices = &mut run.choices;
    let at = choices.below(bytes.len() as u64 + 1) as usize;
    match choices.below(5) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << choices.below(8);
            }
        }
        2 => {
            let count = choices.below(16) as usize;
            let strange = choices.bytes(count);
            bytes.splice(at..at, strange);
        }
        3 => bytes.extend_from_within(at..),
        _ => bytes.extend(std::iter::repeat_n(b'a', choices.pick(&[10, 1_000, 10_000]))),
    }
}

/// Some client.
fn any_peer(run: &mut Simulation) -> Option<usize> {
    let at = run.choices.below(run.active.len() as u64) as usize;
    run.active.iter().nth(at).copied()
}

/// Somebody who was asked who a client is says so, or that he does not know.
fn decide(run: &mut Simulation) {
    let desk = run.rig.desk.clone();
    let mut deferred = desk.deferred();
    let at = run.choices.below(deferred.len() as u64) as usize;
    let Some(one) = deferred.get_mut(at) else { return };
    match run.choices.below(8) {
        0 => one.refuse(Reason::AuthFailed),
        1 => one.refuse(Reason::AuthUnavailable),
        // He forgets that he was asked.
        2 => drop(deferred.remove(at)),
        _ => one.accept(),
    }
    deferred.retain(|one| !one.is_done());
}

fn speak(run: &mut Simulation) {
    let Some(number) = any_peer(run) else { return };
    if run.peers[number].manner.lies {
        return lie(run, number);
    }
    let plan = &run.plan;
    let (peer, choices) = (&mut run.peers[number], &mut run.choices);
    if !peer.may_speak() {
        return;
    }
    let most = plan.config.limits.message_bytes as u64;
    match choices.below(12) {
        0 => peer.close(),
        1..=3 => {
            let count = choices.below(126) as usize;
            let payload = choices.bytes(count);
            peer.ping(&payload);
        }
        // More than one turn reads.
        4 if plan.config.limits.inbound_rate == 0 && choices.once_in(8) => {
            peer.say(&wire::frame(PONG, &[7; 120]).repeat(3_000));
        }
        4 => peer.say(&wire::frame(PONG, b"")),
        5 => peer.say(&wire::frame(BINARY, &vec![7; choices.below(most + 1) as usize])),
        _ => {
            let size = choices.below(most.min(2_000) - 5);
            let mut text = format!("ECHO {}", "é".repeat(size as usize / 2)).into_bytes();
            text.extend(std::iter::repeat_n(b'x', size as usize % 2));
            let frames = in_frames(run, &text);
            run.peers[number].echo(&text, &frames);
        }
    }
}

/// A text in one frame or several, with a pong between them now and then.
fn in_frames(run: &mut Simulation, text: &[u8]) -> Vec<u8> {
    let choices = &mut run.choices;
    let mut rest = text;
    let mut op = TEXT;
    let mut frames = Vec::new();
    while choices.once_in(3) {
        let (part, after) = rest.split_at(choices.below(rest.len() as u64 + 1) as usize);
        let mut frame = wire::frame(op, part);
        frame[0] &= 0x7f;
        frames.extend(frame);
        if choices.once_in(4) {
            frames.extend(wire::frame(PONG, b"between"));
        }
        (rest, op) = (after, 0);
    }
    frames.extend(wire::frame(op, rest));
    frames
}

fn lie(run: &mut Simulation, number: usize) {
    let choices = &mut run.choices;
    let mut bytes = match choices.below(8) {
        0 => wire::frame(TEXT, b"ECHO hello").repeat(choices.pick(&[1, 30, 300])),
        1 => wire::frame(choices.below(16) as u8, b"anything"),
        2 => wire::close(choices.below(5_000) as u16),
        3 => wire::frame(PING, &vec![1; choices.below(140) as usize]),
        4 => vec![0x82, 0xff, choices.below(256) as u8, 0, 0, 0, 0, 0, 1, 0],
        5 => {
            let mut frame = wire::frame(TEXT, &deflated(&vec![b'a'; choices.pick(&[10, 1_000, 100_000])]));
            frame[0] |= 0x40;
            frame
        }
        6 => [0x00, 0x80, 1, 2, 3, 4].repeat(choices.pick(&[1, 100])),
        _ => {
            let count = choices.below(64) as usize;
            choices.bytes(count)
        }
    };
    if choices.once_in(3) {
        spoil(run, &mut bytes);
    }
    run.peers[number].say(&bytes);
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.flush()).expect("a Vec takes it");
    let mut bytes = encoder.get_ref().clone();
    bytes.truncate(bytes.len().saturating_sub(4));
    bytes
}

fn push(run: &mut Simulation) {
    let user = format!("u{}", run.choices.below(run.plan.users));
    let mut handles = Vec::new();
    run.rig.directory.lookup(&user, |route| handles.push(route.handle));
    for _ in 0..run.choices.pick(&[1, 1, 3, 40]) {
        for &handle in &handles {
            post(run, &user, handle);
        }
    }
    let keep = 64usize.saturating_sub(handles.len()).min(run.remembered.len());
    run.remembered.drain(keep..);
    run.remembered.splice(..0, handles);
}

/// To a connection that was there once: who has its place now must not hear of it.
fn push_to_the_past(run: &mut Simulation) {
    let at = run.choices.below(run.remembered.len() as u64) as usize;
    let Some(&handle) = run.remembered.get(at) else { return };
    let now_is = run.rig.shards[usize::from(handle.shard)].socket_of(handle.key);
    let user = match now_is {
        Some(socket) => run.peers[socket.0 as usize].user.clone(),
        None => "nobody".into(),
    };
    post(run, &user, handle);
}

fn post(run: &mut Simulation, user: &str, handle: Handle) {
    let socket = run.rig.shards[usize::from(handle.shard)].socket_of(handle.key);
    // Nobody has this number.
    let client = socket.map_or(Client(usize::MAX), |socket| Client(socket.0 as usize));
    let message = message(run, user);
    let (body, lane, now_us) = (message.body.clone(), message.lane, run.now_us());
    let push = run.rig.post(handle, message);
    run.ledger.add_push(client, body, lane, now_us, push);
}

fn message(run: &mut Simulation, to: &str) -> Message {
    let choices = &mut run.choices;
    let outbox = run.plan.config.limits.outbox_bytes as u64;
    let size = match choices.below(8) {
        0 => choices.below(outbox + 1_000),
        1 => choices.below(130),
        _ => choices.below(3_000),
    };
    let binary = choices.once_in(8);
    let lane = Lane(choices.below(3) as u8);
    let body = body(to, run.ledger.next(), size as usize, binary);
    let mut message = Message::new(lane, body, run.rig.world.borrow().micros);
    let replaces = run.plan.config.lanes.config(lane).policy == LanePolicy::Replace;
    if replaces || choices.once_in(8) {
        message.collapse = choices.once_in(2).then(|| {
            let hash = choices.below(2);
            Collapse { hash, key: Identifier::new(&hash.to_string()).unwrap() }
        });
    }
    if choices.once_in(6) {
        let unix_ms = run.rig.world.borrow().now().unix_ms;
        message.expires_unix_ms = Some(unix_ms + choices.pick(&[0, 20, 300, 3_000]));
    }
    if choices.once_in(8) {
        message.timeout_ms = Some(choices.below(1_000));
    }
    if choices.once_in(6) {
        message.id = Identifier::new(&format!("id{}", choices.below(4))).ok();
    }
    message
}

fn broadcast(run: &mut Simulation) {
    let spread_ms = run.choices.pick(&[0, 0, 50, 2_000]);
    run.settle();
    let message = message(run, "all");
    let (body, now_us) = (message.body.clone(), run.now_us());
    let phases = run.rig.shards.iter().flat_map(|shard| shard.phases());
    let takers = phases.filter(|(_, phase)| matches!(phase, Phase::Open | Phase::Leaving));
    let takers = takers.map(|(socket, _)| socket.0 as usize).collect();
    let broadcast = run.rig.broadcast_message(message, spread_ms);
    run.ledger.add_broadcast(body, now_us, broadcast, takers);
}

fn operate(run: &mut Simulation) {
    let user = format!("u{}", run.choices.below(run.plan.users));
    let mut handles = Vec::new();
    run.rig.directory.lookup(&user, |route| handles.push(route.handle));
    let goaway = run.choices.once_in(2);
    for handle in handles {
        let letter = ToShard::Close { key: handle.key, reason: Reason::Operator, goaway };
        // Where there is no room the operator is told so, and nothing has happened.
        let _ = run.rig.mailboxes[usize::from(handle.shard)].post(CONTROL_LANE, letter);
    }
    if run.choices.once_in(8) {
        let unix_ms = run.rig.world.borrow().now().unix_ms;
        run.rig.shared.blocks.block(&user, unix_ms + 5_000, unix_ms);
    }
}

/// One shard has as many letters as it has room for, while the others take clients in.
fn flood(run: &mut Simulation) {
    let flooded = run.choices.below(run.rig.shards.len() as u64) as usize;
    let key = Key { index: u32::MAX - 1, generation: 1 };
    let letter = || ToShard::Close { key, reason: Reason::Operator, goaway: true };
    while run.rig.mailboxes[flooded].post(CONTROL_LANE, letter()).is_ok() {}
    for _ in 0..run.choices.below(4) {
        connect(run);
    }
    for shard in (0..run.rig.shards.len()).filter(|&shard| shard != flooded) {
        run.rig.turn(shard);
    }
}

/// A client leaves without a word, or its network does.
fn let_down(run: &mut Simulation) {
    let Some(number) = any_peer(run) else { return };
    let peer = &mut run.peers[number];
    match run.choices.below(5) {
        // Found by silence, or by the kernel.
        0 => peer.vanished = true,
        4 => {
            peer.vanished = true;
            run.rig.end(peer.client).fail(ErrorKind::TimedOut);
        }
        1 => run.rig.end(peer.client).reset(),
        2 => peer.end(),
        _ => {
            // It closes its socket at once: what is under way to it is lost.
            let mut end = run.rig.end(peer.client);
            end.end();
            end.reset();
        }
    }
}

/// The host is short of something for a while, or no longer.
fn run_short(run: &mut Simulation) {
    let choices = &mut run.choices;
    let mut world = run.rig.world.borrow_mut();
    match choices.below(4) {
        0 => world.descriptors = choices.pick(&[usize::MAX, usize::MAX, 3, 0]),
        1 => world.write_cost_us = choices.pick(&[0, 0, 5, 200]),
        2 => world.events_max = choices.pick(&[usize::MAX, usize::MAX, 3, 1]),
        _ => {
            let pressure =
                choices.pick(&[Pressure::None, Pressure::None, Pressure::ShedLow, Pressure::Refuse]);
            run.rig.shared.pressure.store(pressure as u8, Ordering::Relaxed);
        }
    }
}

fn move_wall_clock(run: &mut Simulation) {
    let by_ms = run.choices.pick(&[-60_000, -1_000, 1_000, 60_000, 3_600_000]);
    run.rig.world.borrow_mut().wall_offset_ms += by_ms;
    for &number in &run.active {
        // How long a token lasts is worked out when it is read, which may not have been.
        let peer = &run.peers[number];
        if peer.status().is_none() || peer.waits {
            run.peers[number].expires_us = None;
        }
    }
}

fn drain(run: &mut Simulation) {
    let (now, open) = (run.rig.world.borrow().now(), run.rig.stats.connections());
    if !run.rig.drain.cancel() && run.choices.once_in(2) {
        run.rig.drain.start(DrainOrigin::Api, now, open);
    }
}
