//! What the demo says first: where everything is, and what to try.

use std::net::SocketAddr;
use std::path::Path;

use super::traffic::TENANTS;
use super::view::Style;
use crate::secret::ApiToken;

/// Shows the tokens in the clear: they open nothing but this throwaway store.
pub(super) fn introduction(
    style: Style,
    database: &str,
    api: SocketAddr,
    tokens: &[ApiToken],
    log: &Path,
) -> Vec<String> {
    let bold = |text: &str| style.bold(text.to_owned()).to_string();
    let mut lines = vec![
        format!(
            "{}  http://{api}  /docs /metrics /readyz  Ctrl-C ends it",
            bold("walhook demo")
        ),
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
