//! The tool as scripts and people meet it: the built binary, run on real directories. One module a command.

mod bench;
mod compact;
mod cursors;
mod dump;
mod get;
mod import;
mod info;
mod manners;
mod repair;
mod retain;
mod run;
mod segment;
mod verify;
