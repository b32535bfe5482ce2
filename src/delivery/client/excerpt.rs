//! The beginning of an answer as text that is safe to store, log and show.

/// Enough to see what went wrong; one is stored for every failed attempt.
const MAX_BYTES: usize = 1024;

/// Collects the first bytes of a body.
#[derive(Default)]
pub(super) struct Excerpt(Vec<u8>);

impl Excerpt {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let room = MAX_BYTES - self.0.len();
        self.0.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }

    /// Lossy UTF-8 of at most 1 KiB. Line breaks and tabs become spaces; other control
    /// characters, and those that change the direction of text, are left out.
    pub(super) fn into_text(self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for char in String::from_utf8_lossy(&self.0).chars() {
            let char = match char {
                '\n' | '\r' | '\t' => ' ',
                '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => continue,
                char if char.is_control() => continue,
                char => char,
            };
            if text.len() + char.len_utf8() > MAX_BYTES {
                break;
            }
            text.push(char);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(chunks: &[&[u8]]) -> String {
        let mut excerpt = Excerpt::default();
        for chunk in chunks {
            excerpt.push(chunk);
        }
        excerpt.into_text()
    }

    #[test]
    fn is_printable_and_short_whatever_comes() {
        assert_eq!(excerpt(&[b"no such", b"\n\thook"]), "no such  hook");
        assert_eq!(excerpt(&[b"a\0b\x1b[31mc\x7f"]), "ab[31mc");
        assert_eq!(excerpt(&["a\u{202e}\u{61c}b".as_bytes()]), "ab");
        assert_eq!(excerpt(&[b"\xff\xfe ok"]), "\u{fffd}\u{fffd} ok");
        assert_eq!(excerpt(&["é".as_bytes(), b""]), "é");
        for byte in [b'x', 0xff, 0xc3] {
            let text = excerpt(&[&[byte; 3000], &[byte; 3000]]);
            assert!(text.len() <= MAX_BYTES && text.len() > MAX_BYTES - 4);
        }
    }
}
