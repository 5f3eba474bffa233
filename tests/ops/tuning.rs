//! The kernel's settings, the scripts that bring them to a host, and the units. The scripts run against hosts of files below a
//! folder, so that nothing of this machine is touched.

mod apply;
mod sandbox;
mod settings;
mod steer;
mod units;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// The repository.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a script said and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Its lines, when it ended well.
    fn well(self) -> Vec<String> {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        assert_eq!(self.err, "");
        self.out.lines().map(str::to_owned).collect()
    }

    fn has(&self, words: &str) {
        assert!(self.out.contains(words), "no {words:?} in:\n{}{}", self.out, self.err);
    }
}

/// A host made of files, as Linux comes: `value` of what concerns many connections, 32 GiB.
struct Host {
    folder: TempDir,
}

/// Settings of a host as they come, by name.
const FRESH: [(&str, &str); 20] = [
    ("fs.nr_open", "1048576"),
    ("fs.file-max", "3259348"),
    ("fs.epoll.max_user_watches", "7232819"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.tcp_max_syn_backlog", "4096"),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.ipv4.tcp_mem", "381585\t508783\t763170"),
    ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
    ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_max_orphans", "131072"),
    ("net.ipv4.tcp_orphan_retries", "0"),
    ("net.ipv4.tcp_max_tw_buckets", "131072"),
    ("net.ipv4.tcp_migrate_req", "0"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.tcp_tw_reuse", "2"),
    ("vm.min_free_kbytes", "67584"),
];
const HUGEPAGES: &str = "sys/kernel/mm/transparent_hugepage/enabled";
const RECORD: &str = "var/lib/holdfast/tuning.before";
const DROP_IN: &str = "etc/sysctl.d/90-holdfast.conf";
const LIMITS: &str = "etc/security/limits.d/90-holdfast.conf";

impl Host {
    fn fresh() -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        for (name, value) in FRESH {
            host.set(name, value);
        }
        host.write(HUGEPAGES, "[always] madvise never\n");
        host.write("proc/meminfo", "MemTotal:       32594852 kB\nMemFree:        30000000 kB\n");
        host
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join("proc/sys").join(name.replace('.', "/"))
    }

    fn set(&self, name: &str, value: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{value}\n")).unwrap();
    }

    /// Makes a setting that even root cannot write: one of the kernel's own, which is 65536 everywhere.
    fn set_read_only(&self, name: &str) {
        let path = self.path(name);
        fs::remove_file(&path).unwrap();
        symlink("/proc/sys/kernel/ngroups_max", path).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root().join(path)).ok()
    }

    /// Every file below the root with its words: what differs in blanks only does not differ to the kernel.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let words = fs::read_to_string(entry.path()).unwrap();
                    found.insert(entry.path(), words.split_whitespace().collect::<Vec<_>>().join(" "));
                }
            }
        }
        found
    }

    /// Runs a script of tuning/ on this host.
    fn run(&self, script: &str, arguments: &[&str]) -> Said {
        self.run_with(script, arguments, &[])
    }

    fn run_with(&self, script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new(repository().join("tuning").join(script));
        command.arg("--root").arg(self.root()).args(arguments).envs(environment.iter().copied());
        said(&mut command)
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Whether a program is there, on everybody's path or root's.
fn find(program: &str) -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}
