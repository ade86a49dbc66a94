//! A thread that appends while its earlier calls are not yet durable.
//!
//! Who waits for a place may have to run the sync itself. There are two ways to go on from there, and the better one depends
//! on the disk and on how many calls may be in flight. *Alone*: the thread appends until the pipeline is full, then waits;
//! one sync serves a full pipeline, but nothing is appended meanwhile. *Overlapping*: a second thread waits in its stead,
//! so that appends go on during the sync; disk and appends work at the same time, but a sync finds the pipeline half full.
//! Overlapping pays if filling the pipeline takes longer than a sync of it; the two threads watch that and take turns.
//!
//! Guarantees:
//! 1. At most `limit` calls of a thread are appended and not known to be durable.
//! 2. The latency of a call is from before its append to the moment at which one of the two threads knew it to be durable.
//! 3. Only one of the two threads waits for calls at a time: the second one while the way is `Overlapping`, else the first.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use esker::{Log, Offset, Place, Record};

use super::engine::append;
use super::latency::Clock;
use super::pass::Caller;
use crate::failure::Failure;

/// A call that is not known to be durable.
struct Flight<S> {
    place: Place,
    next: Offset,
    since: S,
}

/// Calls in flight, oldest first.
type Flights<C> = VecDeque<Flight<<C as Clock>::Since>>;

/// What the two threads share.
struct Pipe<C: Clock> {
    log: Log,
    state: Mutex<State<C>>,
    /// The second thread has something to do.
    more: Condvar,
    /// Something became durable, or never will, or the first thread has to wait itself.
    room: Condvar,
    limit: usize,
    clock: Mutex<C>,
}

struct State<C: Clock> {
    way: Way,
    /// Nobody waits for these yet.
    pending: Flights<C>,
    /// Those, and those that somebody waits for.
    in_flight: usize,
    /// When the first thread last found room.
    room_since: Instant,
    /// Since when it has had none, while the second thread waits.
    full_since: Option<Instant>,
    second: Second,
    failure: Option<esker::Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Overlapping,
}

/// What the second thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Second {
    Works,
    Sleeps,
    /// It is to end.
    Ends,
}

/// The first thread.
pub(super) struct Pipelined<'a, C: Clock> {
    log: &'a Log,
    records: &'a [Record<'a>],
    pipe: Arc<Pipe<C>>,
    second: Option<JoinHandle<()>>,
    /// Those that the first thread waits for.
    flights: Flights<C>,
}

impl<'a, C: Clock> Pipelined<'a, C> {
    pub(super) fn new(log: &'a Log, records: &'a [Record<'a>], limit: usize) -> Self {
        let state = State {
            way: Way::Alone,
            pending: VecDeque::with_capacity(limit),
            in_flight: 0,
            room_since: Instant::now(),
            full_since: None,
            second: Second::Works,
            failure: None,
        };
        let (more, room) = (Condvar::new(), Condvar::new());
        let (state, clock) = (Mutex::new(state), Mutex::new(C::new()));
        let pipe = Arc::new(Pipe { log: log.clone(), state, more, room, limit, clock });
        let second = thread::spawn({
            let pipe = Arc::clone(&pipe);
            move || pipe.wait_in_its_stead()
        });
        Self { log, records, pipe, second: Some(second), flights: VecDeque::with_capacity(limit) }
    }
}

impl<C: Clock> Caller for Pipelined<'_, C> {
    type Clock = C;

    #[inline]
    fn call(&mut self, events: usize) -> Result<(), Failure> {
        let since = C::start();
        let ticket = append(self.log, self.records, events)?;
        let flight = Flight { place: ticket.place(), next: ticket.offsets().end, since };
        let mut state = self.pipe.state();
        state.pending.push_back(flight);
        state.in_flight += 1;
        if state.in_flight >= self.pipe.limit {
            return self.pipe.make_room(state, self.pipe.limit, &mut self.flights);
        }
        self.pipe.tell_second(&mut state);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.pipe.make_room(self.pipe.state(), 1, &mut self.flights)
    }

    fn restart(&mut self) {
        *self.pipe.clock() = C::new();
        self.pipe.state().room_since = Instant::now();
    }

    fn finish(self) -> C {
        std::mem::replace(&mut *self.pipe.clock(), C::new())
    }
}

impl<C: Clock> Drop for Pipelined<'_, C> {
    fn drop(&mut self) {
        self.pipe.state().second = Second::Ends;
        self.pipe.more.notify_one();
        let _panicked = self.second.take().map(JoinHandle::join);
    }
}

impl<C: Clock> Pipe<C> {
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, C> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_second(&self, state: &mut State<C>) {
        if state.way == Way::Overlapping && state.second == Second::Sleeps {
            state.second = Second::Works;
            self.more.notify_one();
        }
    }

    /// The first thread: until fewer than `below` are in flight.
    fn make_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<C>>,
        below: usize,
        flights: &mut Flights<C>,
    ) -> Result<(), Failure> {
        while state.in_flight >= below {
            if let Some(error) = &state.failure {
                return Err(error.clone().into());
            }
            if state.way == Way::Overlapping {
                state.full_since.get_or_insert_with(Instant::now);
                self.tell_second(&mut state);
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let filled = state.room_since.elapsed();
            let full = state.in_flight >= self.limit;
            std::mem::swap(flights, &mut state.pending);
            drop(state);
            let took = self.wait_for(flights)?;
            state = self.state();
            state.room_since = Instant::now();
            if full && filled > took {
                state.way = Way::Overlapping;
            }
        }
        Ok(())
    }

    /// The second thread.
    fn wait_in_its_stead(&self) {
        let mut flights = VecDeque::with_capacity(self.limit);
        let mut state = self.state();
        while state.second != Second::Ends {
            if state.way == Way::Alone || state.pending.is_empty() {
                state.second = Second::Sleeps;
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            std::mem::swap(&mut flights, &mut state.pending);
            drop(state);
            let waited = self.wait_for(&mut flights);
            state = self.state();
            match waited {
                Ok(took) => {
                    let kept_waiting = state.full_since.take().map(|since| since.elapsed());
                    // The other half of the pipeline was filled in less than half of the time.
                    if kept_waiting.is_some_and(|kept| kept > took / 2) {
                        state.way = Way::Alone;
                    }
                }
                // Nothing becomes durable any more.
                Err(error) => (state.failure, state.second) = (Some(error), Second::Ends),
            }
            self.room.notify_one();
        }
    }

    /// Waits until all of these are durable, and lets go of each as soon as it is. Says how long that took.
    fn wait_for(&self, flights: &mut Flights<C>) -> Result<Duration, esker::Error> {
        let began = Instant::now();
        let mut ended = began;
        while let Some(oldest) = flights.front() {
            self.log.wait_durable(oldest.place)?;
            ended = Instant::now();
            let durable = self.log.durable();
            // The oldest is in any case: its wait is over.
            let count = flights.iter().take_while(|flight| flight.next <= durable).count().max(1);
            let mut clock = self.clock();
            flights.drain(..count).for_each(|flight| clock.stop_at(flight.since, ended));
            drop(clock);
            self.state().in_flight -= count;
        }
        Ok(ended.saturating_duration_since(began))
    }
}
