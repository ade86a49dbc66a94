//! A handle that was carried into a child process by `fork` is refused there, and goes on in the parent.
#![expect(unsafe_code, reason = "there is no safe fork")]

use esker::{Commit, Compaction, ErrorKind, Log, Offset, Record};

use crate::support::payloads;

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Log::open(folder.path()).expect("opens");
    let ticket = log.append(b"before").expect("appends");
    let mut cursor = log.cursor("billing").expect("opens");
    // SAFETY: the child calls nothing but the engine's refusals, which take no lock that another thread may hold, and
    // leaves by `_exit`, without running anything of the test harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let kinds = [
            log.append(b"in the child").map(|_| ()).map_err(|error| error.kind()),
            log.append_batch([Record::new(b"two"), Record::new(b"in the child")])
                .map(|_| ())
                .map_err(|error| error.kind()),
            log.commit(Commit::new().record(b"r").state("k", "v")).map(|_| ()).map_err(|error| error.kind()),
            cursor.commit(Offset::new(1)).map(|_| ()).map_err(|error| error.kind()),
            log.drop_before(Offset::new(1)).map(|_| ()).map_err(|error| error.kind()),
            log.compact(&Compaction::new()).map(|_| ()).map_err(|error| error.kind()),
            log.sync().map_err(|error| error.kind()),
            log.clone().close().map_err(|error| error.kind()),
        ];
        // Says which was not, counted from 1.
        let taken = kinds.iter().position(|kind| *kind != Err(ErrorKind::Forked)).map_or(0, |at| at + 1);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::try_from(taken).unwrap_or(1)) };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody else waits for, `status` is a place for the answer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child was refused everything");
    ticket.wait().expect("the parent syncs");
    let _ = log.append(b"after").expect("the parent appends");
    assert_eq!(payloads(&log), [&b"before"[..], b"after"]);
    let _ = cursor.commit(Offset::new(1)).expect("the parent's cursor moves");
    log.close().expect("the parent closes");
    let log = Log::open(folder.path()).expect("opens again");
    assert_eq!(payloads(&log), [&b"before"[..], b"after"], "nothing of the child");
    assert_eq!(log.state("k").expect("shown").map(|held| held.value().to_vec()), None, "nothing of the child");
}
