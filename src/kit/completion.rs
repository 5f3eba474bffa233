//! Outcomes that come back without a queue that could be full: each outcome's place is reserved with its request.
//!
//! A request carries a [`Ticket`] and whoever serves it answers the ticket once, from any thread. A ticket dropped
//! unanswered answers [`Answer::LOST`], so no request is lost in silence. A [`Batch`] keeps one place per request, for
//! requests whose outcomes are told apart; a [`Tally`] only counts them, for broadcasts; [`Returns`] gives them back as
//! they come, for whoever has many requests under way and bounds their number.
//!
//! Ordering: an answer is written first and then subtracted from what is outstanding, with release. Whoever sees
//! nothing outstanding, with acquire, therefore sees every answer, because the subtractions form one release
//! sequence. The waker is registered before the second look, so the last answer either is seen or wakes.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

/// An outcome small enough to be stored in an atomic place.
pub trait Answer: Copy + Send + 'static {
    /// The answer of a ticket that was dropped.
    const LOST: Self;
    /// The answer as a number; never 0xFFFF.
    fn to_bits(self) -> u16;
    /// The answer that [`Answer::to_bits`] made a number of.
    fn from_bits(bits: u16) -> Self;
}

/// A place that is not filled yet.
const EMPTY: u16 = 0xFFFF;

/// A fixed set of places, each filled exactly once. One task at a time may wait for it.
pub struct Batch<A> {
    places: Box<[AtomicU16]>,
    outstanding: AtomicU64,
    waker: AtomicWaker,
    #[cfg(debug_assertions)]
    issued: Box<[std::sync::atomic::AtomicBool]>,
    answers: PhantomData<fn(A) -> A>,
}

impl<A: Answer> Batch<A> {
    /// A batch of `places` unfilled places. It is done once every place has been given a ticket and an answer.
    pub fn new(places: usize) -> Arc<Batch<A>> {
        debug_assert!(u32::try_from(places).is_ok());
        Arc::new(Batch {
            places: (0..places).map(|_| AtomicU16::new(EMPTY)).collect(),
            outstanding: AtomicU64::new(places as u64),
            waker: AtomicWaker::new(),
            #[cfg(debug_assertions)]
            issued: (0..places).map(|_| false.into()).collect(),
            answers: PhantomData,
        })
    }

    /// The ticket that fills `place`; to be asked for once for each place.
    pub fn ticket(self: &Arc<Self>, place: usize) -> Ticket<A> {
        debug_assert!(place < self.places.len());
        #[cfg(debug_assertions)]
        assert!(!self.issued[place].swap(true, Ordering::Relaxed), "place {place} has a ticket already");
        Ticket(Target::Place(self.clone(), place as u32))
    }

    /// Ready when every place is filled.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        poll_zero(&self.outstanding, &self.waker, cx)
    }

    /// What `place` was filled with; `None` as long as it is not.
    pub fn answer(&self, place: usize) -> Option<A> {
        match self.places.get(place)?.load(Ordering::Acquire) {
            EMPTY => None,
            bits => Some(A::from_bits(bits)),
        }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no place at all.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn fill(&self, place: usize, answer: A) {
        let bits = answer.to_bits();
        debug_assert_ne!(bits, EMPTY);
        let filled = self.places[place].compare_exchange(EMPTY, bits, Ordering::Release, Ordering::Relaxed);
        debug_assert!(filled.is_ok(), "place {place} is filled already");
        if filled.is_ok() && self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }
}

/// Counts of answers by kind, over a number of tickets that need not be known beforehand. One task at a time may wait.
pub struct Tally<A> {
    counts: Box<[AtomicU64]>,
    /// Unanswered tickets, plus `HOLD` for every hold: one word, so that exactly one subtraction ends at zero.
    pending: AtomicU64,
    waker: AtomicWaker,
    answers: PhantomData<fn(A) -> A>,
}

/// A hold's weight in `Tally::pending`; fewer than 2^48 tickets and 2^16 holds are ever out at once.
const HOLD: u64 = 1 << 48;

impl<A: Answer> Tally<A> {
    /// A tally for answers whose bits are less than `kinds`. It counts as done while no ticket and no hold is out, so
    /// take a [`Tally::hold`] before handing out tickets.
    pub fn new(kinds: usize) -> Arc<Self> {
        Arc::new(Tally {
            counts: (0..kinds).map(|_| AtomicU64::new(0)).collect(),
            pending: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            answers: PhantomData,
        })
    }

    /// One more outstanding answer.
    pub fn ticket(self: &Arc<Self>) -> Ticket<A> {
        // Relaxed: a new ticket publishes nothing, and the hold or ticket under which it is made keeps it from zero.
        self.pending.fetch_add(1, Ordering::Relaxed);
        Ticket(Target::Count(self.clone()))
    }

    /// How often `a` was answered so far.
    pub fn count(&self, a: A) -> u64 {
        self.counts.get(usize::from(a.to_bits())).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many tickets are unanswered.
    pub fn outstanding(&self) -> u64 {
        self.pending.load(Ordering::Acquire) % HOLD
    }

    /// Keeps the tally from being done while it lives.
    pub fn hold(self: &Arc<Self>) -> Hold<A> {
        self.pending.fetch_add(HOLD, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// Ready when every ticket is answered and no hold is left.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        poll_zero(&self.pending, &self.waker, cx)
    }

    /// Counts answers that were known at once and never had a ticket. The caller has a [`Hold`], whose end publishes them.
    pub fn add_many(&self, answer: A, many: u64) {
        let count = self.counts.get(usize::from(answer.to_bits()));
        debug_assert!(count.is_some(), "the tally was made for fewer kinds");
        if let Some(count) = count {
            // Relaxed: `release` publishes it.
            count.fetch_add(many, Ordering::Relaxed);
        }
    }

    fn add(&self, answer: A) {
        self.add_many(answer, 1);
        self.release(1);
    }
}

impl<A> Tally<A> {
    /// Whether nothing is outstanding and nobody holds it.
    pub fn is_done(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    fn release(&self, weight: u64) {
        if self.pending.fetch_sub(weight, Ordering::AcqRel) == weight {
            self.waker.wake();
        }
    }
}

fn poll_zero(outstanding: &AtomicU64, waker: &AtomicWaker, cx: &mut Context<'_>) -> Poll<()> {
    if outstanding.load(Ordering::Acquire) == 0 {
        return Poll::Ready(());
    }
    waker.register(cx.waker());
    if outstanding.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
}

/// Keeps a [`Tally`] from being done until it is dropped.
pub struct Hold<A>(Arc<Tally<A>>);

impl<A> Drop for Hold<A> {
    fn drop(&mut self) {
        self.0.release(HOLD);
    }
}

/// Answers as they come, each with the number that its ticket was given. It holds no more than there are tickets out: who
/// makes them bounds it. One task at a time may wait.
pub struct Returns<A> {
    returned: Mutex<Returned<A>>,
}

struct Returned<A> {
    answers: Vec<(u64, A)>,
    waker: Option<Waker>,
    /// The waker is called when so many have returned.
    wake_at: usize,
}

impl<A: Answer> Returns<A> {
    /// Nothing returned.
    pub fn new() -> Arc<Self> {
        Arc::new(Returns { returned: Mutex::new(Returned { answers: Vec::new(), waker: None, wake_at: 1 }) })
    }

    /// One more answer to come.
    pub fn ticket(self: &Arc<Self>, number: u64) -> Ticket<A> {
        Ticket(Target::Return(self.clone(), number))
    }

    /// Appends what has returned to `out`. Pending when that is less than `at_least`, of which there must be one; then the
    /// task is woken when there is as much.
    pub fn poll_take(&self, at_least: usize, cx: &mut Context<'_>, out: &mut Vec<(u64, A)>) -> Poll<()> {
        debug_assert!(at_least > 0);
        let mut returned = self.lock();
        if returned.answers.len() >= at_least {
            // The lock is not held for a copy of many.
            if out.is_empty() {
                mem::swap(out, &mut returned.answers);
            } else {
                out.append(&mut returned.answers);
            }
            returned.waker = None;
            return Poll::Ready(());
        }
        returned.wake_at = at_least;
        match &mut returned.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn push(&self, number: u64, answer: A) {
        let mut returned = self.lock();
        returned.answers.push((number, answer));
        let waker = if returned.answers.len() >= returned.wake_at { returned.waker.take() } else { None };
        drop(returned);
        // Outside of the lock: the woken task takes it first of all.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Returned<A>> {
        // Nothing inside a locked section can leave it half changed.
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right and the duty to answer one request.
#[must_use = "dropping a ticket answers LOST"]
pub struct Ticket<A: Answer>(Target<A>);

enum Target<A> {
    Nowhere,
    Place(Arc<Batch<A>>, u32),
    Count(Arc<Tally<A>>),
    Return(Arc<Returns<A>>, u64),
}

impl<A: Answer> Ticket<A> {
    /// A ticket whose answer goes nowhere.
    pub fn none() -> Self {
        Ticket(Target::Nowhere)
    }

    /// Whether its answer would go nowhere.
    pub fn is_none(&self) -> bool {
        matches!(self.0, Target::Nowhere)
    }

    /// Answers the request.
    pub fn answer(mut self, a: A) {
        self.settle(a);
    }

    fn settle(&mut self, a: A) {
        match mem::replace(&mut self.0, Target::Nowhere) {
            Target::Nowhere => {}
            Target::Place(batch, place) => batch.fill(place as usize, a),
            Target::Count(tally) => tally.add(a),
            Target::Return(returns, number) => returns.push(number, a),
        }
    }
}

impl<A: Answer> Drop for Ticket<A> {
    fn drop(&mut self) {
        self.settle(A::LOST);
    }
}

impl<A> fmt::Debug for Tally<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tally({:?})", self.counts)
    }
}

impl<A> fmt::Debug for Hold<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

impl<A: Answer> fmt::Debug for Ticket<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Nowhere => f.write_str("Ticket(nowhere)"),
            Target::Place(_, place) => write!(f, "Ticket(place {place})"),
            Target::Count(_) => f.write_str("Ticket(count)"),
            Target::Return(_, number) => write!(f, "Ticket(return {number})"),
        }
    }
}

#[cfg(test)]
mod tests;
