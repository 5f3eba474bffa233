use super::*;
use crate::{
    bridge::registry::Lease,
    kit::slab::Key,
    model::{Handle, Protocol},
};
use proptest::prelude::*;

fn place(index: u32) -> Place {
    Place { node: 1, incarnation: 2, connection: Handle { shard: 3, key: Key { index, generation: 4 } } }
}

fn requests() -> Vec<Request> {
    let (user, device): (Box<str>, Box<str>) = ("ann".into(), "tv".into());
    let lease = Lease {
        node: "a".into(),
        address: String::new(),
        region: String::new(),
        incarnation: 2,
        capacity: 0,
        connections: 0,
        draining: false,
        version: String::new(),
        lanes: Default::default(),
    };
    let protocol = Protocol::Sse;
    vec![
        Request::Connect {
            user: user.clone(),
            device: device.clone(),
            place: place(1),
            protocol,
            age_ms: u64::MAX,
            life_ms: u64::MAX,
            format: 1,
        },
        Request::Disconnect { user: user.clone(), device, place: place(1) },
        Request::Lookup { user },
        Request::RenewLease { lease, format: 1, ttl_ms: u64::MAX },
        Request::RemoveLease { node: "a".into(), incarnation: 2 },
        Request::Leases,
    ]
}

fn bulk(bytes: impl AsRef<[u8]>) -> Value {
    Value::BulkString(bytes.as_ref().to_vec())
}

/// A good reply to a request sent with 77.
fn reply(request: &Request) -> Vec<Value> {
    let key = if request.user().is_some() { "holdfast:u:ann" } else { LEASES_KEY };
    let mut parts = vec![bulk("77"), bulk(key)];
    parts.extend(match request {
        Request::Connect { .. } => vec![bulk("stands"), bulk(""), bulk("")],
        Request::Disconnect { .. } => vec![Value::Int(1), bulk("")],
        Request::RemoveLease { .. } => vec![Value::Int(1)],
        Request::Lookup { .. } | Request::Leases => vec![Value::Int(5), Value::Array(vec![])],
        Request::RenewLease { .. } => vec![bulk("kept"), bulk(2u64.to_be_bytes()), Value::Int(7)],
    });
    parts
}

#[test]
fn a_reply_is_believed_only_with_its_number_and_its_key() {
    for request in requests() {
        let parts = reply(&request);
        let said = request.read(77, Value::Array(parts.clone()));
        assert!(matches!(said, Said::Reply(_)), "{request:?} {said:?}");
        assert_eq!(request.read(78, Value::Array(parts.clone())), Said::Misattributed);
        for key in ["holdfast:u:bob", "holdfast:u:", "holdfast:u:anna", "ann", ""] {
            let mut other = parts.clone();
            other[1] = bulk(key);
            assert_eq!(request.read(77, Value::Array(other)), Said::Misattributed, "{request:?} {key}");
        }
        for length in 0..parts.len() {
            let cut = Value::Array(parts[..length].to_vec());
            assert_eq!(request.read(77, cut), Said::Misattributed, "{request:?} {length}");
        }
        for other in [Value::Okay, Value::Nil, Value::Int(77), bulk("77")] {
            assert_eq!(request.read(77, other), Said::Misattributed);
        }
    }
}

#[test]
fn a_connect_that_came_too_late_says_so() {
    let parts = vec![bulk("77"), bulk("holdfast:u:ann"), bulk("late")];
    assert_eq!(requests()[0].read(77, Value::Array(parts)), Said::Late);
}

#[test]
fn commands_are_whole_and_say_how_many_words_they_have() {
    let digests: Digests = std::array::from_fn(|at| format!("{at:040}"));
    let times = Times { sent_ms: 10, until_ms: 20, waited_ms: 30 };
    for request in requests() {
        let mut bytes = Vec::new();
        request.write(&mut bytes, &digests, 77, times);
        let Ok(Value::Array(words)) = redis::parse_redis_value(&bytes) else { panic!("{request:?}") };
        let mut again = Vec::new();
        let words = words.into_iter().map(|word| match word {
            Value::BulkString(word) => word,
            other => panic!("{other:?}"),
        });
        let words: Vec<Vec<u8>> = words.collect();
        again.extend(redis::pack_command(&words));
        assert_eq!(bytes, again, "{request:?}");
        let keys: usize = std::str::from_utf8(&words[2]).unwrap().parse().unwrap();
        assert_eq!(words[3 + keys], b"77");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        proptest::collection::vec(any::<u8>(), 0..60).prop_map(Value::BulkString),
        Just(bulk("77")),
        Just(bulk("holdfast:u:ann")),
        Just(bulk("stands")),
    ];
    leaf.prop_recursive(3, 16, 6, |inner| proptest::collection::vec(inner, 0..6).prop_map(Value::Array))
}

proptest! {
    #[test]
    fn any_value_is_read_or_refused(tail in proptest::collection::vec(value(), 0..4), other in value(), which in 0usize..6) {
        let request = &requests()[which];
        let mut parts = reply(request)[..2].to_vec();
        parts.extend(tail);
        request.read(77, Value::Array(parts));
        request.read(77, other);
    }
}
