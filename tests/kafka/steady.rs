//! When nothing is amiss.

use crate::site::{Site, shared};

#[test]
fn everything_arrives_once_and_is_reported_once() {
    let brokers = shared();
    // One node only serves: what it holds is delivered by the others.
    let mut site = Site::start(&brokers, "steady", &[&[], &[], &["kafka.process=false"]], 24);
    site.load.flow(500);
    site.wait_heard();
    site.load.burst(3_000);
    site.process(&brokers, "processor-1");
    site.wait_heard();
    let (fleet, _, counts) = site.end();
    assert_eq!(counts.twice + counts.lost + counts.dead + counts.unknown, 0, "{counts:?}");
    drop(fleet);
}
