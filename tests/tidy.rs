//! The house rules that a machine can check: who imports whom, what is used where, how long things are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Layers from the lowest up, each with those that it imports.
type Layers = &'static [(&'static str, &'static [&'static str])];

/// Each layer, and the layers below that it imports. What is not listed is not allowed, and what is listed is used.
const LAYERS: Layers = &[
    ("kit", &[]),
    ("model", &["kit"]),
    ("proto", &[]),
    ("clock", &["kit"]),
    ("stats", &["model"]),
    ("config", &["model"]),
    ("directory", &["kit", "model"]),
    ("conn", &["kit", "model", "proto", "stats", "config", "directory"]),
    ("shard", &["kit", "model", "clock", "stats", "directory", "conn"]),
    ("bridge", &["kit", "model", "clock", "stats", "config", "directory"]),
    ("control", &["kit", "model", "clock", "stats", "config", "directory", "bridge"]),
    (
        "server",
        &["kit", "model", "clock", "stats", "config", "directory", "conn", "shard", "bridge", "control"],
    ),
    ("sender", &["model", "clock", "config", "bridge"]),
    ("ops", &["kit", "clock", "stats", "config", "bridge", "sender"]),
    ("commands", &["clock", "config", "server", "sender", "ops"]),
    ("sim", &["kit", "model", "stats", "config", "directory", "conn", "shard", "bridge"]),
];

/// The same of the load generator's own modules.
const LOAD_LAYERS: Layers = &[
    ("clock", &[]),
    ("host", &[]),
    ("message", &[]),
    ("room", &[]),
    ("client", &["message"]),
    ("plan", &["room", "client"]),
    ("worker", &["clock", "message", "client", "plan"]),
    ("wire", &["plan", "room", "worker"]),
    ("auth", &["wire"]),
    ("fleet", &["clock", "plan", "room", "worker", "wire", "auth"]),
    ("agent", &["room", "auth", "fleet"]),
    ("ledger", &["worker"]),
    ("internal", &[]),
    ("nodes", &["internal"]),
    ("sender", &["clock", "message", "plan", "ledger", "internal"]),
    ("compare", &["client", "worker", "ledger", "internal"]),
    ("books", &["worker", "fleet", "ledger", "internal", "nodes", "sender", "compare"]),
    ("report", &["host"]),
    ("series", &["worker", "internal", "report"]),
    ("progress", &[]),
    ("task", &["plan", "fleet", "nodes"]),
    (
        "stage",
        &[
            "clock", "host", "worker", "fleet", "internal", "compare", "books", "sender", "report", "series",
            "progress", "task",
        ],
    ),
    (
        "scenario",
        &[
            "clock", "host", "message", "plan", "worker", "ledger", "internal", "sender", "report", "series",
            "task", "stage",
        ],
    ),
    ("verdict", &["host", "client", "plan", "worker", "internal", "report", "stage"]),
    (
        "run",
        &[
            "clock", "worker", "fleet", "internal", "books", "sender", "report", "progress", "task", "stage",
            "scenario", "verdict",
        ],
    ),
];

/// The same of the plots' own modules, which know nothing of what they show.
const PLOT_LAYERS: Layers = &[
    ("words", &[]),
    ("axis", &["words"]),
    ("thin", &[]),
    ("style", &[]),
    ("page", &["style"]),
    ("plot", &["words", "axis", "thin"]),
];

/// Folders of sources with their layers.
const TREES: [(&str, Layers); 3] =
    [("src", LAYERS), ("loadtest/src", LOAD_LAYERS), ("plots/src", PLOT_LAYERS)];

/// Crates, and where alone they may be named.
const CRATES: &[(&str, &[&str])] = &[
    ("mio", &["shard/net_mio.rs", "shard/net.rs", "shard/listen.rs"]),
    ("socket2", &["shard/net_mio.rs", "shard/net.rs", "shard/listen.rs"]),
    ("libc", &["shard/net_mio.rs", "shard/net.rs", "shard/listen.rs", "server/"]),
    ("hyper", &["control/", "bridge/peers/", "bridge/callout/", "ops/autoscale/serve.rs"]),
    ("hyper_util", &["control/", "bridge/peers/", "bridge/callout/", "ops/autoscale/serve.rs"]),
    (
        "tokio",
        &["control/", "bridge/peers/", "bridge/callout/", "bridge/thread.rs", "ops/autoscale/serve.rs"],
    ),
    ("hyper_rustls", &["bridge/callout/client.rs"]),
    ("rustls", &["bridge/callout/client.rs"]),
    ("prost", &["bridge/peers/"]),
    ("axum", &["control/"]),
    ("httparse", &["proto/"]),
    ("tungstenite", &["proto/"]),
    ("flate2", &["proto/", "sim/"]),
    ("jsonwebtoken", &["conn/auth/"]),
    ("hmac", &["conn/auth/", "bridge/callout/"]),
    ("sha2", &["conn/auth/", "bridge/callout/"]),
    ("clap", &["commands/"]),
    ("ureq", &["sender/http.rs"]),
    ("indicatif", &["commands/send/"]),
    ("signal_hook", &["server.rs", "server/", "commands/loadtest.rs", "commands/top.rs"]),
    ("rlimit", &["server/"]),
    ("sd_notify", &["server/supervisor.rs"]),
    ("redis", &["bridge/store/"]),
    ("rdkafka", &["bridge/queue/"]),
    ("holdfast_loadtest", &["commands/loadtest.rs", "commands/loadtest/"]),
    ("holdfast_plots", &["ops/", "commands/"]),
    ("maud", &["ops/"]),
    ("ratatui", &["ops/top/"]),
    ("sd_notify", &["server/"]),
];

/// The same in the load generator, which shares no code with the server: neither the server's own nor its codec.
const LOAD_CRATES: &[(&str, &[&str])] = &[
    ("holdfast", &[]),
    ("tungstenite", &[]),
    ("clap", &[]),
    ("mio", &["worker/", "fleet/"]),
    ("socket2", &["worker/net.rs", "fleet/", "auth.rs"]),
    ("libc", &["worker/net.rs", "worker/tally.rs"]),
    ("hmac", &["auth.rs"]),
    ("sha2", &["auth.rs"]),
    ("httparse", &["client/"]),
    ("sha1", &["client/"]),
    ("ureq", &["internal.rs"]),
    ("rlimit", &["plan.rs", "room.rs"]),
    ("rustls", &["worker/tls.rs"]),
    ("rustls_native_certs", &["worker/tls.rs"]),
    ("maud", &["report/html/"]),
    ("indicatif", &["progress.rs"]),
];

/// Words of the clocks, and where alone they may stand. Of tokio's time, which drives only the internal port and the links
/// between nodes, those may read.
const CLOCKS: &[(&str, &[&str])] = &[
    ("Instant::now", &["clock.rs", "control/", "bridge/peers/"]),
    ("SystemTime::now", &["clock.rs"]),
    ("thread::sleep", &["commands/"]),
];

/// The same in the load generator. Its workers are given the run's clock.
const LOAD_CLOCKS: &[(&str, &[&str])] = &[
    ("Instant::now", &["clock.rs", "auth.rs", "fleet.rs", "fleet/", "books.rs", "stage.rs", "progress.rs"]),
    ("SystemTime::now", &[]),
    ("thread::sleep", &["agent.rs", "fleet.rs", "fleet/", "books.rs", "stage.rs", "scenario/push.rs"]),
];

/// The queue's two are what librdkafka has and its safe bindings lack: reading many records with one call, which costs a
/// third, and the embedded broker without three seconds of delay.
const UNSAFE_IN: &[&str] = &[
    "kit/",
    "shard/net_mio.rs",
    "main.rs",
    "worker/net.rs",
    "bridge/queue/batch.rs",
    "bridge/queue/embedded.rs",
    "bridge/queue/password.rs",
];
const FILE_LINES_MAX: usize = 800;
const FILE_LINES_AIM: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file.
struct Source {
    /// Below its folder, with slashes.
    path: String,
    text: String,
    /// The text with every comment, string and character blanked out.
    code: String,
    /// The code before its own tests; empty in a file of tests.
    shipped: String,
}

impl Source {
    fn read(root: &Path, file: &Path) -> Self {
        let path = file.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(file).unwrap();
        let code = blank(&text);
        let is_test =
            path.split('/').any(|part| part == "tests" || part.starts_with("test") && part.ends_with(".rs"));
        let shipped = if is_test { String::new() } else { without_test_module(&code).to_owned() };
        Self { path, text, code, shipped }
    }

    fn layer(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files.iter().map(|file| Source::read(&root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Everything there is, including tests, benches and examples.
fn all_sources() -> Vec<Source> {
    ["src", "tests", "examples", "benches", "loadtest/src", "loadtest/tests", "plots/src"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

fn without_test_module(code: &str) -> &str {
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| from + at) {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let opens = rest.find('{').unwrap_or(usize::MAX) < rest.find(';').unwrap_or(usize::MAX);
        if opens
            && rest.split_whitespace().any(|word| word == "mod")
            && rest.trim_start_matches("pub").trim_start().starts_with("mod")
        {
            return &code[..at];
        }
        from = at + 1;
    }
    code
}

/// Replaces comments, strings and characters by blanks, and keeps the lines.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(text, at);
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment, string or character that begins here ends; the place itself when none begins.
fn token_end(text: &str, at: usize) -> usize {
    let (bytes, rest) = (text.as_bytes(), &text.as_bytes()[at..]);
    let after = |wanted: &[u8], from: usize| {
        bytes[from..].windows(wanted.len()).position(|window| window == wanted).map(|found| from + found)
    };
    if rest.starts_with(b"//") {
        return after(b"\n", at).unwrap_or(bytes.len());
    }
    if rest.starts_with(b"/*") {
        return after(b"*/", at + 2).map_or(bytes.len(), |end| end + 2);
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest[0] == b'r' && (!in_word || bytes[at - 1] == b'b') {
        let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let close = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
            return after(&close, at + 2 + hashes).map_or(bytes.len(), |end| end + close.len());
        }
    }
    if rest[0] == b'"' {
        return quoted_end(bytes, at, b'"');
    }
    // A quote opens a character when another closes it behind one character or an escape; else it is a lifetime.
    if rest[0] == b'\'' {
        let length = text[at + 1..].chars().next().map_or(1, char::len_utf8);
        if rest.get(1) == Some(&b'\\') || rest.get(1 + length) == Some(&b'\'') {
            return quoted_end(bytes, at, b'\'');
        }
    }
    at
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// The modules of this crate that code names: `crate::x` and the first words in `crate::{…}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_words(group)),
            None => found.extend(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// The first word of each item of a group, up to its closing brace.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut begins, mut words) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                words.extend(first_word(&group[begins..at]));
                begins = at + 1;
            }
            '}' => {
                words.extend(first_word(&group[begins..at]));
                break;
            }
            _ => {}
        }
    }
    words
}

/// Whether code names a crate: `name::`, or `use name`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        let after = &code[at + name.len()..];
        let is_path = after.starts_with("::")
            || code[..at].ends_with("use ") && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        is_path && !before.is_alphanumeric() && before != '_' && before != ':'
    })
}

/// First line, name and length of each function.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let (mut depth, mut opened) = (0i32, false);
        for (length, line) in lines[at..].iter().enumerate() {
            for c in line.chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                opened |= c == '{';
            }
            let declared_only = !opened && line.trim_end().ends_with(';');
            if declared_only || opened && depth <= 0 {
                found.push((at + 1, name, length + 1));
                break;
            }
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let (before, after) = line.split_once("fn ")?;
    let words = ["pub", "const", "async", "unsafe", "extern", "default"];
    let is_head = before.split_whitespace().all(|word| words.iter().any(|known| word.starts_with(known)));
    if is_head { first_word(after) } else { None }
}

fn assert_none(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn imports_point_downward() {
    let faults = TREES.iter().flat_map(|(folder, layers)| upward_imports(folder, layers));
    assert_none("layers", &faults.collect::<Vec<_>>());
}

fn upward_imports(folder: &str, layers: Layers) -> Vec<String> {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    let known: BTreeMap<&str, &[&str]> = layers.iter().copied().collect();
    let is_root = |source: &Source| matches!(source.path.as_str(), "lib.rs" | "main.rs");
    for source in sources(folder).iter().filter(|source| !is_root(source)) {
        let layer = source.layer();
        let Some(allowed) = known.get(layer) else {
            faults.push(format!("{}: {layer} is in no layer; add it to the table", source.path));
            continue;
        };
        for import in imports(&source.shipped) {
            if import == layer || import == "self" {
                continue;
            }
            if !allowed.contains(&import.as_str()) {
                faults.push(format!("{}: {layer} may not import {import}", source.path));
            }
            seen.entry(layer.to_owned()).or_default().insert(import);
        }
    }
    for (layer, allowed) in layers {
        let used = seen.get(*layer).cloned().unwrap_or_default();
        let unused = allowed.iter().filter(|import| !used.contains(**import));
        faults.extend(
            unused.map(|import| format!("{layer} does not import {import}: take it out of the table")),
        );
    }
    faults
}

#[test]
fn the_table_of_layers_is_in_order() {
    for (folder, layers) in TREES {
        let order: Vec<&str> = layers.iter().map(|(layer, _)| *layer).collect();
        for (at, (layer, allowed)) in layers.iter().enumerate() {
            for import in *allowed {
                let below = order.iter().position(|name| name == import).unwrap();
                assert!(below < at, "{layer} imports {import}, which is not below it");
            }
        }
        assert_eq!(modules(folder), order.into_iter().map(str::to_owned).collect());
    }
    let allowed_of = |layer: &str| LAYERS.iter().find(|(name, _)| *name == layer).unwrap().1;
    for layer in ["bridge", "control"] {
        for forbidden in ["shard", "conn"] {
            assert!(!allowed_of(layer).contains(&forbidden), "{layer} never imports {forbidden}");
        }
    }
}

/// The modules that a crate's root names.
fn modules(folder: &str) -> BTreeSet<String> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("lib.rs");
    let text = fs::read_to_string(lib).unwrap();
    let name = |line: &str| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn the_load_generator_shares_nothing_with_the_server() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let dependency = |line: &&str| {
        let name = line.split(['=', '.']).next().unwrap_or("").trim();
        matches!(name, "holdfast" | "tungstenite")
            || line.contains("package") && line.contains("\"holdfast\"")
    };
    assert_eq!(manifest.lines().find(dependency), None);
    for source in sources("loadtest/src") {
        for detour in ["#[path", "include!", "include_str!"] {
            assert!(!source.code.contains(detour), "{}: {detour}", source.path);
        }
    }
}

#[test]
fn crates_that_do_io_stay_where_they_belong() {
    let mut faults = Vec::new();
    for (folder, crates) in [("src", CRATES), ("loadtest/src", LOAD_CRATES)] {
        for source in sources(folder) {
            for (name, places) in crates {
                if names_crate(&source.shipped, name) && !source.is_in(places) {
                    faults.push(format!("{folder}/{}: {name} belongs in {places:?}", source.path));
                }
            }
        }
    }
    assert_none("crates", &faults);
}

#[test]
fn clocks_are_read_in_one_place() {
    let mut faults = Vec::new();
    for source in sources("loadtest/src") {
        for (word, places) in LOAD_CLOCKS {
            if source.shipped.contains(word) && !source.is_in(places) {
                faults.push(format!("loadtest/src/{}: {word}", source.path));
            }
        }
    }
    for source in sources("src") {
        for (word, places) in CLOCKS {
            if source.shipped.contains(word) && !source.is_in(places) {
                faults.push(format!("{}: {word}", source.path));
            }
        }
        let of_std =
            ["std::time::Instant", "std::time::SystemTime"].iter().any(|name| source.shipped.contains(name));
        if source.is_in(&["control/"]) && of_std {
            faults.push(format!("{}: the internal port's own time is tokio's", source.path));
        }
    }
    assert_none("time is an argument", &faults);
}

#[test]
fn unsafe_stays_where_it_is_watched() {
    let mut faults = Vec::new();
    for source in all_sources() {
        let uses = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "#[unsafe("];
        if uses.iter().any(|form| source.code.contains(form)) && !source.is_in(UNSAFE_IN) {
            faults.push(source.path.clone());
        }
        let allows = source.code.contains("allow(unsafe_code");
        if allows && !source.is_in(UNSAFE_IN) {
            faults.push(format!("{}: allow(unsafe_code)", source.path));
        }
    }
    assert_none("unsafe", &faults);
}

#[test]
fn files_say_what_they_are_and_are_not_long() {
    let mut faults = Vec::new();
    for source in all_sources() {
        let lines = source.text.lines().count();
        // The tests of a module, where they have a file of their own, are what its first lines say.
        if !source.text.starts_with("//! ") && !source.path.ends_with("/tests.rs") {
            faults.push(format!("{}: open with //! and what it owns", source.path));
        }
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines", source.path));
        } else if lines > FILE_LINES_AIM {
            println!("{}: {lines} lines; aim at {FILE_LINES_AIM}", source.path);
        }
    }
    assert_none("files", &faults);
}

#[test]
fn functions_fit_into_a_head() {
    let mut faults = Vec::new();
    for source in ["src", "loadtest/src", "plots/src", "examples"].iter().flat_map(|folder| sources(folder)) {
        for (line, name, length) in functions(&source.shipped) {
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{line}: {name} has {length} lines", source.path));
            }
        }
    }
    assert_none("functions", &faults);
}

#[test]
fn nothing_is_left_unfinished_or_skipped() {
    // Put together here, so that this file does not find itself.
    let words = [
        ["FIX", "ME"],
        ["XX", "X"],
        ["TO", "DO"],
        ["dbg", "!("],
        ["todo", "!("],
        ["unimplemented", "!("],
        ["#[ign", "ore"],
    ];
    let mut faults = Vec::new();
    for source in all_sources() {
        for word in words.map(|parts| parts.concat()) {
            for (at, _) in source.text.match_indices(&word) {
                let letter = |c: char| c.is_alphanumeric() || c == '_';
                let before = source.text[..at].chars().next_back().is_some_and(letter);
                let after = source.text[at + word.len()..].chars().next().is_some_and(letter);
                if !before && (!after || !word.ends_with(letter)) {
                    let line = source.text[..at].lines().count();
                    faults.push(format!("{}:{line}: {word}", source.path));
                }
            }
        }
    }
    assert_none("unfinished", &faults);
}

#[test]
fn the_reader_of_sources_reads_them_right() {
    let text = "let a = \"crate::x {\"; // crate::y\nlet c = '{'; let d = b'\\''; fn f<'a>(x: &'a str) {}\nr#\"\"}\"#;";
    let code = blank(text);
    assert_eq!(code.lines().count(), 3);
    assert!(
        !code.contains("crate") && code.matches('{').count() == 1 && code.matches('}').count() == 1,
        "{code}"
    );
    let code = "use crate::{a::{b, c}, d, e::f};\ncrate::g::h(); my_crate::i(); pub(in crate::j) x";
    let expected = ["a", "d", "e", "g", "j"].map(str::to_owned);
    assert_eq!(imports(code), expected.into());
    assert!(
        names_crate("use mio;", "mio")
            && names_crate("x(mio::y)", "mio")
            && names_crate("use mio::{x}", "mio")
    );
    assert!(!names_crate("net_mio::x super::mio::y use mio_x;", "mio"));
    assert_eq!(
        functions("fn a() {\n}\npub const fn b(\n) -> [u8; 1] {\n{}\n}\nfn c();"),
        [(1, "a".into(), 2), (3, "b".into(), 4), (7, "c".into(), 1),]
    );
    assert_eq!(
        without_test_module("a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod tests {\nc"),
        "a\n#[cfg(test)]\nmod tests;\nb\n"
    );
}
