//! A Python with the packages of `requirements.txt`, for clients that others wrote.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

/// Names an interpreter that has the packages; `make test` sets it.
const VARIABLE: &str = "TEST_PYTHON";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/requirements.txt");

static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    Some(python) => python.into(),
    None => virtual_environment(),
});

/// Runs a script with arguments, and gives what it printed. A script that fails fails the test.
pub fn run(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(&*PYTHON).arg("-c").arg(script).args(arguments).stdin(Stdio::null()).output();
    text(output.unwrap_or_else(|fault| panic!("{}: {fault}", PYTHON.display())), "the script")
}

/// Makes one beside the build, once for all runs.
fn virtual_environment() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let python = folder.join("bin/python");
    let has_all = |python: &Path| {
        let wanted = std::fs::read_to_string(REQUIREMENTS).unwrap();
        let frozen = Command::new(python).args(["-m", "pip", "freeze"]).output();
        frozen.is_ok_and(|frozen| {
            let frozen = String::from_utf8_lossy(&frozen.stdout).into_owned();
            wanted.lines().all(|line| frozen.lines().any(|had| had == line))
        })
    };
    if has_all(&python) {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
    let made = made.unwrap_or_else(|fault| panic!("python3: {fault}: install python3 and its venv module"));
    text(made, "python3 -m venv (on Debian: apt-get install python3-venv)");
    let pip = Command::new(&python).args(["-m", "pip", "install", "-q", "-r", REQUIREMENTS]).output();
    text(pip.unwrap(), "pip install of tests/e2e/requirements.txt, which needs a package index");
    python
}

fn text(output: Output, what: &str) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what} failed: {}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
