//! Where the node or the fleet is that a command talks to, who asks, and how answers are laid out.

use crate::{ops::fleet::Fleet, sender::http::Client};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the node is, and who asks.
#[derive(clap::Args, Debug)]
pub struct NodeAddress {
    /// Internal address of the node [env: HOLDFAST_INTERNAL_LISTEN] [default: 127.0.0.1:7008]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    internal: Option<String>,
    /// Token of the internal port; better in a file or the environment, as `ps` shows flags [env: HOLDFAST_INTERNAL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token [env: HOLDFAST_INTERNAL_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

impl NodeAddress {
    /// Makes the client; `wait` is added to the time that an answer may take.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn client(&self, wait: Duration) -> Result<Client, String> {
        // One question a connection: a kept one that the node closed in between would look like a node that is gone.
        Ok(Client::new(self.address(), self.token()?, wait, 0))
    }

    /// `host:port`; the flag wins over the environment.
    pub fn address(&self) -> String {
        self.internal.clone().unwrap_or_else(Self::default_address)
    }

    /// Where the node is when no flag says so.
    pub fn default_address() -> String {
        variable("HOLDFAST_INTERNAL_LISTEN").unwrap_or_else(|| "127.0.0.1:7008".into())
    }

    /// See [`Self::token_of`].
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn token(&self) -> Result<Option<String>, String> {
        Self::token_of(self.token.as_deref(), self.token_file.as_deref())
    }

    /// Flags win over the environment; the environment's token wins over its file.
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn token_of(token: Option<&str>, file: Option<&Path>) -> Result<Option<String>, String> {
        let from_file = |path: &Path| {
            let read = crate::config::Secret::from_file(path);
            let text = read.map(|secret| Some(secret.reveal().to_owned()));
            text.map_err(|error| format!("cannot read the token file {}: {error}", path.display()))
        };
        if let Some(path) = file {
            return from_file(path);
        }
        if let Some(token) = token.map(str::to_owned).or_else(|| variable("HOLDFAST_INTERNAL_TOKEN")) {
            return Ok(Some(token));
        }
        match variable("HOLDFAST_INTERNAL_TOKEN_FILE") {
            Some(path) => from_file(Path::new(&path)),
            None => Ok(None),
        }
    }
}

/// Where a fleet is, and who asks.
#[derive(clap::Args, Debug)]
pub struct FleetAddress {
    /// Internal address of a node; repeat it for several that do not share a registry [env: HOLDFAST_INTERNAL_LISTEN] [default: 127.0.0.1:7008]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    internal: Vec<String>,
    /// Ask only the addresses given, not the other nodes that they know
    #[arg(long)]
    only: bool,
    /// Token of role read; better in a file or the environment, as `ps` shows flags [env: HOLDFAST_INTERNAL_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// File that holds the token [env: HOLDFAST_INTERNAL_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

impl FleetAddress {
    /// See [`NodeAddress::token_of`].
    ///
    /// # Errors
    /// When the token's file cannot be read.
    pub fn token(&self) -> Result<Option<String>, String> {
        NodeAddress::token_of(self.token.as_deref(), self.token_file.as_deref())
    }

    /// The fleet, to be read with this token.
    pub fn fleet(&self, token: Option<String>) -> Fleet {
        let addresses = match self.internal.is_empty() {
            true => vec![NodeAddress::default_address()],
            false => self.internal.clone(),
        };
        Fleet::new(addresses, token).discover(!self.only)
    }
}

/// An address as people paste it, without what a browser would show around it.
fn host_port(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    match bare.rsplit_once(':') {
        Some((host, port)) if is_port(port) && !host.is_empty() && !host.contains('/') => Ok(bare.to_owned()),
        _ if text.starts_with("https://") => Err("the internal port speaks plain HTTP: HOST:PORT".into()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:7008".into()),
    }
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Lines up cells in columns, the first row being the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        for text in ["10.0.0.5:7008", "http://10.0.0.5:7008/", "node-1:1", "[::1]:7008"] {
            assert!(host_port(text).is_ok_and(|address| !address.contains('/')), "{text}");
        }
        for text in ["", "10.0.0.5", ":7008", "a:70080", "a:b", "http://a/v1", "https://a:1", "a:1/v1"] {
            assert!(host_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "b".into()], vec!["long".into(), String::new()]];
        assert_eq!(table(&rows), "a     b\nlong\n");
    }
}
