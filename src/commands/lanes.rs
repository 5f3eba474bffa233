//! `holdfast lanes`: shows the lanes of the queue, and puts the brakes on.

use super::{DONE, client::NodeAddress, client::table, fail, print};
use crate::sender::http::{Answer, escaped};
use serde_json::Value;
use std::time::Duration;

/// Shows the lanes of the queue, pauses them, lets them go on, or leaves out what is old.
///
/// What is told one node holds for its whole fleet, within some seconds. What was handed over before a pause is still delivered.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    /// Which lane
    #[arg(required_if_eq_any([("action", "pause"), ("action", "resume"), ("action", "skip")]))]
    lane: Option<String>,
    /// For skip: how long ago, e.g. 10m (0: all that there is now), or a time in ms since 1970
    #[arg(long, value_name = "WHEN", required_if_eq("action", "skip"))]
    before: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeAddress,
}

const EXAMPLES: &str = "\
Examples:
  holdfast lanes                             their lag, as this node sees it, and which are paused
  holdfast lanes pause low                   messages wait in the queue
  holdfast lanes resume low
  holdfast lanes skip low --before 10m       leave out what is older than ten minutes";

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Show them
    List,
    /// Read a lane no further
    Pause,
    /// Go on with a lane
    Resume,
    /// Leave out what is older; it gets no outcome
    Skip,
}

pub fn main(args: &Args) -> i32 {
    let client = match args.node.client(Duration::ZERO) {
        Ok(client) => client,
        Err(why) => return fail(why),
    };
    let lane = escaped(args.lane.as_deref().unwrap_or_default());
    let (method, path) = match args.action {
        Action::List => ("GET", "/v1/lanes".to_owned()),
        Action::Pause => ("POST", format!("/v1/lanes/{lane}/pause")),
        Action::Resume => ("POST", format!("/v1/lanes/{lane}/resume")),
        Action::Skip => {
            let before = escaped(args.before.as_deref().unwrap_or_default());
            ("POST", format!("/v1/lanes/{lane}/skip?before={before}"))
        }
    };
    match client.ask(method, &path, None) {
        Ok(answer) if (200..300).contains(&answer.status) => show(args, &answer),
        Ok(answer) => fail(answer.refusal("the node refused")),
        Err(failure) => fail(failure.text()),
    }
}

fn show(args: &Args, answer: &Answer) -> i32 {
    if args.json {
        return print(&format!("{}\n", answer.body));
    }
    let one = std::slice::from_ref(&answer.body);
    let lanes = answer.body.get("lanes").and_then(Value::as_array).map_or(one, Vec::as_slice);
    let text = |lane: &Value, key: &str| match lane.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    };
    let keys = ["lane", "paused", "lag", "records", "parked"];
    let mut rows = vec![keys.iter().map(|key| key.to_uppercase()).collect::<Vec<_>>()];
    rows.extend(lanes.iter().map(|lane| keys.iter().map(|key| text(lane, key)).collect()));
    print(&table(&rows)).max(DONE)
}
