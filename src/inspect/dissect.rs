//! One segment file, taken apart: header field by field, then frame by frame.
//!
//! Guarantees:
//! 1. Names and meanings are those of the tables of `format`.
//! 2. A frame that does not check is a row with its fault; the rows go on at the next valid header.
//! 3. The file is read piece by piece; memory is bounded by the longest frame that checks.
//! 4. Only this file is judged. Of its neighbours nothing is taken but the end that the newest successor names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checksum::{self, Seed};
use crate::error::{Error, ErrorKind, Result};
use crate::format::field::Field;
use crate::format::frame::{self, FrameHeader, HEADER_BYTES};
use crate::format::header::{self, SegmentHeader};
use crate::format::{self, FRAMES_START, Fault, Kind, SEGMENT_BYTES_MAX, frame_header, segment_header as table};
use crate::log::{Scan, Scanned, Store, Survey};
use crate::platform::{Access, Disk, File, SystemDisk};
use crate::segment::walk::Frames;
use crate::types::{Offset, Timestamp, index, length};

/// How much of a body is summed at once.
const SUM_BYTES: u64 = 256 * 1024;
/// The kind of a row for a stretch of zeros.
const ZERO: &str = "zero";

/// Takes the segment file at `path` apart, and changes nothing. Any state of the file will do.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # esker::Log::open(folder.path())?.append(b"created #1")?.wait()?;
/// let dissection = esker::inspect::dissect(folder.path().join("0000000001.seg"))?;
/// for field in &dissection.header {
///     println!("{:>4} {:<24} {}", field.place, field.name, field.value);
/// }
/// for row in dissection.frames() {
///     let row = row?;
///     println!("{:>10} {:<10} {} bytes, {} records", row.position, row.kind, row.length, row.records);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is no regular file, and what the system says. Damage is in what is returned.
pub fn dissect(path: impl AsRef<Path>) -> Result<Dissection> {
    let path = path.as_ref();
    let failed = |attempt| move |error| Error::io(attempt, error).at_path(path);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Err(not_a_file(path)) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let name = name.to_string_lossy();
    let disk = SystemDisk::open(folder).map_err(failed("open the directory"))?;
    let file = disk.open(&name, Access::Read).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidInput { not_a_file(path) } else { failed("open the segment")(error) }
    })?;
    let file_bytes = file.length().map_err(failed("read the length"))?;
    let mut bytes = [0; header::BYTES];
    let read = file.read_at(&mut bytes, 0).map_err(failed("read the segment header"))?;
    let decoded = SegmentHeader::decode(&bytes);
    let number = format::segment_number(&name);
    let header_fault = match &decoded {
        _ if read < header::BYTES => {
            Some(Fault::Short { found: length(read), expected: length(header::BYTES) }.to_string())
        }
        Ok(None) => Some("no header yet: a spare".to_owned()),
        Ok(Some(header)) => number
            .filter(|number| *number != header.number)
            .map(|number| format!("the name says segment {number}, the header segment {}", header.number)),
        Err(fault) => Some(fault.to_string()),
    };
    // Without a valid header its fields are still the best guess; the frames show whether it was right.
    let header = decoded.ok().flatten();
    let incarnation = header.map_or_else(|| table::INCARNATION.u64(&bytes), |header| header.incarnation);
    let capacity = header.map_or(SEGMENT_BYTES_MAX, |header| header.capacity);
    let first_offset = Offset::new(table::FIRST_OFFSET.u64(&bytes));
    let limit = capacity.min(file_bytes);
    let own_number = header.map_or(number, |header| Some(header.number));
    Ok(Dissection {
        path: path.to_owned(),
        length: file_bytes,
        header: table::FIELDS.iter().map(|field| FieldValue::of(field, &bytes)).collect(),
        header_fault,
        end: match header {
            Some(SegmentHeader { number, rewritten: Some(rewritten), .. }) => {
                Some(SettledEnd { position: rewritten.end, named_by: number })
            }
            _ => own_number.and_then(|number| settled_end(&disk, number, incarnation)),
        },
        file,
        frames: Frames { seed: Seed::new(incarnation), first_offset, end: limit },
    })
}

fn not_a_file(path: &Path) -> Error {
    Error::new(ErrorKind::Invalid, "not a regular file").at_path(path).next_step("give the file of one segment")
}

/// The end that the newest successor in the same directory names. What cannot be read there says nothing.
fn settled_end(disk: &dyn Disk, number: u64, incarnation: u64) -> Option<SettledEnd> {
    let survey = Survey::look(disk).ok()?;
    let successors = survey.valid().filter_map(|(_, header)| {
        let link = header.predecessor.filter(|link| (link.number, link.incarnation) == (number, incarnation))?;
        Some((header.epoch.counter, header.number, link.end))
    });
    successors.max().map(|(_, named_by, position)| SettledEnd { position, named_by })
}

/// A segment file, taken apart.
#[derive(Debug)]
#[non_exhaustive]
pub struct Dissection {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
    /// The header, field by field, also of a damaged one.
    pub header: Vec<FieldValue>,
    /// Why the header is not valid, if so.
    pub header_fault: Option<String>,
    /// Where its frames end, if a segment in the same directory says so.
    pub end: Option<SettledEnd>,
    file: Arc<dyn File>,
    frames: Frames,
}

/// The end of a segment, as its successor names it, or itself if it was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledEnd {
    /// Position behind the last frame; what lies there or behind is dead.
    pub position: u64,
    /// Number of the segment that says so.
    pub named_by: u64,
}

/// A field of a header, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldValue {
    /// Its name, as in `format.md`.
    pub name: String,
    /// Its first byte.
    pub place: usize,
    /// Its bytes.
    pub width: usize,
    /// Its value: numbers in decimal, times in nanoseconds, checksums, identities and random words in hex.
    pub value: String,
    /// What it means, as in `format.md`.
    pub meaning: &'static str,
}

impl FieldValue {
    fn of(field: &Field, bytes: &[u8]) -> Self {
        const TEXT: [Field; 1] = [table::MAGIC];
        const SIGNED: [Field; 2] = [table::CREATED, table::TIME_MAX];
        const HEX: [Field; 8] = [
            table::CHECKSUM,
            table::FEATURES_REQUIRED,
            table::FEATURES_OPTIONAL,
            table::STORE_ID,
            table::INCARNATION,
            table::EPOCH_WORD,
            table::PREDECESSOR_INCARNATION,
            table::REWRITTEN_INCARNATION,
        ];
        let is_in = |fields: &[Field]| fields.iter().any(|other| other.place == field.place);
        let raw = field.of(bytes);
        let value = match field.width {
            _ if is_in(&TEXT) => raw.escape_ascii().to_string(),
            8 if is_in(&SIGNED) => field.i64(bytes).to_string(),
            8 if is_in(&HEX) => format!("{:016x}", field.u64(bytes)),
            8 => field.u64(bytes).to_string(),
            4 if is_in(&HEX) => format!("{:08x}", field.u32(bytes)),
            4 => field.u32(bytes).to_string(),
            2 => field.u16(bytes).to_string(),
            _ if raw.iter().all(|byte| *byte == 0) && !is_in(&HEX) => "0".to_owned(),
            _ => hex(raw),
        };
        Self { name: field.name.to_lowercase(), place: field.place, width: field.width, value, meaning: field.meaning }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// A checksum as it stands in the file, and as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksums {
    /// What the file says.
    pub stored: u32,
    /// What the bytes sum to.
    pub computed: u32,
}

impl Checksums {
    /// Whether they agree.
    #[must_use]
    pub fn agree(self) -> bool {
        self.stored == self.computed
    }
}

/// A frame, or what stands where one should begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameRow {
    /// Where it begins.
    pub position: u64,
    /// Name of its kind; `zero` for a stretch of zeros, `unknown` for a number that is no kind.
    pub kind: &'static str,
    /// Its length, header included, without padding; as stored, if the header is damaged. Of zeros: how many, up to the
    /// next frame or the end of the file.
    pub length: u64,
    /// Offset of its first record, or of the next record if it has none; as stored, if the header is damaged.
    pub first_offset: Option<Offset>,
    /// Records in it.
    pub records: u64,
    /// State entries in it.
    pub states: u64,
    /// Append time; a gap has none, as nobody knows when what is lost was appended.
    pub time: Option<Timestamp>,
    /// Of the header; none of zeros.
    pub header_checksum: Option<Checksums>,
    /// Of the body; not known without a valid header.
    pub body_checksum: Option<Checksums>,
    /// Whether it is part of the log as far as the successor says: it begins before the end that one names.
    pub live: bool,
    /// Why it is not a valid frame, if so. Zeros behind the last frame are no fault.
    pub fault: Option<String>,
}

impl Dissection {
    /// The frames in their order, read from the file as the iterator goes. After an error it ends.
    #[must_use]
    pub fn frames(&self) -> FrameRows {
        let (limit, offset) = (self.frames.end, self.frames.first_offset);
        FrameRows {
            scan: Scan::new(Store::File(Arc::clone(&self.file)), self.frames, FRAMES_START, offset, limit),
            frames: self.frames,
            file: Arc::clone(&self.file),
            path: self.path.clone(),
            end: self.end.map(|end| end.position),
            over: false,
        }
    }
}

/// The rows of [`Dissection::frames`].
#[derive(Debug)]
pub struct FrameRows {
    scan: Scan,
    frames: Frames,
    file: Arc<dyn File>,
    path: PathBuf,
    end: Option<u64>,
    over: bool,
}

impl Iterator for FrameRows {
    type Item = Result<FrameRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let row = self.row().map_err(|error| Error::io("read the segment", error).at_path(&self.path));
        self.over |= !matches!(row, Ok(Some(_)));
        row.transpose()
    }
}

impl FrameRows {
    fn row(&mut self) -> io::Result<Option<FrameRow>> {
        let position = self.scan.position;
        match self.scan.next()? {
            Scanned::End => Ok(None),
            Scanned::Frame(found) => {
                let sum = found.header.body_checksum;
                Ok(Some(self.row_of(position, &found.header, Checksums { stored: sum, computed: sum }, None)))
            }
            Scanned::Zero => self.zeros(position).map(Some),
            Scanned::Bad { fault, next } => {
                let mut bytes = [0; HEADER_BYTES];
                let read = self.file.read_at(&mut bytes, position)?;
                let room = self.frames.end.saturating_sub(position);
                let row = match frame::header(&bytes, self.frames.seed, position, room) {
                    Some(header) if next.is_some() => {
                        let sums =
                            Checksums { stored: header.body_checksum, computed: self.sum_body(position, &header)? };
                        self.row_of(position, &header, sums, Some(fault))
                    }
                    _ => self.row_of_damage(position, &bytes, read, fault),
                };
                if let Some((next, offset)) = next {
                    (self.scan.position, self.scan.offset) = (next, offset);
                } else {
                    self.over = !self.scan.resync()?;
                }
                Ok(Some(row))
            }
        }
    }

    fn is_live(&self, position: u64) -> bool {
        self.end.is_none_or(|end| position < end)
    }

    fn row_of(&self, position: u64, header: &FrameHeader, body: Checksums, fault: Option<Fault>) -> FrameRow {
        let sum = header.header_checksum;
        FrameRow {
            position,
            kind: header.kind.name(),
            length: header.length.into(),
            first_offset: Some(self.frames.first_offset.after(header.offset_delta.into())),
            records: header.record_count.into(),
            states: header.state_count.into(),
            time: (header.kind != Kind::Gap).then_some(header.time),
            header_checksum: Some(Checksums { stored: sum, computed: sum }),
            body_checksum: Some(body),
            live: self.is_live(position),
            fault: fault.map(|fault| fault.to_string()),
        }
    }

    /// What stands where a frame should begin, read as if it were a header.
    fn row_of_damage(&self, position: u64, bytes: &[u8; HEADER_BYTES], read: usize, fault: Fault) -> FrameRow {
        let summed = bytes.get(..frame_header::HEADER_CHECKSUM.place).unwrap_or_default();
        let sums = Checksums {
            stored: frame_header::HEADER_CHECKSUM.u32(bytes),
            computed: self.frames.seed.header(position, summed),
        };
        let delta = u64::from(frame_header::OFFSET_DELTA.u32(bytes));
        FrameRow {
            position,
            kind: Kind::from_number(frame_header::KIND.u8(bytes)).map_or("unknown", Kind::name),
            length: frame_header::LENGTH.u32(bytes).into(),
            first_offset: Some(self.frames.first_offset.after(delta)),
            records: frame_header::RECORD_COUNT.u16(bytes).into(),
            states: frame_header::STATE_COUNT.u16(bytes).into(),
            time: Some(Timestamp::from_nanoseconds(frame_header::TIME.i64(bytes))),
            header_checksum: (read >= HEADER_BYTES).then_some(sums),
            body_checksum: None,
            live: self.is_live(position),
            fault: Some(fault.to_string()),
        }
    }

    /// A stretch of zeros: a fault where frames follow, or where the successor says that frames stand.
    fn zeros(&mut self, position: u64) -> io::Result<FrameRow> {
        let more = self.scan.resync()?;
        self.over = !more;
        let live = self.is_live(position) && (more || self.end.is_some());
        Ok(FrameRow {
            position,
            kind: ZERO,
            length: self.scan.position.saturating_sub(position),
            first_offset: None,
            records: 0,
            states: 0,
            time: None,
            header_checksum: None,
            body_checksum: None,
            live,
            fault: live.then(|| Fault::Missing.to_string()),
        })
    }

    fn sum_body(&self, position: u64, header: &FrameHeader) -> io::Result<u32> {
        let mut at = position.saturating_add(length(HEADER_BYTES));
        let end = position.saturating_add(header.length.into());
        let mut piece = vec![0; index(SUM_BYTES.min(header.body_length()))];
        let mut sum = checksum::Pieces::default();
        while at < end {
            let wanted = piece.len().min(index(end.saturating_sub(at)));
            let part = piece.get_mut(..wanted).unwrap_or_default();
            let read = self.file.read_at(part, at)?;
            if read == 0 {
                break;
            }
            sum.update(part.get(..read).unwrap_or_default());
            at = at.saturating_add(length(read));
        }
        Ok(sum.finish())
    }
}
