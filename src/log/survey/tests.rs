//! The chain, followed over headers that are made up.

use super::*;
use crate::format::header::{Places, Rewritten, sample};

/// A chain of segments with numbers from 1 on, whose incarnations are their numbers.
fn chain(segments: u64) -> Survey {
    let file = |number: u64| {
        let link = Link { number: number - 1, incarnation: number - 1, end: 8192 };
        let predecessor = (number > 1).then_some(link);
        let header = SegmentHeader { number, incarnation: number, predecessor, ..sample() };
        SegmentFile { name: format::segment_name(number), number, length: 1 << 20, header: Ok(Some(header)) }
    };
    let files = (1..=segments).map(file).collect();
    Survey {
        files,
        checkpoints: Vec::new(),
        indexes: Vec::new(),
        drafts: Vec::new(),
        has_ballast: false,
        anchors: Vec::new(),
        anchor_faults: Vec::new(),
    }
}

#[test]
fn a_chain_of_very_many_segments_is_followed_to_its_begin() {
    // To look at all files for each of them would take minutes.
    let survey = chain(100_000);
    let (file, header) = survey.newest_up_to(u64::MAX).expect("a header");
    let members = Links::of(&survey).follow(file, header).unwrap_or_else(|broken| panic!("{}", broken.cause));
    assert_eq!(members.len(), 100_000);
    assert!(members.iter().zip(1..).all(|(member, number)| member.header.number == number));
    assert!(members.iter().rev().skip(1).all(|member| member.end == Some(8192)));
}

#[test]
fn a_link_leads_to_the_highest_generation_that_stands_for_its_segment() {
    let mut survey = chain(6);
    for (number, generation) in [(2, 1), (3, 2)] {
        let rewritten = Rewritten {
            end: 4096 + 48,
            last_number: 4,
            end_offset: Offset::new(1000),
            records: 0,
            incarnation: 4,
            original_end: 8192,
            places: Places::Kept,
        };
        let file = survey.files.iter_mut().find(|file| file.number == number).expect("a file");
        let header = SegmentHeader { number, generation, rewritten: Some(rewritten), ..sample() };
        file.header = Ok(Some(header));
    }
    let links = Links::of(&survey);
    let lead = |number, incarnation, end| {
        let link = Link { number, incarnation, end };
        links.linked(link, Offset::new(1000)).map(|(file, _)| file.number).ok()
    };
    assert_eq!(lead(4, 4, 8192), Some(3), "two stand for it besides its own file");
    assert_eq!(lead(5, 5, 8192), Some(5));
    assert_eq!(lead(4, 4, 4096), Some(4), "they stand for one that ends elsewhere");
    assert_eq!((lead(5, 4, 8192), lead(9, 9, 8192)), (None, None));
}
