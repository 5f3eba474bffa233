//! What `holdfast loadtest worker` is, for tests; with the argument `bad`, one that says what is wrong and ends.

fn main() {
    if std::env::args().nth(1).as_deref() == Some("bad") {
        eprintln!("nothing works here");
        std::process::exit(7);
    }
    std::process::exit(holdfast_loadtest::work_for_parent());
}
