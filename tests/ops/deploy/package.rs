//! The Debian package: made of the binary under test, installed into a folder, installed over itself, taken away.

use super::{done, repository, tool};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn a_package_is_installed_again_and_taken_away() {
    if tool("dpkg-deb", "The Debian package").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut make = Command::new(repository("scripts/package"));
    make.args([env!("CARGO_BIN_EXE_holdfast"), folder.path().to_str().unwrap()])
        .env("PACKAGE_COMPRESSION", "none");
    let package = PathBuf::from(done(&mut make).trim());

    let host = Host::new(folder.path());
    host.dpkg(&["--install", package.to_str().unwrap()]);
    let users = host.text("etc/passwd");
    assert!(users.contains("holdfast:"), "{users}");
    let binary = host.root.join("usr/bin/holdfast");
    done(Command::new(&binary).args(["config", "check"]).arg(host.root.join("etc/holdfast/holdfast.toml")));
    for unit in host.units() {
        let text = fs::read_to_string(&unit).unwrap();
        for program in text.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
            let program = program.split(' ').next().unwrap();
            let mode = fs::metadata(host.root.join(&program[1..])).map(|file| file.permissions().mode());
            assert!(mode.is_ok_and(|mode| mode & 0o111 != 0), "{}: {program} is not there", unit.display());
        }
        for user in text.lines().filter_map(|line| line.strip_prefix("User=")) {
            assert_eq!(user, "holdfast", "{}", unit.display());
        }
    }
    done(Command::new("sh").args(["-n"]).arg(host.root.join("usr/share/holdfast/tuning/apply")));

    // What the administrator has written stays when the next release comes.
    let mine = "# mine\n";
    fs::write(host.root.join("etc/holdfast/holdfast.toml"), mine).unwrap();
    host.dpkg(&["--force-confold", "--install", package.to_str().unwrap()]);
    assert_eq!(host.text("etc/holdfast/holdfast.toml"), mine);

    host.dpkg(&["--remove", "holdfast"]);
    assert!(!binary.exists());
    assert_eq!(host.text("etc/holdfast/holdfast.toml"), mine);
    host.dpkg(&["--purge", "holdfast"]);
    assert!(!host.root.join("etc/holdfast").exists());
}

/// A folder that dpkg takes for a host without a package.
struct Host {
    root: PathBuf,
}

impl Host {
    fn new(folder: &Path) -> Self {
        let root = folder.join("host");
        for name in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self { root }
    }

    fn dpkg(&self, arguments: &[&str]) {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg(format!("--root={}", self.root.display())).arg("--log=/dev/null");
        // The folder has neither the packages that this one depends on nor a shell of its own.
        dpkg.args(["--force-depends", "--force-script-chrootless", "--force-not-root", "--force-confold"]);
        done(dpkg.args(arguments));
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
    }

    fn units(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.root.join("usr/lib/systemd/system")).unwrap();
        let units: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        assert!(units.iter().any(|unit| unit.ends_with("holdfast.service")), "{units:?}");
        units
    }
}
