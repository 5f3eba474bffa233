//! The configuration in words: the default file, the effective values, the reference page.
//!
//! Everything is made from the one table of keys; nothing here names one, but for those whose default depends on others.

use super::{
    Config, ConfigError, Sources, Warning, check,
    duration::format_ms,
    kind::{Kind, quoted},
    load::{self, Layers},
    raw::{
        Change, LANE_KEYS, LANE_POLICY, LANE_TOPICS, LANE_TTL, Raw, SECTIONS, Section, default_topics,
        show_lane,
    },
};
use std::fmt::Write;

/// The default configuration as a TOML file with a line of why for every key.
pub fn default_file() -> String {
    let raw = Raw::default();
    let mut out = String::from(
        "# Holdfast's configuration: every key with its default. Keep the lines that you change.\n\
         # Flags win over HOLDFAST_SECTION_KEY in the environment, which wins over this file.\n\
         # Durations: \"250ms\", \"30s\", \"10m\", \"1h\", \"7d\". Sizes: \"512B\", \"64KiB\", \"1MiB\", or a number of bytes.\n",
    );
    for section in SECTIONS {
        let _ = write!(out, "\n# {}\n[{}]\n", section.about, section.name);
        for key in section.keys {
            match key.name {
                // Tables come last in their section, and `tokens = []` would forbid them.
                "internal.tokens" => {
                    let _ = writeln!(out, "# {}\n{}", key.why, TOKEN_EXAMPLE.replace("\n", "\n# "));
                }
                name => {
                    let _ = writeln!(out, "# {}\n{} = {}", key.why, short(section, name), (key.show)(&raw));
                }
            }
        }
        if section.name == "lanes" {
            for lane in &raw.lanes.order {
                let _ = write!(out, "\n[lanes.{lane}]\n{}", lane_keys(&raw, lane, true));
            }
        }
    }
    out
}

/// The effective configuration as TOML: each value with the place where it was set, secrets masked.
///
/// # Errors
/// As [`load`](super::load()).
pub fn effective(sources: &Sources) -> Result<(String, Vec<Warning>), ConfigError> {
    let layers = load::read(sources)?;
    let (config, warnings) = check::check(layers.clone(), sources)?;
    let mut out = String::new();
    for section in SECTIONS {
        let _ = writeln!(out, "{}[{}]", if out.is_empty() { "" } else { "\n" }, section.name);
        for key in section.keys {
            let (shown, note) = match resolved(key.name, &layers, &config) {
                Some(value) => (value, " # automatic".to_owned()),
                None => ((key.show)(&layers.raw), note(&layers, key.name)),
            };
            let _ = writeln!(out, "{} = {shown}{note}", short(section, key.name));
        }
        if section.name == "lanes" {
            for lane in &layers.raw.lanes.order {
                let _ = writeln!(out, "\n[lanes.{lane}]");
                for line in lane_keys(&layers.raw, lane, false).lines() {
                    let key = line.split(' ').next().unwrap_or_default();
                    let _ = writeln!(out, "{line}{}", note(&layers, &format!("lanes.{lane}.{key}")));
                }
            }
        }
    }
    Ok((out, warnings))
}

/// The reference page, docs/config.md.
pub fn page() -> String {
    let raw = Raw::default();
    let mut out = String::from(PAGE_HEAD);
    for section in SECTIONS {
        let _ = write!(out, "\n## {}\n\n{}\n\n", section.name, section.about);
        out.push_str("| key | default | allowed | on reload | why |\n|---|---|---|---|---|\n");
        for key in section.keys {
            row(&mut out, key.name, &(key.show)(&raw), &(key.allowed)(), (key.change, key.why));
        }
        if section.name == "lanes" {
            let defaults = [
                (LANE_POLICY.show(&Default::default()), LANE_POLICY.allowed()),
                (LANE_TTL.show(&None), LANE_TTL.allowed()),
                (LANE_TOPICS.show(&default_topics("NAME")), LANE_TOPICS.allowed()),
            ];
            for ((key, change, why), (shown, allowed)) in LANE_KEYS.iter().zip(&defaults) {
                row(&mut out, &format!("lanes.NAME.{key}"), shown, allowed, (*change, why));
            }
        }
    }
    out
}

const TOKEN_EXAMPLE: &str = "\
# [[internal.tokens]]
name = \"checkout\"
role = \"send\"
token_file = \"/run/secrets/checkout\"";

const PAGE_HEAD: &str = "# Configuration

This page is made from the table in `src/config/raw.rs` (`UPDATE_DOCS=1 cargo test --lib config::` writes it anew).

A value comes from, highest first: a flag (`--clients`, `--set section.key=value`, …; a flag with a name of its own wins
over `--set`), the environment (`HOLDFAST_SECTION_KEY`: `limits.connections` is `HOLDFAST_LIMITS_CONNECTIONS`), the TOML
file of `--config`, the default. Lists are comma separated in flags and the environment. `holdfast config default` prints
a file with every key, `config check FILE` checks one, `config show` prints what is in effect and where it was set.

- Durations need a unit: `250ms`, `30s`, `10m`, `1h`, `7d`. Only in query strings is a bare number seconds.
- Sizes: `512B`, `64KiB`, `1MiB`, `1GiB`, or a plain number of bytes.
- An unknown key or a value that is not allowed is an error before any port opens, which says what is allowed and in which line it is.
  Mistakes that do not hang together are told together. An unknown `HOLDFAST_…` variable is only
  a warning, because Kubernetes injects such.
- Every secret has a `…_file` twin, whose trailing line end is ignored, and which is read again when it changes. Of the two
  the one from the higher source counts; both from the same source are an error.
- With `auth.mode = \"header\"` a client address other than loopback is refused, and so is such an internal address without
  any token, unless `--insecure` (`node.insecure`) insists.

The column \"on reload\" says what becomes of another value when a running node is told to read its configuration again
(SIGHUP): `changes`, or `restart`: the old value stays until then and the log names the key. docs/operations.md has more.

Named tokens of the internal port:

```toml
[[internal.tokens]]
name = \"checkout\"        # appears in the audit log
role = \"send\"            # send, read, admin or peer
token_file = \"/run/secrets/checkout\"
```
";

fn row(out: &mut String, name: &str, default: &str, allowed: &str, (change, why): (Change, &str)) {
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let change = match change {
        Change::Hot => "changes",
        Change::Cold => "restart",
    };
    let _ =
        writeln!(out, "| `{name}` | `{}` | {} | {change} | {} |", cell(default), cell(allowed), cell(why));
}

fn short<'a>(section: &Section, name: &'a str) -> &'a str {
    name.get(section.name.len() + 1..).unwrap_or(name)
}

fn note(layers: &Layers, name: &str) -> String {
    match layers.origins.get(name) {
        Some(origin) => format!(" #{origin}"),
        None => String::new(),
    }
}

fn lane_keys(raw: &Raw, lane: &str, why: bool) -> String {
    let line = |((key, _, reason), value): (&(&str, Change, &str), &String)| match why {
        true => format!("# {reason}\n{key} = {value}\n"),
        false => format!("{key} = {value}\n"),
    };
    LANE_KEYS.iter().zip(&show_lane(raw, lane)).map(line).collect()
}

/// The value that an automatic one came to, where it is the same at every start.
fn resolved(name: &str, layers: &Layers, config: &Config) -> Option<String> {
    let raw = &layers.raw;
    match name {
        "node.shards" if raw.node.shards.is_none() => Some(config.node.shards.to_string()),
        "lifetime.max" if raw.lifetime.max.is_none() => Some(quoted(&format_ms(config.lifetime.max_ms))),
        "auth.jwt.algorithms" if raw.jwt.algorithms.is_empty() && !config.auth.jwt.algorithms.is_empty() => {
            let all: Vec<String> = config.auth.jwt.algorithms.iter().map(|one| quoted(one)).collect();
            Some(format!("[{}]", all.join(", ")))
        }
        _ => None,
    }
}
