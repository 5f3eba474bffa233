//! The node's part in a fleet: its registry, its links to other nodes, and the thread that serves both.
//!
//! Owns how they are put together, which depends on where the registry is: a node with its registry in memory is alone, and
//! has neither thread nor links.

use super::{Common, node_number};
use crate::{
    bridge::{
        Router,
        core::Parts,
        format::FORMAT,
        peers::{self, Peers},
        registrar,
        registry::{FleetRegistry, Lease, MemoryRegistry},
        router,
        store::{self, Store},
        thread::{self, BridgeThread, Mail},
    },
    config::{
        RegistryUrl, peer_token,
        redis_url::{Address, Kind, Target},
    },
    directory::Journal,
    kit::mailbox::Sender,
    model::mail::ToShard,
};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// What a node has of its fleet.
pub(super) struct Fleet {
    /// None: it is alone.
    pub bridge: Option<BridgeThread>,
    /// None: it is alone.
    pub peers: Option<Arc<Peers>>,
}

/// The mailboxes of the bridge to be, where there will be one, and the directory's end of them.
pub(super) fn mail(url: &RegistryUrl) -> (Option<Mail>, Option<Journal>) {
    match url {
        RegistryUrl::Memory => (None, None),
        RegistryUrl::Redis(_) => {
            let (mail, journal) = Mail::new();
            (Some(mail), Some(journal))
        }
    }
}

/// Puts the router and the fleet together, and starts the bridge's thread.
///
/// # Errors
/// When a thread cannot be started.
pub(super) fn join(
    common: &Common,
    mail: Option<Mail>,
    lease: Lease,
    mailboxes: Vec<Sender<ToShard>>,
) -> io::Result<(Arc<Router>, Fleet)> {
    let parts = |registry, peering| router::Parts {
        directory: common.directory.clone(),
        registry,
        peering,
        shards: mailboxes,
        stats: common.stats.clone(),
        node: node_number(&common.config.node.id, common.incarnation),
        number: store::node_number(&common.config.node.id),
    };
    let registry = &common.config.registry;
    let (RegistryUrl::Redis(target), Some(mail)) = (&registry.url, mail) else {
        let router = Arc::new(Router::new(parts(Arc::new(MemoryRegistry::new(lease)), None)));
        return Ok((router, Fleet { bridge: None, peers: None }));
    };
    let runtime = thread::runtime()?;
    let config = &common.config;
    let peers = Peers::new(
        peers::Settings::new(config.limits.push_bytes, config.delivery.timeout_ms),
        common.clock,
        peer_token(&config.internal.tokens).cloned(),
        config.lanes.iter().map(|(_, lane)| lane.name.clone()),
        runtime.handle().clone(),
    );
    let clock = common.clock;
    let now_ms = move || clock.micros() / 1_000;
    let known = Arc::new(FleetRegistry::new(mail.sender.clone(), lease.clone(), now_ms));
    let router = Arc::new(Router::new(parts(known.clone(), Some(peers.clone()))));
    let sender = mail.sender.clone();
    let (letters, changes, bells) = mail.split();
    let parts = Parts {
        settings: registrar::Settings { heal_rate: registry.heal_rate, ..registrar::Settings::default() },
        node: store::node_number(&config.node.id),
        lease,
        format: FORMAT,
        directory: common.directory.clone(),
        router: router.clone(),
        peering: peers.clone(),
        registry: known,
        mail: letters,
        sender,
        changes,
        stats: common.stats.clone(),
    };
    let settings = store::Settings {
        ca_file: registry.ca_file.clone(),
        timeout: Duration::from_millis(registry.timeout_ms),
        ..store::Settings::new(target.clone())
    };
    let start = |deliver: Box<dyn Fn(store::Output) + Send>| Store::start(&settings, deliver);
    let bridge = BridgeThread::spawn(runtime, bells, parts, common.clock, start)?;
    Ok((router, Fleet { bridge: Some(bridge), peers: Some(peers) }))
}

/// What other nodes call, where nothing is advertised: the bound address, and for one that means every address of the host,
/// the one from which the registry is reached.
pub(super) fn address_of(bound: SocketAddr, url: &RegistryUrl) -> String {
    let local = match url {
        RegistryUrl::Redis(target) if bound.ip().is_unspecified() => local_address(target),
        _ => None,
    };
    match local {
        Some(local) => SocketAddr::new(local.ip(), bound.port()).to_string(),
        None => bound.to_string(),
    }
}

/// A datagram socket learns its own address without sending anything.
fn local_address(target: &Target) -> Option<SocketAddr> {
    let servers = match &target.kind {
        Kind::Single(address) => std::slice::from_ref(address),
        Kind::Sentinel { sentinels, .. } => sentinels,
        Kind::Cluster(nodes) => nodes,
    };
    let mut found = servers.iter().flat_map(resolve);
    found.find_map(|server| {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(server).ok()?;
        socket.local_addr().ok()
    })
}

fn resolve(address: &Address) -> Vec<SocketAddr> {
    let Address { host, port } = address;
    (host.as_str(), *port).to_socket_addrs().map_or_else(|_| Vec::new(), Iterator::collect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_no_address_to_call() {
        let redis = |url: &str| RegistryUrl::Redis(url.parse().unwrap());
        let wildcard: SocketAddr = "0.0.0.0:7008".parse().unwrap();
        assert_eq!(address_of(wildcard, &redis("redis://127.0.0.1:1")), "127.0.0.1:7008");
        assert_eq!(address_of(wildcard, &RegistryUrl::Memory), "0.0.0.0:7008");
        let bound: SocketAddr = "127.0.0.2:7".parse().unwrap();
        assert_eq!(address_of(bound, &redis("redis://127.0.0.1:1")), "127.0.0.2:7");
    }
}
