//! nginx's stream module, which asks nobody for his health.

use super::{Balancer, Shipped, accepted, lose, node};
use crate::{
    connecters::while_connecting,
    node::{Node, until},
};
use std::{fs, net::SocketAddr, path::Path, process::Command};

fn start(nodes: &[&Node]) -> Balancer {
    let words = ["-e", "stderr", "-g", "daemon off;", "-c"];
    Balancer::start("nginx", &words, |folder, address| changed(nodes, folder, address))
}

fn changed(nodes: &[&Node], folder: &Path, address: SocketAddr) -> String {
    let shipped = Shipped::read("nginx-stream.conf").nodes(nodes).without("user ").without("listen [::]");
    let shipped = shipped.set("/run/nginx.pid", &format!("{}/pid", folder.display()));
    let shipped =
        shipped.set("/var/log/nginx/error.log", "stderr").set("worker_processes auto", "worker_processes 2");
    let shipped = shipped.set("worker_rlimit_nofile 1048576", "worker_rlimit_nofile 4096");
    let shipped = shipped.set("worker_connections 200000", "worker_connections 4000");
    shipped.set("listen 7000", &format!("listen {address}")).0
}

/// Has nginx bring nobody new to a node: the first thing to do before it is drained.
fn take_out(balancer: &Balancer, node: &Node) {
    let path = balancer.folder.path().join("conf");
    let text = fs::read_to_string(&path).unwrap();
    let line = format!("server {} ", node.clients);
    assert!(text.contains(&line));
    fs::write(&path, text.replace(&line, &format!("{line}down "))).unwrap();
    let pid = balancer.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

#[test]
fn a_node_taken_out_of_nginx_and_drained_refuses_nobody() {
    let (mut leaves, stays) = (node("leaves", &[]), node("stays", &[]));
    let balancer = start(&[&leaves, &stays]);
    while_connecting(balancer.address, || {
        until("both to be used", || (accepted(&leaves) > 5.0 && accepted(&stays) > 5.0).then_some(()));
        take_out(&balancer, &leaves);
        leaves.sigterm();
        assert_eq!(leaves.wait(), 0);
        let before = accepted(&stays);
        until("the other to serve all", || (accepted(&stays) > before + 20.0).then_some(()));
    });
}

#[test]
fn clients_of_a_node_lost_behind_nginx_come_back_to_the_other() {
    let (dies, lives) = (node("dies", &[]), node("lives", &[]));
    let balancer = start(&[&dies, &lives]);
    lose(&balancer, dies, &lives);
}

#[test]
fn a_node_behind_nginx_knows_its_clients_addresses() {
    let node = node("one", &["limits.connections_per_address=1"]);
    let balancer = start(&[&node]);
    let _ada = balancer.open_from("127.0.0.31", "ada").unwrap();
    let _bob = balancer.open_from("127.0.0.32", "bob").unwrap();
    assert_eq!(balancer.open_from("127.0.0.31", "cid").err(), Some(503));
}
