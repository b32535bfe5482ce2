//! What goes wrong when a secret is copied from a page, a header or a file. Found where it
//! is given: later it would sign in a way that no receiver verifies, and nothing would say why.

/// What Standard Webhooks puts before the base64 of a symmetric secret …
pub(super) const SECRET_PREFIX: &str = "whsec_";
/// … of an ed25519 private key …
pub(super) const SIGNING_KEY_PREFIX: &str = "whsk_";
/// … and of its public key.
pub(super) const PUBLIC_KEY_PREFIX: &str = "whpk_";

const PREFIXES: [&str; 3] = [SECRET_PREFIX, SIGNING_KEY_PREFIX, PUBLIC_KEY_PREFIX];

/// What was copied along, as what is said of the secret or key. Never quotes it.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PasteError {
    #[error("begins or ends with a blank or a line end: remove it")]
    SurroundingBlank,
    #[error("begins or ends with a quotation mark: remove it")]
    Quoted,
    /// A text that looks alike may then be other bytes at the receiver.
    #[error(
        "holds something other than printable ASCII, such as a line end, a zero-width character or an accented letter: remove it"
    )]
    NotPrintable,
    #[error("begins with `v1,` or `v1a,`, which marks a signature: remove that")]
    SignatureVersion,
    #[error("begins with `{0}` in capital letters: write that in small ones")]
    PrefixInCapitals(&'static str),
    #[error("holds `{0}` further on: leave out what stands before it")]
    PrefixWithin(&'static str),
}

/// Passes what was copied as it is.
pub(super) fn check(text: &str) -> Result<(), PasteError> {
    let ends_with_any = |of: fn(char) -> bool| text.starts_with(of) || text.ends_with(of);
    if ends_with_any(char::is_whitespace) {
        return Err(PasteError::SurroundingBlank);
    }
    if ends_with_any(is_quotation_mark) {
        return Err(PasteError::Quoted);
    }
    if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err(PasteError::NotPrintable);
    }
    if ["v1,", "v1a,"].iter().any(|version| begins(text, version)) {
        return Err(PasteError::SignatureVersion);
    }
    for prefix in PREFIXES {
        if begins(text, prefix) && !text.starts_with(prefix) {
            return Err(PasteError::PrefixInCapitals(prefix));
        }
        // Not in a copy in lower case, which nothing would wipe.
        let mut rest = (1..text.len()).map(|at| &text.as_bytes()[at..]);
        if rest.any(|rest| begins_bytes(rest, prefix.as_bytes())) {
            return Err(PasteError::PrefixWithin(prefix));
        }
    }
    Ok(())
}

/// Whatever its case.
fn begins(text: &str, prefix: &str) -> bool {
    begins_bytes(text.as_bytes(), prefix.as_bytes())
}

fn begins_bytes(bytes: &[u8], prefix: &[u8]) -> bool {
    let beginning = bytes.get(..prefix.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
}

/// Also what editors and chats make of the straight ones.
fn is_quotation_mark(c: char) -> bool {
    matches!(
        c,
        '"' | '\'' | '`' | '´' | '“' | '”' | '„' | '‘' | '’' | '‚' | '«' | '»'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_names_what_was_copied_along() {
        use PasteError::*;
        const BODY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        for (text, error) in [
            (format!(" whsec_{BODY}"), SurroundingBlank),
            (format!("whsec_{BODY}\n"), SurroundingBlank),
            (format!("whsec_{BODY}\r\n"), SurroundingBlank),
            (format!("whsec_{BODY}\t"), SurroundingBlank),
            (format!("\u{a0}whsec_{BODY}"), SurroundingBlank),
            (format!("\"whsec_{BODY}\""), Quoted),
            (format!("'{BODY}'"), Quoted),
            (format!("`{BODY}"), Quoted),
            (format!("“{BODY}”"), Quoted),
            (format!("\u{feff}whsec_{BODY}"), NotPrintable),
            (format!("whsec_{BODY}\u{200b}"), NotPrintable),
            (format!("whsec_{BODY}\0"), NotPrintable),
            ("line one\nline two".to_owned(), NotPrintable),
            ("sixteen letters€".to_owned(), NotPrintable),
            ("cafe\u{301} au lait et".to_owned(), NotPrintable),
            (format!("v1,whsec_{BODY}"), SignatureVersion),
            (format!("V1,{BODY}"), SignatureVersion),
            (format!("v1a,{BODY}"), SignatureVersion),
            (format!("WHSEC_{BODY}"), PrefixInCapitals("whsec_")),
            (format!("Whsec_{BODY}"), PrefixInCapitals("whsec_")),
            (format!("WHSK_{BODY}"), PrefixInCapitals("whsk_")),
            (format!("WHPK_{BODY}"), PrefixInCapitals("whpk_")),
            (format!("secret=whsec_{BODY}"), PrefixWithin("whsec_")),
            (format!("Bearer WHSEC_{BODY}"), PrefixWithin("whsec_")),
            (format!("whsec_whsec_{BODY}"), PrefixWithin("whsec_")),
            (format!("whsec_whsk_{BODY}"), PrefixWithin("whsk_")),
        ] {
            assert_eq!(check(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn check_passes_what_is_meant_as_it_stands() {
        for text in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsk_AAAA",
            "webhook-secret-key",
            "correct horse battery",
            "it's mine, v1, and whsec is no prefix",
            "",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
