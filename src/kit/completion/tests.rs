use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use std::thread;

use super::*;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Lost,
    Done,
    Refused,
}

impl Answer for Outcome {
    const LOST: Self = Outcome::Lost;
    fn to_bits(self) -> u16 {
        self as u16
    }
    fn from_bits(bits: u16) -> Self {
        [Outcome::Lost, Outcome::Done, Outcome::Refused][usize::from(bits)]
    }
}

const _: () = assert!(size_of::<Ticket<Outcome>>() == 24);
const _: () = assert!(size_of::<Option<Ticket<Outcome>>>() == 24);
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync>() {}
    is_send::<Ticket<Outcome>>();
    is_send::<Hold<Outcome>>();
    is_sync::<Batch<Outcome>>();
    is_sync::<Tally<Outcome>>();
};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn waker() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (wakes.clone(), Waker::from(wakes))
}

/// Parks the thread until `poll` is ready.
fn wait(mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>) {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

#[test]
fn a_batch_is_done_when_its_last_place_is_filled() {
    let (wakes, waker) = waker();
    let cx = &mut Context::from_waker(&waker);
    let batch = Batch::new(2);
    let (first, second) = (batch.ticket(0), batch.ticket(1));
    assert!(batch.poll_done(cx).is_pending());
    second.answer(Outcome::Refused);
    assert_eq!((batch.answer(0), batch.answer(1)), (None, Some(Outcome::Refused)));
    assert!(batch.poll_done(cx).is_pending());
    assert_eq!(wakes.count(), 0);
    first.answer(Outcome::Done);
    assert_eq!(wakes.count(), 1);
    assert!(batch.poll_done(cx).is_ready());
    assert_eq!((batch.answer(0), batch.answer(2), batch.len()), (Some(Outcome::Done), None, 2));
    assert_eq!(Arc::strong_count(&batch), 1);
}

#[test]
fn a_dropped_ticket_answers_lost() {
    let (wakes, waker) = waker();
    let cx = &mut Context::from_waker(&waker);
    let batch = Batch::<Outcome>::new(1);
    assert!(batch.poll_done(cx).is_pending());
    drop(batch.ticket(0));
    assert!(batch.poll_done(cx).is_ready());
    assert_eq!((batch.answer(0), wakes.count()), (Some(Outcome::Lost), 1));

    let tally = Tally::<Outcome>::new(3);
    drop(tally.ticket());
    assert_eq!((tally.count(Outcome::Lost), tally.outstanding()), (1, 0));
    drop(Ticket::<Outcome>::none());
    Ticket::none().answer(Outcome::Done);
}

#[test]
fn an_empty_batch_and_an_untouched_tally_are_done() {
    let (_, waker) = waker();
    let cx = &mut Context::from_waker(&waker);
    let batch = Batch::<Outcome>::new(0);
    assert!(batch.is_empty() && batch.poll_done(cx).is_ready());
    assert!(Tally::<Outcome>::new(3).poll_done(cx).is_ready());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "has a ticket already")]
fn a_place_has_one_ticket() {
    let batch = Batch::<Outcome>::new(1);
    let _first = batch.ticket(0);
    let _second = batch.ticket(0);
}

#[test]
fn a_hold_keeps_a_tally_open() {
    let (wakes, waker) = waker();
    let cx = &mut Context::from_waker(&waker);
    let tally = Tally::new(3);
    let hold = tally.hold();
    tally.ticket().answer(Outcome::Done);
    assert_eq!((tally.outstanding(), wakes.count()), (0, 0));
    assert!(tally.poll_done(cx).is_pending());
    let last = tally.ticket();
    drop(hold);
    assert_eq!((tally.outstanding(), wakes.count()), (1, 0));
    last.answer(Outcome::Refused);
    assert_eq!(wakes.count(), 1);
    assert!(tally.poll_done(cx).is_ready());
    assert_eq!([Outcome::Lost, Outcome::Done, Outcome::Refused].map(|o| tally.count(o)), [0, 1, 1]);
}

#[test]
fn many_threads_fill_one_batch() {
    const THREADS: usize = 4;
    const PLACES: usize = 100;
    let kind = |place: usize| [Outcome::Lost, Outcome::Done, Outcome::Refused][place % 3];
    for _ in 0..50 {
        let batch = Batch::new(THREADS * PLACES);
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let places = (0..PLACES).map(|place| place * THREADS + thread);
                let tickets: Vec<_> = places.map(|place| (place, batch.ticket(place))).collect();
                thread::spawn(move || {
                    for (place, ticket) in tickets {
                        match kind(place) {
                            Outcome::Lost => drop(ticket),
                            answer => ticket.answer(answer),
                        }
                    }
                })
            })
            .collect();
        wait(|cx| batch.poll_done(cx));
        assert!((0..batch.len()).all(|place| batch.answer(place) == Some(kind(place))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn answers_return_with_their_numbers_as_they_come() {
    let returns = Returns::new();
    let (wakes, waker) = waker();
    let mut cx = Context::from_waker(&waker);
    let mut out = Vec::new();
    let tickets: Vec<_> = (0..4).map(|number| returns.ticket(10 + number)).collect();
    assert!(returns.poll_take(2, &mut cx, &mut out).is_pending());
    let mut tickets = tickets.into_iter();
    tickets.next_back().unwrap().answer(Outcome::Done);
    assert_eq!(wakes.count(), 0, "one is not worth a wake when two are wanted");
    drop(tickets.next());
    assert_eq!(wakes.count(), 1);
    tickets.next().unwrap().answer(Outcome::Refused);
    assert_eq!(wakes.count(), 1, "woken once until it takes");
    assert!(returns.poll_take(1, &mut cx, &mut out).is_ready());
    assert_eq!(out, [(13, Outcome::Done), (10, Outcome::Lost), (11, Outcome::Refused)]);
    assert!(returns.poll_take(5, &mut cx, &mut out).is_pending());
    assert!(returns.poll_take(1, &mut cx, &mut out).is_pending(), "the number wanted may change");
    tickets.next().unwrap().answer(Outcome::Done);
    assert_eq!(wakes.count(), 2);
}

#[test]
fn many_threads_return_answers_to_one() {
    let returns = Returns::new();
    let mut out = Vec::new();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let returns = returns.clone();
            thread::spawn(move || {
                (0..100).for_each(|number| returns.ticket(thread * 100 + number).answer(Outcome::Done));
            })
        })
        .collect();
    while out.len() < 400 {
        let at_least = 50.min(400 - out.len());
        wait(|cx| returns.poll_take(at_least, cx, &mut out));
    }
    out.sort_unstable_by_key(|&(number, _)| number);
    assert!(out.iter().enumerate().all(|(at, answer)| *answer == (at as u64, Outcome::Done)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn many_threads_count_in_one_tally() {
    for _ in 0..50 {
        let tally = Tally::new(3);
        let hold = tally.hold();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (tally, hold) = (tally.clone(), tally.hold());
                thread::spawn(move || {
                    for number in 0..100 {
                        let ticket = tally.ticket();
                        if number % 4 == 0 { drop(ticket) } else { ticket.answer(Outcome::Done) }
                    }
                    drop(hold);
                })
            })
            .collect();
        drop(hold);
        wait(|cx| tally.poll_done(cx));
        assert_eq!((tally.count(Outcome::Lost), tally.count(Outcome::Done)), (100, 300));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
