//! Between the shards and everything off the node: routing, registry, queue.
