//! The check of the index files: each is of a segment of this log, and says what the segment says.
//!
//! Guarantees:
//! 1. Every index file is made once more, in memory that does not grow with it, and compared byte by byte. If the log is
//!    damaged, it is only looked at for what it says of itself.
//! 2. Nothing about an index file is damage of the log: nothing needs one.
//! 3. One that a running writer replaces or removes meanwhile is no finding.

use std::io::ErrorKind;
use std::sync::Arc;

use super::chain::{Chain, Piece};
use super::checkpoints::Rest;
use super::{Finding, FindingClass};
use crate::error::Result;
use crate::format::index_name;
use crate::log::{Failed, IndexFile, IndexSink, NoIndex, Pace, Role, Sealed, View, build, open_segment, read};
use crate::platform::{Access, Disk, File};

/// Memory for the keys of one pass.
const KEY_BYTES: u64 = 4 << 20;

/// Checks all of them.
pub(crate) fn check(disk: &dyn Disk, chain: &Chain, rest: Rest) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for number in &chain.survey.indexes {
        let piece = chain.pieces.iter().find(|piece| piece.number() == *number);
        let Some(piece) = piece else {
            findings.push(finding(disk, FindingClass::Leftover, *number, "of a segment that is not there"));
            continue;
        };
        if let Some(cause) = judge(disk, piece, rest)? {
            findings.push(finding(disk, FindingClass::BadIndex, *number, &cause));
        }
    }
    Ok(findings)
}

/// What is wrong with the index file of a segment.
fn judge(disk: &dyn Disk, piece: &Piece, rest: Rest) -> Result<Option<String>> {
    let Some(end) = piece.end else {
        return Ok(Some("of a segment that has no settled end".to_owned()));
    };
    match IndexFile::open(disk, &piece.header.subject(end), Role::Onlooker) {
        Err(NoIndex::Absent) => return Ok(None),
        Err(NoIndex::Bad(fault)) => return Ok(Some(fault.to_string())),
        Ok(_) => {}
    }
    if rest == Rest::Damaged {
        return Ok(None);
    }
    let view = View::of_file(piece.header, open_segment(disk, &piece.name)?);
    let sealed = Sealed { header: &piece.header, view: &view, end };
    let mut compared = Compared { disk, number: piece.number(), file: None };
    Ok(match build(&sealed, KEY_BYTES, &mut compared, &mut || Pace::GoOn) {
        Ok(()) => None,
        Err(Failed::Io(error)) if error.kind() == ErrorKind::NotFound => None,
        Err(Failed::Io(error)) => Some(format!("cannot be compared with the segment: {error}")),
        Err(Failed::Differs) => Some("differs from what the segment holds".to_owned()),
        Err(Failed::Unfit | Failed::Stopped) => Some("of a segment that cannot have one".to_owned()),
    })
}

/// An index file that is compared with what would be written.
struct Compared<'a> {
    disk: &'a dyn Disk,
    number: u64,
    file: Option<Arc<dyn File>>,
}

impl IndexSink for Compared<'_> {
    fn begin(&mut self, file_bytes: u64) -> std::result::Result<(), Failed> {
        let file = self.disk.open(&index_name(self.number), Access::Read)?;
        if file.length()? != file_bytes {
            return Err(Failed::Differs);
        }
        self.file = Some(file);
        Ok(())
    }

    fn put(&mut self, position: u64, bytes: &[u8]) -> std::result::Result<(), Failed> {
        let mut found = vec![0; bytes.len()];
        let same = self.file.as_ref().is_some_and(|file| read(&**file, position, &mut found).is_ok() && found == bytes);
        if same { Ok(()) } else { Err(Failed::Differs) }
    }
}

fn finding(disk: &dyn Disk, class: FindingClass, number: u64, cause: &str) -> Finding {
    let name = index_name(number);
    Finding::of_file(disk, class, &name, Some(number), format!("{name}: {cause}"))
}
