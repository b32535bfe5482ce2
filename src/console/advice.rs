//! What an attempt's failure means, and what to do about it.

use std::time::Duration;

use super::markup::{measured, named_status};
use crate::delivery::attempt_log::Attempt;

/// What is said of an attempt that failed.
pub struct Advice {
    pub means: String,
    pub remedy: &'static str,
}

/// What is to be said of an attempt that failed; none where it succeeded.
pub fn advice(attempt: &Attempt, timeout: Duration) -> Option<Advice> {
    let class = attempt.error_class.as_deref()?;
    let (means, remedy) = match class {
        "http_status" => of_status(attempt.http_status.unwrap_or(0)),
        "timeout" => (
            format!(
                "The endpoint did not answer within {}, the body of its answer included.",
                measured(timeout)
            ),
            "Store the event, answer 2xx, and work afterwards: 2xx counts as soon as its headers are here.",
        ),
        "connect" => (
            "No connection came about: it was refused, reset, or nobody answered.".to_owned(),
            "Is the receiver running and listening on this port? Does a firewall bar the sender? \
             Try `curl -v` of the URL from outside your network.",
        ),
        "dns" => (
            "The name of the host gave no address.".to_owned(),
            "Check how it is spelled, and that it is in public DNS; a name that was just made may \
             need some minutes.",
        ),
        "tls" => (
            "No TLS session came about.".to_owned(),
            "The certificate is expired, self-signed, for another name, or comes without its \
             intermediate; or the port speaks plain HTTP. \
             `openssl s_client -connect host:443 -servername host` shows which.",
        ),
        "blocked" => (
            "The host's address is internal, or its port is not admitted, so nothing was sent."
                .to_owned(),
            "Use a public address. Ask the operator if it is meant to be reached \
             (security.allow_networks, security.allow_ports).",
        ),
        "response" => (
            "The endpoint was connected to, and its answer broke off or was no HTTP.".to_owned(),
            "Look at what stands in between: a proxy that closes connections, or another service \
             on that port.",
        ),
        "request" => (
            "The request could not be made.".to_owned(),
            "Its message says what is missing: set the endpoint's headers again, or rotate its secret.",
        ),
        "cancelled" => (
            "The attempt was cancelled before it ended, as the process stopped.".to_owned(),
            "Nothing: it is repeated, and does not count.",
        ),
        _ => (
            "The attempt failed.".to_owned(),
            "Its message says what was wrong.",
        ),
    };
    Some(Advice { means, remedy })
}

fn of_status(status: i16) -> (String, &'static str) {
    let means = format!(
        "The endpoint answered {}; only 2xx counts as received.",
        named_status(status)
    );
    let remedy = match status {
        301 | 302 | 303 | 307 | 308 => {
            "Redirects are not followed: set the URL that it leads to as the endpoint's."
        }
        400 | 422 => {
            "The receiver did not like the body: compare what it expects with what was sent."
        }
        401 | 403 => {
            "The receiver refused the signature or wants a header of its own: verify with the \
             endpoint's secret over the raw body, and set the header at the endpoint."
        }
        404 | 405 => "The path is wrong, or does not take POST: correct the endpoint's URL.",
        408 | 425 | 429 | 503 => {
            "The receiver is busy. Its Retry-After is honoured; a rate limit at the endpoint keeps \
             it from being asked too often."
        }
        410 => {
            "410 says that it is gone for good: the endpoint was disabled. Enable it if it is not."
        }
        413 => "The receiver takes smaller bodies only: raise its limit.",
        500..=599 => "The receiver failed: its own log, at the time of the attempt, says why.",
        _ => "The answer below is what the receiver says about it.",
    };
    (means, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::attempt;
    use super::*;
    use crate::delivery::client::ErrorClass;

    #[test]
    fn every_class_of_failure_has_a_meaning_and_a_remedy_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for class in ErrorClass::ALL {
            let status = (class == ErrorClass::HttpStatus).then_some(500);
            let advice = advice(
                &attempt(Some(class.as_str()), status),
                Duration::from_secs(15),
            )
            .unwrap();
            assert!(seen.insert(advice.remedy), "{class:?}");
            assert_ne!(advice.means, "The attempt failed.", "{class:?}");
        }
        assert!(advice(&attempt(None, Some(200)), Duration::ZERO).is_none());
    }
}
