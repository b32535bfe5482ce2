//! A filter on the last events, before it is saved.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AxumState;
use serde_json::{Value, json};

use super::{request, text, value};
use crate::api::extract::{Body, Tenant};
use crate::api::filters;
use crate::console::State;
use crate::console::capability::Capability;
use crate::console::fault::Fault;
use crate::console::markup::{Markup, badge};
use crate::console::shell::Visitor;

/// Events that the page shows of those that were tested.
const SHOWN: usize = 12;

/// What a filter would do with the last events.
pub(super) struct Tested {
    pub(super) sentence: String,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) verdict: Markup,
    pub(super) why: String,
}

/// Tests it as the API's call does; or says why it cannot be.
pub(super) async fn run(
    state: &State,
    visitor: &Visitor,
    filter: &str,
    events: Vec<String>,
) -> Result<(Option<Tested>, Option<String>), Fault> {
    if filter.is_empty() {
        let fault = "There is no filter to test: without one every event is sent.";
        return Ok((None, Some(fault.to_owned())));
    }
    if !visitor.may(Capability::Payloads) {
        let fault = "Trying a filter says what is in the bodies of events: it needs the capability \
             `payloads`, which your session lacks.";
        return Ok((None, Some(fault.to_owned())));
    }
    let events = match events.is_empty() {
        true => Value::Null,
        false => json!(events),
    };
    let asked = request(json!({"filter": filter, "events": events}));
    let api = AxumState(Arc::clone(&state.api));
    let tenant = Tenant(Arc::clone(visitor.tenant()));
    let tested = match asked {
        Ok(asked) => filters::test_filter(api, tenant, Body(asked)).await,
        Err(problem) => Err(problem),
    };
    match tested {
        Ok(Json(tested)) => Ok((Some(read(&value(&tested)?)), None)),
        Err(problem) if problem.status().is_client_error() => {
            Ok((None, Some(problem.detail().to_owned())))
        }
        Err(problem) => Err(problem.into()),
    }
}

fn read(tested: &Value) -> Tested {
    let number = |name: &str| tested[name].as_u64().unwrap_or(0);
    let sentence = match number("tested") {
        0 => "There is no event of these types yet to test it on.".to_owned(),
        all => format!(
            "{} of the last {all} events would be sent.",
            number("matching")
        ),
    };
    let rows = tested["data"].as_array().into_iter().flatten().take(SHOWN);
    let rows = rows.map(|event| {
        let values = event["values"].as_array().into_iter().flatten();
        let values = values.map(|one| match one.get("value") {
            Some(value) => format!("{} was {value}", text(one, "name")),
            None => format!("{} was not there", text(one, "name")),
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let clause = text(event, "clause");
        let (verdict, why) = match text(event, "verdict").as_str() {
            "sent" => (badge("delivered", "✓", "sent"), String::new()),
            "refused" => (
                badge("cancelled", "–", "not sent"),
                match values.is_empty() {
                    true => clause,
                    false => format!("{clause}: {values}"),
                },
            ),
            _ => (badge("failed", "✕", "failed"), text(event, "error")),
        };
        Row {
            id: text(event, "id"),
            event_type: text(event, "type"),
            verdict,
            why,
        }
    });
    Tested {
        sentence,
        rows: rows.collect(),
    }
}
