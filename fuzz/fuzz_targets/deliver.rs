//! Fuzzes the frames between nodes, in pieces. The body is in the library, where tests run it as well.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| holdfast_fuzz::deliver::run(data));
