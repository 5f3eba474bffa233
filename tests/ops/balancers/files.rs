//! What the files say, as their own programs and parsers understand it.

use super::{Shipped, command};
use crate::python;
use std::{fs, path::Path, process::Output};

/// `clients.ping_max`, which every idle time-out must exceed, s.
const PING_MAX_S: u64 = 600;
/// `drain.delay`, within which a drain must be noticed, ms.
const DRAIN_DELAY_MS: u64 = 5_000;

fn assert_fine(output: Output) {
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    assert!(!words.to_lowercase().contains("warn"), "{words}");
}

#[test]
fn haproxy_and_nginx_accept_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut nginx = Shipped::read("nginx-stream.conf").without("user ").set("/run/nginx.pid", &path("pid"));
    // It opens what it would listen on.
    if !Path::new("/proc/net/if_inet6").exists() {
        nginx = nginx.without("listen [::]");
    }
    fs::write(path("nginx.conf"), nginx.set("/var/log/nginx/error.log", "stderr").0).unwrap();
    let output = command("nginx").args(["-e", "stderr", "-t", "-c", &path("nginx.conf")]).output();
    assert_fine(output.expect("nginx: scripts/install-test-tools installs it"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/balancers/haproxy.cfg");
    let output = command("haproxy").args(["-c", "-f"]).arg(file).output();
    assert_fine(output.expect("haproxy: scripts/install-test-tools installs it"));
}

#[test]
fn the_time_outs_are_longer_than_pings_and_checks_quicker_than_the_delay_of_a_drain() {
    let defaults = command(env!("CARGO_BIN_EXE_holdfast")).args(["config", "default"]).output().unwrap();
    let defaults = String::from_utf8(defaults.stdout).unwrap();
    for line in ["ping_max = \"10m\"", "delay = \"5s\""] {
        assert!(defaults.contains(line), "{line} is no longer the default: look at the balancers' files");
    }
    let value = |text: &Shipped, before: &str, unit: &str| -> u64 {
        let rest = text.0.split(before).nth(1).unwrap_or_else(|| panic!("no {before:?}"));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        assert!(rest[digits.len()..].starts_with(unit), "{before}{digits} is not in {unit}");
        digits.parse().unwrap()
    };
    for name in ["haproxy.cfg", "haproxy-tls.cfg"] {
        let file = Shipped::read(name);
        assert!(value(&file, "\n    timeout tunnel ", "m\n") * 60 > PING_MAX_S, "{name}");
        let checks = value(&file, "default-server check inter ", "s ") * value(&file, " fall ", " ");
        assert!(checks * 1_000 < DRAIN_DELAY_MS, "{name}");
        assert!(!file.0.contains("\n    on-marked-down") && !file.0.contains(" on-marked-down shutdown"));
    }
    assert!(value(&Shipped::read("nginx-stream.conf"), "\n        proxy_timeout ", "m;") * 60 > PING_MAX_S);
    assert!(value(&Shipped::read("nlb.tf"), "tcp_idle_timeout_seconds = ", "\n") > PING_MAX_S);
}

/// Prints, line by line, what must hold of the file.
const ENVOY: &str = r#"
import sys, yaml
file = yaml.safe_load(open(sys.argv[1]))
resources = file["static_resources"]
[listener], [nodes] = resources["listeners"], resources["clusters"]
[chain] = listener["filter_chains"]
[proxy] = [filter["typed_config"] for filter in chain["filters"]]
assert proxy["@type"].endswith(".tcp_proxy.v3.TcpProxy"), proxy
assert proxy["cluster"] == nodes["name"] == nodes["load_assignment"]["cluster_name"]
outer = nodes["transport_socket"]
assert outer["name"] == "envoy.transport_sockets.upstream_proxy_protocol"
assert outer["typed_config"]["config"]["version"] == "V2"
[check] = nodes["health_checks"]
assert check["http_health_check"]["path"] == "/healthcheck"
assert nodes["common_lb_config"]["healthy_panic_threshold"]["value"] == 0
assert nodes["close_connections_on_host_health_failure"] is False
[limits] = nodes["circuit_breakers"]["thresholds"]
assert limits["max_connections"] >= 100_000 and limits["max_pending_requests"] > 1_024
seconds = lambda text: int(text.removesuffix("s"))
print(seconds(proxy["idle_timeout"]), 1_000 * (seconds(check["interval"]) + seconds(check["timeout"])))
"#;

#[test]
fn envoys_file_is_yaml_and_says_what_matters() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/balancers/envoy.yaml");
    let said = python::run(ENVOY, &[file.to_str().unwrap()]);
    let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [idle_s, noticed_ms] = numbers[..] else { panic!("{said}") };
    assert!(idle_s > PING_MAX_S && noticed_ms < DRAIN_DELAY_MS, "{said}");
}
