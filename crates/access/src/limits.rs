//! Every limit of this crate, and what happens at it.
