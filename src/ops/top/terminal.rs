//! The terminal: keys from it, screens to it, and whatever happens, back to how it was.
//!
//! Owns the loop and the thread that reads the fleet, so that a node that hangs never holds up a key.

use super::{App, Key};
use crate::ops::fleet::{Fleet, View};
use ratatui::crossterm::{
    cursor::Show,
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    execute,
};
use std::{
    io, panic,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
        },
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

/// How soon a new reading, or a signal, is seen.
const LOOK: Duration = Duration::from_millis(50);

/// Shows the fleet until a person or `stop` ends it.
///
/// # Errors
/// When the terminal cannot be used, or is gone.
pub fn run(fleet: Fleet, every: Duration, stop: &AtomicBool) -> io::Result<()> {
    let (to_screen, from_fleet) = channel();
    let (stopped, ends) = channel::<()>();
    thread::Builder::new().name("fleet".into()).spawn(move || read(fleet, every, &to_screen, &ends))?;
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let curtain = Arc::new(Curtain::default());
        restore_all_on_panic(curtain.clone());
        let mut app = App::new(every);
        let shown = show(&mut terminal, &curtain, &mut app, &from_fleet, stop);
        terminal.show_cursor().and(shown)
    });
    let restored = ratatui::try_restore();
    drop(stopped);
    shown.and(restored)
}

/// Keeps the screen from being drawn when a thread has panicked, and the terminal is a plain one again.
#[derive(Default)]
struct Curtain {
    drawing: Mutex<()>,
    fallen: AtomicBool,
}

impl Curtain {
    /// Draws, unless a thread has panicked.
    fn draw(&self, terminal: &mut ratatui::DefaultTerminal, app: &mut App) -> io::Result<()> {
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fallen.load(SeqCst) {
            return Err(broken());
        }
        terminal.draw(|frame| app.draw(frame)).map(|_| ())
    }
}

/// What the hook of `try_init` leaves to do: to wait for what is being drawn, and to show the cursor. A process that ends at once
/// on a panic runs nothing else.
fn restore_all_on_panic(curtain: Arc<Curtain>) {
    let (restore, drawer) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |info| {
        curtain.fallen.store(true, SeqCst);
        let _not_drawing = (thread::current().id() != drawer).then(|| curtain.drawing.lock());
        // Nothing can be done about a terminal that is gone.
        let _ = execute!(io::stdout(), Show);
        restore(info);
    }));
}

fn broken() -> io::Error {
    io::Error::other("the reading of the fleet has failed")
}

/// Reads the fleet again and again, until nobody looks.
fn read(mut fleet: Fleet, every: Duration, screen: &Sender<View>, ends: &Receiver<()>) {
    while screen.send(fleet.read()).is_ok() && ends.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {}
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    curtain: &Curtain,
    app: &mut App,
    views: &Receiver<View>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut is_new = true;
    while !app.is_done() && !stop.load(Relaxed) {
        if is_new {
            curtain.draw(terminal, app)?;
        }
        is_new = event::poll(LOOK)? && take(app, &event::read()?);
        match views.try_recv() {
            Ok(view) => {
                app.update(view);
                is_new = true;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(broken()),
        }
    }
    Ok(())
}

/// Whether there is something new to draw.
fn take(app: &mut App, event: &Event) -> bool {
    match event {
        Event::Resize(..) => true,
        Event::Key(event) if event.kind != KeyEventKind::Release => match key(*event) {
            Some(key) => {
                app.key(key);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn key(event: KeyEvent) -> Option<Key> {
    let with_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
