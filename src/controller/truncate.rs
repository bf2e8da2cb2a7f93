//! Shortens texts to a length in bytes.

/// The start of the text: whole characters, and at most this number of bytes.
pub(super) fn truncate(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_truncated_by_bytes_to_whole_characters() {
        for (letter, length) in [("a", 1024), ("é", 1024), ("€", 1023), ("🕸", 1024)] {
            assert_eq!(truncate(&letter.repeat(2_000), 1024).len(), length, "{letter}");
        }
    }
}
