//! Passwords and users, of servers and of Sentinels.

use crate::{
    client::{Client, lookup},
    servers::{Server, Watcher, command, wait_for},
};
use holdfast::{
    bridge::store::{Event, Failure, Settings, Target},
    config::Secret,
};

/// Why the master of a client is down.
pub fn cause(client: &Client) -> String {
    wait_for("the news", || {
        client.events().into_iter().find_map(|event| match event {
            Event::Down { cause, .. } => Some(cause),
            _ => None,
        })
    })
}

#[test]
fn a_password_and_a_user() {
    let user = "--requirepass p@ss --user app on >sec:ret ~holdfast:* +@all -@dangerous +info";
    let server = Server::start(&user.split(' ').collect::<Vec<_>>());
    for login in [":p%40ss@", "default:p%40ss@", "app:sec%3Aret@"] {
        let client = Client::ready(&format!("redis://{login}127.0.0.1:{}", server.port), 1);
        client.lookup("ann");
    }
    for login in ["", ":hush@", "app:hush@"] {
        let client = Client::start(&format!("redis://{login}127.0.0.1:{}", server.port));
        let cause = cause(&client);
        assert!(!cause.contains("hush") && !cause.contains("ret"), "{cause}");
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down));
    }
}

#[test]
fn a_password_is_changed_while_the_node_runs() {
    let server = Server::start(&["--requirepass", "old"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "old\n").unwrap();
    let mut target: Target = server.url().parse().unwrap();
    target.login.password = Some(Secret::from_file(&file).unwrap());
    let client = Client::with(Settings::new(target));
    client.wait_up(1);
    let info = redis::Client::open(format!("redis://:old@127.0.0.1:{}", server.port)).unwrap();
    let mut operator = info.get_connection().unwrap();
    std::fs::write(&file, "new\n").unwrap();
    command(&mut operator, "CONFIG SET requirepass new").unwrap();
    client.forget_events();
    command(&mut operator, "CLIENT KILL TYPE normal SKIPME yes").unwrap();
    wait_for("an answer with the new password", || client.ask(lookup("ann")).ok());
}

#[test]
fn a_sentinels_own_password_and_user() {
    let server = Server::start(&["--requirepass", "p@ss"]);
    let watcher = Watcher::start(
        server.port,
        "sentinel auth-pass main p@ss\nrequirepass w@tch\nuser scout on >look +@all\n",
    );
    let url = |query: &str| format!("redis+sentinel://:p%40ss@127.0.0.1:{}/main{query}", watcher.port);
    for query in ["?sentinel_password=w%40tch", "?sentinel_user=scout&sentinel_password=look"] {
        let client = Client::ready(&url(query), 1);
        client.lookup("ann");
    }
    // The master's own opens no Sentinel.
    for query in ["", "?sentinel_password=p%40ss", "?sentinel_user=scout&sentinel_password=w%40tch"] {
        let client = Client::start(&url(query));
        let cause = cause(&client);
        assert!(
            cause.contains("127.0.0.1") && !cause.contains("p@ss") && !cause.contains("w@tch"),
            "{cause}"
        );
        assert_eq!(client.ask(lookup("ann")), Err(Failure::Down));
    }
}
