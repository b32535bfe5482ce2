//! What of the deliveries is asked for, in the words of a URL.

use jiff::{SignedDuration, Timestamp};

use super::fault::Fault;
use super::fields::{self, Fields};
use super::markup;
use super::words::Endpoints;
use crate::api::deliveries::{error_class, http_statuses};
use crate::api::extract;
use crate::delivery::listing::{DeliverySearch, EventSearch, Status};
use crate::subscription::queries::SubscriptionId;

/// The times that are offered, with their hours.
pub const TIMES: [(&str, i64); 4] = [("1h", 1), ("24h", 24), ("7d", 168), ("30d", 720)];

/// What of the deliveries is asked for, as the URL has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub status: Option<String>,
    pub event_type: Option<String>,
    pub endpoint: Option<String>,
    /// Such as `404` or `5xx`.
    pub http: Option<String>,
    /// The class of an error.
    pub error: Option<String>,
    /// The key of a row.
    pub row: Option<String>,
    /// One of [`TIMES`], up to now.
    pub within: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
}

impl Wanted {
    pub fn of(fields: &Fields) -> Self {
        let text = |name| fields.get(name).map(str::to_owned);
        // A time that was chosen goes before one that a link had.
        let within = text("within");
        let linked = |name| match within {
            None => text(name),
            Some(_) => None,
        };
        Wanted {
            status: text("status"),
            event_type: text("type"),
            endpoint: text("endpoint"),
            http: text("http"),
            error: text("error"),
            row: text("row"),
            since: linked("since"),
            until: linked("until"),
            within,
        }
    }

    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("status", &self.status),
            ("type", &self.event_type),
            ("endpoint", &self.endpoint),
            ("http", &self.http),
            ("error", &self.error),
            ("row", &self.row),
            ("within", &self.within),
            ("since", &self.since),
            ("until", &self.until),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect()
    }

    /// Those that the form of filters has no field for.
    pub fn unselected(&self) -> Vec<(&'static str, &str)> {
        let selected = |name: &str| matches!(name, "type" | "endpoint" | "within");
        let mut all = self.fields();
        all.retain(|(name, _)| !selected(name));
        all
    }

    pub fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    pub fn path(&self) -> String {
        format!("/console/deliveries{}", fields::query(self.fields()))
    }

    /// What of the events is asked for.
    pub fn events(&self) -> EventSearch {
        EventSearch {
            types: self.event_type.iter().cloned().collect(),
            row: self.row.clone(),
        }
    }

    /// The same as a file, at a path of an export.
    pub fn export(&self, path: &str) -> String {
        format!("{path}{}", fields::query(self.fields()))
    }

    /// The same with something more.
    pub fn path_with(&self, path: &str, name: &'static str, value: &str) -> String {
        let mut all = self.fields();
        all.push((name, value));
        format!("{path}{}", fields::query(all))
    }

    pub fn with_status(&self, status: Option<Status>) -> Self {
        Wanted {
            status: status.map(|status| status.as_str().to_owned()),
            ..self.clone()
        }
    }

    /// Each term with the path without it.
    pub fn chips(&self, endpoints: &Endpoints) -> Vec<Chip> {
        let chips = self.fields().into_iter().map(|(name, value)| {
            let mut rest = self.clone();
            let slot = match name {
                "status" => &mut rest.status,
                "type" => &mut rest.event_type,
                "endpoint" => &mut rest.endpoint,
                "http" => &mut rest.http,
                "error" => &mut rest.error,
                "row" => &mut rest.row,
                "within" => &mut rest.within,
                "since" => &mut rest.since,
                _ => &mut rest.until,
            };
            *slot = None;
            let value = match name {
                "endpoint" => value.parse().map_or_else(
                    |_| value.to_owned(),
                    |id: SubscriptionId| endpoints.name(id).title().to_owned(),
                ),
                "within" => format!("the last {value}"),
                _ => value.to_owned(),
            };
            Chip {
                name,
                value,
                without: rest.path(),
            }
        });
        chips.collect()
    }

    pub fn search(&self) -> Result<DeliverySearch, Fault> {
        let status = match self.status.as_deref() {
            None => None,
            Some(name) => Some(markup::state_named(name).ok_or_else(|| {
                Fault::invalid(
                    "invalid_status",
                    "A state is failed, pending, in_flight, parked, delivered or cancelled.",
                )
                .with_next("/console/deliveries", "All deliveries")
            })?),
        };
        let subscription = self.endpoint.as_deref();
        let subscription = subscription
            .map(|id| extract::parse_id("endpoint", id).map(|SubscriptionId(id)| id))
            .transpose()?;
        Ok(DeliverySearch {
            status,
            event_type: self.event_type.clone(),
            subscription,
            http: self.http.as_deref().map(http_statuses).transpose()?,
            error: self.error.as_deref().map(error_class).transpose()?,
            row: self.row.clone(),
        })
    }

    /// The range of times as of now.
    pub fn range(&self, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), Fault> {
        let hours = self.within.as_deref().map(|within| {
            let found = TIMES.iter().find(|(name, _)| *name == within);
            found.map(|(_, hours)| *hours).ok_or_else(|| {
                Fault::invalid("invalid_time", "The time is one of 1h, 24h, 7d and 30d.")
            })
        });
        let within = match hours.transpose()? {
            Some(hours) => now.checked_sub(SignedDuration::from_hours(hours)).ok(),
            None => None,
        };
        let since = time("since", self.since.as_deref())?;
        Ok((since.or(within), time("until", self.until.as_deref())?))
    }
}

/// A time as it is typed: RFC 3339, or as a browser's field for local times has it, in UTC.
pub fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse().or_else(|_| format!("{text}Z").parse());
    parsed.map(Some).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Fault::invalid(
            "invalid_time",
            format!("`{name}` is `{shown}`: expected a time such as 2026-11-29T10:00Z."),
        )
    })
}

/// A term of what is wanted, and the path without it.
pub struct Chip {
    pub name: &'static str,
    pub value: String,
    pub without: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_reads_back_from_its_path() {
        let fields = Fields::parse(b"status=failed&type=a.b&since=2026-11-29T10:00Z&cursor=x&z=1");
        let wanted = Wanted::of(&fields);
        let path = wanted.path();
        let (_, query) = path.split_once('?').unwrap();
        assert_eq!(Wanted::of(&Fields::parse(query.as_bytes())), wanted);
        assert!(!path.contains("cursor"));
        assert!(Wanted::default().is_empty());
    }

    #[test]
    fn times_are_read_as_they_are_typed() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let range = |text: &str| Wanted::of(&Fields::parse(text.as_bytes())).range(now);
        let (since, until) = range("within=24h").unwrap();
        assert_eq!(since.unwrap().as_second(), 1_000_000_000 - 86_400);
        assert_eq!(until, None);
        let (since, _) = range("since=2001-09-09T01:46").unwrap();
        assert_eq!(since.unwrap().as_second(), 1_000_000_000 - 40);
        for text in ["within=2w", "since=soon", "until=x"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
