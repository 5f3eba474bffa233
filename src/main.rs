//! The program: the allocator, then the command that was asked for.

use jemallocator::Jemalloc;
use std::ffi::c_char;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const ALLOCATOR_OPTIONS: &[u8] = b"narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0,thp:never\0";

/// What jemalloc reads before `main`. Two arenas, because each shard allocates little and every arena keeps its own slack;
/// freed pages go back within a second and huge pages stay off, so that memory follows the number of connections.
#[allow(unsafe_code, reason = "jemalloc finds its options only under this symbol, a pointer to a C string")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_CONF: Option<&'static c_char> = {
    // SAFETY: the first byte of a static C string, which jemalloc reads up to its end and never writes.
    Some(unsafe { &*ALLOCATOR_OPTIONS.as_ptr().cast::<c_char>() })
};

fn main() {
    std::process::exit(holdfast::commands::main());
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_allocator_heard_its_options() {
        assert_eq!(tikv_jemalloc_ctl::opt::narenas::read().unwrap(), 2);
    }
}
