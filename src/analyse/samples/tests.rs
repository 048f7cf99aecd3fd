use super::*;
use crate::outcome::{Chunk, Outcome, RequestRecord};
use crate::units::Offset;

#[test]
fn tokens_whose_chunks_werent_kept_still_count_in_their_seconds() {
    let at = Offset::from_secs;
    let chunks: Vec<Chunk> = (0..41).map(|i| Chunk { at: at(0.5 + 0.05 * f64::from(i)), tokens: 1 }).collect();
    let timeline = Timeline {
        sent: Some(at(0.0)),
        first_token: Some(at(0.5)),
        last_token: Some(at(2.5)),
        output_tokens: Some(TokenCount(41)),
        chunks,
        ..Timeline::default()
    };
    let record = RequestRecord {
        index: 0,
        id: "r".into(),
        prompt_tokens: TokenCount(1),
        max_tokens: TokenCount(41),
        timeline,
        outcome: Outcome::Completed,
        stages: None,
        turn: None,
        text: None,
    };
    let mut thinned = record.clone();
    thinned.timeline.chunks = Vec::new();
    let unknown = Samples::from_records([&thinned], None);
    assert!(unknown.per_second.tokens.is_empty(), "of imported files nothing is made up");
    let whole = Samples::from_records([&record, &record], None);
    let mixed = Samples::from_records([&thinned, &record], None);
    assert_eq!(mixed.per_second.tokens, whole.per_second.tokens);
    assert_eq!((&mixed.ttft, &mixed.tpot, &mixed.e2el), (&whole.ttft, &whole.tpot, &whole.e2el));
    let gaps = |s: &Samples| s.itl.distribution(&[]).expect("gaps").count;
    assert_eq!((gaps(&mixed), gaps(&whole)), (40, 80));
}
