//! Every kind of mistake: what is said of it names the key, the value, what is allowed, and the place.

use super::*;
use std::path::Path;

/// What is said of a file, a line each; `FILE` is its path.
fn said(text: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.toml");
    std::fs::write(&path, text).unwrap();
    said_of(&path)
}

fn said_of(path: &Path) -> Vec<String> {
    let sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
    let error = load(&sources).map(drop).unwrap_err();
    error.each().iter().map(|one| one.to_string().replace(&path.display().to_string(), "FILE")).collect()
}

#[track_caller]
fn says(text: &str, lines: &[&str]) {
    let said = said(text.as_bytes());
    assert!(!said.concat().contains("hush"), "no secret: {said:#?}");
    // The keys of a section are many, and come and go.
    let short = |line: &String| match line
        .split_once("; expected one of ")
        .or(line.split_once("; expected a key of "))
    {
        Some((begin, rest)) if begin.contains("unknown key (did") || begin.ends_with("unknown key") => {
            let place = rest.rfind(" (").map_or("", |at| &rest[at..]);
            format!("{begin}; expected …{place}")
        }
        _ => line.clone(),
    };
    assert_eq!(said.iter().map(short).collect::<Vec<_>>(), lines, "{text}");
}

#[test]
fn a_name_that_is_none_leads_to_the_one_that_was_meant() {
    says(
        "[limits]\nconections = 5\n",
        &["limits.conections = 5: unknown key (did you mean limits.connections?); expected … (FILE, line 2)"],
    );
    says(
        "[limts]\nconnections = 5\n",
        &["limts = {…}: unknown key (did you mean limits?); expected … (FILE, line 1)"],
    );
    says(
        "connections = 5\n",
        &["connections = 5: unknown key (did you mean limits.connections?); expected … (FILE, line 1)"],
    );
    says(
        "[limits]\nhandshake_timout = \"10s\"\n",
        &[
            "limits.handshake_timout = \"10s\": unknown key (did you mean limits.handshake_timeout?); expected … (FILE, line 2)",
        ],
    );
    says(
        "[auth.jwt]\nsecret_flie = \"hush\"\n",
        &[
            "auth.jwt.secret_flie = ***: unknown key (did you mean auth.jwt.secret_file?); expected … (FILE, line 2)",
        ],
    );
    says(
        "[internal]\npasswrd = \"hush\"\n",
        &["internal.passwrd = ***: unknown key; expected … (FILE, line 2)"],
    );
    says("x = 1", &["x = 1: unknown key; expected … (FILE, line 1)"]);
}

#[test]
fn a_section_is_no_value() {
    says(
        "[[clients]]\nping = \"1s\"\n",
        &["clients = …: expected a section with keys of its own, [clients] (FILE, line 1)"],
    );
    says(
        "clients = 1\n",
        &["clients = …: expected a section with keys of its own, [clients] (FILE, line 1)"],
    );
}

#[test]
fn a_value_is_of_its_kind_and_within_its_range() {
    says(
        "[limits]\nhead_bytes = true\n",
        &[
            "limits.head_bytes = true: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 2)",
        ],
    );
    says(
        "[limits]\nhead_bytes = \"64KB\"\n",
        &[
            "limits.head_bytes = \"64KB\": expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 2)",
        ],
    );
    says(
        "[limits]\nhead_bytes = 1.5\n",
        &[
            "limits.head_bytes = 1.5: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 2)",
        ],
    );
    says(
        "[limits]\nhead_bytes = 99999999999999999999\n",
        &[
            "limits.head_bytes = 99999999999999999999: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 2)",
        ],
    );
    says(
        "[limits]\nhead_bytes = 100\n",
        &[
            "limits.head_bytes = 100: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 2)",
        ],
    );
    says(
        "[limits]\npush_rate = \"3\"\n",
        &[
            "limits.push_rate = \"3\": expected a number of messages and a window, like \"3/2s\" (up to 1000000 messages, up to 1d) (or \"off\") (FILE, line 2)",
        ],
    );
    says(
        "[limits]\nmemory = 90\n",
        &["limits.memory = 90: expected a share from \"1%\" to \"100%\" (or \"off\") (FILE, line 2)"],
    );
    says(
        "[clients]\nping = 50\n",
        &[
            "clients.ping = 50: expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nping = \"50\"\n",
        &[
            "clients.ping = \"50\": expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nping = \"50 sec\"\n",
        &[
            "clients.ping = \"50 sec\": expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nping = \"13h\"\n",
        &[
            "clients.ping = \"13h\": expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nping = 2026-11-22\n",
        &[
            "clients.ping = 2026-11-22: expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nlisten = \"127.0.0.1:1\"\n",
        &[
            "clients.listen = \"127.0.0.1:1\": expected a list (at least 1, at most 64), each ADDRESS:PORT, like \"127.0.0.1:7001\" or \"[::1]:7001\" (port 0: any free one) (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nlisten = [\n  \"127.0.0.1:1\",\n  \"localhost:7001\",\n]\n",
        &[
            "clients.listen[1] = \"localhost:7001\": expected ADDRESS:PORT, like \"127.0.0.1:7001\" or \"[::1]:7001\" (port 0: any free one) (FILE, line 4)",
        ],
    );
    says(
        "[clients]\nlisten = []\n",
        &[
            "clients.listen = []: expected a list (at least 1, at most 64), each ADDRESS:PORT, like \"127.0.0.1:7001\" or \"[::1]:7001\" (port 0: any free one) (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n",
        &["clients.listen = \"127.0.0.1:1\": expected each address once (FILE, line 2)"],
    );
    says(
        "[clients]\norigins = [\"https://a.example/\"]\n",
        &[
            "clients.origins[0] = \"https://a.example/\": expected an origin like \"https://app.example.com\" (scheme://host[:port]), or with a wildcard for every host below a domain, \"https://*.example.com\" or, for any scheme, \"*.example.com\" (a port left out is the scheme's own) (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nproxy_protocol = \"yes\"\n",
        &["clients.proxy_protocol = \"yes\": expected \"off\", \"accept\" or \"require\" (FILE, line 2)"],
    );
    says("[clients]\necho = \"yes\"\n", &["clients.echo = \"yes\": expected true or false (FILE, line 2)"]);
    says(
        "[clients.ping]\nx = 1\n",
        &[
            "clients.ping = {…}: expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 100ms to 12h (FILE, line 1)",
        ],
    );
    says(
        "[[limits.head_bytes]]\nx = 1\n",
        &[
            "limits.head_bytes = [{…}]: expected a size like \"512B\", \"64KiB\" or \"1MiB\", or a number of bytes, from 256B to 1MiB (FILE, line 1)",
        ],
    );
    says(
        "[auth]\nmode = \"header,jwt\"\n",
        &[
            "auth.mode = \"header,jwt\": \"header\" believes whoever asks, so that no other way would guard anything; expected it alone (FILE, line 2)",
        ],
    );
    says(
        "[auth.jwt]\nalgorithms = [\"HS256\", \"none\"]\n",
        &[
            "auth.jwt.algorithms[1] = \"none\": expected one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA (FILE, line 2)",
        ],
    );
    says(
        "[auth.cookie]\nkeys = [\"hush\"]\n",
        &["auth.cookie.keys = ***: key number 1: it has 4 bytes, not 32 to 256 (FILE, line 2)"],
    );
    says(
        "[kafka]\nproperties = [\"sasl.password=x\", \"nonsense\"]\n",
        &["kafka.properties[1] = \"nonsense\": expected name=value, a property of librdkafka (FILE, line 2)"],
    );
    says(
        "[registry]\nurl = \"redis://me:hush@\"\n",
        &[
            "registry.url = \"redis://me:***@\": a host is missing or wrong; expected HOST[:PORT], several with commas between for sentinel and cluster; expected \"memory\", \"redis://HOST:PORT\", \"redis+sentinel://HOST:PORT,…/MASTER\" or \"redis+cluster://HOST:PORT,…\" (rediss: with TLS) (FILE, line 2)",
        ],
    );
    says(
        "[node]\nid = \"a\\u0000b\"\n",
        &[
            "node.id = \"a\\u0000b\": expected a name of 1 to 64 letters, digits, \".\", \"_\" or \"-\" (or \"\" for none) (FILE, line 2)",
        ],
    );
}

#[test]
fn keys_that_contradict_each_other_say_which_and_where() {
    says(
        "[clients]\nping_min = \"1m\"\nping_max = \"30s\"\n",
        &["clients.ping_min = \"1m\": expected at most clients.ping_max, which is 30s (FILE, line 2)"],
    );
    says(
        "[clients]\nping_max = \"5s\"\n",
        &["clients.ping_min = \"10s\": expected at most clients.ping_max, which is 5s (FILE, line 2)"],
    );
    says(
        "[lifetime]\nmax = \"10m\"\n",
        &["lifetime.max = \"10m\": expected at least lifetime.mean, which is 30m (FILE, line 2)"],
    );
    says(
        "[lifetime]\n\nmean = \"30m\"\nmax = \"10m\"\n",
        &["lifetime.max = \"10m\": expected at least lifetime.mean, which is 30m (FILE, line 4)"],
    );
    says(
        "[lifetime]\nmean = \"1h\"\nmax = \"3h\"\ndistribution = \"uniform\"\n",
        &[
            "lifetime.max = \"3h\": expected at most 2 x lifetime.mean, which is 2h, for a uniform distribution (FILE, line 3)",
        ],
    );
    says(
        "[internal]\nlisten = \"0.0.0.0:7008\"\n",
        &[
            "internal.listen = \"0.0.0.0:7008\": without a token whoever reaches it may push to any user; expected a loopback address, internal.token, internal.token_file or internal.tokens, or --insecure (FILE, line 2)",
        ],
    );
    says(
        "[clients]\nlisten = [\"0.0.0.0:7001\"]\n",
        &[
            "clients.listen = \"0.0.0.0:7001\": with auth.mode = \"header\" whoever reaches it may say to be any user; expected a loopback address, another auth.mode, or --insecure (FILE, line 2)",
        ],
    );
    says(
        "[auth.jwt]\nsecret = \"hush\"\njwks_file = \"/nowhere\"\n",
        &[
            "auth.jwt.jwks_file = \"/nowhere\": expected exactly one of a shared secret, a public key and a set of keys (a set may hold them all) (FILE, line 3)",
        ],
    );
}

#[test]
fn lanes_have_their_own() {
    says(
        "[lanes]\norder = [\"a\", \"a\"]\n",
        &["lanes.order = \"a\": expected each lane once (FILE, line 2)"],
    );
    says(
        "[lanes]\norder = [\"A\"]\n",
        &[
            "lanes.order[0] = \"A\": expected a name of 1 to 32 of a-z, 0-9 and \"-\" (not \"order\") (FILE, line 2)",
        ],
    );
    says(
        "[lanes]\norder = []\n",
        &[
            "lanes.order = []: expected a list (at least 1, at most 8), each a name of 1 to 32 of a-z, 0-9 and \"-\" (not \"order\") (FILE, line 2)",
        ],
    );
    says(
        "[lanes.urgent]\nttl = \"1s\"\n",
        &[
            "lanes.urgent.ttl = \"1s\": unknown lane; expected one of lanes.order: high, normal, low (FILE, line 2)",
        ],
    );
    says("[lanes.high]\ncolour = 1\n", &["lanes.high.colour = 1: unknown key; expected … (FILE, line 2)"]);
    says(
        "[lanes.high]\npolicy = \"keep\"\nttl = 5\ntopics = \"push\"\n",
        &[
            "lanes.high.policy = \"keep\": expected \"drop\", \"replace\" or \"close\" (FILE, line 2)",
            "lanes.high.ttl = 5: expected a duration with its unit, like \"250ms\", \"30s\", \"10m\" or \"1h\", from 1ms to 30d (or \"off\") (FILE, line 3)",
            "lanes.high.topics = \"push\": expected a regular expression that begins with \"^\" (FILE, line 4)",
        ],
    );
    says(
        "[lanes.high]\ntopics = \"^push(\"\n",
        &[
            "lanes.high.topics = \"^push(\": expected a regular expression that begins with \"^\" (FILE, line 2)",
        ],
    );
    says("[lanes.High]\nttl = \"1s\"\n", &["lanes.High = {…}: unknown key; expected … (FILE, line 1)"]);
}

#[test]
fn tokens_are_complete_and_told_apart() {
    says(
        "[[internal.tokens]]\nrole = \"send\"\ntoken = \"hush\"\n",
        &[
            "internal.tokens[0].name = nothing: expected a name of 1 to 64 letters, digits, \".\", \"_\" or \"-\" (FILE, line 1)",
        ],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntoken = \"hush\"\n\n[[internal.tokens]]\nname = \"b\"\nrole = \"boss\"\ntoken = \"hush2\"\n",
        &[
            "internal.tokens[1].role = \"boss\": expected \"send\", \"read\", \"admin\" or \"peer\" (FILE, line 8)",
        ],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\n",
        &["internal.tokens[0].token = …: expected exactly one of token and token_file (FILE, line 1)"],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntoken = \"hush\"\ntoken_file = \"/x\"\n",
        &["internal.tokens[0].token = …: expected exactly one of token and token_file (FILE, line 4)"],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntoken = \"hush\"\n[[internal.tokens]]\nname = \"a\"\nrole = \"read\"\ntoken = \"hush2\"\n",
        &[
            "internal.tokens[1].name = \"a\": expected each name once (internal.token is called \"token\") (FILE, line 6)",
        ],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntoken = \"hush\"\n[[internal.tokens]]\nname = \"b\"\nrole = \"read\"\ntoken = \"hush\"\n",
        &[
            "internal.tokens[1].token = ***: the token b is the same as another; expected different ones (FILE, line 8)",
        ],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntoken_file = \"/nowhere/x\"\n",
        &[
            "internal.tokens[0].token_file = \"/nowhere/x\": expected a readable file that holds the secret: No such file or directory (os error 2) (FILE, line 4)",
        ],
    );
    says(
        "[[internal.tokens]]\nname = \"a\"\nrole = \"send\"\ntokn = \"hush\"\n",
        &[
            "internal.tokens[0].tokn = …: unknown key; expected name, role, token or token_file (FILE, line 4)",
        ],
    );
    says(
        "[internal]\ntokens = \"a:send:hush\"\n",
        &[
            "internal.tokens = ***: expected [[internal.tokens]] tables with name, role and one of token and token_file (in the environment or --set: name:role:token, comma separated); role is \"send\", \"read\", \"admin\" or \"peer\" (FILE, line 2)",
        ],
    );
    says(
        "[internal]\ntokens = [\"a:send:hush\"]\n",
        &[
            "internal.tokens[0] = …: expected [[internal.tokens]] tables with name, role and one of token and token_file (in the environment or --set: name:role:token, comma separated); role is \"send\", \"read\", \"admin\" or \"peer\" (FILE, line 2)",
        ],
    );
    says(
        "[internal.tokens]\nname = \"hush\"\n",
        &[
            "internal.tokens = ***: expected [[internal.tokens]] tables with name, role and one of token and token_file (in the environment or --set: name:role:token, comma separated); role is \"send\", \"read\", \"admin\" or \"peer\" (FILE, line 1)",
        ],
    );
    says(
        "[internal]\ntoken = \"hush\"\ntoken_file = \"/run/token\"\n",
        &[
            "internal.token_file = \"/run/token\": expected only one of internal.token and internal.token_file (FILE, line 3)",
        ],
    );
    says(
        "[internal]\ntoken = 12345\n",
        &[
            "internal.token = ***: expected a secret text (not \"***\", which is how `config show` hides one) (or \"\" for none) (FILE, line 2)",
        ],
    );
    says(
        "[internal]\ntoken = \"***\"\n",
        &[
            "internal.token = ***: expected a secret text (not \"***\", which is how `config show` hides one) (or \"\" for none) (FILE, line 2)",
        ],
    );
    says(
        "[internal]\ntoken_file = \"/nowhere\"\n",
        &[
            "internal.token_file = \"/nowhere\": expected a readable file that holds the secret: No such file or directory (os error 2) (FILE, line 2)",
        ],
    );
    says(
        "[internal]\ntoken_file = \"/\"\n",
        &[
            "internal.token_file = \"/\": expected a readable file that holds the secret: Is a directory (os error 21) (FILE, line 2)",
        ],
    );
}

#[test]
fn what_is_no_toml_has_a_line_and_a_column_and_shows_no_value() {
    says(
        "[limits]\nhead_bytes = \"8KiB\"\nhead_bytes = \"9KiB\"\n",
        &["FILE, line 3, column 1: head_bytes is there already; expected each key and each section once"],
    );
    says(
        "[limits]\n[clients]\n[limits]\n",
        &["FILE, line 3, column 2: limits is there already; expected each key and each section once"],
    );
    says("[limits\nhead_bytes = 5\n", &["FILE, line 1, column 8: unclosed table, expected `]`"]);
    says(
        "[limits]\nhead_bytes = \n",
        &["FILE, line 2, column 14: head_bytes: string values must be quoted, expected literal string"],
    );
    says(
        "[internal]\ntoken = hush\n",
        &["FILE, line 2, column 9: token: string values must be quoted, expected literal string"],
    );
    says(
        "[internal]\ntoken = \"hush\nlisten = 1\n",
        &["FILE, line 2, column 14: token: invalid basic string, expected `\"`"],
    );
    says("[limits]\nhead_bytes 5\n", &["FILE, line 2, column 12: key with no value, expected `=`"]);
    says(
        "[node]\nid = \"a\0b\"\n",
        &[
            "FILE, line 2, column 8: id: invalid basic string, expected non-double-quote visible characters, `\\`",
        ],
    );
}

#[test]
fn all_mistakes_are_told_in_the_order_of_their_lines() {
    says(
        "[log]\nlevel = \"many\"\n[limits]\nx = 1\n[drain]\nrate = 0\n",
        &[
            "log.level = \"many\": expected \"error\", \"warn\", \"info\", \"debug\" or \"off\", or a filter like \"info,holdfast::shard=debug\" (FILE, line 2)",
            "limits.x = 1: unknown key; expected … (FILE, line 4)",
            "drain.rate = 0: expected a whole number of goaways a second from 1 to 100000000 (FILE, line 6)",
        ],
    );
}

#[test]
fn contradictions_of_several_sections_are_told_together() {
    let said = said(b"[clients]\nping_min = \"11m\"\n[lifetime]\nmax = \"1m\"\n[auth]\nmode = \"jwt\"\n");
    let begins = ["clients.ping_min = \"11m\": ", "lifetime.max = \"1m\": ", "auth.mode = \"jwt\": "];
    assert_eq!(said.len(), 3);
    assert!(said.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{said:#?}");
}

#[test]
fn a_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let cannot = "cannot read the configuration file FILE:";
    let missing = said_of(&folder.path().join("missing.toml"));
    assert_eq!(missing, [format!("{cannot} No such file or directory (os error 2)")]);
    assert_eq!(said_of(folder.path()), [format!("{cannot} Is a directory (os error 21)")]);
    assert_eq!(said("# much\n".repeat(200_000).as_bytes()), [format!("{cannot} it is larger than 1MiB")]);
    assert_eq!(said(b"[drain]\nrate = 5\n# \xff\xfe\n"), ["FILE, line 3: expected a text file in UTF-8"]);
    assert!(said(&[0; 64])[0].starts_with("FILE, line 1, column "));
    for empty in ["", "\n\n", "# nothing\n", "\u{feff}", "\u{feff}[drain]\r\nrate = 5\r\n"] {
        let (_folder, sources) = file(empty);
        assert!(load(&sources).is_ok(), "{empty:?}");
    }
}

#[test]
fn a_file_that_is_all_mistakes_is_not_all_told() {
    let said = said("rate = hush\nrate = hush\n".repeat(1_000).as_bytes());
    assert_eq!(said.len(), 10);
    assert!(!said.concat().contains("hush"), "{said:?}");
}

#[test]
fn the_source_is_named_whichever_it_is() {
    let said = |sources: &Sources| load(sources).map(drop).unwrap_err().to_string();
    let (_folder, mut sources) = file("[drain]\nrate = 0\n");
    sources.env = vec![
        ("HOLDFAST_DRAIN_DELAY".into(), "soon".into()),
        ("HOLDFAST_INTERNAL_TOKENS".into(), "hush, hush:send".into()),
    ];
    sources.sets = vec!["drain.window=never".into(), "drain.wndow=1s".into(), "internal.token:hush".into()];
    sources.flags.shards = Some("none".into());
    let error = load(&sources).map(drop).unwrap_err();
    let lines: Vec<String> = error.each().iter().map(ToString::to_string).collect();
    let rows = [
        ("--set internal.token…: ", "expected section.key=value"),
        ("drain.rate = 0: ", "holdfast.toml, line 2)"),
        ("drain.delay = \"soon\": ", " (HOLDFAST_DRAIN_DELAY)"),
        ("internal.tokens.role = …: ", " (HOLDFAST_INTERNAL_TOKENS)"),
        ("node.shards = \"none\": ", " (--shards)"),
        ("drain.window = \"never\": ", " (--set)"),
        ("drain.wndow = \"1s\": unknown key (did you mean drain.window?)", " (--set)"),
    ];
    for (begin, end) in rows {
        assert!(
            lines.iter().any(|line| line.starts_with(begin) && line.ends_with(end)),
            "{begin}…{end}: {lines:#?}"
        );
    }
    assert!(lines.len() == rows.len() && !said(&sources).contains("hush"), "{lines:#?}");
}
