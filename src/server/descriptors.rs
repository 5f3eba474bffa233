//! How many connections the process's descriptors allow.

use crate::config::{OTHER_DESCRIPTORS, descriptors_for_clients};

/// Raises the descriptor limit to the hard limit, and cuts `wanted` connections to what that allows.
pub fn raise_and_cap(wanted: usize) -> usize {
    let (limit, allowed) = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => (limit, descriptors_for_clients(limit)),
        Err(error) => {
            tracing::warn!(%error, "cannot read the descriptor limit; limits.connections is not cut to it");
            return wanted;
        }
    };
    let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
    crate::shard::net_mio::grow_descriptor_table(limit);
    if wanted > allowed {
        let asked = if wanted == usize::MAX { "auto".into() } else { wanted.to_string() };
        tracing::info!(
            descriptors = limit,
            connections = allowed,
            asked,
            "limits.connections is cut to the descriptors less {OTHER_DESCRIPTORS}; \
             raise the hard limit (LimitNOFILE, ulimit -Hn) for more"
        );
    }
    wanted.min(allowed)
}
