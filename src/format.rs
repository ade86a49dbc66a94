//! Every byte place of every file, as tables. The prose and a worked example stand in `format.md`.
//!
//! Guarantees:
//! 1. Each table tiles its structure: fields lie one after the other without hole or overlap (checked when compiled).
//! 2. All integers are little-endian and of fixed width.
//! 3. Decoding never panics, never allocates, and reads each byte at most a constant number of times, whatever the
//!    bytes are. What does not decode is a [`Fault`] that says what was found and what was expected.
//!
//! No other module names a byte place.

pub(crate) mod anchor;
pub(crate) mod checkpoint;
pub(crate) mod contract;
pub(crate) mod control;
#[cfg(test)]
mod example;
pub(crate) mod fault;
pub(crate) mod field;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod index;
mod opening;
pub(crate) mod record;
pub(crate) mod state;

use field::table;

pub(crate) use fault::Fault;

/// The version this build writes, and the only one it opens.
pub const VERSION: u16 = 0;

/// Bytes at the start of a segment file that hold its header and nothing else, so that the page of the header is
/// never written again once frames are stored.
pub(crate) const FRAMES_START: u64 = 4096;

/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGNMENT: u64 = 8;

/// Bytes of a gap frame, and so of the shortest gap: no frame that a writer stores is shorter.
pub(crate) const GAP_FRAME_BYTES: u64 = 48;
const _: () = assert!(frame_header::BYTES + gap_body::BYTES == 48, "a gap frame has no padding");

/// The topic field of a frame whose records carry their own.
pub(crate) const TOPIC_MIXED: u32 = u32::MAX;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 65_535;
/// The longest header section of one record: 3 bytes a header, its name and its value.
pub const HEADERS_BYTES_MAX: usize = 65_535;
/// The longest header name.
pub const HEADER_NAME_BYTES_MAX: usize = 255;
/// The most records in one batch.
pub const BATCH_RECORDS_MAX: usize = 65_535;
/// The most state entries in one commit.
pub const COMMIT_STATES_MAX: usize = 65_535;
/// The longest key of a state entry.
pub const STATE_KEY_BYTES_MAX: usize = 65_535;
/// The longest value of a state entry.
pub const STATE_VALUE_BYTES_MAX: usize = 16 << 20;
/// The most topics of one cursor's contract.
pub const CONTRACT_TOPICS_MAX: usize = 1024;
/// The most epochs that a checkpoint names, and a log knows of; the oldest are forgotten first.
pub(crate) const EPOCHS_MAX: usize = 1 << 16;
/// The largest segment, and so the largest `segment_bytes`: positions are 32 bits wide in the block index.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 31;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"eskerseg";
pub(crate) const ANCHOR_MAGIC: [u8; 8] = *b"eskeranc";
pub(crate) const CHECKPOINT_MAGIC: [u8; 8] = *b"eskerckp";
pub(crate) const INDEX_MAGIC: [u8; 8] = *b"eskeridx";

table! {
    /// At byte 0 of a segment file; the rest of the first 4096 bytes is zero.
    segment_header[256]:
    MAGIC 0 8 "the text eskerseg";
    VERSION 8 2 "format version";
    RESERVED_A 10 2 "zero";
    CHECKSUM 12 4 "CRC-32 of this header with this field as zero";
    FEATURES_REQUIRED 16 4 "features that a reader must know; none is defined";
    FEATURES_OPTIONAL 20 4 "features that a reader may ignore; none is defined";
    STORE_ID 24 16 "the same in all files of a store";
    NUMBER 40 8 "segment number, also in the file's name";
    GENERATION 48 4 "0 as written by appends; one more at each rewrite";
    LOG_CLASS 52 4 "0; room for a second log in one store";
    INCARNATION 56 8 "random word, drawn anew at each activation or rewrite; never zero";
    EPOCH_COUNTER 64 8 "epoch: count";
    EPOCH_WORD 72 8 "epoch: random word";
    FIRST_OFFSET 80 8 "offset of the first record in or after this segment";
    PREDECESSOR_NUMBER 88 8 "segment that comes before; 0 if none does";
    PREDECESSOR_INCARNATION 96 8 "its incarnation";
    PREDECESSOR_END 104 8 "position at which its frames end; what lies behind is dead";
    DURABLE_SEGMENT 112 8 "durable line known when this was written: segment";
    DURABLE_POSITION 120 8 "... position";
    DURABLE_OFFSET 128 8 "... offset of the next record";
    CREATED 136 8 "append clock at activation, nanoseconds since 1970 UTC";
    TIME_MAX 144 8 "latest append time of all earlier segments";
    CAPACITY 152 8 "length of the file";
    REWRITTEN_END 160 8 "of a rewritten segment: where its frames end; else 0, as all that follow";
    REWRITTEN_LAST_NUMBER 168 8 "... last original number that it covers";
    REWRITTEN_END_OFFSET 176 8 "... offset after its range";
    REWRITTEN_RECORDS 184 8 "... count of records that it kept";
    REWRITTEN_INCARNATION 192 8 "... incarnation of the last original";
    REWRITTEN_ORIGINAL_END 200 8 "... end position of the last original";
    REWRITTEN_MOVED 208 4 "... 1: its frames stand at other places than in the originals; 0: at the same";
    RESERVED_B 212 44 "zero";
}

table! {
    /// At the start of every frame. Bytes 0 to 7 are the commit word, stored last as one 64-bit word.
    frame_header[36]:
    LENGTH 0 4 "bytes from here to the end of the body; the next frame begins at the next multiple of 8";
    KIND 4 1 "see the table of kinds";
    FLAGS 5 1 "1 sparse: records were dropped from it; all others are zero";
    TAG 6 2 "from the incarnation";
    BODY_CHECKSUM 8 4 "CRC-32 of the body";
    TOPIC 12 4 "topic of all records; ffffffff: each record carries its own";
    TIME 16 8 "append time, nanoseconds since 1970 UTC";
    OFFSET_DELTA 24 4 "offset of the next record here, less the segment's first offset";
    RECORD_COUNT 28 2 "records in the body; of a sparse frame, the offsets that it spans";
    STATE_COUNT 30 2 "state entries behind the records";
    HEADER_CHECKSUM 32 4 "CRC-32 of bytes 0 to 31, begun with a word from incarnation and position";
}

table! {
    /// At the start of the body of a sparse frame.
    sparse_body[2]:
    KEPT 0 2 "records in the body, 1 to record_count";
}

table! {
    /// At the start of every record in the body of a data frame. What the frame asks of each
    /// record follows, its offset if the frame is sparse and its topic if it is mixed, then
    /// what the flags announce in the order of the flags, then key, header section, payload.
    record_head[5]:
    PAYLOAD_LENGTH 0 4 "bytes of payload";
    FLAGS 4 1 "1 key: u16 length; 2 event time: i64; 4 headers: u16 length; 8 tombstone";
}

table! {
    /// One header in the header section of a record; name and value follow.
    record_header[3]:
    NAME_LENGTH 0 1 "bytes of name, at least 1";
    VALUE_LENGTH 1 2 "bytes of value";
}

table! {
    /// At the start of every state entry, behind the records of a data frame. Key and value follow.
    state_head[8]:
    SPACE 0 1 "whose keys: 0 the caller's, 1 cursors, 2 contracts of cursors, 3 starts of topics; below 16";
    FLAGS 1 1 "1 removed: there is no value";
    KEY_LENGTH 2 2 "bytes of key";
    VALUE_LENGTH 4 4 "bytes of value";
}

table! {
    /// The value of a cursor, whose key is its name.
    cursor_value[32]:
    EPOCH_COUNTER 0 8 "epoch in which it was committed: count";
    EPOCH_WORD 8 8 "... random word";
    OFFSET 16 8 "offset of the next record";
    FLAGS 24 4 "must be known; none is defined";
    RESERVED 28 4 "zero";
}

table! {
    /// The value of a cursor's contract, whose key is the cursor's name: what the cursor keeps retention from dropping. Without
    /// one it is of kind 0. Behind it, for kind 1, the topics: u32, ascending, at most 1024.
    contract_value[16]:
    KIND 0 1 "0 hold, 1 hold topics, 2 hold up to a limit, 3 best effort";
    RESERVED 1 7 "zero";
    LIMIT 8 8 "for kind 2: bytes of log; else zero";
}

table! {
    /// Body of mark, seal and close frames.
    line_body[32]:
    SEGMENT 0 8 "durable line before this frame: segment";
    POSITION 8 8 "... position";
    OFFSET 16 8 "... offset of the next record";
    TIME_MAX 24 8 "latest append time up to here";
}

table! {
    /// Body of a session frame: who wrote from here on; evidence for reports, never needed.
    session_body[40]:
    BOOT_ID 0 16 "identifies the run of the operating system";
    DEVICE 16 8 "device of the file";
    INODE 24 8 "inode of the file";
    PID 32 4 "process";
    RESERVED 36 4 "zero";
}

table! {
    /// Body of a start-line frame: what lies below is gone on purpose.
    start_line_body[16]:
    OFFSET 0 8 "first offset kept";
    SEGMENT 8 8 "first segment kept";
}

table! {
    /// Body of a gap frame, left by a repair in place of damage.
    gap_body[12]:
    NEXT_OFFSET 0 8 "offset of the record after the gap";
    SPAN 8 4 "bytes of the gap, this frame included: the next frame begins behind them";
}

table! {
    /// One of the two slots of the file `anchor`, at bytes 0 and 512.
    anchor_slot[128]:
    MAGIC 0 8 "the text eskeranc";
    VERSION 8 2 "format version";
    CLEAN 10 2 "1: the log was closed and ends at the durable line";
    CHECKSUM 12 4 "CRC-32 of this slot with this field as zero";
    SEQUENCE 16 8 "the higher of two valid slots counts";
    STORE_ID 24 16 "the same in all files of a store";
    SEGMENT_HIGHEST 40 8 "highest segment number whose header is durable";
    DURABLE_SEGMENT 48 8 "durable line: segment";
    DURABLE_POSITION 56 8 "... position";
    DURABLE_OFFSET 64 8 "... offset of the next record";
    TIME_MAX 72 8 "latest append time known when this was written";
    RESERVED 80 48 "zero";
}

table! {
    /// At byte 0 of a checkpoint file.
    checkpoint_header[256]:
    MAGIC 0 8 "the text eskerckp";
    VERSION 8 2 "format version";
    CLEAN 10 2 "1: the log was closed, and P lies just behind the close frame";
    CHECKSUM 12 4 "CRC-32 of this header with this field as zero";
    FEATURES_REQUIRED 16 4 "features that a reader must know; none is defined";
    FEATURES_OPTIONAL 20 4 "features that a reader may ignore; none is defined";
    STORE_ID 24 16 "the same in all files of a store";
    SEQUENCE 40 8 "the highest valid checkpoint counts; also in the file's name";
    DURABLE_SEGMENT 48 8 "durable line P up to which this is the fold of the log: segment";
    DURABLE_POSITION 56 8 "... position";
    DURABLE_OFFSET 64 8 "... offset of the next record";
    INCARNATION 72 8 "incarnation of that segment";
    START_OFFSET 80 8 "first offset kept";
    START_SEGMENT 88 8 "first segment kept";
    TIME_MAX 96 8 "latest append time known when this was written";
    EPOCHS 104 4 "rows of the epoch table, which begins the body";
    BODY_CHECKSUM 108 4 "CRC-32 of the body";
    ENTRIES 112 8 "state entries behind the epoch table";
    BODY_BYTES 120 8 "bytes of body; what follows is zero";
    LAST_POSITION 128 8 "where the frame begins that ends at P";
    LAST_CHECKSUM 136 4 "its header_checksum: which of all frames that could stand there";
    RESERVED 140 116 "zero";
}

table! {
    /// A row of the epoch table.
    checkpoint_epoch[24]:
    COUNTER 0 8 "epoch: count";
    WORD 8 8 "... random word";
    FIRST_OFFSET 16 8 "offset with which it began";
}

table! {
    /// The version of a state entry in a checkpoint; a state entry follows.
    checkpoint_version[16]:
    SEGMENT 0 8 "place behind the frame that stored the entry: segment";
    POSITION 8 8 "... position";
}

table! {
    /// At byte 0 of an index file.
    index_header[256]:
    MAGIC 0 8 "the text eskeridx";
    VERSION 8 2 "format version";
    TOPICS_LISTED 10 2 "1: all topics are listed; 0: there are too many, and none is";
    CHECKSUM 12 4 "CRC-32 of this header with this field as zero";
    FEATURES_REQUIRED 16 4 "features that a reader must know; none is defined";
    FEATURES_OPTIONAL 20 4 "features that a reader may ignore; none is defined";
    STORE_ID 24 16 "the same in all files of a store";
    NUMBER 40 8 "number of the segment, also in the file's name";
    INCARNATION 48 8 "its incarnation";
    END 56 8 "where its frames end";
    GENERATION 64 4 "its generation";
    BODY_CHECKSUM 68 4 "CRC-32 of the body";
    BODY_BYTES 72 8 "bytes of body, which is all that follows the header";
    LAST_GAP 80 8 "position of the last gap that lost records; 0: there is none";
    BLOCKS 88 4 "rows of the block table";
    TOPICS 92 4 "rows of the topic table";
    TOPIC_BLOCKS 96 4 "block numbers behind the topic table";
    ENTRIES 100 4 "key entries";
    BUCKET_BITS 104 4 "upper bits of a hash that choose its bucket";
    FILTER_BLOCKS 108 4 "blocks of the filter";
    RESERVED 112 144 "zero";
}

table! {
    /// What an index file says of 64 KiB of its segment.
    index_block[16]:
    POSITION 0 4 "where the first frame begins that begins in this block; 0: none does";
    OFFSET_DELTA 4 4 "its offset_delta";
    TIME_MAX 8 8 "latest append time up to and with it";
}

table! {
    /// A topic that has records in the segment.
    index_topic[16]:
    RECORDS 0 8 "records of this topic";
    TOPIC 8 4 "its number";
    FIRST 12 4 "where in the list of block numbers its own begin; they end where those of the next row begin";
}

table! {
    /// A record with a key.
    index_entry[12]:
    HASH 0 4 "upper 32 bits of the hash of topic and key";
    POSITION 4 4 "where its frame begins, divided by 8";
    RECORD 8 2 "which of the frame's records it is, from 0";
    RESERVED 10 2 "zero";
}

/// Where the slots of the anchor begin. They lie in sectors of their own.
pub(crate) const ANCHOR_SLOTS: [u64; 2] = [0, 512];
/// Length of the file `anchor`.
pub(crate) const ANCHOR_BYTES: usize = 1024;

const CHECKPOINT_SUFFIX: &str = ".ckp";
const INDEX_SUFFIX: &str = ".idx";
/// Behind the name of a file that is not complete yet.
pub(crate) const DRAFT_SUFFIX: &str = ".draft";
/// Behind the name of a copy of what a repair replaces, until it is in quarantine.
pub(crate) const ORIGINAL_SUFFIX: &str = ".original";
/// The name of the anchor's file.
pub(crate) const ANCHOR_NAME: &str = "anchor";
/// Space that is given up for what the cleaner writes.
pub(crate) const BALLAST_NAME: &str = "ballast";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records, state entries, or both.
    Data,
    /// Carries a durable line.
    Mark,
    /// The last frame of a segment that was left by a roll.
    Seal,
    /// Says who writes from here on.
    Session,
    /// Records below it are gone on purpose.
    StartLine,
    /// The writer ended on purpose.
    Close,
    /// Left by a repair in place of damage.
    Gap,
    /// Filler.
    Pad,
}

/// The kinds with their numbers and names.
pub(crate) const KINDS: [(u8, Kind, &str); 8] = [
    (1, Kind::Data, "data"),
    (2, Kind::Mark, "mark"),
    (3, Kind::Seal, "seal"),
    (4, Kind::Session, "session"),
    (5, Kind::StartLine, "start-line"),
    (6, Kind::Close, "close"),
    (7, Kind::Gap, "gap"),
    (8, Kind::Pad, "pad"),
];

impl Kind {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Mark => 2,
            Self::Seal => 3,
            Self::Session => 4,
            Self::StartLine => 5,
            Self::Close => 6,
            Self::Gap => 7,
            Self::Pad => 8,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        KINDS.iter().find(|row| row.0 == number).map(|row| row.1)
    }

    pub(crate) fn name(self) -> &'static str {
        KINDS.iter().find(|row| row.1 == self).map_or("unknown", |row| row.2)
    }
}

/// Where the frame after one that ends at `end` begins.
#[inline]
pub(crate) const fn align(end: u64) -> u64 {
    end.saturating_add(FRAME_ALIGNMENT - 1) & !(FRAME_ALIGNMENT - 1)
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{number:010}.seg")
}

/// The name of a segment while it is rewritten.
pub(crate) fn segment_draft_name(number: u64) -> String {
    segment_name(number) + DRAFT_SUFFIX
}

/// The name of a segment's index file.
pub(crate) fn index_name(number: u64) -> String {
    format!("{number:010}{INDEX_SUFFIX}")
}

/// The name of an index file while it is written.
pub(crate) fn index_draft_name(number: u64) -> String {
    index_name(number) + DRAFT_SUFFIX
}

/// The number of the segment whose index file has this name; `None` if it is not exactly such a name.
pub(crate) fn index_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(INDEX_SUFFIX)?.parse().ok()?;
    (number > 0 && index_name(number) == name).then_some(number)
}

/// Whether this is the name of an index file that was being written.
pub(crate) fn is_index_draft(name: &str) -> bool {
    name.strip_suffix(DRAFT_SUFFIX).is_some_and(|name| index_number(name).is_some())
}

/// The name of a checkpoint's file.
pub(crate) fn checkpoint_name(sequence: u64) -> String {
    format!("{sequence:010}{CHECKPOINT_SUFFIX}")
}

/// The sequence that a file name gives; `None` if it is not exactly such a name.
pub(crate) fn checkpoint_sequence(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(CHECKPOINT_SUFFIX)?.parse().ok()?;
    (sequence > 0 && checkpoint_name(sequence) == name).then_some(sequence)
}

/// Whether this is the name of a checkpoint that was being written.
pub(crate) fn is_checkpoint_draft(name: &str) -> bool {
    name.strip_suffix(DRAFT_SUFFIX).is_some_and(|name| checkpoint_sequence(name).is_some())
}

/// Whether this is the name of a file that a repair was writing: a draft of a segment or of the anchor, or the copy of
/// an original on its way to quarantine.
pub(crate) fn is_repair_leftover(name: &str) -> bool {
    let of = [DRAFT_SUFFIX, ORIGINAL_SUFFIX].iter().find_map(|suffix| name.strip_suffix(suffix));
    of.is_some_and(|name| segment_number(name).is_some() || name == ANCHOR_NAME)
}

/// The segment number that a file name gives; `None` if it is not exactly such a name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (number > 0 && segment_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_numbers_agree() {
        for (number, kind, name) in KINDS {
            assert_eq!((kind.number(), kind.name()), (number, name));
            assert_eq!(Kind::from_number(number), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn only_the_canonical_file_name_is_a_segment() {
        assert_eq!(segment_number("0000000007.seg"), Some(7));
        assert_eq!(segment_number(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["7.seg", "00000000007.seg", "+000000007.seg", "0000000000.seg", "0000000007.sex", ".seg"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }

    #[test]
    fn checkpoints_and_their_drafts_are_told_by_their_names() {
        assert_eq!(checkpoint_sequence(&checkpoint_name(7)), Some(7));
        assert_eq!(checkpoint_sequence("7.ckp"), None);
        assert_eq!(checkpoint_sequence("0000000000.ckp"), None);
        assert!(is_checkpoint_draft("0000000007.ckp.draft"));
        assert!(!is_checkpoint_draft("0000000007.ckp") && !is_checkpoint_draft("7.ckp.draft"));
        assert_eq!(
            (index_number(&index_name(7)), index_number("7.idx"), index_number("0000000000.idx")),
            (Some(7), None, None)
        );
        assert!(
            is_index_draft(&index_draft_name(7)) && !is_index_draft("7.idx.draft") && !is_index_draft("0000000007.idx")
        );
        for name in ["0000000007.seg.draft", "0000000007.seg.original", "anchor.draft", "anchor.original"] {
            assert!(is_repair_leftover(name), "{name}");
        }
        for name in ["0000000007.seg", "7.seg.draft", "0000000007.ckp.draft", "anchor", "lock.draft"] {
            assert!(!is_repair_leftover(name), "{name}");
        }
    }

    /// `format.md` shows every table as rows of `| place | width | name | meaning |`; nothing else there looks so.
    #[test]
    fn the_prose_tells_the_same_tables() {
        let prose = include_str!("format.md");
        for (table, bytes, fields) in field::TABLES {
            let title = format!("### `{table}`, {bytes} bytes\n");
            let section = prose.split(&title).nth(1).unwrap_or_else(|| panic!("format.md lacks {title}"));
            let rows: Vec<&str> =
                section.lines().skip_while(|l| !l.starts_with("| 0 ")).take_while(|l| l.starts_with('|')).collect();
            let expected: Vec<String> = fields.iter().map(ToString::to_string).collect();
            assert_eq!(rows, expected, "format.md, table {table}");
        }
        for (number, _, name) in KINDS {
            assert!(prose.contains(&format!("| {number} | {name} |")), "format.md, kind {name}");
        }
    }
}
