//! Any bytes as an HTTP response with a stream in it, cut anywhere: no panic, and no cut changes what it says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topobench::drive::{Asked, judge};
use topobench::outcome::Outcome;

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fuzz_target!(|input: (u8, bool, bool, &[u8])| {
    let (piece, framed, full_length, body) = input;
    let bytes = if framed { chunked(body) } else { body.to_vec() };
    let asked = Asked { max_tokens: 2, full_length };
    let whole = judge([bytes.as_slice()], asked);
    let cut = judge(bytes.chunks(usize::from(piece).max(1)), asked);
    let completed = whole.outcome == Outcome::Completed;
    assert_eq!(completed, cut.outcome == Outcome::Completed);
    if completed {
        assert_eq!((whole.timeline.output_tokens, &whole.text), (cut.timeline.output_tokens, &cut.text));
        let times = (cut.timeline.first_token, cut.timeline.last_token);
        assert!(times.0.is_some() && times.0 <= times.1 && times.1 <= Some(cut.timeline.end));
    }
});

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    for piece in body.chunks(97) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend(piece);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}
