//! What a reader process does until it is killed: it attaches to a log that another process writes, and says what it sees.
//!
//! Guarantees:
//! 1. It says what it saw right away, and something every few milliseconds, also when nothing comes.
//! 2. Where it stands it keeps as (epoch, offset) from one attachment to the next; what goes back, skips or is refused is an
//!    error.

use std::path::Path;
use std::thread;
use std::time::Duration;

use esker::{Attached, Batch, Epoch, ErrorKind, Offset, ReadLine, Reader};
use harness::Dice;
use harness::oracle::{Moment, Sight, StateMap, cursor_key, fingerprint, fingerprint_of};

use super::pipe::Pipe;

/// Something is said of what was seen after so many records.
const SAID_RECORDS: u64 = 64;
const WAIT: Duration = Duration::from_millis(5);
/// Between two attachments.
const PAUSE_MICROSECONDS_MAX: u64 = 8_000;

/// What a reader is used to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Habit {
    /// Attaches, and stays for what comes.
    Follow,
    /// As that, up to the durable line.
    FollowDurable,
    /// Attaches, looks at everything, and leaves, over and over.
    Again,
    /// As that, up to the durable line.
    AgainDurable,
}

impl Habit {
    pub(super) const ALL: [Self; 4] = [Self::Follow, Self::FollowDurable, Self::Again, Self::AgainDurable];

    pub(super) fn line(self) -> ReadLine {
        match self {
            Self::Follow | Self::Again => ReadLine::Visible,
            Self::FollowDurable | Self::AgainDurable => ReadLine::Durable,
        }
    }

    fn stays(self) -> bool {
        matches!(self, Self::Follow | Self::FollowDurable)
    }

    /// As an argument.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::FollowDurable => "follow-durable",
            Self::Again => "again",
            Self::AgainDurable => "again-durable",
        }
    }
}

/// What was seen, over all attachments.
struct Life {
    pipe: Pipe,
    habit: Habit,
    dice: Dice,
    sight: Sight,
    epoch: Option<Epoch>,
    /// The farthest that it ever saw.
    farthest: u64,
}

pub(super) fn live(folder: &Path, seed: u64, habit: Habit) {
    let dice = Dice::new(seed);
    let mut life = Life { pipe: Pipe::of_child(), habit, dice, sight: Sight::default(), epoch: None, farthest: 0 };
    loop {
        if let Err(what) = life.attach(folder) {
            return life.pipe.say(&format!("error {what}"));
        }
        thread::sleep(Duration::from_micros(life.dice.below(PAUSE_MICROSECONDS_MAX)));
    }
}

impl Life {
    /// One attachment.
    fn attach(&mut self, folder: &Path) -> Result<(), String> {
        let attached = match Attached::open(folder) {
            Ok(attached) => attached,
            Err(error) if error.kind() == ErrorKind::Invalid => {
                self.pipe.say("absent");
                return Ok(());
            }
            Err(error) => return Err(format!("attach: {error}")),
        };
        if let Some(error) = attached.refusal() {
            return Err(format!("refused: {error}"));
        }
        self.pipe.say(&format!("attached {}", attached.epoch().counter));
        let mut reader = attached.reader().up_to(self.habit.line());
        match self.epoch {
            Some(epoch) if self.habit.stays() || self.dice.one_in(2) => {
                let seek = reader.seek_in(epoch, Offset::new(self.sight.end));
                seek.map_err(|error| format!("seek {} in {epoch}: {error}", self.sight.end))?;
            }
            _ => self.sight = Sight::default(),
        }
        self.read(&attached, &mut reader)?;
        if self.sight.end < self.farthest {
            return Err(format!("read up to {}, and to {} before", self.sight.end, self.farthest));
        }
        if !self.habit.stays() {
            self.look(&attached)?;
        }
        Ok(())
    }

    /// Reads to the end; who stays goes on as long as somebody may write.
    fn read(&mut self, attached: &Attached, reader: &mut Reader) -> Result<(), String> {
        loop {
            let wait = if self.habit.stays() { WAIT } else { Duration::ZERO };
            match reader.poll_wait(wait) {
                Ok(Some(batch)) => self.see(&batch)?,
                Ok(None) => {
                    self.pipe.say("quiet");
                    if !self.habit.stays() || attached.writer().is_none() {
                        return Ok(());
                    }
                }
                Err(error) => return Err(format!("poll at {}: {error}", reader.offset())),
            }
            // Asked behind the poll: the records are of this epoch, or of one before it.
            self.epoch = Some(attached.epoch());
        }
    }

    fn see(&mut self, batch: &Batch) -> Result<(), String> {
        for record in batch {
            if record.offset().get() != self.sight.end {
                return Err(format!("offset {} follows {}", record.offset(), self.sight.end));
            }
            self.sight.see(fingerprint_of(&record));
            if self.sight.end.is_multiple_of(SAID_RECORDS) {
                self.say_sight();
            }
        }
        self.farthest = self.farthest.max(self.sight.end);
        self.say_sight();
        Ok(())
    }

    fn say_sight(&self) {
        self.pipe.say(&format!("saw {} {}", self.sight.end, self.sight.digest));
    }

    /// Looks at what is not records.
    fn look(&self, attached: &Attached) -> Result<(), String> {
        let view = attached.state().map_err(|error| format!("look at the state: {error}"))?;
        let entries =
            view.with_prefix("").into_iter().map(|(key, held)| (key.into_vec(), fingerprint(&[held.value()])));
        let cursors = view.cursors().into_iter().map(|cursor| (cursor_key(&cursor.name), cursor.offset.get()));
        let state: StateMap = entries.chain(cursors).collect();
        let moment = Moment::of(view.end().get(), &state);
        self.pipe.say(&format!("state {} {}", moment.end, moment.digest));
        let segments = attached.segments().map_err(|error| format!("list the segments: {error}"))?;
        let mut next = 0;
        for segment in &segments {
            if segment.base_offset.get() != next {
                return Err(format!("segments {segments:?} leave out {next}"));
            }
            next = segment.base_offset.after(segment.records).get();
        }
        attached.checkpoints().map_err(|error| format!("list the checkpoints: {error}"))?;
        Ok(())
    }
}
