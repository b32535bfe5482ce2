//! A browser without script: it keeps a cookie and says which site its requests come from.

use std::time::Duration;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use walhook::api::PublicUrl;
use walhook::audit::Caller;
use walhook::console::capability::Capability;
use walhook::console::links::{self, Minted, NewLink};
use walhook::db::Store;

use crate::api::fixtures::Api;

pub struct Browser {
    http: reqwest::Client,
    base: String,
    cookie: Option<String>,
}

pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

/// A link of this tenant with these capabilities.
pub async fn link(api: &Api, tenant: &str, capabilities: &[Capability]) -> Minted {
    let link = NewLink {
        expires_in: Duration::from_secs(60),
        ..new_link(tenant, capabilities)
    };
    mint(&api.store, &api.base, &link).await
}

pub fn new_link(tenant: &str, capabilities: &[Capability]) -> NewLink {
    NewLink {
        tenant: tenant.to_owned(),
        actor: "Anna".to_owned(),
        capabilities: capabilities.to_vec(),
        expires_in: Duration::from_secs(60),
        session_ttl: Duration::from_secs(3600),
        next: "/console/deliveries".to_owned(),
    }
}

pub async fn mint(store: &Store, base: &str, link: &NewLink) -> Minted {
    let public_url = PublicUrl::parse(base).unwrap();
    let caller = Caller::of_command();
    links::mint(store, &public_url, link, &caller)
        .await
        .unwrap()
}

impl Browser {
    pub fn of(base: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .tls_certs_only([]);
        Browser {
            http: client.build().unwrap(),
            base: base.to_owned(),
            cookie: None,
        }
    }

    /// One that is signed in with all capabilities.
    pub async fn signed_in(api: &Api, tenant: &str) -> Self {
        Self::with(api, tenant, &Capability::ALL).await
    }

    pub async fn with(api: &Api, tenant: &str, capabilities: &[Capability]) -> Self {
        let mut browser = Self::of(&api.base);
        let minted = link(api, tenant, capabilities).await;
        let entered = browser.enter(code(&minted.url)).await;
        assert_eq!(entered.status, 303, "{}", entered.text);
        browser
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Page {
        read(self.request(reqwest::Method::GET, path)).await
    }

    /// Posts a form of a page of the same site, without a token.
    pub async fn post_raw(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let body = form(fields);
        let request = self
            .request(reqwest::Method::POST, path)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        read(request).await
    }

    /// Posts a form with the session's token, taken from a page.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.token().await;
        let mut all = vec![("token", token.as_str())];
        all.extend(fields);
        self.post_raw(path, &all).await
    }

    pub fn cookie_value(&self) -> &str {
        self.cookie.as_ref().unwrap().split_once('=').unwrap().1
    }

    pub async fn token(&self) -> String {
        let page = self.get("/console/overview").await;
        hidden(&page.text, "token")
    }

    /// Redeems a code, and keeps the cookie.
    pub async fn enter(&mut self, code: &str) -> Page {
        let page = self.post_raw("/console/enter", &[("code", code)]).await;
        if let Some(set) = page.headers.get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = Some(pair.to_owned());
        }
        page
    }
}

pub fn form(fields: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(fields);
    text.finish()
}

/// The code at the end of a link.
pub fn code(link: &str) -> &str {
    link.split_once('#').unwrap().1
}

/// The value of the first hidden field of this name.
pub fn hidden(page: &str, name: &str) -> String {
    let field = format!("type=\"hidden\" name=\"{name}\" value=\"");
    let (_, rest) = page
        .split_once(&field)
        .unwrap_or_else(|| panic!("no {name} in\n{page}"));
    rest.split('"').next().unwrap().to_owned()
}

async fn read(request: reqwest::RequestBuilder) -> Page {
    let response = request.send().await.unwrap();
    Page {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

impl Page {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.text.contains(text),
            "does not say `{text}`:\n{}",
            self.text
        );
        self
    }

    #[track_caller]
    pub fn says_not(self, text: &str) -> Self {
        assert!(!self.text.contains(text), "says `{text}`:\n{}", self.text);
        self
    }

    pub fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }
}
