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
) -> String {
    let bold = |text: &str| style.bold(text.to_owned()).to_string();
    let mut text = format!(
        "\n{}  {database}   (throwaway)\n{}  http://{api}   (/docs, /metrics, /readyz)\n{}  {}\n",
        bold("database"),
        bold("API     "),
        bold("log     "),
        log.display()
    );
    for (tenant, token) in TENANTS.iter().zip(tokens) {
        text.push_str(&format!(
            "{}  {tenant:<7} {}\n",
            bold("token   "),
            token.text()
        ));
    }
    let token = tokens.first().map_or("", ApiToken::text);
    let curl = format!("curl -s -H 'Authorization: Bearer {token}'");
    let base = format!("http://{api}/api/v1/tenant/webhooks");
    text.push_str(&format!(
        r#"
{try_it}
  {curl} {base}/subscriptions
  {curl} '{base}/deliveries?limit=5'
  curl -s http://{api}/metrics | grep ^webhook_
  psql '{database}' -c "insert into payments (tenant_id, amount, status) values ('acme', 42, 'succeeded')"

{own}
  walhook listen --port 9000 --secret demo-secret-of-mine
  {curl} -H 'Content-Type: application/json' -d '{{"url":"http://127.0.0.1:9000/","event":"payment.*","secret":"demo-secret-of-mine"}}' {base}/subscriptions

Ctrl-C ends the demo and leaves nothing behind.
"#,
        try_it = bold("Try in another terminal"),
        own = bold("Receive some of it yourself"),
    ));
    text
}
