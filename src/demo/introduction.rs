//! What the demo says first: where everything is, and what to try.

use std::net::SocketAddr;
use std::path::Path;

use super::traffic::TENANTS;
use super::view::Style;
use crate::secret::ApiToken;

/// Where things are.
pub(super) struct Places<'a> {
    pub(super) database: &'a str,
    pub(super) api: SocketAddr,
    /// With the code that signs in.
    pub(super) console: &'a str,
    pub(super) log: &'a Path,
}

/// Shows the tokens in the clear: they open nothing but this throwaway store. The link has a line
/// of its own, which 80 columns just hold.
pub(super) fn introduction(style: Style, places: &Places<'_>, tokens: &[ApiToken]) -> Vec<String> {
    let Places {
        database,
        api,
        console,
        log,
    } = *places;
    let bold = |text: &str| style.bold(text.to_owned()).to_string();
    let mut lines = vec![
        format!(
            "{}  http://{api}  /docs /metrics /readyz  Ctrl-C ends it",
            bold("walhook demo")
        ),
        format!("{} of {}, works once:", bold("console"), TENANTS[0]),
        console.to_owned(),
        format!("{} {database}", bold("psql")),
    ];
    for (tenant, token) in TENANTS.iter().zip(tokens) {
        let variable = tenant.to_uppercase();
        lines.push(format!("export {variable}={}", token.text()));
    }
    let first = TENANTS
        .first()
        .map_or(String::new(), |tenant| tenant.to_uppercase());
    lines.extend([
        format!("export API=http://{api}/api/v1/tenant/webhooks"),
        format!("curl -sH \"Authorization: Bearer ${first}\" \"$API/deliveries?limit=5\""),
        format!("curl -sH \"Authorization: Bearer ${first}\" $API/subscriptions"),
        "walhook listen --port 9000   and subscribe http://127.0.0.1:9000/".to_owned(),
        format!("log: {}", log.display()),
        style.dim("-".repeat(78)).to_string(),
    ]);
    lines
}
