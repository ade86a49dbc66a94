//! Cursors: named, durable offsets, each with a reader.
//!
//! Guarantees:
//! 1. A cursor resumes at the offset that was committed last, also in another process; it never passes what was not
//!    committed.
//! 2. Where the log does not hold what a cursor would read next, that is an error, never another offset in silence.
//! 3. A handle moves its cursor only if nobody else did since: of two handles that share a name one gets a `Conflict`.
//! 4. A commit moves forward; back only by a seek.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::batch::Batch;
use super::commit::Commit;
use super::core::Core;
use super::reader::{LogSource, ReadLine, ReadMode, Reader};
use super::start::is_trimmed;
use super::state::{State, StateValue};
use super::survey::corrupt;
use super::ticket::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::format::state::{CursorValue, Space};
use crate::log::contract::contract_of;
use crate::types::{Contract, Epoch, Offset, Timestamp, Topic, Version};

/// The longest name of a cursor.
pub const CURSOR_NAME_BYTES_MAX: usize = 255;

/// Where a new cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At the first record.
    #[default]
    Earliest,
    /// Behind the last record that is visible now, whatever line the cursor then reads up to.
    Latest,
    /// At the record with this offset.
    Offset(Offset),
    /// At the first record appended at or after this time.
    Time(Timestamp),
}

/// What is known of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorInfo {
    /// Its name.
    pub name: String,
    /// Offset of the record that it reads next.
    pub offset: Offset,
    /// The epoch in which it was committed.
    pub epoch: Epoch,
    /// Records from there to the end of the log.
    pub lag: u64,
    /// What it keeps retention from dropping.
    pub contract: Contract,
}

/// A reader whose offset has a name and is kept in the log. It does not keep the log open: dropping the last
/// [`Log`](crate::Log) closes it under its cursors.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let log = esker::Log::open(folder.path())?;
/// let _ = log.append_batch([esker::Record::new(b"a"), esker::Record::new(b"b")])?;
///
/// let mut billing = log.cursor("billing")?;
/// while let Some(batch) = billing.poll()? {
///     for record in &batch {
///         println!("{} {} bytes", record.offset(), record.payload().len());
///     }
///     let _ = billing.commit(&batch)?; // visible; `.wait()` on it makes it durable
/// }
/// assert_eq!(log.cursor("billing")?.offset(), esker::Offset::new(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor {
    core: Arc<Core>,
    name: Box<str>,
    reader: Reader,
    /// The entry that this handle knows.
    entry: (Version, Offset),
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cursor");
        debug
            .field("name", &self.name)
            .field("committed", &self.committed())
            .field("next", &self.offset())
            .finish_non_exhaustive()
    }
}

impl Cursor {
    pub(crate) fn open(core: &Arc<Core>, name: &str, start: Start) -> Result<Self> {
        check_name(name)?;
        core.check_state()?;
        loop {
            let (held, contract) = {
                let state = core.state.read();
                (state.get(Space::CURSORS, name.as_bytes()).cloned(), contract_of(&state, name.as_bytes()).0)
            };
            let mut reader = Reader::new(Arc::<Core>::clone(core));
            if let Some(held) = held {
                let value = decode(name, held.value())?;
                core.epochs().check(value.epoch, value.offset).map_err(|error| of_cursor(error, name))?;
                // By its contract nothing below the start is of its topics.
                let holds_topics = matches!(contract, Contract::HoldTopics(_));
                let offset = if holds_topics { value.offset.max(core.start()) } else { value.offset };
                match reader.seek(offset) {
                    // The start moved meanwhile.
                    Err(error) if holds_topics && is_trimmed(&error) => continue,
                    sought => sought.map_err(|error| of_cursor(error, name))?,
                }
                let entry = (held.version(), value.offset);
                return Ok(Self { core: Arc::clone(core), name: name.into(), reader, entry });
            }
            match start {
                Start::Earliest => {}
                Start::Latest => reader.seek_latest(),
                Start::Offset(offset) => reader.seek(offset)?,
                Start::Time(time) => reader.seek_time(time)?,
            }
            let offset = reader.offset();
            let made = core.commit(&Commit::new().if_cursor(name, None).seek_cursor(name, offset));
            match made {
                Ok(ticket) => {
                    let entry = (Version::new(ticket.place()), offset);
                    return Ok(Self { core: Arc::clone(core), name: name.into(), reader, entry });
                }
                // Another thread made it first.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                // The start moved behind where it would have begun.
                Err(error) if is_trimmed(&error) && !matches!(start, Start::Offset(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads up to this line; [`ReadLine::Visible`] unless said.
    #[must_use]
    pub fn up_to(mut self, line: ReadLine) -> Self {
        self.reader = self.reader.up_to(line);
        self
    }

    /// Reads in this mode; [`ReadMode::Map`] unless said.
    #[must_use]
    pub fn mode(mut self, mode: ReadMode) -> Self {
        self.reader = self.reader.mode(mode);
        self
    }

    /// Reads records of these topics alone, as [`Reader::topics`]; what is let by is committed with what is handled. The place
    /// to name these topics to retention too is [`Cursor::set_contract`]. A cursor that resumes below where they begin is told
    /// by the next poll ([`ErrorKind::Trimmed`]); what its contract held was not dropped.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.reader = self.reader.topics(topics);
        self
    }

    /// Reads records with this key in this topic alone, as [`Reader::key`].
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, topic: Topic, key: &K) -> Self {
        self.reader = self.reader.key(topic, key);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Offset of the next record that a poll hands out; ahead of [`Cursor::committed`] while records are handled.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.reader.offset()
    }

    /// The offset that this handle committed last, or found: where it would resume.
    #[must_use]
    pub fn committed(&self) -> Offset {
        self.entry.1
    }

    /// Visible records that are not committed yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.core.end(ReadLine::Visible).offset.since(self.committed())
    }

    /// The next records, or `None` if there are none now. Moves what this handle reads next, not the cursor.
    ///
    /// # Errors
    /// As for [`Reader::poll`]. At a gap that a repair left ([`ErrorKind::Gap`] with the offset behind it) the handle stands
    /// until it is sought behind it: [`Cursor::seek`] also commits that these records are given up.
    pub fn poll(&mut self) -> Result<Option<Batch>> {
        self.reader.poll()
    }

    /// The next records; waits for them if there are none now, at most for `timeout`.
    ///
    /// # Errors
    /// As for [`Reader::poll_wait`].
    pub fn poll_wait(&mut self, timeout: Duration) -> Result<Option<Batch>> {
        self.reader.poll_wait(timeout)
    }

    /// Moves the cursor behind what was handled: a batch, or the offset of the record to read next.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if another handle moved or removed the cursor since: this one moves it no more, open it anew.
    /// [`ErrorKind::Invalid`] if it would go back, or past the end. As for [`Log::commit`](crate::Log::commit) otherwise. The
    /// cursor stands where it stood.
    ///
    /// # Durability
    /// As for [`Log::append`](crate::Log::append): visible when this returns, so that it survives the death of the process.
    /// When power fails before the ticket's wait returned, the cursor may be back where it was, and records come again. The
    /// ticket borrows the cursor; to go on reading meanwhile keep its [`place`](Ticket::place) for
    /// [`Log::wait_durable`](crate::Log::wait_durable).
    pub fn commit(&mut self, next: impl Into<Offset>) -> Result<Ticket<'_>> {
        self.commit_with(next, Commit::new())
    }

    /// As [`Cursor::commit`], in one frame with what was made of the records: all of it happens, once, or nothing.
    ///
    /// # Errors
    /// As for [`Cursor::commit`].
    ///
    /// # Durability
    /// As for [`Cursor::commit`].
    pub fn commit_with(&mut self, next: impl Into<Offset>, commit: Commit<'_>) -> Result<Ticket<'_>> {
        let next = next.into();
        let commit = commit.if_cursor(&self.name, Some(self.entry)).cursor(&self.name, next);
        let ticket = self.core.commit(&commit)?;
        self.entry = (Version::new(ticket.place()), next);
        Ok(ticket.of(&self.core))
    }

    /// Sets what the cursor keeps retention from dropping; without that it is [`Contract::Hold`]. Moves nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] for too many topics; as for [`Log::commit`](crate::Log::commit).
    ///
    /// # Durability
    /// As for [`Cursor::commit`].
    pub fn set_contract(&self, contract: &Contract) -> Result<Ticket<'_>> {
        self.core.commit(&Commit::new().contract(&self.name, contract))
    }

    /// Goes to an offset, forward or back, and commits it.
    ///
    /// # Errors
    /// As for [`Reader::seek`] and [`Cursor::commit`].
    ///
    /// # Durability
    /// As for [`Cursor::commit`].
    pub fn seek(&mut self, offset: Offset) -> Result<Ticket<'_>> {
        let before = self.reader.offset();
        self.reader.seek(offset)?;
        let commit = Commit::new().if_cursor(&self.name, Some(self.entry)).seek_cursor(&self.name, offset);
        match self.core.commit(&commit) {
            Ok(ticket) => {
                self.entry = (Version::new(ticket.place()), offset);
                Ok(ticket.of(&self.core))
            }
            Err(error) => {
                // Why it did not move matters more than that it cannot go back.
                let _stays = self.reader.seek(before);
                Err(error)
            }
        }
    }
}

/// Cursors of a state, by name, for a log that ends at `end`.
pub(crate) fn list(state: &State, end: Offset) -> Vec<CursorInfo> {
    let entries = state.with_prefix(Space::CURSORS, b"");
    entries.iter().filter_map(|(key, held)| info(state, key, held, end)).collect()
}

/// The cursor of this name.
pub(crate) fn find(state: &State, name: &str, end: Offset) -> Option<CursorInfo> {
    info(state, name.as_bytes(), state.get(Space::CURSORS, name.as_bytes())?, end)
}

fn info(state: &State, key: &[u8], held: &StateValue, end: Offset) -> Option<CursorInfo> {
    let CursorValue { epoch, offset } = CursorValue::decode(held.value()).ok()?;
    let name = String::from_utf8_lossy(key).into_owned();
    Some(CursorInfo { name, offset, epoch, lag: end.since(offset), contract: contract_of(state, key).0 })
}

/// Refuses a name that is empty, too long, or has anything but ASCII letters, digits, and `. _ - / :`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if (1..=CURSOR_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    let text =
        format!("cursor name {shown:?}: 1 to {CURSOR_NAME_BYTES_MAX} of ASCII letters, digits and . _ - / : expected");
    Err(Error::new(ErrorKind::Invalid, text).next_step("choose another name"))
}

fn decode(name: &str, value: &[u8]) -> Result<CursorValue> {
    CursorValue::decode(value).map_err(|fault| corrupt(format!("cursor {name}: {fault}")))
}

/// An error of a seek, said of the cursor.
fn of_cursor(error: Error, name: &str) -> Error {
    match error.kind() {
        ErrorKind::Trimmed { .. } | ErrorKind::Diverged { .. } => {
            Error::new(error.kind(), format!("cursor {name} cannot resume"))
                .caused_by(error)
                .next_step("commit a seek of the cursor to an offset that is still there")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Background, Options};

    #[test]
    fn a_cursor_before_the_start_of_the_log_is_trimmed_until_it_is_sought() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens");
        for payload in ["a", "b", "c", "d"] {
            let _ = log.append(payload).expect("appends");
        }
        let mut behind = log.cursor("behind").expect("is made");
        let _ = behind.commit(Offset::new(1)).expect("commits");
        let _ = log.cursor_from("within", Start::Offset(Offset::new(3))).expect("is made");
        drop(behind);
        let next = Offset::new(2);
        log.core().start.lock().offset = next;
        let error = log.cursor("behind").expect_err("its next record is gone");
        assert_eq!(error.kind(), ErrorKind::Trimmed { next }, "{error}");
        assert!(error.to_string().contains("cursor behind cannot resume"), "{error}");
        assert_eq!(log.reader().seek(Offset::new(1)).expect_err("gone").kind(), ErrorKind::Trimmed { next });
        let refused = log.commit(Commit::new().seek_cursor("behind", Offset::ZERO)).expect_err("gone");
        assert_eq!(refused.kind(), ErrorKind::Trimmed { next });
        assert_eq!(log.cursor("within").expect("resumes").offset(), Offset::new(3));
        let _ = log.commit(Commit::new().seek_cursor("behind", next)).expect("goes on where it is said");
        assert_eq!(log.cursor("behind").expect("resumes").offset(), next);
    }

    #[test]
    fn a_cursor_of_an_epoch_that_ended_before_it_is_diverged() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = Options::new().background(Background::Manual).open(folder.path()).expect("opens");
        let _ = log.append_batch(vec![crate::types::Record::new(b"a"); 5]).expect("appends");
        let strange = Epoch { counter: log.epoch().counter, word: !log.epoch().word };
        let value = CursorValue { epoch: strange, offset: Offset::new(3) }.encode();
        let entry = crate::format::state::StateEntry { space: Space::CURSORS, key: b"c", value: Some(&value) };
        log.core().state.write().load(&entry, crate::types::Place::default());
        let error = log.cursor("c").expect_err("of another history");
        assert_eq!(error.kind(), ErrorKind::Diverged { at: Offset::ZERO }, "{error}");
        let _ = log.commit(Commit::new().seek_cursor("c", Offset::new(2))).expect("goes on where it is said");
        assert_eq!(log.cursor("c").expect("resumes").offset(), Offset::new(2));
    }
}
