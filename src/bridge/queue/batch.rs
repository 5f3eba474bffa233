//! Many records with one call: the part of librdkafka that its safe bindings do not have.
//!
//! Owns the queues to which the partitions of a lane are forwarded. A record that is polled by itself costs three times as
//! much, as each is an event of its own. Never reads from the consumer's own queue: that one carries rebalances, which the
//! bindings take as events, and which a read in batches would answer in their place.
#![allow(unsafe_code)]

use super::{
    context::Context,
    held::Run,
    seam::{Header, Partition, Record},
    signal::Signal,
};
use bytes::{Bytes, BytesMut};
use rdkafka::{
    bindings as kafka,
    consumer::{BaseConsumer, Consumer},
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

/// One lane's queue of fetched records.
pub struct LaneQueue {
    queue: NonNull<kafka::rd_kafka_queue_t>,
    /// Room for a batch; empty but while one is taken.
    messages: Vec<Message>,
    /// Where records are copied to, many in one allocation; a record that is kept keeps at most that much with it.
    arena: BytesMut,
    /// The queue's, and must outlive it.
    signal: Arc<Signal>,
    consumer: Arc<BaseConsumer<Context>>,
}

/// A copy's share of an allocation, B.
const ARENA: usize = 64 * 1024;
/// Names of headers that are common enough not to be copied.
const NAMES: [&str; 5] = ["id", "device", "expires", "collapse", "content-type"];

impl LaneQueue {
    /// Empty, until partitions are forwarded to it. The signal is raised when there is something on it.
    pub fn new(consumer: &Arc<BaseConsumer<Context>>, batch_max: usize, signal: &Arc<Signal>) -> Self {
        // SAFETY: the client is alive, as the consumer is.
        let queue = unsafe { kafka::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka ends the process where it has no memory");
        let lane = Self {
            queue,
            messages: Vec::with_capacity(batch_max),
            arena: BytesMut::new(),
            signal: signal.clone(),
            consumer: consumer.clone(),
        };
        // SAFETY: the queue is alive, and so is the signal until the callback is taken away in `drop`.
        unsafe {
            let opaque = Arc::as_ptr(&lane.signal).cast_mut().cast::<c_void>();
            kafka::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(raise), opaque);
        }
        lane
    }

    /// From now on the partition's records come here. Before it is assigned, else the first ones go elsewhere.
    pub fn forward(&self, topic: &str, number: i32) {
        // Kafka's names of topics have no zero bytes.
        let Ok(topic) = CString::new(topic) else { return };
        // SAFETY: client and name are alive. The partition's queue is a reference that is given back at once; librdkafka
        // keeps the destination alive for as long as anything is forwarded to it.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let from = kafka::rd_kafka_queue_get_partition(client, topic.as_ptr(), number);
            if !from.is_null() {
                kafka::rd_kafka_queue_forward(from, self.queue.as_ptr());
                kafka::rd_kafka_queue_destroy(from);
            }
        }
    }

    /// Takes at most so many of what has been fetched, and never waits. `admit` is told of each run of records, and says
    /// whose it is, or that it is nobody's; errors come out as `fault`. Tells how many were taken.
    pub fn take(
        &mut self,
        at_most: usize,
        records: &mut Vec<Record>,
        mut admit: impl FnMut(&str, &Run) -> Option<Partition>,
        mut fault: impl FnMut(RDKafkaErrorCode),
    ) -> usize {
        let room = at_most.min(self.messages.capacity());
        // SAFETY: there is room for that many pointers, which is what messages are.
        let taken = unsafe {
            let into = self.messages.as_mut_ptr().cast::<*mut kafka::rd_kafka_message_t>();
            kafka::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, into, room)
        };
        let taken = usize::try_from(taken).unwrap_or(0);
        // SAFETY: so many have been written, and no more than there was room for.
        unsafe { self.messages.set_len(taken) };
        records.reserve(taken);
        for run in self.messages.chunk_by(Message::is_followed_by) {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            if first.error() != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                fault(first.error().into());
                continue;
            }
            let found = Run {
                number: first.number(),
                first: first.offset(),
                last: last.offset(),
                records: run.len(),
            };
            if let Some(partition) = admit(first.topic(), &found) {
                records.extend(run.iter().map(|message| message.copy(&partition, &mut self.arena)));
            }
        }
        self.messages.clear();
        taken
    }
}

// SAFETY: librdkafka's handles may be used from any thread; the pointers in `messages` are there only during `take`.
unsafe impl Send for LaneQueue {}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is alive, and the consumer still is. No callback runs when the first call returns, as both
        // take the queue's lock.
        unsafe {
            kafka::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            kafka::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Called on a thread of librdkafka's.
unsafe extern "C" fn raise(_: *mut kafka::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: it is the signal of a lane's queue, which takes the callback away before it lets go of the signal.
    unsafe { &*opaque.cast::<Signal>() }.raise();
}

/// A message that librdkafka has given away. Not null.
#[repr(transparent)]
struct Message(*mut kafka::rd_kafka_message_t);

impl Message {
    fn raw(&self) -> &kafka::rd_kafka_message_t {
        // SAFETY: it is alive until `drop`, and nobody writes to it.
        unsafe { &*self.0 }
    }

    fn error(&self) -> RDKafkaRespErr {
        self.raw().err
    }

    fn number(&self) -> i32 {
        self.raw().partition
    }

    fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Whether both are of one partition, in their order, and no errors.
    fn is_followed_by(&self, next: &Self) -> bool {
        let (this, next) = (self.raw(), next.raw());
        let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        (this.rkt, this.partition, this.err, next.err) == (next.rkt, next.partition, fine, fine)
            && this.offset < next.offset
    }

    fn topic(&self) -> &str {
        if self.raw().rkt.is_null() {
            return "";
        }
        // SAFETY: the message keeps its topic alive, and a topic its name. Kafka's names are ASCII.
        let name = unsafe { CStr::from_ptr(kafka::rd_kafka_topic_name(self.raw().rkt)) };
        name.to_str().unwrap_or("")
    }

    fn copy(&self, partition: &Partition, arena: &mut BytesMut) -> Record {
        let raw = self.raw();
        let mut kind = kafka::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: both are alive.
        let timestamp = unsafe { kafka::rd_kafka_message_timestamp(self.0, &raw mut kind) };
        Record {
            partition: partition.clone(),
            offset: raw.offset,
            timestamp_ms: (timestamp >= 0).then_some(timestamp),
            // SAFETY: pointer and length of a message belong together.
            key: unsafe { bytes(raw.key, raw.key_len) }.map(|key| keep(key, arena)),
            // SAFETY: as above.
            value: unsafe { bytes(raw.payload, raw.len) }.map(|value| keep(value, arena)),
            headers: self.headers(arena),
        }
    }

    fn headers(&self, arena: &mut BytesMut) -> Vec<Header> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive. The headers are its own, and live as long.
        let fault = unsafe { kafka::rd_kafka_message_headers(self.0, &raw mut headers) };
        if fault != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Vec::new();
        }
        // SAFETY: the headers are alive.
        let mut found = Vec::with_capacity(unsafe { kafka::rd_kafka_header_cnt(headers) });
        let (mut name, mut value, mut length) = (ptr::null::<c_char>(), ptr::null::<c_void>(), 0usize);
        // SAFETY: the headers are alive; what is written is read only when there was a header at this place.
        while unsafe {
            let at = found.len();
            kafka::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut length)
        } == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            // SAFETY: a name ends with a zero byte; value and length belong together.
            let (name, value) = unsafe { (CStr::from_ptr(name).to_bytes(), bytes(value, length)) };
            let value = value.map(|value| keep(value, arena));
            let known = NAMES.iter().find(|known| known.as_bytes() == name);
            let name = known.map_or_else(|| keep(name, arena), |known| Bytes::from_static(known.as_bytes()));
            found.push(Header { name, value });
        }
        found
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: it was given away, and this is the only owner.
        unsafe { kafka::rd_kafka_message_destroy(self.0) };
    }
}

/// # Safety
/// The pointer is null, or there are that many bytes, which live as long as the result.
unsafe fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    (!pointer.is_null()).then(|| unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

fn keep(bytes: &[u8], arena: &mut BytesMut) -> Bytes {
    if arena.capacity() < bytes.len() {
        arena.reserve(bytes.len().max(ARENA));
    }
    arena.extend_from_slice(bytes);
    arena.split().freeze()
}
