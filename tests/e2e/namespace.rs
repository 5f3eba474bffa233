//! A network of a test's own, whose links it can cut without a word to anybody.
//!
//! Needs network namespaces. Where there are none, this is said, and nothing is tested.

use crate::node::say_loudly;
use std::{
    env,
    process::{Command, Stdio},
};

/// Set in the run of this program within a namespace.
const INSIDE: &str = "E2E_NETWORK_NAMESPACE";

/// Whether this is that run.
pub fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs commands of the distribution's, of which some lie where only the administrator looks.
pub fn shell(words: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    Command::new("sh").args(["-ec", words]).env("PATH", path).stdin(Stdio::null()).status().unwrap().success()
}

/// Runs one test of this program in a network namespace of its own. `what` has not been tested where there is none.
pub fn run(test: &str, what: &str) {
    let works = |words: &str| {
        shell(&format!("{words} sh -ec 'ip link add name near type veth peer name far' 2>/dev/null"))
    };
    let Some(unshare) =
        ["unshare --net", "unshare --map-root-user --net"].into_iter().find(|words| works(words))
    else {
        let why = "this host allows no network namespaces, or has no ip, unshare and nsenter";
        say_loudly(&format!("NOT RUN: {test}: {why}. {what} have NOT been tested."));
        return;
    };
    let program = env::current_exe().unwrap();
    let mut words = unshare.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(program).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [said, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{error}");
}
