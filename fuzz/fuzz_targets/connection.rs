//! Fuzzes the whole connection machine, in real shards: the input is a script of what clients, senders, operators and the
//! kernel do, which `holdfast::sim` interprets and judges. `src/sim/tests.rs` runs the corpus without a fuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    holdfast::sim::run::run_script(data);
});
