//! A subscription's `batch`: its events put together into few requests.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Problem;
use crate::duration::HumanDuration;
use crate::subscription::Batching;
use crate::subscription::batching::LONGEST_WAIT;

const EVENTS: RangeInclusive<u16> = 1..=1_000;
const BYTES: RangeInclusive<u32> = 1_024..=1_048_576;

/// Several events in one request. A batch closes when one of these is reached, and is
/// sent, signed and tried again as one, under its own `webhook-id`: `bat_…`.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    /// Events in one request.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    max_events: u16,
    /// Bytes of the request's body; an event that is larger goes alone.
    #[schema(minimum = 1024, maximum = 1_048_576, default = 262_144)]
    max_bytes: u32,
    /// How long the first event waits for others, up to `1m`.
    #[schema(value_type = String, default = "1s", examples("500ms"))]
    max_wait: String,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            max_events: 100,
            max_bytes: 256 * 1024,
            max_wait: "1s".to_owned(),
        }
    }
}

impl From<Batching> for Batch {
    fn from(batching: Batching) -> Self {
        Batch {
            max_events: batching.max_events,
            max_bytes: batching.max_bytes,
            max_wait: match batching.max_wait {
                Duration::ZERO => "0s".to_owned(),
                wait => HumanDuration(wait).to_string(),
            },
        }
    }
}

/// Reads what was given; none where each event is to be sent by itself.
pub fn read(batch: Option<&Value>) -> Result<Option<Batching>, Problem> {
    let invalid = |detail: String| Problem::invalid("invalid_batch", detail);
    let given = match batch {
        None | Some(Value::Null) => return Ok(None),
        Some(given @ Value::Object(_)) => given,
        Some(_) => {
            return Err(invalid(
                "`batch` is an object, or null: use {} for the defaults, or some of `max_events`, `max_bytes` and `max_wait`".to_owned(),
            ));
        }
    };
    let batch = Batch::deserialize(given).map_err(|error| {
        invalid(format!(
            "`batch`: {error}. Use `max_events` and `max_bytes`, which are numbers, and `max_wait`, such as `1s`"
        ))
    })?;
    if !EVENTS.contains(&batch.max_events) {
        return Err(invalid(format!(
            "`batch.max_events` is {}: use {} to {}",
            batch.max_events,
            EVENTS.start(),
            EVENTS.end()
        )));
    }
    if !BYTES.contains(&batch.max_bytes) {
        return Err(invalid(format!(
            "`batch.max_bytes` is {}: use {} to {}",
            batch.max_bytes,
            BYTES.start(),
            BYTES.end()
        )));
    }
    Ok(Some(Batching {
        max_events: batch.max_events,
        max_bytes: batch.max_bytes,
        max_wait: wait(&batch.max_wait).map_err(invalid)?,
    }))
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait: HumanDuration = text
        .parse()
        .map_err(|error| format!("`batch.max_wait`: {error}"))?;
    let longest = HumanDuration(LONGEST_WAIT);
    if wait > longest {
        return Err(format!(
            "`batch.max_wait` is `{wait}`: use `0s` to `{longest}`"
        ));
    }
    Ok(wait.0)
}

/// Order needs each event's own answer.
pub fn check_with_ordering(ordering: &str, batching: Option<Batching>) -> Result<(), Problem> {
    if ordering == "none" || batching.is_none() {
        return Ok(());
    }
    Err(Problem::invalid(
        "ordering_with_batch",
        "a subscription with `ordering` `row` cannot have a `batch`: use one of them, or two subscriptions",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_out_is_the_default_and_null_is_none() {
        assert_eq!(read(None).unwrap(), None);
        assert_eq!(read(Some(&json!(null))).unwrap(), None);
        let default = read(Some(&json!({}))).unwrap().unwrap();
        assert_eq!(
            serde_json::to_value(Batch::from(default)).unwrap(),
            json!({"max_events": 100, "max_bytes": 262_144, "max_wait": "1s"})
        );
        let longest = json!({"max_wait": "1m", "max_events": 1000, "max_bytes": 1024});
        let longest = read(Some(&longest)).unwrap().unwrap();
        assert_eq!(longest.max_wait, Duration::from_secs(60));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (batch, said) in [
            (json!(true), "an object"),
            (json!({"size": 10}), "`size`"),
            (json!({"max_events": 0}), "1 to 1000"),
            (json!({"max_events": 1001}), "1 to 1000"),
            (json!({"max_events": "10"}), "max_events"),
            (json!({"max_bytes": 1023}), "1024 to 1048576"),
            (json!({"max_bytes": 1_048_577}), "1024 to 1048576"),
            (json!({"max_wait": "61s"}), "`0s` to `1m`"),
            (json!({"max_wait": "soon"}), "a unit"),
            (json!({"max_wait": 5}), "batch"),
        ] {
            let problem = format!("{:?}", read(Some(&batch)).unwrap_err());
            assert!(problem.contains("invalid_batch"), "{problem}");
            assert!(problem.contains(said), "{batch}: {problem}");
        }
    }
}
