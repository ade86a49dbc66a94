//! The commands, one file each: its arguments, what it does, what it prints.

pub(crate) mod bench;
pub(crate) mod compact;
pub(crate) mod cursors;
pub(crate) mod dump;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod ls;
pub(crate) mod repair;
pub(crate) mod retain;
pub(crate) mod segment;
pub(crate) mod verify;
