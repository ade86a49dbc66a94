//! Each guarantee of the oracle: a log that breaks it is found out, and one that keeps it is not.

use esker::{Epoch, Place};

use super::*;

/// A frame of records alone.
fn records(records: &[u64]) -> Frame {
    Frame { records: records.to_vec(), changes: Vec::new() }
}

/// A frame that sets an entry of the state too.
fn sets(mut frame: Frame, key: &str, value: u64) -> Frame {
    frame.changes.push((key.as_bytes().to_vec(), Some(value)));
    frame
}

fn place(position: u64) -> Place {
    Place { segment: 1, position }
}

fn found(records: &[u64], state: &[(&str, u64)]) -> Found {
    let state = state.iter().map(|(key, value)| (key.as_bytes().to_vec(), *value)).collect();
    Found { start: 0, records: records.to_vec(), state }
}

/// Two producers: the first appended twice, the second once between; both have a frame of which nobody heard.
///
/// The log is 10 11 | 20 | 12, and then 13 14 of the first and 21 of the second may be there.
fn lived() -> History {
    let mut history = History::default();
    history.submit(1, sets(records(&[10, 11]), "a", 1));
    history.submit(2, records(&[20]));
    history.visible(1, 0, place(100));
    history.visible(2, 2, place(200));
    history.submit(1, sets(records(&[12]), "a", 2));
    history.visible(1, 3, place(300));
    history.submit(1, sets(records(&[13, 14]), "a", 3));
    history.submit(2, sets(records(&[21]), "b", 9));
    history
}

/// Fails with words that name what is wrong.
#[track_caller]
fn refuses<T: std::fmt::Debug>(verdict: Result<T, String>, words: &str) {
    let error = verdict.expect_err("a log that breaks a guarantee");
    assert!(error.contains(words), "{error:?} does not say {words:?}");
}

#[test]
fn all_that_was_visible_is_fine_with_and_without_what_nobody_heard_of() {
    let history = lived();
    let judge = |records: &[u64], state: &[(&str, u64)]| history.judge(Death::Process, &found(records, state));
    let kept = |unreported| Ok(Kept { visible: 3, unreported });
    assert_eq!(judge(&[10, 11, 20, 12], &[("a", 2)]), kept(0));
    assert_eq!(judge(&[10, 11, 20, 12, 13, 14], &[("a", 3)]), kept(1));
    assert_eq!(judge(&[10, 11, 20, 12, 21], &[("a", 2), ("b", 9)]), kept(1));
    assert_eq!(judge(&[10, 11, 20, 12, 21, 13, 14], &[("a", 3), ("b", 9)]), kept(2));
}

#[test]
fn a_visible_frame_that_a_process_took_with_it_is_missed() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 11, 20], &[("a", 1)])), "was visible, and is lost: offset 3");
    refuses(history.judge(Death::Process, &found(&[], &[])), "was visible, and is lost: offset 0");
}

#[test]
fn power_may_take_what_was_visible_but_nothing_that_was_durable() {
    let mut history = lived();
    assert!(history.judge(Death::Machine, &found(&[], &[])).is_ok());
    history.durable(place(200));
    assert!(history.judge(Death::Machine, &found(&[10, 11, 20], &[("a", 1)])).is_ok());
    refuses(history.judge(Death::Machine, &found(&[10, 11], &[("a", 1)])), "was durable, and is lost: offset 2");
    history.durable(place(100));
    assert_eq!(history.durable_place(), place(200), "an older answer takes nothing back");
}

#[test]
fn what_was_settled_stays() {
    let mut history = lived();
    history.settle(found(&[10, 11, 20], &[("a", 1)]), place(200), Epoch::default());
    assert!(history.judge(Death::Machine, &found(&[10, 11, 20], &[("a", 1)])).is_ok());
    refuses(history.judge(Death::Machine, &found(&[10, 11], &[("a", 1)])), "only 2 are there");
    refuses(history.judge(Death::Process, &found(&[10, 99, 20], &[("a", 1)])), "only 1 are there");
    refuses(history.judge(Death::Process, &found(&[10, 11, 20], &[])), "state is not that of");
}

#[test]
fn a_record_that_changed_or_moved_is_found_out() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 99, 20, 12], &[("a", 2)])), "offsets 0 to 2");
    refuses(history.judge(Death::Process, &found(&[10, 11, 12, 20], &[("a", 2)])), "offsets 2 to 3");
    refuses(history.judge(Death::Process, &found(&[20, 10, 11, 12], &[("a", 2)])), "offsets 0 to 2");
}

#[test]
fn half_a_frame_is_found_out() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12, 13], &[("a", 3)])), "not all of it is there");
    refuses(history.judge(Death::Machine, &found(&[10], &[("a", 1)])), "offsets 0 to 2");
}

#[test]
fn a_record_that_nobody_submitted_is_found_out() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12, 99], &[("a", 2)])), "nobody submitted");
    refuses(History::default().judge(Death::Process, &found(&[99], &[])), "nobody submitted");
}

#[test]
fn a_frame_that_is_there_twice_is_found_out() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12, 12], &[("a", 2)])), "nobody submitted");
    refuses(
        history.judge(Death::Process, &found(&[10, 11, 20, 12, 21, 21], &[("a", 2), ("b", 9)])),
        "nobody submitted",
    );
}

#[test]
fn a_frame_whose_append_was_refused_is_found_out() {
    let mut history = lived();
    history.refused(2);
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12, 21], &[("a", 2), ("b", 9)])), "nobody submitted");
}

#[test]
fn an_unreported_frame_counts_in_the_order_of_the_log() {
    let mut history = History::default();
    history.submit(1, sets(records(&[10]), "a", 1));
    history.submit(2, sets(records(&[20]), "a", 2));
    history.visible(2, 1, place(200));
    // The first one's frame came first, though nobody heard of it.
    let judge = |value| history.judge(Death::Process, &found(&[10, 20], &[("a", value)]));
    assert_eq!(judge(2), Ok(Kept { visible: 1, unreported: 1 }));
    refuses(judge(1), "state is not that of");
}

#[test]
fn state_without_its_records_and_records_without_their_state_are_found_out() {
    let history = lived();
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12], &[("a", 3)])), "state is not that of");
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12, 13, 14], &[("a", 2)])), "state is not that of");
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12], &[("a", 2), ("c", 1)])), "state is not that of");
    refuses(history.judge(Death::Process, &found(&[10, 11, 20, 12], &[])), "state is not that of");
}

#[test]
fn a_frame_of_state_alone_may_be_there_or_not_if_nobody_heard_of_it() {
    let mut history = lived();
    history.submit(3, sets(Frame::default(), "@reader", 4));
    let judge = |state: &[(&str, u64)]| history.judge(Death::Process, &found(&[10, 11, 20, 12], state));
    assert_eq!(judge(&[("a", 2)]), Ok(Kept { visible: 3, unreported: 0 }));
    assert_eq!(judge(&[("a", 2), ("@reader", 4)]), Ok(Kept { visible: 3, unreported: 1 }));
    refuses(judge(&[("a", 2), ("@reader", 3)]), "state is not that of");
    history.visible(3, 4, place(400));
    let judge = |state: &[(&str, u64)]| history.judge(Death::Process, &found(&[10, 11, 20, 12], state));
    refuses(judge(&[("a", 2)]), "@reader");
}

#[test]
fn a_cursor_behind_the_end_is_found_out() {
    let mut history = lived();
    history.submit(3, sets(Frame::default(), "@reader", 5));
    let judged = history.judge(Death::Process, &found(&[10, 11, 20, 12], &[("a", 2), ("@reader", 5)]));
    refuses(judged, "cursor @reader stands at 5, the log ends at 4");
}

#[test]
fn an_end_that_was_not_clean_needs_a_new_epoch_and_a_clean_one_the_old() {
    let epoch = |counter, word| Epoch { counter, word };
    let mut history = History::default();
    assert!(history.judge_epoch(epoch(1, 7), Raised::No).is_ok(), "a log that is created");
    history.settle(Found::default(), place(0), epoch(1, 7));
    assert!(history.judge_epoch(epoch(1, 7), Raised::No).is_ok());
    assert!(history.judge_epoch(epoch(2, 8), Raised::Yes).is_ok());
    assert!(history.judge_epoch(epoch(4, 8), Raised::Yes).is_ok(), "recoveries that died may lie between");
    refuses(history.judge_epoch(epoch(1, 7), Raised::Yes), "is no new one");
    refuses(history.judge_epoch(epoch(1, 8), Raised::Yes), "is no new one");
    refuses(history.judge_epoch(epoch(2, 8), Raised::No), "is not the newest");
}

#[test]
fn a_clean_end_goes_on_in_the_newest_epoch() {
    let epoch = |counter, word| Epoch { counter, word };
    let mut history = History::default();
    history.settle(Found::default(), place(0), epoch(1, 7));
    history.settle(Found::default(), place(0), epoch(2, 8));
    refuses(history.judge_epoch(epoch(1, 7), Raised::No), "is not the newest");
    history.begin(place(0), epoch(3, 9));
    refuses(history.judge_epoch(epoch(3, 10), Raised::Yes), "is no new one");
    assert!(history.judge_epoch(epoch(3, 9), Raised::No).is_ok());
}

/// What somebody saw who read these.
fn sight(records: &[u64]) -> Sight {
    let mut sight = Sight::default();
    for record in records {
        sight.see(*record);
    }
    sight
}

fn audience(records: &[u64], state: &[(&str, u64)]) -> Audience {
    let mut audience = Audience::default();
    audience.learn(&lived(), &found(records, state)).expect("a healthy log");
    audience
}

#[test]
fn whoever_saw_what_the_log_holds_saw_right() {
    let log = [10, 11, 20, 12, 21];
    let audience = audience(&log, &[("a", 2), ("b", 9)]);
    for end in 0..=log.len() {
        assert_eq!(audience.judge(sight(&log[..end]), 5), Ok(()), "up to {end}");
    }
}

#[test]
fn whoever_saw_something_else_is_found_out() {
    let audience = audience(&[10, 11, 20, 12], &[("a", 2)]);
    refuses(audience.judge(sight(&[10, 99, 20]), 4), "below offset 3 is not what the log holds");
    refuses(audience.judge(sight(&[10, 20]), 4), "below offset 2");
    refuses(audience.judge(sight(&[11, 10, 20]), 4), "below offset 3");
    refuses(audience.judge(sight(&[10, 10, 11]), 4), "below offset 3");
    refuses(audience.judge(sight(&[10, 11, 20, 12, 21]), 9), "saw 5 records, the log holds 4");
}

#[test]
fn whoever_saw_beyond_the_durable_line_is_found_out() {
    let audience = audience(&[10, 11, 20, 12], &[("a", 2)]);
    assert_eq!(audience.judge(sight(&[10, 11]), 2), Ok(()));
    refuses(audience.judge(sight(&[10, 11, 20]), 2), "saw records up to 3, its line ends at 2");
}

#[test]
fn a_state_of_one_moment_is_fine_and_a_mixture_is_found_out() {
    let audience = audience(&[10, 11, 20, 12, 21, 13, 14], &[("a", 3), ("b", 9)]);
    let judge = |end, state: &[(&str, u64)]| audience.judge_state(Moment::of(end, &found(&[], state).state));
    assert_eq!(judge(0, &[]), Ok(()));
    assert_eq!(judge(2, &[("a", 1)]), Ok(()));
    assert_eq!(judge(3, &[("a", 1)]), Ok(()));
    assert_eq!(judge(4, &[("a", 2)]), Ok(()));
    assert_eq!(judge(5, &[("a", 2), ("b", 9)]), Ok(()));
    assert_eq!(judge(7, &[("a", 3), ("b", 9)]), Ok(()));
    refuses(judge(1, &[("a", 1)]), "0 had others there");
    refuses(judge(4, &[("a", 1)]), "1 had others there");
    refuses(judge(5, &[("a", 2)]), "no moment of the log");
    refuses(judge(7, &[("a", 3)]), "no moment of the log");
}

#[test]
fn a_silent_frame_that_nobody_heard_of_may_have_been_seen_behind_its_producers_last() {
    let mut history = lived();
    history.submit(3, sets(Frame::default(), "@reader", 3));
    history.visible(3, 3, place(250));
    history.submit(3, sets(Frame::default(), "@reader", 4));
    let left = found(&[10, 11, 20, 12], &[("a", 2), ("@reader", 3)]);
    let mut audience = Audience::default();
    audience.learn(&history, &left).expect("a healthy log");
    let judge = |end, state: &[(&str, u64)]| audience.judge_state(Moment::of(end, &found(&[], state).state));
    assert_eq!(judge(4, &[("a", 2), ("@reader", 3)]), Ok(()));
    assert_eq!(judge(4, &[("a", 2), ("@reader", 4)]), Ok(()));
    refuses(judge(2, &[("a", 1), ("@reader", 4)]), "no moment of the log");
    refuses(judge(4, &[("a", 2)]), "no moment of the log");
}

#[test]
fn a_log_that_changed_where_somebody_may_have_read_is_found_out() {
    let mut audience = audience(&[10, 11, 20, 12, 21], &[("a", 2), ("b", 9)]);
    let learned = audience.learn(&lived(), &found(&[10, 11, 20, 12, 13, 14], &[("a", 3)]));
    refuses(learned, "the log changed below offset 5");
}

#[test]
fn a_fingerprint_tells_every_part_of_a_record() {
    let mut headers = [Vec::new(), Vec::new()];
    Parts::header(&mut headers[0], "h", b"ab");
    Parts::header(&mut headers[1], "h", b"a");
    Parts::header(&mut headers[1], "b", b"");
    let plain = Parts { payload: b"payload", ..Parts::default() };
    let parts = [
        plain,
        Parts { payload: b"payloae", ..plain },
        Parts { payload: b"payload\0", ..plain },
        Parts { key: Some(b""), ..plain },
        Parts { key: Some(b"k"), ..plain },
        Parts { headers: &headers[0], ..plain },
        Parts { headers: &headers[1], ..plain },
        Parts { event_time: Some(0), ..plain },
        Parts { event_time: Some(1), ..plain },
        Parts { topic: 1, ..plain },
        Parts { tombstone: Tombstone::Yes, ..plain },
    ];
    let prints: BTreeSet<u64> = parts.iter().map(Parts::fingerprint).collect();
    assert_eq!(prints.len(), parts.len());
}
