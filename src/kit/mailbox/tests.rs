use std::sync::Condvar;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: AtomicUsize,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        self.rings.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

impl Bell {
    /// Sleeps until rung, and fails the test when that takes so long that a wake must have been lost.
    fn sleep(&self) {
        let rung = self.rung.lock().unwrap();
        let (mut rung, timeout) =
            self.changed.wait_timeout_while(rung, Duration::from_secs(20), |rung| !*rung).unwrap();
        assert!(!timeout.timed_out(), "a wake was lost");
        *rung = false;
    }

    fn rings(&self) -> usize {
        self.rings.load(Ordering::Relaxed)
    }
}

fn setup<T: Send>(capacities: &[usize]) -> (Sender<T>, Receiver<T>, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    let (sender, receiver) = mailbox(capacities, bell.clone());
    (sender, receiver, bell)
}

#[test]
fn a_full_lane_gives_the_item_back_and_others_have_room() {
    let (sender, mut receiver, _) = setup(&[1, 2]);
    sender.post(1, 'a').unwrap();
    sender.post(1, 'b').unwrap();
    assert!(matches!(sender.post(1, 'c'), Err(Full('c'))));
    sender.post(0, 'd').unwrap();
    assert_eq!((sender.depth(0), sender.depth(1)), (1, 2));
    let mut out = Vec::new();
    // The share of what waits for budget is not free yet.
    assert!(receiver.take(2, &mut out));
    assert_eq!((out.as_slice(), sender.depth(0), sender.depth(1)), (&['d', 'a'][..], 0, 1));
    sender.post(1, 'e').unwrap();
    assert!(sender.post(1, 'f').is_err());
    assert!(!receiver.take(9, &mut out) && receiver.is_empty());
    assert_eq!(out, ['d', 'a', 'b', 'e']);
}

#[test]
fn wakes_are_coalesced_until_the_next_take() {
    let (sender, mut receiver, bell) = setup(&[10]);
    for item in 0..3 {
        sender.post(0, item).unwrap();
    }
    assert_eq!(bell.rings(), 1);
    let mut out = Vec::new();
    assert!(!receiver.take(10, &mut out));
    assert_eq!(bell.rings(), 1);
    sender.post(0, 3).unwrap();
    assert_eq!(bell.rings(), 2);
    assert!(!receiver.take(10, &mut out));
    assert_eq!(out, [0, 1, 2, 3]);
}

#[test]
fn dropping_the_receiver_closes_and_drops_what_is_inside() {
    let (sender, mut receiver, bell) = setup(&[10]);
    let item = Arc::new(());
    for _ in 0..3 {
        sender.post(0, item.clone()).unwrap();
    }
    let mut out = Vec::new();
    assert!(receiver.take(1, &mut out));
    sender.post(0, item.clone()).unwrap();
    out.clear();
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(Arc::strong_count(&item), 1);
    let rings = bell.rings();
    assert!(sender.clone().post(0, item).is_err());
    assert_eq!(bell.rings(), rings);
}

#[test]
fn an_item_that_posts_while_it_is_dropped_finds_no_lock_held() {
    struct Poster(Option<Sender<Poster>>);
    impl Drop for Poster {
        fn drop(&mut self) {
            if let Some(sender) = self.0.take() {
                assert!(sender.post(0, Poster(None)).is_err());
            }
        }
    }
    let (sender, receiver, _) = setup(&[10]);
    assert!(sender.post(0, Poster(Some(sender.clone()))).is_ok());
    drop(receiver);
}

#[test]
fn threads_lose_no_item_no_wake_and_no_order() {
    const PRODUCERS: usize = 4;
    const ITEMS: u32 = 5_000;
    let (sender, mut receiver, bell) = setup(&[64, 16]);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..ITEMS {
                    let lane = (number % 3 == 0) as usize;
                    let mut item = (producer, lane, number);
                    while let Err(Full(back)) = sender.post(lane, item) {
                        item = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [[0u32; 2]; PRODUCERS];
    let mut taken = Vec::new();
    let mut count = 0;
    while count < PRODUCERS * ITEMS as usize {
        bell.sleep();
        while receiver.take(7, &mut taken) {}
        for (producer, lane, number) in taken.drain(..) {
            let [high, low] = &mut next[producer];
            // Lane 1 has the multiples of three. One posted after an item of lane 0 must not overtake it.
            if lane == 0 {
                assert_eq!(number, *high + u32::from(*high % 3 == 0));
                *high = number + 1;
            } else {
                assert_eq!(number, *low);
                *low = number + 3;
                assert!(number == 0 || *high >= number, "{number} overtook {high}");
            }
            count += 1;
        }
    }
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    assert!(receiver.is_empty());
}

#[test]
fn order_across_lanes_holds_between_threads() {
    let (sender, mut receiver, bell) = setup(&[1_000, 1_000]);
    let (baton, handed) = mpsc::sync_channel::<u32>(0);
    let high = sender.clone();
    let first = thread::spawn(move || {
        for number in 0..300 {
            high.post(0, (0, number)).unwrap();
            baton.send(number).unwrap();
        }
    });
    let second = thread::spawn(move || {
        for number in handed {
            sender.post(1, (1, number)).unwrap();
        }
    });
    let (mut seen_high, mut seen, mut out) = (0, 0, Vec::new());
    while seen < 600 {
        bell.sleep();
        while receiver.take(3, &mut out) {}
        for (lane, number) in out.drain(..) {
            seen += 1;
            if lane == 0 {
                seen_high = number + 1;
            } else {
                assert!(seen_high > number);
            }
        }
    }
    first.join().unwrap();
    second.join().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Post(usize),
    Take(usize),
}

proptest! {
    #[test]
    fn behaves_like_queues(
        capacities in prop::collection::vec(0usize..6, 1..4),
        steps in prop::collection::vec(
            prop_oneof![3 => (0usize..3).prop_map(Step::Post), 1 => (0usize..8).prop_map(Step::Take)], 0..100),
    ) {
        let (sender, mut receiver, bell) = setup(&capacities);
        let mut twin = vec![VecDeque::new(); capacities.len()];
        let (mut out, mut expected, mut rings, mut awake) = (Vec::new(), Vec::new(), 0, false);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Post(lane) => {
                    let lane = lane % capacities.len();
                    let posted = sender.post(lane, number).is_ok();
                    prop_assert_eq!(posted, twin[lane].len() < capacities[lane]);
                    if posted {
                        twin[lane].push_back(number);
                        rings += usize::from(!std::mem::replace(&mut awake, true));
                    }
                }
                Step::Take(budget) => {
                    let more = receiver.take(budget, &mut out);
                    for _ in 0..budget {
                        expected.extend(twin.iter_mut().find_map(VecDeque::pop_front));
                    }
                    awake = false;
                    prop_assert_eq!(more, twin.iter().any(|lane| !lane.is_empty()));
                }
            }
            prop_assert_eq!(&out, &expected);
            prop_assert_eq!(bell.rings(), rings);
            prop_assert_eq!(receiver.is_empty(), twin.iter().all(VecDeque::is_empty));
            for (lane, items) in twin.iter().enumerate() {
                prop_assert_eq!(sender.depth(lane), items.len());
            }
        }
    }
}
