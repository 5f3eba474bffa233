//! HAProxy, ending TLS and not.

use super::{Balancer, Shipped, accepted, lose, node};
use crate::{
    connecters::while_connecting,
    node::{Node, until},
    python::Helper,
};
use std::{net::SocketAddr, path::Path, process::Command};

fn start(name: &str, certificate: Option<&Path>, nodes: &[&Node]) -> Balancer {
    let file = |folder: &Path, address: SocketAddr| changed(name, certificate, nodes, folder, address);
    Balancer::start("haproxy", &["-db", "-f"], file)
}

fn changed(
    name: &str,
    certificate: Option<&Path>,
    nodes: &[&Node],
    folder: &Path,
    address: SocketAddr,
) -> String {
    let shipped = Shipped::read(name).nodes(nodes).without("user ").without("group ").without("log /dev/log");
    let shipped = shipped.without("bind [::]").set("/run/haproxy/", &format!("{}/", folder.display()));
    let shipped = shipped.set("inter 1s", "inter 100ms");
    match certificate {
        None => shipped.set("maxconn 400000", "maxconn 1900").set("bind :7000", &format!("bind {address}")),
        Some(certificate) => shipped
            .set("maxconn 100000", "maxconn 1900")
            .set("bind :443", &format!("bind {address}"))
            .set("/etc/haproxy/certs/push.pem", certificate.to_str().unwrap()),
    }
    .0
}

#[test]
fn a_node_behind_haproxy_knows_its_clients_addresses() {
    let node = node("one", &["limits.connections_per_address=1"]);
    let balancer = start("haproxy.cfg", None, &[&node]);
    let _ada = balancer.open_from("127.0.0.11", "ada").unwrap();
    let _bob = balancer.open_from("127.0.0.12", "bob").unwrap();
    assert_eq!(balancer.open_from("127.0.0.11", "cid").err(), Some(503));
}

#[test]
fn a_node_drained_behind_haproxy_refuses_nobody() {
    let (mut leaves, stays) = (node("leaves", &[]), node("stays", &[]));
    let balancer = start("haproxy.cfg", None, &[&leaves, &stays]);
    while_connecting(balancer.address, || {
        until("both to be used", || (accepted(&leaves) > 5.0 && accepted(&stays) > 5.0).then_some(()));
        leaves.sigterm();
        assert_eq!(leaves.wait(), 0);
        let before = accepted(&stays);
        until("the other to serve all", || (accepted(&stays) > before + 20.0).then_some(()));
    });
}

#[test]
fn clients_of_a_node_lost_behind_haproxy_come_back_to_the_other() {
    let (dies, lives) = (node("dies", &[]), node("lives", &[]));
    let balancer = start("haproxy.cfg", None, &[&dies, &lives]);
    lose(&balancer, dies, &lives);
}

/// Connects from two addresses as browsers do, checks the certificate, and prints what it was given.
const WSS_CLIENT: &str = r#"
import asyncio, ssl, sys, websockets
from websockets.asyncio.client import connect

async def main(port, roots):
    context = ssl.create_default_context(cafile=roots)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async def open(user, source):
        headers = {"X-CUSTOMER_ID": user}
        return await connect(f"wss://127.0.0.1:{port}/ws", ssl=context, additional_headers=headers,
                             local_addr=(source, 0), proxy=None, open_timeout=15)
    ada = await open("ada", "127.0.0.21")
    bob = await open("bob", "127.0.0.22")
    tls = ada.transport.get_extra_info("ssl_object")
    print(tls.version(), tls.selected_alpn_protocol(), flush=True)
    try:
        await open("cid", "127.0.0.21")
    except websockets.exceptions.InvalidStatus as refused:
        print(refused.response.status_code, flush=True)
    print(await asyncio.wait_for(ada.recv(), 15), flush=True)
    await ada.close()
    print(ada.close_code, flush=True)

asyncio.run(main(*sys.argv[1:]))
"#;

#[test]
fn haproxy_ends_tls_and_the_node_knows_who_is_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(' '))
        .args(["-subj", "/CN=push.example", "-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(at("key.pem"))
        .arg("-out")
        .arg(at("roots.pem"))
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = ["roots.pem", "key.pem"].map(|name| std::fs::read_to_string(at(name)).unwrap()).concat();
    std::fs::write(at("push.pem"), both).unwrap();

    let node = node("one", &["limits.connections_per_address=1"]);
    let balancer = start("haproxy-tls.cfg", Some(&at("push.pem")), &[&node]);
    let (port, roots) = (balancer.address.port().to_string(), at("roots.pem"));
    let mut client = Helper::start(&[], WSS_CLIENT, &[&port, roots.to_str().unwrap()]);
    assert_eq!(client.line(), "TLSv1.3 http/1.1");
    assert_eq!(client.line(), "503", "the node counts addresses of clients");
    assert_eq!(node.push_one("ada/push", "hello through TLS"), "written");
    assert_eq!(client.line(), "hello through TLS");
    assert_eq!(client.line(), "1000");
}
