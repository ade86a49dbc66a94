//! Segments are rewritten by random decisions, and every way to read is compared with a plain model.
