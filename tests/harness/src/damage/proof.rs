//! Why damage that nobody reports does no harm: the classes, each with what is proved of it.
//!
//! Guarantees:
//! 1. Of every harmless case it was seen that all records, the state and the cursors come out as they were told, that the
//!    log takes one more record, and that both are there at the next open. A class says why nobody had to notice.

/// A class of harmless damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Behind the body of a frame, up to the next multiple of 8.
    Padding,
    /// Between the header of a segment and its first frame.
    HeaderPage,
    /// At or past the end that a successor names.
    Dead,
    /// Behind the first word behind the end of the log, where nothing is stored yet. Should the log come to end right before
    /// it, the next open tells of a torn tail there, and cuts nothing.
    ZeroTail,
    /// In the anchor, outside of its slots.
    BetweenSlots,
    /// Behind the body of a checkpoint: zeros that are not there any more.
    CutZeros,
    /// What was put there is what was there: the copy is the reference itself, and is not looked at.
    SameBytes,
    /// The anchor knows less: what it still says is true, and frames, headers and checkpoints say the rest.
    OlderNote,
    /// A checkpoint more or less: the state is folded from another one, or from the log.
    OtherCheckpoint,
    /// A file of a copy that went on apart, and no note of this log's own contradicts it: all that is read is the history
    /// of one of the two, whole and in order.
    OneHistory,
    /// Checksums made right over a value that the format allows: nobody can tell. Only survival is asked for.
    Forged,
}

impl Proof {
    /// All classes, in the order of the table's columns.
    pub const ALL: [Self; 11] = [
        Self::Padding,
        Self::HeaderPage,
        Self::Dead,
        Self::ZeroTail,
        Self::BetweenSlots,
        Self::CutZeros,
        Self::SameBytes,
        Self::OlderNote,
        Self::OtherCheckpoint,
        Self::OneHistory,
        Self::Forged,
    ];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Padding => "padding",
            Self::HeaderPage => "header page",
            Self::Dead => "dead",
            Self::ZeroTail => "zero tail",
            Self::BetweenSlots => "between slots",
            Self::CutZeros => "cut zeros",
            Self::SameBytes => "same bytes",
            Self::OlderNote => "older note",
            Self::OtherCheckpoint => "other checkpoint",
            Self::OneHistory => "one history",
            Self::Forged => "forged",
        }
    }

    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|proof| *proof == self).unwrap_or_default()
    }
}
