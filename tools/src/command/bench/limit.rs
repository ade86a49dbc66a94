//! The limit rows of appends: bare loops that store the same frames into a map, without engine and without lock.
//!
//! Guarantees:
//! 1. They store as many frames of the same length as the engine does, or as many as fit in [`LIMIT_BYTES_MAX`].
//! 2. For visible appends each thread has a file of its own. For durable ones one thread stores as many frames as all
//!    threads may keep in flight, then syncs: no sync can serve more calls than that.

use super::bare::Area;
use super::frame;
use super::latency::Clock;
use super::pass::{Caller, Outcome, Passes, each, run};
use super::work::{Share, Work, index};
use crate::failure::Failure;
use std::path::Path;

/// More would measure the system's write-back. A file takes one frame in any case.
pub(super) const LIMIT_BYTES_MAX: u64 = 512 << 20;

/// As much of the work as a limit row does.
pub(super) fn part(work: &Work) -> Work {
    work.within(LIMIT_BYTES_MAX)
}

/// Stores the frames of a part of the work.
pub(super) fn visible<C: Clock>(
    part: &Work,
    folder: &Path,
    payload: &[u8],
    passes: &mut Passes,
) -> Result<Outcome<C>, Failure> {
    let shares = part.shares();
    let callers = each(part, |thread| {
        let share = shares.get(index(thread)).map_or(0, |share: &Share| share.log_bytes(part));
        Ok(Stores { area: Area::new(folder, share)?, position: 0, payload, clock: C::new() })
    })?;
    run(part, callers, passes)
}

/// Stores the frames of a part of the work and syncs after each `group` of them.
pub(super) fn durable<C: Clock>(
    part: &Work,
    group: usize,
    folder: &Path,
    payload: &[u8],
    passes: &mut Passes,
) -> Result<Outcome<C>, Failure> {
    let part = part.by_one_thread();
    let area = Area::new(folder, index(part.log_bytes()))?;
    // What population stored is none of the first sync's business.
    area.sync()?;
    let stores = Stores { area, position: 0, payload, clock: super::latency::Untimed };
    run(&part, vec![Syncs { stores, group, stored: 0, since: None, clock: C::new() }], passes)
}

/// Stores frames one behind the other.
struct Stores<'a, C> {
    area: Area,
    position: usize,
    payload: &'a [u8],
    clock: C,
}

impl<C: Clock> Caller for Stores<'_, C> {
    type Clock = C;

    #[inline]
    fn call(&mut self, events: usize) -> Result<(), Failure> {
        let since = C::start();
        let end = self.position + frame::bytes(self.payload.len(), events);
        let room = self.area.map.get_mut(self.position..end);
        let room = room.ok_or_else(|| Failure::Input("a bare loop has no room left; report this".to_owned()))?;
        frame::store(room, self.position, self.payload, events);
        self.position = end.next_multiple_of(8);
        self.clock.stop(since);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn restart(&mut self) {
        self.clock = C::new();
    }

    fn finish(self) -> C {
        self.clock
    }
}

/// Stores a group of frames, then syncs.
struct Syncs<'a, C: Clock> {
    stores: Stores<'a, super::latency::Untimed>,
    group: usize,
    stored: usize,
    /// When the group began.
    since: Option<C::Since>,
    clock: C,
}

impl<C: Clock> Caller for Syncs<'_, C> {
    type Clock = C;

    fn call(&mut self, events: usize) -> Result<(), Failure> {
        self.since.get_or_insert_with(C::start);
        self.stores.call(events)?;
        self.stored += 1;
        if self.stored == self.group { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), Failure> {
        let Some(since) = self.since.take() else { return Ok(()) };
        self.stores.area.sync()?;
        self.stored = 0;
        self.clock.stop(since);
        Ok(())
    }

    fn restart(&mut self) {
        self.clock = C::new();
    }

    fn finish(self) -> C {
        self.clock
    }
}
