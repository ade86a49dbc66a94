//! Kill -9: a writer process is killed in the middle of appends, rolls, recoveries and closes, over and over on the same
//! directory, beside a consumer that handles each record once, and checkpoints. Whatever it reported visible must be there.
//!
//! `ESKER_KILL_ROUNDS` sets the number of rounds, `ESKER_KILL_SEED` the seed of a run to repeat (its timing differs).

mod consumer;
mod life;
mod plan;
mod verdict;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use esker::{Attached, Ending, ErrorKind, Log, RecoveryReport};
use harness::MemoryDisk;
use tempfile::TempDir;

use crate::support;
use consumer::{Ledger, Look};
use life::Account;
use plan::{Dice, Identity, LastAct, Run};
use verdict::{Before, End};

const ROUNDS_VARIABLE: &str = "ESKER_KILL_ROUNDS";
const ROUNDS: u64 = 200;
/// After so many rounds a new directory is begun, so that reading all of it stays cheap.
const STRETCH_ROUNDS: u64 = 10;

/// What all rounds together came to.
#[derive(Debug, Default)]
struct Totals {
    rounds: u64,
    /// Records compared, each time that they were read.
    records_checked: u64,
    frames_reported: u64,
    durable_reports: u64,
    /// Opens that followed an unclean end, by writers or by this process.
    recoveries: u64,
    clean_opens: u64,
    /// Writers that died before their open was through.
    died_opening: u64,
    /// ... with a frame visible that they had no time to report.
    died_unreported: u64,
    /// ... after they rolled and before the next segment was prepared.
    died_rolling: u64,
    /// ... when all was appended: idle, or in the middle of a close.
    died_done: u64,
    closed: u64,
    /// Commits of the consumer that were reported.
    moves_reported: u64,
    /// Inputs whose output was found, and its place in the order.
    outputs_checked: u64,
    /// Deaths with an unfinished checkpoint, and with one that was there while the oldest was not removed yet.
    died_drafting: u64,
    died_tidying: u64,
    /// Opens that loaded a checkpoint, and looks at the same log without any.
    checkpoints_loaded: u64,
    looks_without: u64,
    /// The most recoveries of one directory without a clean end between.
    stacked_most: u64,
}

/// One directory and what is known of it.
struct Stretch {
    folder: TempDir,
    settled: Vec<Identity>,
    ledger: Ledger,
    checkpoints: usize,
    before: Before,
    stacked: u64,
}

/// Not a test: what the writer process runs.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(life::FOLDER_VARIABLE) else { return };
    let seed = std::env::var(life::SEED_VARIABLE).ok().and_then(|seed| seed.parse().ok());
    life::live(Path::new(&folder), seed.expect("a seed beside the folder"));
}

#[test]
fn whatever_a_killed_writer_reported_visible_is_there() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = number(ROUNDS_VARIABLE).unwrap_or(ROUNDS).max(ROUNDS);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seed = number(life::SEED_VARIABLE).unwrap_or(u64::from(time.subsec_nanos()));
    println!("seed: {}={seed}", life::SEED_VARIABLE);
    let mut dice = Dice::new(seed);
    let mut totals = Totals::default();
    while totals.rounds < rounds {
        let mut stretch = Stretch::begin();
        for _ in 0..STRETCH_ROUNDS.min(rounds - totals.rounds) {
            stretch.round(&mut dice, &mut totals);
        }
        stretch.folder.disable_cleanup(false);
    }
    println!("{totals:?}");
    assert!(totals.rounds >= ROUNDS, "{totals:?}");
    assert!(totals.records_checked > 100 * totals.rounds && totals.frames_reported > 10 * totals.rounds, "{totals:?}");
    assert!(totals.durable_reports > totals.rounds && totals.recoveries > totals.rounds, "{totals:?}");
    assert!(totals.died_rolling > totals.rounds / 20 && totals.died_done > totals.rounds / 20, "{totals:?}");
    assert!(totals.died_opening > 0 && totals.died_unreported > 0, "{totals:?}");
    assert!(totals.moves_reported > totals.rounds && totals.outputs_checked > 100 * totals.rounds, "{totals:?}");
    assert!(totals.died_drafting > totals.rounds / 50 && totals.checkpoints_loaded > totals.rounds / 2, "{totals:?}");
    assert!(totals.looks_without > totals.rounds / 4, "{totals:?}");
    assert!(totals.closed > 0 && totals.clean_opens > 0 && totals.stacked_most > 2, "{totals:?}");
}

/// What a kill leaves between the store of a header and that of its first word, which comes last.
fn cut_header(disk: &MemoryDisk, segment: u64) {
    const HEADER_BYTES: usize = 256;
    disk.edit_file(&support::segment_name(segment), |bytes| {
        bytes[..8].fill(0);
        bytes[HEADER_BYTES..].fill(0);
    });
}

/// Before this segment there was nothing: an open has nothing to lose by beginning anew.
#[test]
fn a_kill_in_the_header_of_the_first_segment_leaves_no_log() {
    let disk = MemoryDisk::new(1);
    let left = {
        let _log = support::open(&disk).expect("opens");
        disk.snapshot()
    };
    cut_header(&left, 1);
    left.remove("anchor");
    let log = support::open(&left).expect("begins anew");
    assert_eq!((log.recovery().ending, log.visible().get()), (Ending::Created, 0));
}

#[test]
fn a_kill_in_the_header_of_a_later_segment_keeps_all_before_it() {
    let disk = MemoryDisk::new(1);
    let log = support::open(&disk).expect("opens");
    let places = support::append_numbered(&log, 0..100);
    let newest = places.last().expect("some").segment;
    let kept = (0..).zip(&places).find(|(_, place)| place.segment == newest).expect("one").0;
    assert!(newest > 2 && kept > 0, "{places:?}");
    let left = disk.snapshot();
    cut_header(&left, newest);
    let log = support::open(&left).expect("recovers");
    assert_eq!((log.recovery().ending, &log.recovery().cut), (Ending::Unclean, &None));
    assert!(support::payloads(&log) == support::expected(0..kept));
    assert_eq!(log.recovery().quarantined, [support::segment_name(newest)]);
}

impl Stretch {
    fn begin() -> Self {
        let mut folder = tempfile::tempdir().expect("temporary folder");
        // What a failure leaves behind is evidence.
        folder.disable_cleanup(true);
        let before = Before { epoch: 0, end: End::Nothing, unheard: 0 };
        Self { folder, settled: Vec::new(), ledger: Ledger::default(), checkpoints: 0, before, stacked: 0 }
    }

    fn round(&mut self, dice: &mut Dice, totals: &mut Totals) {
        let run = Run::of(dice.word());
        let moment = life::Moment::random(dice);
        println!("round {} in {}: {moment:?}, {run:?}", totals.rounds, self.folder.path().display());
        let account = life::kill_one(self.folder.path(), &run, moment);
        assert_eq!(account.errors, Vec::<String>::new());
        self.hear(&run, &account, totals);
        self.count_death(&account, totals);
        self.count_checkpoints(totals);
        totals.moves_reported += account.moves;

        let copy = copy_of(self.folder.path());
        let (found, look) = self.check_unchanged(&run, &account);
        let report = self.check_recovered(copy.path(), &found, look.as_ref(), &run, totals);
        totals.died_unreported += u64::from(self.inputs_since(&found) > reported(&account));
        totals.records_checked += 2 * verdict::count(&found);
        totals.outputs_checked += u64::try_from(found.iter().filter(|one| one.is_output()).count()).expect("few");
        if let Some(look) = look.as_ref().filter(|_| dice.below(2) == 0) {
            check_without(copy.path(), self.folder.path(), look, totals);
        }
        self.settled = found;
        if dice.below(4) == 0 {
            // Else the next writer has to recover it, and may die of that.
            let again = self.check_recovered(self.folder.path(), &self.settled, look.as_ref(), &run, totals);
            assert_eq!((again.ending, again.end, again.durable), (report.ending, report.end, report.durable));
            assert_eq!((again.segments, &again.removed), (report.segments, &report.removed));
            self.check_again(&again);
            totals.records_checked += verdict::count(&self.settled);
            self.before = Before { epoch: again.epoch.counter, end: End::Closed, unheard: 0 };
            self.stacked = 0;
        }
        totals.stacked_most = totals.stacked_most.max(self.stacked);
        totals.rounds += 1;
    }

    /// What the writer found at its open agrees with what was known, and says how it left the log.
    fn hear(&mut self, run: &Run, account: &Account, totals: &mut Totals) {
        totals.frames_reported += u64::try_from(account.visible.len()).expect("few");
        totals.durable_reports += account.durable_reports;
        let Some(opened) = account.opened else {
            self.before.unheard += 1;
            return;
        };
        assert_eq!(opened.end, verdict::count(&self.settled), "the writer's open kept what was settled");
        assert!(self.before.allows(opened.ending, opened.epoch), "{:?}: {opened:?}", self.before);
        let recovered = opened.ending == Ending::Unclean;
        self.stacked = if recovered { self.stacked + 1 } else { 0 };
        totals.recoveries += u64::from(recovered);
        totals.clean_opens += u64::from(opened.ending == Ending::Clean);
        totals.closed += u64::from(account.closed);
        let frames = u64::try_from(account.visible.len()).expect("few");
        let end = match run.last_act {
            LastAct::Close if account.closed => End::Closed,
            LastAct::Close if frames == run.frames * run.threads => End::Closing,
            _ => End::Unclosed,
        };
        self.before = Before { epoch: opened.epoch, end, unheard: 0 };
    }

    fn count_death(&self, account: &Account, totals: &mut Totals) {
        let folder = self.folder.path();
        let spare = verdict::segment_files(folder).iter().any(|name| is_whole_spare(&folder.join(name)));
        totals.died_opening += u64::from(account.opened.is_none());
        totals.died_rolling += u64::from(account.opened.is_some() && !account.closed && !spare);
        totals.died_done += u64::from(account.done);
    }

    fn inputs_since(&self, found: &[Identity]) -> u64 {
        let inputs = found[self.settled.len()..].iter().filter(|identity| !identity.is_output());
        u64::try_from(inputs.count()).expect("few")
    }

    /// Two checkpoints, and at most one more for each death between its name and the removal of the oldest.
    fn count_checkpoints(&mut self, totals: &mut Totals) {
        let (kept, drafts) = verdict::checkpoint_files(self.folder.path());
        assert!(kept.len() <= self.checkpoints.max(2) + 1 && drafts.len() <= 1, "{kept:?}, {drafts:?}");
        totals.died_drafting += u64::try_from(drafts.len()).expect("few");
        totals.died_tidying += u64::from(kept.len() > self.checkpoints.max(2));
        self.checkpoints = kept.len();
    }

    /// Looks without touching; returns what is there.
    fn check_unchanged(&mut self, run: &Run, account: &Account) -> (Vec<Identity>, Option<Look>) {
        let attached = match Attached::open(self.folder.path()) {
            Err(error)
                if error.kind() == ErrorKind::Invalid
                    && account.opened.is_none()
                    && self.before.end == End::Nothing =>
            {
                return (Vec::new(), None);
            }
            attached => attached.expect("attaches"),
        };
        assert_eq!((attached.writer(), attached.refusal().map(|error| error.to_string())), (None, None));
        let (found, outputs) = verdict::read(attached.reader());
        verdict::judge(&found, &self.settled, run, account, &mut self.ledger);
        assert_eq!(attached.visible().get(), verdict::count(&found));
        let view = attached.state().expect("shown");
        let look = self.ledger.check(&view, &found, &outputs, account.moved);
        (found, Some(look))
    }

    /// Opens for writing, which recovers, and closes.
    fn check_recovered(
        &self,
        folder: &Path,
        found: &[Identity],
        look: Option<&Look>,
        run: &Run,
        totals: &mut Totals,
    ) -> RecoveryReport {
        let (_, drafts) = verdict::checkpoint_files(folder);
        let log = run.options.open(folder).expect("opens");
        let report = log.recovery().clone();
        totals.recoveries += u64::from(report.ending == Ending::Unclean);
        verdict::check_report(folder, &report, self.before, verdict::count(found));
        verdict::check_files(folder, &log, &report);
        assert!(verdict::read(log.reader()).0 == found, "an open keeps what a look at it showed");
        assert!(look.is_none_or(|look| *look == Look::inside(&log)), "state and cursor too");
        assert_eq!(report.checkpoint_faults, Vec::<String>::new());
        assert!(drafts.iter().all(|name| report.removed.contains(name)), "{drafts:?}: {report:?}");
        totals.checkpoints_loaded += u64::from(report.checkpoint.is_some());
        assert_eq!((log.durable().get(), log.visible().get()), (verdict::count(found), verdict::count(found)));
        log.close().expect("closes");
        assert_eq!(verdict::checkpoint_files(folder).1, Vec::<String>::new(), "a closed log has no draft");
        report
    }

    /// What was recovered and closed opens clean, with nothing left to do.
    fn check_again(&self, report: &RecoveryReport) {
        let log = Log::open(self.folder.path()).expect("opens again");
        assert_eq!(log.recovery().ending, Ending::Clean, "{:?}", log.recovery());
        assert_eq!(log.recovery().epoch, report.epoch);
        assert_eq!(log.visible().get(), verdict::count(&self.settled));
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

fn reported(account: &Account) -> u64 {
    account.visible.iter().map(|frame| frame.next - frame.first).sum()
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
