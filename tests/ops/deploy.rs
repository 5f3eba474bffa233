//! What is in deploy/: held against the metric catalogue, the schemas of others, and the binary itself. Nothing here needs a cluster or
//! a daemon; where a tool is missing, the output says so in capitals.

mod metrics;
mod package;

use crate::{
    client::Sse,
    node::{Node, Plan, say_loudly},
    python,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What stands here beside a file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text_of(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// A program of the path, or one that was installed beside the tests' Python; else says loudly what is not tested.
fn tool(name: &str, what: &str) -> Option<Command> {
    let python = std::env::var_os("TEST_PYTHON").map(PathBuf::from);
    let beside = match &python {
        Some(python) => python.parent().unwrap().to_owned(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv/bin"),
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = [beside].into_iter().chain(std::env::split_paths(&path)).chain(["/usr/sbin".into()]);
    let found = folders.find(|folder| folder.join(name).exists());
    if found.is_none() {
        say_loudly(&format!("NOT RUN: {name} is missing. {what} have NOT been checked."));
    }
    Some(Command::new(found?.join(name)))
}

/// What a program printed; one that fails fails the test.
fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

#[test]
fn alert_rules_say_what_they_are_to_say() {
    let Some(mut promtool) = tool("promtool", "The alert rules") else { return };
    promtool.current_dir(repository("deploy/prometheus")).args(["test", "rules", "alerts.test.yaml"]);
    done(&mut promtool);
    let mut check = Command::new(promtool.get_program());
    check.current_dir(repository("deploy/prometheus")).args([
        "check",
        "config",
        "--syntax-only",
        "prometheus.yaml",
    ]);
    done(&mut check);
}

/// Grafana finds a slip in a question only when somebody looks at the panel.
#[test]
fn questions_of_the_dashboard_can_be_read() {
    let Some(mut promtool) = tool("promtool", "The questions of the dashboard") else { return };
    let board: serde_json::Value = serde_json::from_str(&text_of("deploy/grafana/holdfast.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let annotations = board["annotations"]["list"].as_array().unwrap();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (at, question) in targets.chain(annotations).enumerate() {
        let question = question["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        rules.push_str(&format!(
            "      - record: question_{at}\n        expr: {}\n",
            serde_json::Value::from(question)
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.yaml");
    fs::write(&file, rules).unwrap();
    done(promtool.args(["check", "rules"]).arg(file));
}

/// Each alert is written about where it says, and each that the pages name is there.
#[test]
fn alerts_lead_to_sections_of_the_runbook() {
    let runbook = text_of("docs/runbook.md");
    let sections: Vec<String> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|title| title.to_lowercase().replace(' ', "-").replace([',', ':'], ""))
        .collect();
    let rules = text_of("deploy/prometheus/alerts.yaml");
    let value =
        |line: &str, key: &str| line.trim_start().strip_prefix(key).map(|value| value.trim().to_owned());
    let alerts: Vec<String> = rules.lines().filter_map(|line| value(line, "- alert:")).collect();
    assert!(alerts.len() > 30, "{alerts:?}");
    for section in rules.lines().filter_map(|line| value(line, "runbook:")) {
        assert!(sections.contains(&section), "no section {section} among {sections:?}");
    }
    let named = regex::Regex::new("`(Holdfast[A-Za-z]+)`").unwrap();
    for name in named.captures_iter(&runbook).map(|found| found[1].to_owned()) {
        assert!(alerts.contains(&name), "docs/runbook.md names {name}, which is no alert");
    }
}

#[test]
fn manifests_fit_their_schemas_and_their_drains() {
    let folder = tempfile::tempdir().unwrap();
    let deploy = repository("deploy");
    let mut arguments = vec![deploy.to_str().unwrap().to_owned()];
    if tool("kubectl", "The manifests as kustomize makes them").is_some() {
        for (name, scale, more) in [("hpa", "scale-hpa", false), ("keda", "scale-keda", true)] {
            let rendered = folder.path().join(format!("{name}.yaml"));
            fs::write(&rendered, kustomize(folder.path(), scale, more)).unwrap();
            arguments.push(rendered.to_str().unwrap().to_owned());
        }
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = python::run(include_str!("deploy/manifests.py"), &arguments);
    assert!(said.lines().count() == 1 && said.contains("things seen"), "{said}");
}

/// The example as it is, or with all that it names and does not use.
fn kustomize(folder: &Path, scale: &str, more: bool) -> String {
    let copy = folder.join(scale);
    done(Command::new("cp").arg("-r").arg(repository("deploy/kubernetes")).arg(&copy));
    let file = copy.join("example/kustomization.yaml");
    let mut text = fs::read_to_string(&file).unwrap().replace("/scale-hpa", &format!("/{scale}"));
    if more {
        text = text.replace("  # - ..", "  - ..");
    }
    fs::write(&file, text).unwrap();
    done(Command::new("kubectl").arg("kustomize").arg(copy.join("example")))
}

#[test]
fn the_container_file_is_clean_and_has_all_that_the_build_wants() {
    if let Some(mut hadolint) = tool("hadolint", "The rules of container files") {
        done(hadolint.arg(repository("deploy/Containerfile")));
    }
    let context = tempfile::tempdir().unwrap();
    for allowed in
        text_of("deploy/Containerfile.dockerignore").lines().filter_map(|line| line.strip_prefix('!'))
    {
        let to = context.path().join(allowed);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(repository(allowed), to).unwrap();
        assert!(repository(allowed).exists(), "{allowed} is not there");
    }
    // Every target that the manifest names is there, and every file that the program has in it.
    let mut cargo = Command::new(env!("CARGO"));
    done(
        cargo.args(["metadata", "--format-version=1", "--offline", "--no-deps"]).current_dir(context.path()),
    );
    let included = regex::Regex::new(r#"include_(?:str|bytes)!\(\s*"((?:\.\./)+)([^"]+)""#).unwrap();
    let of_program = |path: &str| !path.ends_with("/tests.rs") && !path.contains("/tests/");
    for (path, text) in metrics::files("src", &["rs"]).into_iter().filter(|(path, _)| of_program(path)) {
        for found in included.captures_iter(&text) {
            let folder = Path::new(&path).parent().unwrap();
            let up = found[1].len() / 3;
            let from = folder.ancestors().nth(up).unwrap_or_else(|| panic!("{path}: {}", &found[0]));
            let wanted = context.path().join(from).join(&found[2]);
            assert!(wanted.exists(), "{path} includes {}, which the image's build has not", &found[2]);
        }
    }
}

/// A release that is made must not ship manifests of the one before, nor be built by a compiler that is too old for it.
#[test]
fn images_are_of_this_release() {
    let manifest = text_of("Cargo.toml");
    let of_manifest = |key: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap().trim_matches('"').to_owned()
    };
    let (version, rust) = (of_manifest("version"), of_manifest("rust-version"));
    for (path, wanted) in [
        ("deploy/Containerfile", format!("FROM rust:{rust}-")),
        ("deploy/compose/compose.yaml", format!("image: holdfast:{version}\n")),
        ("deploy/kubernetes/base/kustomization.yaml", format!("newTag: \"{version}\"\n")),
        ("deploy/kubernetes/example/kustomization.yaml", format!("newTag: \"{version}\"\n")),
    ] {
        assert!(text_of(path).contains(&wanted), "{path} has no {wanted:?}");
    }
}

#[test]
fn scripts_are_shell_that_a_linter_likes() {
    let scripts = [
        "deploy/compose/make-secrets",
        "deploy/compose/token",
        "deploy/kubernetes/components/monitoring/rules",
        "deploy/kubernetes/example/secret.sh",
        "deploy/debian/postinst",
        "deploy/debian/prerm",
        "deploy/debian/postrm",
        "scripts/package",
    ];
    if let Some(mut linter) = tool("shellcheck", "The scripts of deploy/") {
        done(linter.args(["-s", "sh"]).args(scripts.map(repository)));
    }
}

#[test]
fn the_balancer_of_the_compose_file_is_one() {
    let Some(mut haproxy) = tool("haproxy", "The balancer of the compose file") else { return };
    done(haproxy.args(["-c", "-f"]).arg(repository("deploy/compose/haproxy.cfg")));
}

/// The compose file's secrets, as its script makes them, and a folder like its own.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["make-secrets", "token"] {
        // A copy could still be open for writing in a process that another test is about to start: "text file busy".
        symlink(repository("deploy/compose").join(name), folder.path().join(name)).unwrap();
    }
    done(&mut Command::new(folder.path().join("make-secrets")));
    folder
}

/// The configuration of deploy/ with secrets that are there.
fn configuration(path: &str, to: &Path, secrets: &Path) -> PathBuf {
    let from = regex::Regex::new("/run/secrets(/holdfast)?").unwrap();
    let text = text_of(path);
    let file = to.join("holdfast.toml");
    fs::write(&file, from.replace_all(&text, secrets.to_str().unwrap()).as_ref()).unwrap();
    file
}

#[test]
fn configurations_are_such_as_a_node_takes() {
    let folder = secrets();
    let secrets = folder.path().join("secrets");
    fs::write(secrets.join("jwt.pem"), PUBLIC_KEY).unwrap();
    for path in [
        "deploy/compose/holdfast.toml",
        "deploy/kubernetes/base/holdfast.toml",
        "deploy/kubernetes/example/holdfast.toml",
    ] {
        let file = configuration(path, folder.path(), &secrets);
        done(Command::new(env!("CARGO_BIN_EXE_holdfast")).args(["config", "check"]).arg(file));
    }
}

/// A key of no use but here.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyzwkHzcIVnulkL+s0ZSX8EAmCMNX
OGCOmbfBrsT6BmGbQFRAGtu9im12XR7jFhKXphA5S9MTPFnKaY4/wWtCVQ==
-----END PUBLIC KEY-----
";

/// A client of the compose file's fleet gets in with a token of its script, and a sender with one of its tokens reaches it; the health
/// check sees the node, and its drain.
#[test]
fn a_client_gets_into_the_fleet_of_the_compose_file() {
    let folder = secrets();
    let file = configuration("deploy/compose/holdfast.toml", folder.path(), &folder.path().join("secrets"));
    let mut node = Plan::new(&["registry.url=memory", "clients.proxy_protocol=off", "drain.delay=20s"])
        .prelude(&format!("set -- \"$@\" --config '{}'; exec", file.display()))
        .start();
    let token = done(Command::new(folder.path().join("token")).arg("ann"));
    let mut client = Sse::open(&node, &format!("/sse?token={}", token.trim()), &[]);
    let sender = fs::read_to_string(folder.path().join("secrets/send.token")).unwrap();
    let sender = format!("Bearer {}", sender.trim());
    let answer = node.ask_with("POST", "/v1/users/ann/push", &[("Authorization", &sender)], b"hello");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(client.event().data, "hello");

    assert!(is_healthy(&node));
    node.sigterm();
    crate::node::until("the health check to fail", || (!is_healthy(&node)).then_some(()));
    node.sigterm();
    node.wait();
}

/// The compose file's own words, at another port.
fn is_healthy(node: &Node) -> bool {
    let compose = text_of("deploy/compose/compose.yaml");
    let words = compose.lines().find_map(|line| line.trim().strip_prefix("- exec 3<>")).unwrap();
    let words = words.replace("$$", "$").replace("7008", &node.internal.port().to_string());
    Command::new("bash").arg("-c").arg(format!("exec 3<>{words}")).status().unwrap().success()
}
