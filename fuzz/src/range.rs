//! `Range`, `Content-Range` and their neighbours, as our registry and our client read them. The first eight bytes of the
//! input are the size of a blob, the rest is the header.

use rorqual_distribution::links::{content_range, next_link, retry_after, upload_range};
use rorqual_registry::range::{Wanted, chunk, wanted};

pub(crate) fn run(input: &[u8]) {
    let Some((size, text)) = input.split_first_chunk() else { return };
    let size = u64::from_le_bytes(*size);
    let Ok(text) = std::str::from_utf8(text) else { return };
    check_wanted(text, size);
    check_written(text);
    if let Some(target) = next_link(text) {
        assert!(text.contains(&format!("<{target}>")), "{target:?} is not in {text:?}");
    }
    let _ = retry_after(text, Default::default());
}

/// What the registry sends lies within the blob, and our client takes its answer for what it asked for.
fn check_wanted(text: &str, size: u64) {
    assert_eq!(wanted(None, size), Wanted::All);
    match wanted(Some(text), size) {
        Wanted::Part(start, end) => {
            assert!(start < end && end <= size, "{text:?} of {size}: {start}..{end}");
            let answer = format!("bytes {start}-{}/{size}", end - 1);
            assert_eq!(content_range(&answer), Some((start, end - 1, Some(size))), "{answer:?}");
            let asked = format!("bytes={start}-{}", end - 1);
            assert_eq!(wanted(Some(&asked), size), Wanted::Part(start, end), "{asked:?} of {size}");
            let rest = format!("bytes={start}-");
            assert_eq!(wanted(Some(&rest), size), Wanted::Part(start, size), "{rest:?} of {size}");
        }
        Wanted::Nothing | Wanted::All => {}
    }
}

/// Both sides read a part of an upload alike.
fn check_written(text: &str) {
    let at_server = chunk(text);
    if let Some((start, length)) = at_server {
        let last = start.checked_add(length - 1).expect("a chunk ends where numbers do");
        assert_eq!(chunk(&format!("{start}-{last}")), at_server, "{text:?}");
    }
    if let Some((first, last, length)) = content_range(text) {
        assert!(first <= last && length.is_none_or(|length| last < length), "{text:?}");
        let shown = length.map_or("*".to_owned(), |length| length.to_string());
        assert_eq!(content_range(&format!("bytes {first}-{last}/{shown}")), Some((first, last, length)));
        // Only all 2^64 bytes have a length that is no number.
        let expected = (last - first).checked_add(1).map(|length| (first, length));
        assert_eq!(at_server, expected, "client and server read {text:?} differently");
    }
    if let Some(stored) = upload_range(text)
        && stored > 0
    {
        assert_eq!(upload_range(&format!("0-{}", stored - 1)), Some(stored));
        assert_eq!(chunk(text), Some((0, stored)), "client and server read {text:?} differently");
    }
}
