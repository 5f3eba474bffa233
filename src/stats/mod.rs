//! Counters, histograms and the one catalogue of metric names.
