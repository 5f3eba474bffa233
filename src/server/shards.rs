//! The shards of a node: their listeners, their mailboxes, and what each is given.

use super::Common;
use crate::{
    clock::Clock,
    config::{Config, exposed},
    conn::{Tools, auth::Authenticator, lent::Lents},
    kit::{mailbox, mailbox::Sender, random::Random},
    model::mail::{CONTROL_LETTERS, CONTROL_RESERVE, ToShard},
    shard::{Parts, ShardThread, listen, listen::Inherited, net_mio::MioNet},
};
use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

/// A shard's network, and how its mailbox wakes it.
type NetAndWake = (MioNet, Arc<dyn mailbox::Wake>);

/// Listeners that this process was started with. They are no safer than those of the configuration.
pub(super) fn inherited(config: &Config) -> io::Result<Inherited> {
    let inherited = listen::inherited()?;
    let mut config = config.clone();
    if let Some(internal) = &inherited.internal {
        config.internal.listen = internal.local_addr()?;
    }
    if !inherited.clients.is_empty() && config.node.shards > 0 {
        config.clients.listen =
            inherited.clients.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    }
    match exposed(&config) {
        None => Ok(inherited),
        Some((_, address, problem)) => {
            Err(io::Error::other(format!("a listener of LISTEN_FDS is at {address}: {problem}")))
        }
    }
}

/// One network per shard, over these listeners or else new ones, and the client addresses with their real ports.
pub(super) fn open_nets(
    config: &Config,
    mut inherited: Vec<TcpListener>,
    clock: Clock,
) -> io::Result<(Vec<NetAndWake>, Vec<SocketAddr>)> {
    let shards = config.node.shards;
    let mut nets = Vec::with_capacity(shards);
    if !inherited.is_empty() {
        tracing::info!(listeners = inherited.len(), "using the listeners that this process was started with");
        let addresses = inherited.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        let own = inherited.len() >= shards;
        for shard in 0..shards {
            // Enough for all: each shard has its own. Fewer: every shard accepts from every one.
            let listeners = if own {
                let share = inherited.len() / (shards - shard);
                inherited.drain(..share).collect()
            } else {
                inherited.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?
            };
            nets.push(MioNet::new(listeners, true, clock)?);
        }
        return Ok((nets, addresses));
    }
    // With port 0 the first shard's ports are everyone's.
    let first = listen::bind_all(&config.clients.listen)?;
    let addresses = first.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    nets.push(MioNet::new(first, false, clock)?);
    for _ in 1..shards {
        nets.push(MioNet::new(listen::bind_all(&addresses)?, false, clock)?);
    }
    Ok((nets, addresses))
}

pub(super) fn spawn(
    common: &Common,
    authenticator: &Arc<dyn Authenticator>,
    nets: Vec<NetAndWake>,
) -> io::Result<(Vec<Sender<ToShard>>, Vec<ShardThread>)> {
    let limits = &common.config.limits;
    let mut capacities = vec![CONTROL_LETTERS + CONTROL_RESERVE];
    capacities.extend(common.config.lanes.iter().map(|_| limits.mailbox));
    let (nets, boxes): (Vec<_>, Vec<_>) =
        nets.into_iter().map(|(net, wake)| (net, mailbox::mailbox(&capacities, wake))).unzip();
    let (senders, receivers): (Vec<_>, Vec<_>) = boxes.into_iter().unzip();
    let mut threads = Vec::with_capacity(senders.len());
    for (index, (net, mail)) in nets.into_iter().zip(receivers).enumerate() {
        let parts = Parts {
            index: index as u16,
            net,
            tools: tools(common, authenticator, index),
            dedup: common.dedup.clone(),
            mail,
            shards: senders.clone(),
        };
        threads.push(ShardThread::spawn(parts)?);
    }
    Ok((senders, threads))
}

fn tools(common: &Common, authenticator: &Arc<dyn Authenticator>, index: usize) -> Tools {
    Tools {
        settings: common.settings.clone(),
        authenticator: authenticator.clone(),
        directory: common.directory.clone(),
        shared: common.shared.clone(),
        stats: common.stats.shard(index).clone(),
        random: Random::seeded(fastrand::u64(..)),
        lents: Lents::default(),
        deflater: Default::default(),
        inflater: Default::default(),
        out: Vec::new(),
        displaced: Vec::new(),
        admission: Tools::admission(&common.settings, common.clock.micros()),
        push_buckets: HashMap::new(),
        addresses: HashMap::new(),
        opening: 0,
        refusing: false,
    }
}
