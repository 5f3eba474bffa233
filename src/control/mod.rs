//! The internal port: push API, admin, metrics.
