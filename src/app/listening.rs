//! Where the API listens, and what it is handed of filters.

use anyhow::Context;
use tokio::net::TcpListener;

use super::descriptors;
use crate::api::{self, ApiConfig};
use crate::config::Config;
use crate::mapping::Filter;

/// Listens where `api.listen` and `api.ops_listen` say; by `bound` instead of the first, where
/// there is one.
pub(crate) async fn listen(
    config: &Config,
    bound: Option<std::net::TcpListener>,
) -> anyhow::Result<api::Listeners> {
    let bind = async |key: &str, address: &str| {
        TcpListener::bind(address).await.with_context(|| {
            format!("listen on {key} = \"{address}\": set another address, or free this one")
        })
    };
    let ApiConfig {
        listen, ops_listen, ..
    } = &config.api;
    Ok(api::Listeners {
        api: match bound {
            None => bind("api.listen", listen).await?,
            Some(bound) => {
                bound.set_nonblocking(true)?;
                TcpListener::from_std(bound)?
            }
        },
        ops: match ops_listen.as_str() {
            "" => None,
            address => Some(bind("api.ops_listen", address).await?),
        },
        max_connections: descriptors::for_api(config.api.max_connections.get()),
    })
}

// The API may not import the mapping: it is handed what it needs of filters.

pub(super) fn check_filter(source: &str) -> Result<(), String> {
    check_filter_for(source, None)
}

pub(super) fn check_filter_for(source: &str, data: Option<&[String]>) -> Result<(), String> {
    Filter::compile_for(source, data)
        .map(drop)
        .map_err(|error| error.to_string())
}

pub(super) fn filter_matches(source: &str, body: &[u8]) -> Result<bool, String> {
    let matched = Filter::compile(source).and_then(|filter| filter.matches(body));
    matched.map_err(|error| error.to_string())
}
