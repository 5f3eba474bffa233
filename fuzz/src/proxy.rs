//! PROXY protocol headers: cut anywhere with the same answer.

use super::prefixes;
use holdfast::proto::proxy::{Proxied, ProxyError, V2_MAX, may_be_proxy, parse_proxy};
use std::net::SocketAddr;

/// Parses `data` as a header of either version.
pub fn run(data: &[u8]) {
    let whole = parse_proxy(data);
    let mut early = Ok(None);
    for cut in prefixes(data) {
        let (begun, answer) = (&data[..cut], parse_proxy(&data[..cut]));
        assert!(may_be_proxy(begun) || answer == Err(ProxyError::Malformed), "{cut}");
        if early == Ok(None) {
            early = answer;
        }
    }
    assert_eq!(early, whole, "cuts make a difference");
    if let Ok(Some((proxied, length))) = whole {
        assert!(length <= data.len() && length <= V2_MAX);
        assert_eq!(parse_proxy(&data[..length]), whole, "what follows makes a difference");
        if let Proxied::Address(address) = proxied {
            check_rewritten(address);
        }
    }
}

/// Said by version 1 again, it is the same address.
fn check_rewritten(address: SocketAddr) {
    let family = if address.is_ipv4() { 4 } else { 6 };
    let (ip, port) = (address.ip(), address.port());
    let line = format!("PROXY TCP{family} {ip} {ip} {port} 1\r\n");
    assert_eq!(parse_proxy(line.as_bytes()), Ok(Some((Proxied::Address(address), line.len()))));
}
