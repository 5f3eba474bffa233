//! The configuration as a whole: sources, precedence, checks between keys, pages.

mod mistakes;
mod reloading;

use super::*;

fn with(sets: &[&str]) -> Result<(Config, Vec<Warning>), ConfigError> {
    load(&Sources { sets: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() })
}

fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.toml");
    std::fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

#[track_caller]
fn refused(sets: &[&str], words: &[&str]) {
    let error = with(sets).map(|_| ()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} says {word:?}");
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Config::default();
    assert_eq!(config.clients.listen, ["127.0.0.1:7001".parse().unwrap()]);
    assert_eq!(config.internal.listen, "127.0.0.1:7008".parse().unwrap());
    let clients = &config.clients;
    assert_eq!((clients.ping_ms, clients.ping_min_ms, clients.ping_max_ms), (50_000, 10_000, 600_000));
    assert_eq!((clients.deflate, clients.deflate_min_bytes, clients.origins.is_none()), (true, 512, true));
    assert_eq!((config.lifetime.mean_ms, config.lifetime.max_ms), (1_800_000, 5_400_000));
    assert_eq!(config.lifetime.grace_ms, 4_000);
    let drain = config.drain;
    assert_eq!((drain.delay_ms, drain.window_ms, drain.rate), (5_000, 30_000, 5_000));
    let limits = config.limits;
    assert_eq!((limits.connections, limits.connections_per_user, limits.memory_percent), (usize::MAX, 0, 90));
    assert_eq!((limits.head_bytes, limits.push_bytes, limits.buffer_bytes), (16 << 10, 256 << 10, 256 << 20));
    assert_eq!((limits.unauthenticated, limits.mailbox, limits.inbound_rate), (10_000, 16_384, 100));
    assert_eq!((config.dedup.window_ms, config.dedup.max), (600_000, 100_000));
    assert_eq!(config.lanes, Lanes::default());
    assert_eq!(config.auth.header, "X-CUSTOMER_ID");
    assert!(!config.node.id.is_empty() && (1..=256).contains(&config.node.shards));
}

#[test]
fn the_default_file_says_what_is_the_default_anyway() {
    let (_folder, sources) = file(&render::default_file());
    let (from_file, warnings) = load(&sources).unwrap();
    assert_eq!(warnings, []);
    let strip = |mut config: Config| {
        config.node.id.clear();
        config.sources = Sources::default();
        format!("{config:?}")
    };
    assert_eq!(strip(from_file), strip(Config::default()));
}

#[test]
fn the_token_of_the_default_file_may_be_uncommented() {
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(text) if text.starts_with("[[") || text.starts_with("name =") || text.starts_with("role =") => {
            text.into()
        }
        Some(text) if text.starts_with("token_file =") => "token = \"hush\"".into(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = render::default_file().lines().map(uncomment).collect();
    let (_folder, sources) = file(&text.join("\n"));
    let (config, _) = load(&sources).unwrap();
    assert_eq!(config.internal.tokens[0].name, "checkout");
}

#[test]
fn the_reference_page_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, render::page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == render::page(),
        "docs/config.md is out of date: UPDATE_DOCS=1 cargo test --lib config::"
    );
}

#[test]
fn the_recipes_of_the_page_on_authentication_are_configurations() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/auth.md");
    let page = std::fs::read_to_string(path).unwrap();
    let recipes: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(recipes.len() >= 5, "{}", recipes.len());
    for recipe in recipes {
        // The files of keys are not here.
        let (_folder, sources) = file(recipe);
        let layers = load::read(&sources).unwrap_or_else(|error| panic!("{recipe}\n{error}"));
        // What is said of tickets counts beside any mode.
        assert!(layers.raw.auth.mode != [AuthMode::Header] || layers.raw.tickets.keys_file.is_some());
    }
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_the_default() {
    let (_folder, mut sources) =
        file("[limits]\nhead_bytes = \"8KiB\"\nmailbox = 7\ninbound_rate = 5\n[node]\nshards = 9");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    sources.env.push(variable("HOLDFAST_LIMITS_MAILBOX", "8"));
    sources.env.push(variable("HOLDFAST_LIMITS_INBOUND_RATE", "6"));
    sources.env.push(variable("HOLDFAST_NODE_SHARDS", "10"));
    sources.sets =
        vec!["limits.inbound_rate=4".into(), "limits.inbound_rate=7".into(), "node.shards=11".into()];
    sources.flags.shards = Some("12".into());
    let (config, _) = load(&sources).unwrap();
    let limits = config.limits;
    assert_eq!((limits.head_bytes, limits.mailbox, limits.inbound_rate), (8 << 10, 8, 7));
    assert_eq!((config.node.shards, limits.outbox_bytes), (12, 64 << 10));
}

#[test]
fn an_error_names_the_key_the_value_the_allowed_and_the_place() {
    let error = with(&["limits.connections=many"]).map(|_| ()).unwrap_err().to_string();
    let allowed = "expected a whole number of connections from 1 to 100000000 (or \"auto\")";
    assert_eq!(error, format!("limits.connections = \"many\": {allowed} (--set)"));
    let (_folder, sources) = file("\n[limits]\nmessage_bytes = \"64KB\"\n");
    let error = load(&sources).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("limits.message_bytes = \"64KB\": expected a size"), "{error}");
    assert!(error.contains("holdfast.toml, line 3)"), "{error}");
    let (_folder, sources) = file("[limits]\nconections = 5\n");
    let error = load(&sources).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "limits.conections = 5: unknown key (did you mean limits.connections?); expected one of "
        ),
        "{error}"
    );
    for (text, word) in [
        (
            "[limts]\n",
            "limts = {…}: unknown key (did you mean limits?); expected a key of one of the sections node,",
        ),
        ("a = 1\n", "a = 1: unknown key"),
        ("[limits]\nhead_bytes = {}\n", "limits.head_bytes = {…}: expected a size"),
        ("[clients]\nping = 50\n", "clients.ping = 50: expected a duration with its unit"),
        ("[clients]\nlisten = \"127.0.0.1:1\"\n", "clients.listen = \"127.0.0.1:1\": expected a list"),
        ("[clients]\nping = \n", "line 2, column 8: ping: "),
        (
            "[lanes.urgent]\nttl = \"1s\"\n",
            "lanes.urgent.ttl = \"1s\": unknown lane; expected one of lanes.order: high",
        ),
        ("[lanes.high]\ncolour = 1\n", "lanes.high.colour = 1: unknown key; expected one of lanes.order"),
        (
            "[auth.jwt]\nsecrte = \"hush\"\n",
            "auth.jwt.secrte = ***: unknown key (did you mean auth.jwt.secret?); expected one of auth.jwt.algorithms",
        ),
        (
            "[[internal.tokens]]\nname = \"a\"\nrole = \"b\"\ntoken = \"hush\"",
            "internal.tokens[0].role = \"b\": expected \"send\"",
        ),
    ] {
        let (_folder, sources) = file(text);
        let error = load(&sources).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("hush"), "{error:?} says {word:?}");
    }
}

#[test]
fn values_that_are_not_allowed() {
    for set in [
        "limits.connections=0",
        "limits.memory=101%",
        "limits.memory=0%",
        "limits.memory=90",
        "limits.push_rate=3",
        "limits.push_rate=0/2s",
        "node.shards=0",
        "node.shards=257",
        "clients.listen=",
        "clients.listen=localhost:1",
        "clients.listen=::1:7001",
        "auth.mode=http",
        "auth.mode=header,jwt",
        "auth.mode=jwt,",
        "auth.mode=cookie,cookie",
        "auth.cookie.name=a b",
        "auth.cookie.keys=***",
        "auth.cookie.keys=short",
        "auth.header=a b",
        "clients.origins=https://a/",
        "log.level=many",
        "lanes.order=",
        "lanes.order=a,a",
        "lanes.order=A",
        "lanes.order=a,b,c,d,e,f,g,h,i",
        "clients.echo=yes",
        "lifetime.mean=31d",
        "internal.token=***",
        "node.advertise=a",
        "dedup.max=0",
        "lanes.high.policy=keep",
        "internal.push_from=10.0.0.0/33",
        "delivery.timeout=5",
        "nothing=1",
        "limits.inbound_rate=-1",
    ] {
        let key = set.split_once('=').unwrap().0;
        refused(&[set], &[key]);
    }
    refused(&["limits"], &["--set limits: expected section.key=value"]);
}

#[test]
fn values_that_are_allowed() {
    let (config, warnings) = with(&[
        "clients.listen=127.0.0.1:0,[::1]:0",
        "limits.push_rate=3/2s",
        "limits.memory=off",
        "limits.connections=1000",
        "limits.connections_per_user=0",
        "limits.connections_per_address=5",
        "lanes.order=urgent,bulk",
        "lanes.bulk.policy=replace",
        "lanes.bulk.ttl=1h",
        "lanes.urgent.ttl=off",
        "clients.proxy_from=10.1.2.3/8,::1",
        "clients.origins=HTTPS://App.example.com, *.example.org",
        "internal.tokens=ci:send:a:b,ops:admin:c",
        "internal.token=root",
        "limits.outbox_bytes=1024",
    ])
    .unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.clients.listen.len(), 2);
    assert_eq!(config.limits.push_rate, Some(PushRate { count: 3, window_ms: 2_000 }));
    assert_eq!((config.limits.memory_percent, config.limits.connections_per_address), (0, 5));
    let bulk = config.lanes.config(config.lanes.by_name("bulk").unwrap()).clone();
    assert_eq!((bulk.policy, bulk.ttl_ms), (crate::model::LanePolicy::Replace, Some(3_600_000)));
    assert_eq!(config.clients.proxy_from[0].to_string(), "10.0.0.0/8");
    assert_eq!(config.clients.origins.unwrap(), ["https://app.example.com", "*.example.org"]);
    let roles: Vec<Role> = config.internal.tokens.iter().map(|token| token.role).collect();
    assert_eq!(roles, [Role::All, Role::Send, Role::Admin]);
}

#[test]
fn lifetimes_fit_their_law() {
    let max = |sets: &[&str]| with(sets).unwrap().0.lifetime.max_ms;
    assert_eq!(max(&["lifetime.mean=10s"]), 30_000);
    assert_eq!(max(&["lifetime.mean=10s", "lifetime.distribution=uniform"]), 15_000);
    assert_eq!(max(&["lifetime.mean=10s", "lifetime.distribution=zuul"]), 10_000);
    assert_eq!(max(&["lifetime.mean=29d"]), kind::DURATION_MS_MAX);
    refused(&["lifetime.max=10m"], &["lifetime.max = \"10m\"", "at least lifetime.mean, which is 30m"]);
    refused(
        &["lifetime.max=61m", "lifetime.distribution=uniform"],
        &["at most 2 x lifetime.mean, which is 1h"],
    );
}

#[test]
fn pings_lie_within_what_clients_may_ask_for_or_are_warned_of() {
    refused(&["clients.ping_min=11m"], &["clients.ping_min = \"11m\"", "clients.ping_max, which is 10m"]);
    let (config, warnings) = with(&["clients.ping=2s"]).unwrap();
    assert_eq!((config.clients.ping_ms, warnings.len()), (2_000, 1));
}

#[test]
fn what_trusts_everybody_stays_on_the_loopback() {
    refused(&["clients.listen=127.0.0.1:1,0.0.0.0:7001"], &["0.0.0.0:7001", "--insecure", "auth.mode"]);
    refused(&["internal.listen=[::]:7008"], &["[::]:7008", "internal.token", "--insecure"]);
    let (_, warnings) =
        with(&["clients.listen=0.0.0.0:7001", "internal.listen=[::]:0", "node.insecure=true"]).unwrap();
    assert!(warnings[0].0.contains("plaintext"), "{warnings:?}");
    assert!(with(&["internal.listen=0.0.0.0:7008", "internal.token=x"]).is_ok());
    assert!(with(&["clients.listen=0.0.0.0:7001", "auth.mode=jwt", "auth.jwt.secret=x"]).is_ok());
    assert!(with(&["clients.listen=[::ffff:127.0.0.1]:7001"]).unwrap().1.is_empty());
}

#[test]
fn a_token_has_exactly_one_key_that_suits_its_algorithms() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("key.pem");
    std::fs::write(&pem, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
    let key = format!("auth.jwt.public_key_file={}", pem.display());
    let jwt = "auth.mode=jwt";
    refused(&[jwt], &["auth.mode = \"jwt\"", "auth.jwt.public_key_file"]);
    refused(&[jwt, "auth.jwt.secret=x", &key], &["exactly one"]);
    refused(
        &[jwt, "auth.jwt.secret=x", "auth.jwt.algorithms=RS256"],
        &["auth.jwt.algorithms = [\"RS256\"]", "HS256"],
    );
    refused(&[jwt, &key], &["auth.jwt.algorithms", "RS"]);
    refused(&[jwt, &key, "auth.jwt.algorithms=HS256"], &["public key"]);
    refused(&[jwt, &key, "auth.jwt.algorithms=RS256,ES256"], &["one family"]);
    refused(&[jwt, "auth.jwt.secret=x", "auth.jwt.algorithms=none"], &["\"none\""]);
    refused(&[jwt, "auth.jwt.public_key_file=/nowhere", "auth.jwt.algorithms=RS256"], &["/nowhere"]);
    assert!(with(&[jwt, &key, "auth.jwt.algorithms=RS256,PS512"]).is_ok());
    let (config, warnings) = with(&[jwt, "auth.jwt.secret=x"]).unwrap();
    assert_eq!((config.auth.jwt.algorithms, warnings.len()), (vec!["HS256".to_owned()], 1));
}

#[test]
fn a_set_of_keys_may_have_any_families_and_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let (jwt, set) = ("auth.mode=jwt", format!("auth.jwt.jwks_file={}", path.display()));
    refused(&[jwt, &set], &["auth.jwt.jwks_file = \"", "RFC 7517", "No such file"]);
    for bad in ["", "hush", "{\"keys\": []}", "{\"keys\": \"hush\"}", "[]"] {
        std::fs::write(&path, bad).unwrap();
        let error = with(&[&set]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("auth.jwt.jwks_file") && !error.contains("hush"), "{error}");
    }
    std::fs::write(&path, format!("{{\"keys\": [{{}}], \"fill\": \"{}\"}}", "x".repeat(100_000))).unwrap();
    let (config, warnings) = with(&[jwt, &set, "auth.jwt.algorithms=RS256,ES256"]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.auth.jwt.jwks.unwrap().source(), Some(path.as_path()));
    assert!(with(&[jwt, &set]).unwrap().0.auth.jwt.algorithms.is_empty());
    refused(&[jwt, &set, "auth.jwt.secret=x"], &["auth.jwt.jwks_file = \"", "exactly one"]);
}

#[test]
fn tickets_need_no_keys_but_those_that_are_given_are_good() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let (config, warnings) = with(&[&format!("auth.tickets.keys={a},{b}"), "auth.tickets.ttl=5m"]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(signing_keys(config.auth.tickets.keys.unwrap().reveal()).unwrap(), [&a, &b]);
    assert_eq!(config.auth.tickets.ttl_ms, 300_000);
    refused(&["auth.tickets.keys=hush"], &["auth.tickets.keys = ***: key number 1", "32 to 256"]);
    refused(&["auth.tickets.keys_file=/nowhere"], &["auth.tickets.keys_file = \"/nowhere\""]);
    refused(&["auth.tickets.ttl=6m"], &["auth.tickets.ttl", "5m"]);
    refused(&["auth.tickets.used=0"], &["auth.tickets.used"]);
}

#[test]
fn signed_cookies_have_keys_and_a_name_of_their_own() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let keys = format!("auth.cookie.keys={a},{b}");
    let cookie = "auth.mode=cookie";
    refused(&[cookie], &["auth.mode = \"cookie\"", "auth.cookie.keys_file"]);
    refused(&["auth.mode=jwt, cookie", &keys], &["auth.mode = \"jwt,cookie\"", "auth.jwt.secret"]);
    let (config, warnings) = with(&[cookie, &keys]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(signing_keys(config.auth.cookie.keys.unwrap().reveal()).unwrap(), [&a, &b]);
    assert_eq!((config.auth.cookie.name.as_str(), config.auth.cookie.leeway_s), ("holdfast", 5));
    refused(&[cookie, "auth.cookie.keys=hush"], &["auth.cookie.keys = ***: key number 1", "32 to 256"]);
    let same = format!("auth.cookie.keys={a},{a}");
    refused(&[cookie, &same], &["auth.cookie.keys = ***", "key number 2: it is there already"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("{a}\n\n{b} {b}\n")).unwrap();
    let file = format!("auth.cookie.keys_file={}", path.display());
    refused(&[cookie, &file], &["auth.cookie.keys_file = \"", "key in line 3: it has a space"]);
    refused(&[cookie, &file, &keys], &["only one of auth.cookie.keys and auth.cookie.keys_file"]);
    std::fs::write(&path, format!("{b}\n")).unwrap();
    assert_eq!(with(&[cookie, &file]).unwrap().0.auth.cookie.keys.unwrap().source(), Some(path.as_path()));
    let both = ["auth.mode=cookie,jwt", &keys, "auth.jwt.secret_file=/dev/null"];
    refused(&both, &["auth.jwt.secret_file"]);
    let secret = format!("auth.jwt.secret={b}");
    assert!(with(&["auth.mode=cookie,jwt", &keys, &secret]).is_ok());
    refused(
        &["auth.mode=cookie,jwt", &keys, &secret, "auth.jwt.cookie=holdfast"],
        &["auth.jwt.cookie = \"holdfast\"", "another"],
    );
    assert!(with(&["clients.listen=0.0.0.0:7001", cookie, &keys]).is_ok());
    let sources = Sources { sets: vec![keys], ..Sources::default() };
    let (shown, _) = render::effective(&sources).unwrap();
    assert!(shown.contains("keys = [\"***\", \"***\"]") && !shown.contains(&a), "{shown}");
}

#[test]
fn a_secret_comes_from_the_higher_source_of_the_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "from-file\n").unwrap();
    let set = format!("internal.token_file={}", path.display());
    refused(&["internal.token=x", &set], &["internal.token_file", "only one"]);
    let (config, _) = with(&[&set]).unwrap();
    assert_eq!(config.internal.tokens[0].secret.reveal(), "from-file");
    assert_eq!(config.internal.tokens[0].secret.source(), Some(path.as_path()));
    let mut sources = Sources { sets: vec![set], ..Sources::default() };
    sources.env.push(("HOLDFAST_INTERNAL_TOKEN".into(), "lower".into()));
    assert_eq!(load(&sources).unwrap().0.internal.tokens[0].secret.reveal(), "from-file");
    sources.sets = vec!["internal.token=higher".into()];
    sources.env = vec![("HOLDFAST_INTERNAL_TOKEN_FILE".into(), "/nowhere".into())];
    assert_eq!(load(&sources).unwrap().0.internal.tokens[0].secret.reveal(), "higher");
    refused(&["internal.token_file=/nowhere"], &["internal.token_file = \"/nowhere\"", "readable"]);
    refused(&["internal.tokens=a:send:x,a:read:y"], &["internal.tokens[1].name = \"a\"", "once"]);
    refused(&["internal.tokens=a:send:x,b:read:x"], &["internal.tokens[1].token = ***", "different"]);
}

#[test]
fn where_the_queue_is() {
    let kafka = |sets: &[&str]| with(sets).unwrap().0.kafka;
    let default = kafka(&[]);
    assert_eq!(default.brokers, KafkaBrokers::Embedded);
    assert_eq!(default.topics[0], r"^([a-z0-9-]+\.)?push\.high$");
    assert_eq!(kafka(&["kafka.brokers=none"]).brokers, KafkaBrokers::None);
    let outside = kafka(&[
        "kafka.brokers=a:9092, b:9093",
        "kafka.properties=security.protocol=sasl_ssl,sasl.username=x=y",
        "kafka.password=hush",
        "lanes.low.topics=^bulk\\..*",
    ]);
    assert_eq!(outside.brokers, KafkaBrokers::At("a:9092,b:9093".into()));
    assert_eq!(outside.properties[1], ("sasl.username".into(), "x=y".into()));
    assert_eq!((outside.topics[2].as_str(), outside.password.unwrap().reveal()), (r"^bulk\..*", "hush"));
    refused(&["kafka.brokers=somewhere"], &["kafka.brokers = \"somewhere\"", "\"embedded\"", "host:port"]);
    refused(&["kafka.properties=nonsense"], &["kafka.properties", "name=value"]);
    refused(&["lanes.low.topics=push.low"], &["lanes.low.topics = \"push.low\"", "begins with \"^\""]);
    refused(&["lanes.low.topics=^("], &["lanes.low.topics", "regular expression"]);
    refused(&["kafka.status_topic=a b"], &["kafka.status_topic", "topic"]);
    let warned = with(&["kafka.brokers=a:1"]).unwrap().1;
    assert!(warned.iter().any(|warning| warning.0.contains("memory")), "{warned:?}");
}

#[test]
fn where_the_registry_is() {
    let registry = |sets: &[&str]| with(sets).unwrap().0.registry;
    assert_eq!(registry(&[]).url, RegistryUrl::Memory);
    let RegistryUrl::Redis(target) =
        registry(&["registry.url=redis://me:hush@redis:1", "registry.password=shh"]).url
    else {
        panic!("it is Redis")
    };
    assert_eq!(target.login.user.as_deref(), Some("me"));
    assert_eq!(target.login.password.unwrap().reveal(), "shh", "the key goes before the address");
    refused(
        &["registry.url=redis://me:hush@"],
        &["registry.url = \"redis://me:***@\"", "host", "\"memory\""],
    );
    refused(&["registry.url=http://h"], &["registry.url = \"http://h\"", "scheme", "redis+cluster"]);
    refused(
        &["registry.url=redis://h", "registry.sentinel_password=x"],
        &["registry.sentinel_password = ***", "redis+sentinel"],
    );
    refused(
        &["registry.url=redis://h", "internal.tokens=a:send:x,b:read:y"],
        &["internal.tokens = ***", "role \"peer\""],
    );
}

#[test]
fn a_reload_reads_the_sources_again_and_keeps_the_name() {
    let (_folder, sources) = file("[drain]\nrate = 1\n");
    let (config, _) = load(&sources).unwrap();
    std::fs::write(sources.file.unwrap(), "[drain]\nrate = 2\n").unwrap();
    let again = config.reload().unwrap().config;
    assert_eq!((again.drain.rate, again.node.id), (2, config.node.id));
}

#[test]
fn effective_values_say_where_they_were_set_and_hide_secrets() {
    let (_folder, mut sources) = file("[drain]\nrate = 1\n[lanes.high]\nttl = \"1s\"\n");
    sources.env.push(("HOLDFAST_INTERNAL_TOKENS".into(), "ci:send:hush".into()));
    sources.env.push(("HOLDFAST_PORT_7001_TCP".into(), "tcp://10.0.0.1:7001".into()));
    sources.sets = vec!["internal.token=quiet".into(), "auth.jwt.secret=calm".into()];
    let (shown, warnings) = render::effective(&sources).unwrap();
    for secret in ["hush", "quiet", "calm"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for line in ["rate = 1 # (", "token = \"***\" # (--set)", "max = \"90m\" # automatic", "ttl = \"1s\" # ("]
    {
        assert!(shown.contains(line), "{shown}\nhas {line}");
    }
    assert!(shown.parse::<toml::Table>().is_ok());
    assert!(warnings.len() == 1 && warnings[0].0.contains("HOLDFAST_PORT_7001_TCP"), "{warnings:?}");
}

proptest::proptest! {
    #[test]
    fn no_file_panics(text in "(\\[\\[?[a-z.]{1,9}\\]\\]?|[a-z_.]{1,9} ?= ?(\"[ -~]{0,6}\"|[0-9.eE+-]{1,6}|\\[[0-9,]{0,4}\\]|\\{\\}|true)|\n){0,8}") {
        let (_folder, sources) = file(&text);
        let _ = load(&sources);
    }
}

#[test]
fn an_endpoint_is_named_and_its_settings_fit_together() {
    let (http, url) = ("auth.mode=http", "auth.http.url=https://login.example.com/whoami");
    refused(&[http], &["auth.mode = \"http\"", "auth.http.url"]);
    refused(&["auth.mode=jwt,http", "auth.jwt.secret=x"], &["auth.mode = \"jwt,http\"", "auth.http.url"]);
    refused(
        &[http, "auth.http.url=login.example.com"],
        &["auth.http.url = \"login.example.com\"", "https://"],
    );
    refused(&[http, "auth.http.url=http://me:hush@host/"], &["auth.http.url = \"***\"", "without a user"]);
    refused(&[http, url, "auth.http.credentials=cookie,Host"], &["auth.http.credentials", "\"host\""]);
    refused(&[http, url, "auth.http.credentials=Cookie,cookie"], &["auth.http.credentials", "once"]);
    refused(
        &[http, url, "auth.http.timeout=10s"],
        &["auth.http.timeout = \"10s\"", "limits.handshake_timeout"],
    );
    refused(
        &[http, url, "auth.http.pause_max=500ms"],
        &["auth.http.pause_max", "auth.http.pause, which is 1s"],
    );
    refused(&[http, url, "auth.http.token=a b"], &["auth.http.token = ***", "visible ASCII"]);
    refused(&[http, url, "auth.http.failures=17"], &["auth.http.failures = \"17\"", "from 1 to 16"]);
    refused(
        &[http, url, "auth.http.ca_file=/nowhere"],
        &["auth.http.ca_file = \"/nowhere\"", "No such file"],
    );
    refused(&[http, url, "auth.http.token_file=/nowhere"], &["auth.http.token_file = \"/nowhere\""]);
    let (config, warnings) = with(&[http, url, "auth.http.credentials=X-Api-Key"]).unwrap();
    assert_eq!((config.auth.http.credentials, warnings.len()), (vec!["x-api-key".to_owned()], 0));
    let (_, warnings) = with(&[http, "auth.http.url=http://login.example.com/"]).unwrap();
    assert!(warnings.len() == 1 && warnings[0].to_string().contains("plaintext"), "{warnings:?}");
    assert!(with(&[http, "auth.http.url=http://127.0.0.1:9000"]).unwrap().1.is_empty());
    // Settings of a way that is off are looked at as well, but need not be complete.
    assert!(with(&["auth.http.timeout=10s"]).is_ok());
}
