//! The way of a delivery between threads, and of its outcome back, both ends on one thread: no wake, no contention.
//!
//! - `post_and_take/N`: N letters are posted to one lane and taken in one go, as a turn of a shard does.
//! - `with_outcomes/N`: the same with a batch: a place is reserved for each outcome, each letter carries its ticket, each
//!   ticket is answered, and the batch is done.
//! - `refused`: a letter for which there is no room comes back.
//!
//! Times are for all N. Not measured: the eventfd write that wakes a sleeping shard, once for a burst.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use holdfast::{
    kit::{
        completion::{Batch, Ticket},
        mailbox::{Wake, mailbox},
    },
    model::Outcome,
};
use std::{
    hint::black_box,
    sync::Arc,
    task::{Context, Waker},
};

struct NobodySleeps;

impl Wake for NobodySleeps {
    fn wake(&self) {}
}

const LANE: usize = 1;
const SIZES: [usize; 3] = [1, 10, 100];

fn post_and_take(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    for size in SIZES {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("post_and_take", size), |bencher| {
            let (sender, mut receiver) = mailbox::<u64>(&[1_024, 1_024], Arc::new(NobodySleeps));
            let mut letters = Vec::with_capacity(size);
            bencher.iter(|| {
                for letter in 0..size as u64 {
                    assert!(sender.post(LANE, black_box(letter)).is_ok());
                }
                receiver.take(1_024, &mut letters);
                letters.drain(..).sum::<u64>()
            });
        });
        group.bench_function(BenchmarkId::new("with_outcomes", size), |bencher| {
            let (sender, mut receiver) = mailbox::<Ticket<Outcome>>(&[1_024, 1_024], Arc::new(NobodySleeps));
            let mut letters = Vec::with_capacity(size);
            bencher.iter(|| {
                let batch = Batch::new(size);
                for place in 0..size {
                    assert!(sender.post(LANE, batch.ticket(place)).is_ok());
                }
                receiver.take(1_024, &mut letters);
                for ticket in letters.drain(..) {
                    ticket.answer(Outcome::Written);
                }
                assert!(batch.poll_done(&mut Context::from_waker(Waker::noop())).is_ready());
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("refused", |bencher| {
        let (sender, _receiver) = mailbox::<u64>(&[1, 1], Arc::new(NobodySleeps));
        assert!(sender.post(LANE, 0).is_ok());
        bencher.iter(|| assert!(sender.post(LANE, black_box(1)).is_err()));
    });
    group.finish();
}

criterion_group!(benches, post_and_take);
criterion_main!(benches);
