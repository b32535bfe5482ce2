//! The form of an endpoint, and the call of the API that it becomes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::error::Problem;
use crate::console::fields::Fields;
use crate::subscription::queries::StoredSubscription;

/// The form, filled in.
#[derive(Default)]
pub(super) struct Form {
    pub(super) url: String,
    pub(super) description: String,
    pub(super) events: Vec<String>,
    /// Patterns beside those of the list.
    pub(super) others: String,
    pub(super) filter: String,
    /// Lines `Name: value`; of an endpoint that exists they are not shown.
    pub(super) headers: String,
    pub(super) drop_headers: bool,
    pub(super) ordering: String,
    pub(super) format: String,
    pub(super) rate_limit: String,
    pub(super) batch: bool,
}

impl Form {
    pub(super) fn of(fields: &Fields) -> Self {
        let text = |name| fields.exact(name).unwrap_or_default().trim().to_owned();
        Form {
            url: text("url"),
            description: text("description"),
            events: fields.all("events").map(str::to_owned).collect(),
            others: text("others"),
            filter: text("filter"),
            headers: text("headers"),
            drop_headers: fields.has("drop_headers"),
            ordering: text("ordering"),
            format: text("format"),
            rate_limit: text("rate_limit"),
            batch: fields.has("batch"),
        }
    }

    pub(super) fn stored(endpoint: &StoredSubscription, known: &[String]) -> Self {
        let (events, others): (Vec<_>, Vec<_>) = endpoint
            .events
            .iter()
            .cloned()
            .partition(|event| event == "*" || known.contains(event));
        Form {
            url: endpoint.url.clone(),
            description: endpoint.description.clone().unwrap_or_default(),
            events,
            others: others.join(" "),
            filter: endpoint.filter.clone().unwrap_or_default(),
            headers: String::new(),
            drop_headers: false,
            ordering: endpoint.ordering.clone(),
            format: endpoint.format.clone(),
            rate_limit: endpoint
                .rate_limit
                .map_or_else(String::new, |rate| rate.to_string()),
            batch: endpoint.batching.is_some(),
        }
    }

    pub(super) fn events(&self) -> Vec<String> {
        let separators = |c: char| c.is_whitespace() || c == ',';
        let others = self.others.split(separators).filter(|one| !one.is_empty());
        let listed = self.events.iter().cloned();
        listed.chain(others.map(str::to_owned)).collect()
    }

    pub(super) fn headers(&self) -> Result<BTreeMap<String, String>, Problem> {
        let lines = self.headers.lines().filter(|line| !line.trim().is_empty());
        lines
            .enumerate()
            .map(|(at, line)| match line.split_once(':') {
                Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
                None => Err(Problem::invalid(
                    "invalid_headers",
                    format!(
                        "line {} of the headers has no colon: write `Name: value`",
                        at + 1
                    ),
                )),
            })
            .collect()
    }

    /// As the API's call takes it: what was there is replaced where this is a change.
    pub(super) fn request(&self, is_change: bool, was_batched: bool) -> Result<Value, Problem> {
        let mut request = Map::new();
        let mut set = |name: &str, value: Value| {
            request.insert(name.to_owned(), value);
        };
        let or_null = |text: &str| match text {
            "" => Value::Null,
            text => json!(text),
        };
        set("url", json!(self.url));
        set("events", json!(self.events()));
        set("description", or_null(&self.description));
        set("filter", or_null(&self.filter));
        let rate = match self.rate_limit.as_str() {
            "" => Value::Null,
            text => text
                .parse::<i64>()
                .map_or_else(|_| json!(text), Value::from),
        };
        set("rate_limit", rate);
        for (name, value) in [("ordering", &self.ordering), ("format", &self.format)] {
            if !value.is_empty() {
                set(name, json!(value));
            }
        }
        let headers = self.headers()?;
        if !headers.is_empty() || self.drop_headers {
            set("headers", json!(headers));
        }
        match (self.batch, was_batched) {
            (true, false) => set("batch", json!({})),
            (false, _) => set("batch", Value::Null),
            // Its limits stay as they are.
            (true, true) if is_change => {}
            (true, true) => set("batch", json!({})),
        }
        Ok(Value::Object(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_body_of_the_call() {
        let fields = Fields::parse(
            b"url=https://a.example&events=a.b&others=c.*,+d.e&filter=&rate_limit=5\
              &headers=X-A:+1%0d%0aX-B:+2&ordering=row&format=",
        );
        let form = Form::of(&fields);
        assert_eq!(
            form.request(false, false).unwrap(),
            json!({
                "url": "https://a.example", "events": ["a.b", "c.*", "d.e"],
                "description": null, "filter": null, "rate_limit": 5, "ordering": "row",
                "headers": {"X-A": "1", "X-B": "2"}, "batch": null,
            })
        );
        let fields = Fields::parse(b"headers=nonsense&rate_limit=many&batch=on");
        let form = Form::of(&fields);
        assert!(form.request(false, false).is_err());
        let fields = Fields::parse(b"rate_limit=many&batch=on");
        let changed = Form::of(&fields).request(true, true).unwrap();
        assert_eq!(changed["rate_limit"], "many");
        assert!(changed.get("batch").is_none() && changed.get("headers").is_none());
    }
}
