//! The kinds of host that can be had: a TOML file of node types with their price, memory and cores.
//!
//! Owns the file's keys and the words for what is wrong with one. Never opens a file.

use crate::config::size::parse_bytes;
use serde::Deserialize;
use toml::Spanned;

/// The examples that come with the program; `deploy/node-types.toml` of the source.
pub const EXAMPLES: &str = include_str!("../../../deploy/node-types.toml");

/// More types than these nobody reads.
const TYPES_MAX: usize = 500;

/// A kind of host.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeType {
    /// What its seller calls it.
    pub name: String,
    /// Cores, or virtual ones; at least 1.
    pub cores: u32,
    /// Memory, bytes.
    pub memory: u64,
    /// What an hour costs, in the list's currency; above 0.
    pub price: f64,
    /// Connections that it can hold at most for a reason of its own, such as its seller's tracking of connections.
    pub connections: Option<u64>,
}

/// A file of them.
#[derive(Clone, PartialEq, Debug)]
pub struct TypeList {
    /// What prices are in.
    pub currency: String,
    /// When the prices were looked up, in the file's own words.
    pub as_of: Option<String>,
    /// At least one, no two of one name.
    pub types: Vec<NodeType>,
}

/// What is wrong with a file: a sentence with the line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadTypes {
    /// From 1.
    pub line: usize,
    /// What, and what to do about it.
    pub what: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawList {
    currency: Option<String>,
    as_of: Option<String>,
    #[serde(default, rename = "type")]
    types: Vec<Spanned<RawType>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawType {
    name: Option<String>,
    cores: Option<i64>,
    memory: Option<String>,
    price: Option<f64>,
    connections: Option<i64>,
}

/// Reads such a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<TypeList, BadTypes> {
    let line_of = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let raw: RawList = toml::from_str(text).map_err(|error| BadTypes {
        line: error.span().map_or(1, |span| line_of(span.start)),
        what: plain(error.message()),
    })?;
    let mut types: Vec<NodeType> = Vec::new();
    for spanned in raw.types {
        let line = line_of(spanned.span().start);
        let node = check(spanned.into_inner()).map_err(|what| BadTypes { line, what })?;
        if types.iter().any(|known| known.name == node.name) {
            let what = format!("the type `{}` stands there twice: give each its own name", node.name);
            return Err(BadTypes { line, what });
        }
        types.push(node);
    }
    if types.is_empty() || types.len() > TYPES_MAX {
        let what = format!(
            "{} types of node: from 1 to {TYPES_MAX} are taken, each begins with a line `[[type]]`",
            types.len()
        );
        return Err(BadTypes { line: 1, what });
    }
    let currency = raw.currency.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "USD".into());
    Ok(TypeList { currency, as_of: raw.as_of, types })
}

/// What the reader of TOML says, in one line.
fn plain(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").replace("unknown field", "unknown key")
}

fn check(raw: RawType) -> Result<NodeType, String> {
    let name = raw.name.map(|name| holdfast_plots::words::plain(name.trim())).filter(|name| !name.is_empty());
    let name = name.ok_or("a type has no name: write `name = \"…\"`")?;
    let cores = raw.cores.ok_or(format!("the type `{name}` has no cores: write `cores = 4`"))?;
    let cores = u32::try_from(cores).ok().filter(|cores| (1..=4_096).contains(cores));
    let cores = cores.ok_or(format!("the type `{name}`: cores must lie from 1 to 4096"))?;
    let memory = raw.memory.ok_or(format!("the type `{name}` has no memory: write `memory = \"16GiB\"`"))?;
    let memory = parse_bytes(&memory).filter(|bytes| (256 << 20..=1 << 50).contains(bytes));
    let memory = memory.ok_or(format!("the type `{name}`: memory must be like \"16GiB\", from 256MiB up"))?;
    let priced = "`price = 0.17`, what an hour of it costs; for your own hosts, their cost by the hour";
    let price = raw.price.ok_or(format!("the type `{name}` has no price: write {priced}"))?;
    if !(price.is_finite() && price > 0.0 && price < 1e9) {
        return Err(format!("the type `{name}`: the price must be above 0: write {priced}"));
    }
    let connections = match raw.connections {
        None => None,
        Some(most) => Some(u64::try_from(most).ok().filter(|most| *most > 0).ok_or(format!(
            "the type `{name}`: connections must be at least 1; leave it out for no such limit"
        ))?),
    };
    Ok(NodeType { name, cores, memory, price, connections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_right() {
        let list = parse(EXAMPLES).unwrap();
        assert!(list.types.len() >= 10 && list.as_of.is_some());
        assert!(EXAMPLES.starts_with("# Examples") && EXAMPLES.contains("check them"), "marked as examples");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = "name = \"a\"\ncores = 2\nmemory = \"4GiB\"\nprice = 0.1\n";
        let without = |key: &str| {
            let rest: Vec<&str> = good.lines().filter(|line| !line.starts_with(key)).collect();
            format!("# prices\n[[type]]\n{}\n", rest.join("\n"))
        };
        let cases = [
            (without("price"), "line 2: the type `a` has no price: write `price = 0.17`"),
            (without("cores"), "line 2: the type `a` has no cores: write `cores = 4`"),
            (without("memory"), "line 2: the type `a` has no memory"),
            (without("name"), "line 2: a type has no name"),
            (
                format!("[[type]]\n{good}pric = 3\n"),
                "line 6: unknown key `pric`, expected one of `name`, `cores`, `memory`, `price`, `connections`",
            ),
            (
                format!("curency = \"EUR\"\n[[type]]\n{good}"),
                "line 1: unknown key `curency`, expected one of",
            ),
            (format!("[[type]]\n{good}[[type]]\n{good}"), "line 6: the type `a` stands there twice"),
            (
                format!("[[type]]\n{}", good.replace("cores = 2", "cores = 0")),
                "line 1: the type `a`: cores must lie from 1",
            ),
            (
                format!("[[type]]\n{}", good.replace("4GiB", "4GB")),
                "line 1: the type `a`: memory must be like",
            ),
            (
                format!("[[type]]\n{}", good.replace("0.1", "-0.1")),
                "line 1: the type `a`: the price must be above 0",
            ),
            (
                format!("[[type]]\n{}", good.replace("0.1", "nan")),
                "line 1: the type `a`: the price must be above 0",
            ),
            (format!("[[type]]\n{}", good.replace("0.1", "\"0.1\"")), "line 5: invalid type: string"),
            (
                format!("[[type]]\n{good}connections = 0\n"),
                "line 1: the type `a`: connections must be at least 1",
            ),
            (String::new(), "line 1: 0 types of node: from 1 to 500"),
            ("[[type]\n".into(), "line 1: "),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error}\nfor\n{text}");
        }
    }
}
