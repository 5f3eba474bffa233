use super::*;
use crate::{fleet::serve, wire::Packed};
use socket2::{Domain, Type};
use std::thread::JoinHandle;

/// A far side in a thread of this process that does as it is told.
fn obedient() -> (Far, JoinHandle<()>) {
    far(|socket| drop(serve::obey(&mut &socket, &mut &socket, serve::Guest::Worker)))
}

/// One that says what it likes.
fn far(side: impl FnOnce(Socket) + Send + 'static) -> (Far, JoinHandle<()>) {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
    let thread = std::thread::spawn(move || side(theirs));
    (Far::new("somebody".into(), ours, None).unwrap(), thread)
}

/// Waits for a question, and answers so.
fn answer(socket: &Socket, answer: &Answer) {
    let mut socket = socket;
    if wire::read::<Ask>(&mut socket, FRAME_BYTES_MAX).is_ok_and(|ask| ask.is_some()) {
        wire::write(&mut socket, answer).unwrap();
    }
}

#[test]
fn clocks_differ_by_no_more_than_is_said() {
    // A run that has been under way for an hour.
    let epoch = Instant::now().checked_sub(Duration::from_secs(3_600)).unwrap_or_else(Instant::now);
    let run = Run { id: 1, epoch };
    let (mut far, thread) = obedient();
    far.hello().unwrap();
    far.compare_clocks(run).unwrap();
    for _ in 0..100 {
        let before = run.now_us();
        let Ok(Answer::Clock(there)) = far.ask(&Ask::Clock) else { panic!() };
        let (there, after) = (there as i64 - far.epoch_us, run.now_us());
        let error = far.clock_error_us as i64;
        assert!(before as i64 - error <= there && there <= after as i64 + error, "{before} {there} {after}");
    }
    assert!(far.clock_error_us < 1_000_000);
    drop(far);
    thread.join().unwrap();
}

#[test]
fn a_clock_that_drifts_is_noticed() {
    let run = Run::begin();
    let (mut far, thread) = far(|socket| {
        (0..CLOCK_ASKS).for_each(|_| answer(&socket, &Answer::Clock(7_000_000)));
        let packed = Box::new(Packed::of(&mut Tally::default(), Tally::default()));
        answer(&socket, &Answer::Tally(packed, vec!["a gap".into()], 9_000_000));
    });
    far.compare_clocks(run).unwrap();
    let mut losses = Vec::new();
    far.ask_report(run);
    far.answer(Instant::now() + PATIENCE, run, &mut losses);
    assert_eq!(losses, ["somebody: a gap"]);
    // Two seconds there, and no more than what this test has taken here.
    assert!(far.clock_error_us + run.now_us() >= 2_000_000, "{}", far.clock_error_us);
    drop(far);
    thread.join().unwrap();
}

#[test]
fn who_is_not_as_expected_is_told() {
    let other = |said: Answer, expected: &str| {
        let (mut far, thread) = far(move |socket| answer(&socket, &said));
        let why = far.hello().unwrap_err();
        assert!(why.contains(expected), "{why}");
        drop(far);
        thread.join().unwrap();
    };
    other(Answer::Hello("0.0.1/0".into(), Room::read()), "somebody is of version 0.0.1/0 and this is ");
    other(Answer::Clock(5), "somebody says what it was not asked: Clock(5)");
    let (mut gone, thread) = far(drop);
    assert!(gone.hello().unwrap_err().starts_with("somebody is gone before it began"));
    thread.join().unwrap();
}

/// What becomes of a worker process that is this.
fn lost(script: &str, within: Duration) -> String {
    let command = ["sh", "-c", script].map(OsString::from);
    let mut far = Far::spawn(3, 9, &command).unwrap();
    let (run, mut losses) = (Run::begin(), Vec::new());
    far.known.open.sse = 1_234;
    far.pids = vec![1];
    far.ask_report(run);
    let tally = far.answer(Instant::now() + within, run, &mut losses);
    assert_eq!((tally.open.sum(), tally.ended(), tally.gone_processes), (0, 1_234, 1));
    assert_eq!(losses.len(), 1);
    // Later it is neither asked nor told, and counts as before.
    far.ask_report(run);
    far.tell(&Command::Resume);
    assert_eq!(far.answer(Instant::now() + within, run, &mut losses).gone_processes, 1);
    assert_eq!(losses.len(), 1);
    losses.remove(0)
}

#[test]
fn a_loss_is_a_sentence() {
    let long = Duration::from_secs(20);
    let head = "worker process 3 of 9 ";
    let tail = "its 1,234 clients are gone";
    assert_eq!(lost("kill -11 $$", long), format!("{head}was ended by signal 11: {tail}"));
    let stuck = lost("exec sleep 60", Duration::from_millis(50));
    assert_eq!(stuck, format!("{head}did not answer any more and was killed: {tail}"));
    let large = lost("printf '\\377\\377\\377\\377'", long);
    let said = "sent a frame of 4294967295 bytes, and 67108864 are allowed, and ended with status 0";
    assert_eq!(large, format!("{head}{said}: {tail}"));
    let rubbish = lost("printf '\\0\\0\\0\\2{}'", long);
    assert!(rubbish.starts_with(&format!("{head}sent a frame that is not understood")), "{rubbish}");
}
