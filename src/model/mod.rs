//! The words of the product as types: values only, no behaviour that needs a clock, a descriptor or a thread.
