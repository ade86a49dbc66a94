//! esker
mod checksum;
mod error;
mod format;
mod log;
pub mod inspect;
pub mod platform;
mod segment;
mod sync;
mod types;
pub use error::{Error, ErrorKind, Result};
pub use log::*;
pub use types::{Epoch, Header, Headers, Line, Offset, Place, Record, RecordRef, StoreId, Timestamp, Topic};
