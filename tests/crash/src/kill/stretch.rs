//! Some lives of writers in one directory, one behind the other, and what is known of it.
//!
//! Guarantees:
//! 1. Each death is judged on what it left, unchanged; on a copy that is recovered; and sometimes on the directory itself.
//! 2. Else the next writer has to recover it, and may die of that.
//! 3. What a violation leaves behind is kept, and named.

use std::fs;
use std::path::Path;
use std::thread;

use esker::{Attached, Ending, ErrorKind, Log, RecoveryReport};
use harness::Dice;
use harness::oracle::{Death, Found, History, Raised};
use tempfile::TempDir;

use super::ledger::{Ledger, Look};
use super::life::{self, Account, Moment};
use super::plan::{Identity, LastAct, Run};
use super::readers::{Ends, Readers};
use super::verdict::{self, Before, Content, End};
use super::{Totals, chronicle};

/// One directory and what is known of it.
pub(super) struct Stretch {
    folder: TempDir,
    /// What it is about to go through, for whoever has to find out why it failed.
    now: String,
    history: History,
    readers: Readers,
    settled: Vec<Identity>,
    ledger: Ledger,
    checkpoints: usize,
    before: Before,
    stacked: u64,
}

/// What a death left, as somebody sees it who changes nothing.
struct Left {
    content: Content,
    /// `None`: there is no log.
    look: Option<Look>,
    durable: u64,
}

impl Drop for Stretch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("in {}: {}", self.folder.path().display(), self.now);
        }
    }
}

impl Stretch {
    pub(super) fn begin(readers: u64) -> Self {
        let mut folder = tempfile::tempdir().expect("temporary folder");
        // What a failure leaves behind is evidence.
        folder.disable_cleanup(true);
        Self {
            now: String::new(),
            history: History::default(),
            readers: Readers::of(folder.path(), readers),
            settled: Vec::new(),
            ledger: Ledger::default(),
            checkpoints: 0,
            before: Before { epoch: 0, end: End::Nothing, unheard: 0 },
            stacked: 0,
            folder,
        }
    }

    /// Nothing was wrong: nothing is left.
    pub(super) fn end(mut self) {
        self.folder.disable_cleanup(false);
    }

    /// One life of a writer, its death, and what comes of it.
    pub(super) fn cycle(&mut self, dice: &mut Dice, totals: &mut Totals) {
        let run = Run::of(dice.word());
        let moment = Moment::random(dice);
        self.now = format!("cycle {}: {moment:?}, {run:?}", totals.cycles);
        self.readers.fill(dice, &mut totals.readers);
        let (fates, readers, folder) = (dice.fork(), &mut self.readers, self.folder.path());
        let account = thread::scope(|scope| {
            scope.spawn(|| readers.kill_some(fates));
            life::kill_one(folder, &run, moment)
        });
        assert_eq!(account.errors, Vec::<String>::new());
        self.hear(&run, &account, totals);
        self.count_death(&account, totals);
        self.count_checkpoints(totals);

        let copy = copy_of(self.folder.path());
        let left = self.look(&account);
        self.judge(&run, &account, &left, totals);
        let report = self.check_recovered(copy.path(), &left, &run, totals);
        if let Some(look) = left.look.as_ref().filter(|_| dice.one_in(2)) {
            check_without(copy.path(), self.folder.path(), look, totals);
        }
        if dice.one_in(4) {
            let again = self.check_recovered(self.folder.path(), &left, &run, totals);
            assert_eq!((again.ending, again.end, again.durable), (report.ending, report.end, report.durable));
            assert_eq!((again.segments, &again.removed), (report.segments, &report.removed));
            self.check_again(&again, left.content.count());
            totals.records_checked += left.content.count();
            self.before = Before { epoch: again.epoch.counter, end: End::Closed, unheard: 0 };
            self.history.settle(found(&left), again.end.place, again.epoch);
            self.stacked = 0;
        }
        self.settled = left.content.identities;
        totals.stacked_most = totals.stacked_most.max(self.stacked);
        totals.cycles += 1;
    }

    /// What the writer found at its open agrees with what was known, and says how it left the log.
    fn hear(&mut self, run: &Run, account: &Account, totals: &mut Totals) {
        totals.frames_reported += count(&account.visible);
        totals.durable_reports += count(&account.durable);
        totals.moves_reported += u64::try_from(account.moved().count()).expect("few");
        let Some(opened) = account.opened else {
            self.before.unheard += 1;
            return;
        };
        assert_eq!(opened.end, count(&self.settled), "the writer's open kept what was settled");
        assert!(self.before.allows(opened.ending, opened.epoch.counter), "{:?}: {opened:?}", self.before);
        assert_eq!(self.history.judge_epoch(opened.epoch, raised(opened.ending)), Ok(()), "{opened:?}");
        self.history.begin(opened.place, opened.epoch);
        let recovered = opened.ending == Ending::Unclean;
        self.stacked = if recovered { self.stacked + 1 } else { 0 };
        totals.recoveries += u64::from(recovered);
        totals.clean_opens += u64::from(opened.ending == Ending::Clean);
        totals.closed += u64::from(account.closed);
        let end = match run.last_act {
            LastAct::Close if account.closed => End::Closed,
            LastAct::Close if count(&account.visible) == run.frames * run.threads => End::Closing,
            _ => End::Unclosed,
        };
        self.before = Before { epoch: opened.epoch.counter, end, unheard: 0 };
    }

    /// Looks without touching.
    fn look(&self, account: &Account) -> Left {
        let attached = match Attached::open(self.folder.path()) {
            Err(error)
                if error.kind() == ErrorKind::Invalid
                    && account.opened.is_none()
                    && self.before.end == End::Nothing =>
            {
                return Left { content: Content::default(), look: None, durable: 0 };
            }
            attached => attached.expect("attaches"),
        };
        assert_eq!((attached.writer(), attached.refusal().map(|error| error.to_string())), (None, None));
        let content = verdict::read(attached.reader());
        assert_eq!(attached.visible().get(), content.count());
        Left { content, look: Some(Look::outside(&attached)), durable: attached.durable().get() }
    }

    /// What is left is what the oracle, the books and those who read say.
    fn judge(&mut self, run: &Run, account: &Account, left: &Left, totals: &mut Totals) {
        let (content, found) = (&left.content, found(left));
        chronicle::tell(&mut self.history, run, account, &content.identities, &self.ledger);
        let kept = self.history.judge(Death::Process, &found);
        totals.frames_unreported += u64::try_from(kept.expect("judged by the oracle").unreported).expect("few");
        if let Some(look) = &left.look {
            let moved = account.moved().map(|moving| moving.next).max().unwrap_or_default();
            self.ledger.check(look, &content.identities, &content.outputs, moved);
        }
        let audience = self.readers.audience();
        assert_eq!(audience.learn(&self.history, &found), Ok(()), "judged by the oracle");
        self.readers.judge(Ends { visible: content.count(), durable: left.durable }, &mut totals.readers);
        if let Some(opened) = account.opened {
            self.history.settle(found, opened.place, opened.epoch);
        }
        totals.died_unreported += u64::from(self.inputs_since(&content.identities) > account.records());
        totals.records_checked += 2 * content.count();
        totals.outputs_checked += count(&content.outputs);
    }

    fn inputs_since(&self, found: &[Identity]) -> u64 {
        let inputs = found[self.settled.len()..].iter().filter(|identity| !identity.is_output());
        u64::try_from(inputs.count()).expect("few")
    }

    fn count_death(&self, account: &Account, totals: &mut Totals) {
        let folder = self.folder.path();
        let spare = verdict::segment_files(folder).iter().any(|name| is_whole_spare(&folder.join(name)));
        totals.died_opening += u64::from(account.opened.is_none());
        totals.died_rolling += u64::from(account.opened.is_some() && !account.closed && !spare);
        totals.died_done += u64::from(account.done);
    }

    /// Two checkpoints, and at most one more for each death between its name and the removal of the oldest.
    fn count_checkpoints(&mut self, totals: &mut Totals) {
        let (kept, drafts) = verdict::checkpoint_files(self.folder.path());
        assert!(kept.len() <= self.checkpoints.max(2) + 1 && drafts.len() <= 1, "{kept:?}, {drafts:?}");
        totals.died_drafting += u64::try_from(drafts.len()).expect("few");
        totals.died_tidying += u64::from(kept.len() > self.checkpoints.max(2));
        self.checkpoints = kept.len();
    }

    /// Opens for writing, which recovers, and closes.
    fn check_recovered(&self, folder: &Path, left: &Left, run: &Run, totals: &mut Totals) -> RecoveryReport {
        let (_, drafts) = verdict::checkpoint_files(folder);
        let log = run.options.open(folder).expect("opens");
        let report = log.recovery().clone();
        let found = left.content.count();
        assert_eq!(self.history.judge_epoch(report.epoch, raised(report.ending)), Ok(()), "{report:?}");
        totals.recoveries += u64::from(report.ending == Ending::Unclean);
        verdict::check_report(folder, &report, self.before, found);
        verdict::check_files(folder, &log, &report);
        assert!(verdict::read(log.reader()) == left.content, "an open keeps what a look at it showed");
        assert!(left.look.as_ref().is_none_or(|look| *look == Look::inside(&log)), "state and cursor too");
        assert_eq!(report.checkpoint_faults, Vec::<String>::new());
        assert!(drafts.iter().all(|name| report.removed.contains(name)), "{drafts:?}: {report:?}");
        totals.checkpoints_loaded += u64::from(report.checkpoint.is_some());
        assert_eq!((log.durable().get(), log.visible().get()), (found, found));
        log.close().expect("closes");
        assert_eq!(verdict::checkpoint_files(folder).1, Vec::<String>::new(), "a closed log has no draft");
        report
    }

    /// What was recovered and closed opens clean, with nothing left to do.
    fn check_again(&self, report: &RecoveryReport, records: u64) {
        let log = Log::open(self.folder.path()).expect("opens again");
        assert_eq!(log.recovery().ending, Ending::Clean, "{:?}", log.recovery());
        assert_eq!(log.recovery().epoch, report.epoch);
        assert_eq!(log.visible().get(), records);
        let segments = log.stats().segments;
        log.close().expect("closes");
        assert_eq!(verdict::segment_files(self.folder.path()).len(), segments, "a closed log has no spare");
    }
}

/// The same log gives the same state without its checkpoints, also where they were written at a close just now.
fn check_without(copy: &Path, folder: &Path, look: &Look, totals: &mut Totals) {
    for folder in [copy, folder] {
        let bare = copy_of(folder);
        let (kept, drafts) = verdict::checkpoint_files(bare.path());
        for name in kept.iter().chain(&drafts) {
            fs::remove_file(bare.path().join(name)).expect("removes");
        }
        let attached = Attached::open(bare.path()).expect("attaches");
        assert!(Look::outside(&attached) == *look, "{kept:?} made a difference");
        totals.looks_without += u64::from(!kept.is_empty());
    }
}

fn raised(ending: Ending) -> Raised {
    match ending {
        Ending::Created | Ending::Clean => Raised::No,
        _ => Raised::Yes,
    }
}

/// What is left, as the oracle knows it.
fn found(left: &Left) -> Found {
    let state = left.look.as_ref().map(Look::state).unwrap_or_default();
    Found { start: 0, records: left.content.fingerprints.clone(), state }
}

fn count<T>(all: &[T]) -> u64 {
    u64::try_from(all.len()).expect("few")
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("temporary folder");
    for entry in fs::read_dir(folder).expect("lists") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copies");
        }
    }
    copy
}

/// Whether a file was prepared as the next segment, as far as its length tells.
fn is_whole_spare(path: &Path) -> bool {
    let bytes = fs::read(path).expect("reads");
    !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0)
}
