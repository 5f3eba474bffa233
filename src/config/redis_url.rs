//! Where the registry is, as an operator writes it.
//!
//! ```text
//! redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]
//! redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…/MASTER[/DB]
//! redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…
//! ```
//! `rediss` in place of `redis` is TLS, on every connection. User and password are percent-decoded; a password alone is
//! `:PASSWORD@`. Ports: 6379, of a Sentinel 26379. Sentinels that ask for a password get `?sentinel_user=…` and
//! `?sentinel_password=…`.

use super::Secret;
use percent_encoding::percent_decode_str;

/// Servers of one kind, and how to get in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// How they work together.
    pub kind: Kind,
    /// Whether connections are TLS.
    pub tls: bool,
    /// For the masters.
    pub login: Login,
    /// Number of the database; 0 in a cluster.
    pub database: u32,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Address {
    /// Name or number, without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// How the servers work together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One server.
    Single(Address),
    /// Sentinels that know who the master is.
    Sentinel {
        /// Those to ask.
        sentinels: Vec<Address>,
        /// The master's name.
        master: String,
        /// For the Sentinels.
        login: Login,
    },
    /// Several masters, each with a share of the slots.
    Cluster(Vec<Address>),
}

/// Who the client says it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Login {
    /// None: the default user.
    pub user: Option<String>,
    /// None: not asked for.
    pub password: Option<Secret>,
}

/// Why an address is none. It never shows what it was read from: that has passwords in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadUrl {
    /// Another scheme.
    #[error(
        "the scheme must be one of redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster"
    )]
    Scheme,
    /// No or more hosts than the scheme has, or a name or port that is none.
    #[error(
        "a host is missing or wrong; expected HOST[:PORT], several with commas between for sentinel and cluster"
    )]
    Host,
    /// Behind the hosts.
    #[error("the path is wrong; expected [/DATABASE], for sentinel /MASTER[/DATABASE], for cluster none")]
    Path,
    /// Before the hosts.
    #[error("user or password are not UTF-8 when percent-decoded")]
    Login,
    /// Behind a question mark.
    #[error("only sentinel_user and sentinel_password may stand behind a ?, and only for sentinel")]
    Query,
}

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

impl std::str::FromStr for Target {
    type Err = BadUrl;

    fn from_str(url: &str) -> Result<Self, BadUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(BadUrl::Scheme)?;
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match base {
            "redis" => false,
            "rediss" => true,
            _ => return Err(BadUrl::Scheme),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold any character but these two, which are percent-encoded in it.
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').map_or((None, authority), |(l, h)| (Some(l), h));
        let login = login.map(read_login).transpose()?.unwrap_or_default();
        if kind != "sentinel" && !query.is_empty() {
            return Err(BadUrl::Query);
        }
        let (kind, database) = match kind {
            "" => (Kind::Single(read_host(hosts, PORT)?), path),
            "cluster" if path.is_empty() => (Kind::Cluster(read_hosts(hosts, PORT)?), path),
            "cluster" => return Err(BadUrl::Path),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = decode(master).map_err(|_| BadUrl::Path)?;
                if master.is_empty() {
                    return Err(BadUrl::Path);
                }
                let sentinels = read_hosts(hosts, SENTINEL_PORT)?;
                (Kind::Sentinel { sentinels, master, login: read_query(query)? }, database)
            }
            _ => return Err(BadUrl::Scheme),
        };
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| BadUrl::Path)? };
        Ok(Self { kind, tls, login, database })
    }
}

/// An address without its passwords, for eyes.
pub fn masked(url: &str) -> String {
    let (rest, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    let mut shown = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    match rest.rsplit_once('@') {
        Some((login, hosts)) => {
            let user = login.split_once(':').map_or(login, |(user, _)| user);
            shown += &format!("{user}:***@{hosts}");
        }
        None => shown += rest,
    }
    let pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key != "sentinel_user" => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    if pairs.is_empty() { shown } else { format!("{shown}?{}", pairs.join("&")) }
}

fn decode(text: &str) -> Result<String, BadUrl> {
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| BadUrl::Login)
}

fn read_login(text: &str) -> Result<Login, BadUrl> {
    let (user, password) = text.split_once(':').map_or((text, None), |(user, word)| (user, Some(word)));
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    let password = password.map(decode).transpose()?.map(Secret::new);
    Ok(Login { user, password })
}

fn read_query(query: &str) -> Result<Login, BadUrl> {
    let mut login = Login::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_user", user)) => login.user = Some(decode(user)?),
            Some(("sentinel_password", password)) => login.password = Some(Secret::new(decode(password)?)),
            _ => return Err(BadUrl::Query),
        }
    }
    Ok(login)
}

fn read_hosts(hosts: &str, port: u16) -> Result<Vec<Address>, BadUrl> {
    hosts.split(',').map(|host| read_host(host, port)).collect()
}

fn read_host(text: &str, default: u16) -> Result<Address, BadUrl> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or(BadUrl::Host)?;
            let port =
                if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or(BadUrl::Host)?) };
            host.parse::<std::net::Ipv6Addr>().map_err(|_| BadUrl::Host)?;
            (host, port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._:".contains(c));
    if host.is_empty() || host.contains(strange) {
        return Err(BadUrl::Host);
    }
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| BadUrl::Host))?;
    if port == 0 { Err(BadUrl::Host) } else { Ok(Address { host: host.to_owned(), port }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(host: &str, port: u16) -> Address {
        Address { host: host.into(), port }
    }

    fn login(user: Option<&str>, password: Option<&str>) -> Login {
        Login { user: user.map(Into::into), password: password.map(Secret::new) }
    }

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("memory", "memory"),
            ("redis://h:1/2", "redis://h:1/2"),
            ("redis://me:hush@h", "redis://me:***@h"),
            ("redis://:a:b@c@h", "redis://:***@h"),
            (
                "redis+sentinel://h/m?sentinel_user=u&sentinel_password=hush",
                "redis+sentinel://h/m?sentinel_user=u&sentinel_password=***",
            ),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn each_form_is_read() {
        let none = Login::default;
        let cases = [
            ("redis://h", Kind::Single(at("h", 6379)), false, none(), 0),
            ("redis://h:1/", Kind::Single(at("h", 1)), false, none(), 0),
            ("rediss://[::1]:7/3", Kind::Single(at("::1", 7)), true, none(), 3),
            ("redis://:p%40%2F%3A@h", Kind::Single(at("h", 6379)), false, login(None, Some("p@/:")), 0),
            ("redis://me:a@b:c@h", Kind::Single(at("h", 6379)), false, login(Some("me"), Some("a@b:c")), 0),
            ("redis+cluster://a:1,b", Kind::Cluster(vec![at("a", 1), at("b", 6379)]), false, none(), 0),
            (
                "rediss+cluster://u:p@a",
                Kind::Cluster(vec![at("a", 6379)]),
                true,
                login(Some("u"), Some("p")),
                0,
            ),
        ];
        for (url, kind, tls, login, database) in cases {
            assert_eq!(url.parse(), Ok(Target { kind, tls, login, database }), "{url}");
        }
        let url = "redis+sentinel://:x@s1,s2:5/my%20master/2?sentinel_user=w&sentinel_password=%26";
        let sentinels = vec![at("s1", 26_379), at("s2", 5)];
        let kind =
            Kind::Sentinel { sentinels, master: "my master".into(), login: login(Some("w"), Some("&")) };
        assert_eq!(url.parse(), Ok(Target { kind, tls: false, login: login(None, Some("x")), database: 2 }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, fault) in [
            ("h:6379", BadUrl::Scheme),
            ("http://h", BadUrl::Scheme),
            ("redis+x://h", BadUrl::Scheme),
            ("redis://", BadUrl::Host),
            ("redis://a,b", BadUrl::Host),
            ("redis://h:0", BadUrl::Host),
            ("redis://h:x", BadUrl::Host),
            ("redis://[::1", BadUrl::Host),
            ("redis://[h]", BadUrl::Host),
            ("redis://h\n", BadUrl::Host),
            ("redis+cluster://a,,b", BadUrl::Host),
            ("redis://h/x", BadUrl::Path),
            ("redis+cluster://h/1", BadUrl::Path),
            ("redis+sentinel://h", BadUrl::Path),
            ("redis+sentinel://h/m/x", BadUrl::Path),
            ("redis://%ff@h", BadUrl::Login),
            ("redis://h?a=b", BadUrl::Query),
            ("redis+sentinel://h/m?a=b", BadUrl::Query),
        ] {
            assert_eq!(url.parse::<Target>(), Err(fault), "{url}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let target: Target = "redis+sentinel://:hush@h/m?sentinel_password=hush".parse().unwrap();
        assert!(!format!("{target:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(rest in "[a-z0-9@:/,?=%\\[\\]]{0,30}", scheme in 0usize..3) {
            let scheme = ["redis", "redis+cluster", "rediss+sentinel"][scheme];
            let _ = format!("{scheme}://{rest}").parse::<Target>();
        }

        #[test]
        fn any_password_can_be_written(password in "\\PC{1,20}") {
            let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let target: Target = format!("redis://u:{encoded}@h/1").parse().unwrap();
            prop_assert_eq!(target.login, login(Some("u"), Some(&password)));
        }
    }
}
