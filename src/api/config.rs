//! `[api]`: where the HTTP server listens, and what it admits.

use std::num::NonZeroUsize;

use ipnet::IpNet;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer};

use super::jwt::JwtConfig;
use super::public_url;
use crate::duration::HumanDuration;

/// `[api]`: the HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Host and port. TLS is a reverse proxy's.
    #[serde(deserialize_with = "host_and_port")]
    pub listen: String,
    /// Where browsers reach the console; empty: where it listens, on this machine.
    #[serde(deserialize_with = "public_url::origin_or_none")]
    pub public_url: String,
    /// The largest request body, in bytes.
    pub body_limit: usize,
    /// How long a request may take before it is answered with 503.
    pub request_timeout: HumanDuration,
    /// Connections at once; fewer where the process may open few files.
    pub max_connections: NonZeroUsize,
    /// Host and port of `/metrics`, `/healthz` and `/readyz` alone; empty: with the API.
    #[serde(deserialize_with = "host_and_port_or_none")]
    pub ops_listen: String,
    /// Networks of reverse proxies, whose `X-Forwarded-For` says who calls.
    pub trusted_proxies: Vec<IpNet>,
    /// Admits the application's own JWTs beside walhook's tokens.
    pub jwt: Option<JwtConfig>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig {
            listen: "127.0.0.1:8080".to_owned(),
            public_url: String::new(),
            body_limit: 256 * 1024,
            request_timeout: HumanDuration::from_secs(60),
            max_connections: NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN),
            ops_listen: String::new(),
            trusted_proxies: Vec::new(),
            jwt: None,
        }
    }
}

fn host_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let address = String::deserialize(deserializer)?;
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address),
        _ => Err(serde::de::Error::custom(format!(
            "`{address}` is not a host and a port: expected such as `127.0.0.1:8080`, or `0.0.0.0:8080` for all addresses"
        ))),
    }
}

fn host_and_port_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let address = String::deserialize(deserializer)?;
    match address.is_empty() {
        true => Ok(address),
        false => host_and_port(address.into_deserializer()),
    }
}
