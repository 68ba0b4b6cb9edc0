//! Decisions over hand-written policy sets.
