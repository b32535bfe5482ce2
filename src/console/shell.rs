//! What stands around every page: where one is, who one is, what was just done.

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use uuid::Uuid;

use super::assets::{PATHS, Paths};
use super::capability::Capability;
use super::fault::Fault;
use super::markup::{Markup, hidden, time};
use super::session::{self, Session};
use crate::audit::Caller;

/// The pages of the rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Overview,
    Endpoints,
    Deliveries,
    Events,
    Recover,
    Catalogue,
    Test,
    Settings,
}

impl Place {
    const ALL: [Place; 8] = [
        Place::Overview,
        Place::Endpoints,
        Place::Deliveries,
        Place::Events,
        Place::Recover,
        Place::Catalogue,
        Place::Test,
        Place::Settings,
    ];

    pub fn path(self) -> &'static str {
        match self {
            Place::Overview => "/console/overview",
            Place::Endpoints => "/console/endpoints",
            Place::Deliveries => "/console/deliveries",
            Place::Events => "/console/events",
            Place::Recover => "/console/recover",
            Place::Catalogue => "/console/catalogue",
            Place::Test => "/console/test",
            Place::Settings => "/console/settings",
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Place::Overview => "Overview",
            Place::Endpoints => "Endpoints",
            Place::Deliveries => "Deliveries",
            Place::Events => "Events",
            Place::Recover => "Recover",
            Place::Catalogue => "Catalogue",
            Place::Test => "Test",
            Place::Settings => "Settings",
        }
    }

    /// After `g`.
    pub fn letter(self) -> char {
        match self {
            Place::Overview => 'o',
            Place::Endpoints => 'e',
            Place::Deliveries => 'd',
            Place::Events => 'v',
            Place::Recover => 'r',
            Place::Catalogue => 'c',
            Place::Test => 't',
            Place::Settings => 's',
        }
    }

    /// One of the five that a narrow screen shows at once.
    pub fn is_first(self) -> bool {
        match self {
            Place::Overview
            | Place::Endpoints
            | Place::Deliveries
            | Place::Events
            | Place::Recover => true,
            Place::Catalogue | Place::Test | Place::Settings => false,
        }
    }
}

/// The colours, as the browser asks for them or as they were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Auto,
    Light,
    Dark,
}

/// Read by the server, so that a page comes in its colours at once.
pub const THEME_COOKIE: &str = "walhook-theme";

impl Theme {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Theme::Auto),
            "light" => Some(Theme::Light),
            "dark" => Some(Theme::Dark),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Theme::Auto => "auto",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    pub fn of(headers: &HeaderMap) -> Self {
        let chosen = session::value_of(headers, THEME_COOKIE);
        chosen.and_then(Theme::named).unwrap_or(Theme::Auto)
    }
}

/// Who asks, and how it is to look. Every handler of a signed-in page takes one.
#[derive(Clone)]
pub struct Visitor {
    pub session: Arc<Session>,
    /// For the audit log.
    pub caller: Caller,
    pub theme: Theme,
    /// The page that was asked for, to come back to; none: it answers a form.
    pub path: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        // Absent only where a route was left outside the sign-in: fail closed.
        let visitor = parts.extensions.get::<Visitor>().cloned();
        visitor.ok_or_else(|| Fault::unsigned(&session::Unsigned::Never))
    }
}

impl Visitor {
    pub fn may(&self, capability: Capability) -> bool {
        self.session.may(capability)
    }

    pub fn tenant(&self) -> &Arc<str> {
        &self.session.tenant
    }

    /// The shell of a page of theirs.
    pub fn shell(&self, place: Place, title: impl Into<String>) -> Shell {
        Shell {
            title: title.into(),
            place,
            visitor: self.clone(),
            now: Timestamp::now(),
            notice: None,
        }
    }
}

/// What a template needs of all that stands around its page.
pub struct Shell {
    pub title: String,
    pub place: Place,
    pub visitor: Visitor,
    pub now: Timestamp,
    /// What was just done, in a sentence.
    pub notice: Option<String>,
}

impl Shell {
    pub fn with_notice(mut self, notice: Option<String>) -> Self {
        self.notice = notice;
        self
    }

    // Asked by the templates.

    pub fn assets(&self) -> &'static Paths {
        &PATHS
    }

    pub fn places(&self) -> [Place; 8] {
        Place::ALL
    }

    pub fn theme(&self) -> &'static str {
        self.visitor.theme.as_str()
    }

    pub fn themes(&self) -> [&'static str; 3] {
        [Theme::Auto, Theme::Light, Theme::Dark].map(Theme::as_str)
    }

    pub fn tenant(&self) -> &str {
        &self.visitor.session.tenant
    }

    pub fn actor(&self) -> &str {
        &self.visitor.session.actor
    }

    pub fn path(&self) -> &str {
        self.visitor.path.as_deref().unwrap_or(self.place.path())
    }

    /// The hidden field of forms that may well be sent again.
    pub fn token(&self) -> String {
        self.visitor.session.form_token.masked()
    }

    /// The hidden fields of a form that does something once, however often it is sent.
    pub fn form(&self) -> Markup {
        let once = Uuid::now_v7().to_string();
        hidden(&[("token", &self.token()), ("once", &once)])
    }

    pub fn until(&self) -> Markup {
        self.time(&self.visitor.session.expires_at)
    }

    pub fn time(&self, at: &Timestamp) -> Markup {
        time(*at, self.now)
    }

    pub fn may(&self, capability: &str) -> bool {
        let capability = capability.parse();
        capability.is_ok_and(|capability| self.visitor.may(capability))
    }
}

/// A rendered page as an answer.
pub fn page(template: &impl Template) -> Result<Response, Fault> {
    let text = template.render()?;
    Ok(html(StatusCode::OK, text))
}

pub fn html(status: StatusCode, text: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, headers, text).into_response()
}

/// To a page of ours, after something was done: a reload does not do it again.
pub fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(path) = path.parse() {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}
