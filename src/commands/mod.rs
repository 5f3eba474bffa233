//! One thin file a subcommand: arguments in, a call, words and an exit code out.
