//! The answer for a script: the same figures as the table has, with names that stay.

use super::{
    choose::{Answer, Role, Row},
    fleet::{Told, handshakes},
    question::{Question, Tls},
    types::TypeList,
};
use serde_json::{Value, json};

/// All of it. Times are seconds, shares from 0 to 1; null stands for never and for nothing left.
pub fn json(question: &Question, list: &TypeList, answer: &Answer) -> Value {
    let tls = match question.tls {
        Tls::Apart => "apart",
        Tls::Here => "here",
        Tls::Elsewhere => "elsewhere",
    };
    json!({
        "question": {
            "connections": question.connections,
            "target": question.target,
            "ceiling": question.ceiling,
            "spare": question.spare,
            "zones": question.zones,
            "lost_most": question.lost_most,
            "reconnect_within_s": question.within_s,
            "spread_s": question.spread_s,
            "lifetime_s": question.lifetime_s,
            "bytes_per_connection": question.connection_bytes,
            "handshakes_per_core": question.handshakes_per_core,
            "tls": tls,
        },
        "currency": list.currency,
        "prices_as_of": list.as_of,
        "fleets": answer.rows.iter().enumerate().map(|(at, each)| row(question, answer.best == Some(at), each)).collect::<Vec<_>>(),
        "recommended": answer.best.and_then(|best| answer.rows.get(best)).map(|each| row(question, true, each)),
        "front": answer.front.as_ref().map(|front| json!({
            "type": front.node.name,
            "hosts": front.nodes,
            "cost_per_hour": front.cost,
            "connections_per_host": front.each,
        })),
        "registry": {
            "masters": question.masters(),
            "steady_per_s": question.steady(),
            "trusted_with_per_s": question.registrations(),
        },
    })
}

fn row(question: &Question, is_best: bool, row: &Row) -> Value {
    let fleet = &row.fleet;
    let told = |fault| Told { fault, fleet, question }.to_string();
    json!({
        "type": fleet.node.name,
        "nodes": fleet.nodes,
        "recommended": is_best,
        "fewest_that_hold_it": row.role == Role::Bare,
        "good": fleet.is_good(),
        "reasons_against": fleet.faults.iter().map(|fault| told(*fault)).collect::<Vec<_>>(),
        "cost_per_hour": fleet.cost,
        "capacity": fleet.capacity.connections,
        "bound_by": fleet.capacity.bound.label(),
        "connections_per_node": fleet.each,
        "utilization": finite(fleet.full),
        "handshakes_per_node_per_s": handshakes(question, &fleet.node),
        "cpu_at_rest": finite(fleet.cpu),
        "loss": {
            "connections": fleet.loss.connections,
            "share": fleet.loss.share,
            "wanted_handshakes_per_s": finite(fleet.loss.wanted),
            "peak_handshakes_per_s": finite(fleet.loss.peak),
            "waits_for": fleet.loss.brake.map(|brake| brake.label()),
            "absorbed_after_s": finite(fleet.loss.absorb_s),
            "utilization_after": finite(fleet.loss.full_after),
            "utilization_after_zone": fleet.full_after_zone.and_then(finite),
        },
        "deploy_s": fleet.deploy_s,
    })
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
