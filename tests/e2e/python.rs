//! A Python with the packages of `requirements.txt`, for clients that others wrote.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::LazyLock,
};

/// Names an interpreter that has the packages; `make test` sets it.
const VARIABLE: &str = "TEST_PYTHON";
/// Python's clients obey the environment's proxies, which know nothing of our ports.
const NO_PROXY: (&str, &str) = ("no_proxy", "*");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/requirements.txt");

static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os(VARIABLE) {
    Some(python) => python.into(),
    None => virtual_environment(),
});

/// Runs a script with arguments, and gives what it printed. A script that fails fails the test.
pub fn run(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(&*PYTHON)
        .env(NO_PROXY.0, NO_PROXY.1)
        .arg("-c")
        .arg(script)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    text(output.unwrap_or_else(|fault| panic!("{}: {fault}", PYTHON.display())), "the script")
}

/// A script that runs beside the test, told by lines and answering by lines; killed when it goes out of scope.
pub struct Helper {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts it, by another program if there is one, such as `unshare --net`, which becomes it.
    pub fn start(by: &[&str], script: &str, arguments: &[&str]) -> Self {
        let mut words: Vec<&std::ffi::OsStr> = by.iter().map(AsRef::as_ref).collect();
        words.extend([PYTHON.as_os_str(), "-uc".as_ref(), script.as_ref()]);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).env(NO_PROXY.0, NO_PROXY.1);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|fault| panic!("{}: {fault}", words[0].display()));
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, lines: BufReader::new(stdout).lines() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Its next line. It has time-outs of its own, so that this ends.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("a line of the helper's, not its end").unwrap()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
