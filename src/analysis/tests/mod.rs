//! Each rule, by its code.
