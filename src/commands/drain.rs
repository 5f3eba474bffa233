//! `holdfast drain`: asks a node to leave, watches it, or calls it back.

use super::{DONE, client::NodeAddress, fail, print};
use crate::sender::http::{Answer, Client, Failure};
use serde_json::Value;
use std::{thread::sleep, time::Duration};

/// How often `--wait` asks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Asks a node to leave: it refuses new connections and asks those it holds to reconnect elsewhere, spread over time.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[arg(value_enum, default_value_t = Action::Start)]
    action: Action,
    /// Show the progress until the node is empty or gone
    #[arg(long)]
    wait: bool,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeAddress,
}

const EXAMPLES: &str = "\
Examples:
  holdfast drain                    begin
  holdfast drain --wait             begin, and show the progress
  holdfast drain status
  holdfast drain cancel             call back a drain not begun by a signal";

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Begin
    Start,
    /// Show how far it is
    Status,
    /// Call it back
    Cancel,
}

pub fn main(args: &Args) -> i32 {
    let client = match args.node.client(Duration::ZERO) {
        Ok(client) => client,
        Err(why) => return fail(why),
    };
    let method = match args.action {
        Action::Start => "POST",
        Action::Status => "GET",
        Action::Cancel => "DELETE",
    };
    let answer = match client.ask(method, "/v1/drain", None) {
        Ok(answer) if (200..300).contains(&answer.status) => answer,
        Ok(answer) => return fail(answer.refusal("the node refused")),
        Err(failure) => return fail(failure.text()),
    };
    let code = print(&line(args, &answer));
    if code != DONE || !args.wait || args.action == Action::Cancel { code } else { watch(args, &client) }
}

/// Prints each change until the node holds nothing, stops draining, or is gone, which is how a drain ends.
fn watch(args: &Args, client: &Client) -> i32 {
    let mut last = [None, None];
    loop {
        let answer = match client.ask("GET", "/v1/drain", None) {
            Ok(answer) => answer,
            Err(Failure::Unreachable(_) | Failure::Closed(_)) => {
                return print(&format!("{} is gone\n", client.address()));
            }
            Err(failure) => return fail(failure.text()),
        };
        if answer.status != 200 {
            return fail(answer.refusal("the node refused"));
        }
        // The time runs on in every answer: a line is worth printing when anything else has changed.
        let progress = ["phase", "remaining"].map(|field| answer.body.get(field).map(Value::to_string));
        if progress != last && print(&line(args, &answer)) != DONE {
            return super::FAILED;
        }
        last = progress;
        match answer.body.get("phase").and_then(Value::as_str) {
            Some("done") => return DONE,
            Some("serving") => return fail("the node is not draining"),
            _ => sleep(INTERVAL),
        }
    }
}

/// The node's answer on a line: as it is, or as words.
fn line(args: &Args, answer: &Answer) -> String {
    let Some(fields) = answer.body.as_object().filter(|_| !args.json) else {
        return format!("{}\n", answer.body);
    };
    let word = |(name, value): (&String, &Value)| match value {
        Value::String(text) => format!("{name} {text}"),
        value => format!("{name} {value}"),
    };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    format!("{}\n", known.map(word).collect::<Vec<_>>().join(", "))
}
