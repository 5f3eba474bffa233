//! Configuration: as typed, then checked. Nobody else reads files, flags or the environment.
