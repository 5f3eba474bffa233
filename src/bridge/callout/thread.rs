//! The callout's thread: a small runtime on which questions are asked, and answers brought back.
//!
//! Owns waiting, the clock, and what is under way. Decides nothing: what is to be done is the [`desk`](super::desk)'s to say.

use super::{
    breaker::{self, Breaker, Change, Standing},
    client::Client,
    credential::{Credential, Hasher},
    desk::{self, Desk, Order, Reply, Told},
    reply::{self, Answer, Problem},
};
use crate::{
    bridge::thread::Bell,
    clock::Clock,
    config::{Http, Secret},
    kit::{
        mailbox::{Receiver, Sender, Wake, mailbox},
        random::Random,
        time::Now,
    },
    model::{Judgement, Question, Reason, question::Asked},
    stats::{CalloutState, NodeStats},
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::runtime::Runtime;

/// Questions taken in one turn.
const LETTERS_MAX: usize = 256;

/// Names looked up at once, each on a thread of its own, as the host's resolver has it. Only new connections need one.
const LOOKUPS_MAX: usize = 16;

/// The mailbox for questions, before there is a thread that takes them.
pub struct Mail {
    /// For those who ask.
    pub questions: Sender<Asked>,
    letters: Receiver<Asked>,
    bell: Arc<Bell>,
}

impl Mail {
    /// With room for so many questions that nobody has taken yet.
    pub fn new(room: usize) -> Self {
        let bell = Arc::new(Bell::default());
        let (questions, letters) = mailbox(&[room], bell.clone());
        Self { questions, letters, bell }
    }
}

/// The running thread. Dropped, it ends by itself.
pub struct CalloutThread {
    client: Arc<Client>,
    questions: Sender<Asked>,
    orders: Arc<Orders>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is told.
#[derive(Default)]
struct Orders {
    /// Answer what was asked, and then end.
    retire: AtomicBool,
    /// End at once.
    stop: AtomicBool,
}

impl CalloutThread {
    /// Starts the thread. A client waits for `patience_ms` at most.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read, or the thread cannot be started.
    pub fn spawn(
        mail: Mail,
        config: &Http,
        patience_ms: u64,
        clock: Clock,
        stats: Arc<NodeStats>,
    ) -> io::Result<Self> {
        let client = Arc::new(Client::new(config)?);
        let breaker = breaker::Settings {
            failures: config.failures,
            pause_ms: config.pause_ms,
            pause_max_ms: config.pause_max_ms,
            in_flight: config.in_flight,
        };
        let breaker = Breaker::new(breaker, Random::seeded(fastrand::u64(..)));
        let orders = Arc::new(Orders::default());
        let runner = Runner {
            letters: mail.letters,
            bell: mail.bell.clone(),
            desk: Desk::new(desk::Settings { waiting: config.waiting, cache: config.cache }, breaker),
            hasher: Hasher::random()?,
            asker: Asker {
                client: client.clone(),
                clock,
                timeout: Duration::from_millis(config.timeout_ms),
                kept_max_ms: config.cache_max_ms,
            },
            credentials: config.credentials.clone(),
            // A question that is asked by then is answered before its client has given up.
            patience_us: patience_ms.saturating_sub(config.timeout_ms).saturating_mul(1_000),
            flights: FuturesUnordered::new(),
            last_problem: None,
            is_away: false,
            orders: orders.clone(),
            stats,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(LOOKUPS_MAX)
            .build()?;
        let thread =
            std::thread::Builder::new().name("callout".into()).spawn(move || runner.start(runtime))?;
        let (questions, bell) = (mail.questions, mail.bell);
        Ok(Self { client, questions, orders, bell, thread: Some(thread) })
    }

    /// Where questions go.
    pub fn questions(&self) -> Sender<Asked> {
        self.questions.clone()
    }

    /// Sends another token along from now on.
    pub fn set_token(&self, token: Option<&Secret>) {
        self.client.set_token(token);
    }

    /// Another has taken its place: lets it answer what was asked of it, and end.
    pub fn retire(mut self) {
        self.orders.retire.store(true, Ordering::Release);
        self.bell.wake();
        self.thread = None;
    }

    /// Ends the thread. Whoever still waits is told that nobody knows.
    pub fn stop(mut self) {
        self.orders.stop.store(true, Ordering::Release);
        self.bell.wake();
        // An error says that the thread has panicked: that was reported.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for CalloutThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.orders.stop.store(true, Ordering::Release);
            self.bell.wake();
        }
    }
}

/// What a question under way ends with.
type Landed = (Credential, u64, Result<Reply<Answer>, Problem>, u64);

struct Runner {
    letters: Receiver<Asked>,
    bell: Arc<Bell>,
    desk: Desk<Question, Judgement, Answer>,
    hasher: Hasher,
    asker: Asker,
    credentials: Vec<String>,
    patience_us: u64,
    flights: FuturesUnordered<Pin<Box<dyn Future<Output = Landed> + Send>>>,
    /// Why the last question failed.
    last_problem: Option<Problem>,
    /// The endpoint is left alone, and that was said.
    is_away: bool,
    orders: Arc<Orders>,
    stats: Arc<NodeStats>,
}

impl Runner {
    fn start(mut self, runtime: Runtime) {
        runtime.block_on(self.run());
        // A name that is still looked up must not hold up the end.
        runtime.shutdown_background();
    }

    async fn run(&mut self) {
        let mut letters = Vec::with_capacity(LETTERS_MAX);
        while !self.orders.stop.load(Ordering::Acquire) {
            let is_retired = self.orders.retire.load(Ordering::Acquire);
            let more = self.letters.take(LETTERS_MAX, &mut letters);
            let now = self.asker.clock.now();
            for Asked { question, judgement } in letters.drain(..) {
                let credential = credential(&self.hasher, &self.credentials, &question);
                let until_us = now.micros.saturating_add(self.patience_us);
                self.desk.ask(now, credential, question, judgement, until_us);
            }
            self.desk.advance(now);
            self.carry_out();
            if is_retired && !more && self.desk.counts().waiting == 0 {
                return;
            }
            if !is_retired {
                self.count(now);
            }
            self.wait(more, now).await;
        }
    }

    /// Until there is something to do. What has landed is taken in.
    async fn wait(&mut self, more: bool, now: Now) {
        let left_us = self.desk.next_us(now).map(|next_us| next_us.saturating_sub(now.micros));
        let pause = async {
            match left_us {
                _ if more => tokio::task::yield_now().await,
                // A timer is right to the millisecond, and must not be early.
                Some(left_us) => tokio::time::sleep(Duration::from_micros(left_us + 1_000)).await,
                None => std::future::pending().await,
            }
        };
        let landed = tokio::select! {
            landed = self.flights.next(), if !self.flights.is_empty() => landed,
            () = self.bell.rung() => None,
            () = pause => None,
        };
        if let Some((credential, round, end, micros)) = landed {
            let label = match &end {
                Ok(reply) if reply.accepted => "accepted",
                Ok(Reply { answer: Answer::Refuse(Reason::BadIdentity), .. }) => "bad_answer",
                Ok(_) => "refused",
                Err(problem) => problem.label(),
            };
            self.stats.callout.ended(label, micros);
            let end = end.map_err(|problem| {
                let failure = problem.failure();
                self.last_problem = Some(problem);
                failure
            });
            self.desk.ended(self.asker.clock.now(), credential, round, end);
        }
    }

    fn carry_out(&mut self) {
        for order in self.desk.take_orders() {
            match order {
                Order::Ask { credential, round, question } => {
                    let asker = self.asker.clone();
                    self.flights.push(Box::pin(async move { asker.ask(credential, round, &question).await }));
                }
                Order::Tell(judgement, Told::Answer(Answer::Accept(identity))) => judgement.accept(identity),
                Order::Tell(judgement, Told::Answer(Answer::Refuse(reason))) => judgement.refuse(reason),
                Order::Tell(judgement, Told::Unavailable) => judgement.refuse(Reason::AuthUnavailable),
                Order::Say(change) => self.say(change),
            }
        }
    }

    /// Once when the endpoint is left alone, and once when it is back: not for each time that it was tried in between.
    fn say(&mut self, change: Change) {
        match change {
            Change::Opened(pause_ms) if !self.is_away => {
                let cause = self.last_problem.take().map(|problem| problem.to_string()).unwrap_or_default();
                tracing::warn!(
                    cause,
                    pause_ms,
                    "the endpoint of auth.http fails: it is left alone, and clients that it alone knows come back later"
                );
            }
            Change::Opened(pause_ms) => {
                tracing::debug!(pause_ms, "the endpoint of auth.http still fails");
            }
            Change::Closed => tracing::info!("the endpoint of auth.http answers again"),
        }
        self.is_away = matches!(change, Change::Opened(_));
    }

    fn count(&self, now: Now) {
        let counts = self.desk.counts();
        self.stats.callout.set(CalloutState {
            waiting: counts.waiting as u64,
            in_flight: counts.in_flight as u64,
            kept: counts.kept as u64,
            hits: counts.hits,
            breaker: match self.desk.standing(now) {
                Standing::Closed => 0,
                Standing::Open => 1,
                Standing::Probing => 2,
            },
        });
    }
}

/// What one question needs.
#[derive(Clone)]
struct Asker {
    client: Arc<Client>,
    clock: Clock,
    timeout: Duration,
    kept_max_ms: u64,
}

impl Asker {
    async fn ask(self, credential: Credential, round: u64, question: &Question) -> Landed {
        let began_us = self.clock.micros();
        let end = match tokio::time::timeout(self.timeout, self.client.ask(question)).await {
            Ok(Ok(answered)) => {
                let unix_ms = self.clock.now().unix_ms;
                reply::read(answered.status, &answered.headers, &answered.body, unix_ms, self.kept_max_ms)
            }
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(Problem::Timeout),
        };
        (credential, round, end, self.clock.micros().saturating_sub(began_us))
    }
}

/// What a client's credential is remembered by: all header lines that are credentials, in order, and the query where it holds one.
fn credential(hasher: &Hasher, names: &[String], question: &Question) -> Credential {
    let lines = names.iter().flat_map(|name| {
        let of_name = question.headers().filter(move |(line, _)| line.eq_ignore_ascii_case(name));
        of_name.flat_map(move |(_, value)| [name.as_bytes(), value])
    });
    // No header has this name.
    let query = question.credential_query().into_iter().flat_map(|query| [&b"?"[..], query.as_bytes()]);
    hasher.hash(lines.chain(query))
}
