//! A Node.js with the packages of `package.json`, for clients that others wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

/// Names a folder with `node_modules` that has the packages; `make test` sets it.
const VARIABLE: &str = "TEST_NODE";
const PACKAGES: [&str; 2] = ["package.json", "package-lock.json"];

/// A script has an end of its own, so that one that waits in vain fails and does not hang.
const PRELUDE: &str = include_str!("scripts/prelude.mjs");

static MODULES: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    Some(folder) => folder.into(),
    None => installed(),
});

/// Runs an ECMAScript module with arguments, and gives what it printed. A script that fails fails the test.
pub fn run(script: &str, arguments: &[&str]) -> String {
    run_alone(&format!("{PRELUDE}{script}"), arguments)
}

/// The same without the words that the clients of a node share.
pub fn run_alone(script: &str, arguments: &[&str]) -> String {
    let mut node = Command::new("node");
    // Packages are looked for from the working directory on.
    node.current_dir(&*MODULES).args(["--input-type=module", "-e"]).arg(script);
    let output = node.arg("--").args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|fault| panic!("node: {fault}: install nodejs"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the script failed: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The text of a file of a package.
pub fn file(path: &str) -> String {
    let path = MODULES.join("node_modules").join(path);
    fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// Installs them beside the build, once for all runs.
fn installed() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    fs::create_dir_all(&folder).unwrap();
    let same = |name: &str| fs::read(folder.join(name)).ok() == fs::read(source.join(name)).ok();
    // Written by npm when everything is there.
    if PACKAGES.into_iter().all(same) && folder.join("node_modules/.package-lock.json").exists() {
        return folder;
    }
    for name in PACKAGES {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    let status = npm.status().unwrap_or_else(|fault| panic!("npm: {fault}: install npm"));
    assert!(status.success(), "npm ci of tests/e2e/package.json, which needs a package registry: {status}");
    folder
}
