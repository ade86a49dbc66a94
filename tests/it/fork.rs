//! A handle that was carried into a child process by `fork` is refused there, and goes on in the parent.
#![expect(unsafe_code, reason = "there is no safe fork")]

use esker::{ErrorKind, Log};

use crate::support::payloads;

#[test]
fn a_forked_child_is_refused_and_the_parent_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = Log::open(folder.path()).expect("opens");
    let ticket = log.append(b"before").expect("appends");
    // SAFETY: the child calls nothing but the engine's refusals, which take no lock that another thread may hold, and
    // leaves by `_exit`, without running anything of the test harness.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        let kinds = [
            log.append(b"in the child").map(|_| ()).map_err(|error| error.kind()),
            log.sync().map_err(|error| error.kind()),
            log.clone().close().map_err(|error| error.kind()),
        ];
        let refused = kinds.iter().all(|kind| *kind == Err(ErrorKind::Forked));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process that nobody else waits for, `status` is a place for the answer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child was refused everything");
    ticket.wait().expect("the parent syncs");
    let _ = log.append(b"after").expect("the parent appends");
    assert_eq!(payloads(&log), [&b"before"[..], b"after"]);
    log.close().expect("the parent closes");
}
