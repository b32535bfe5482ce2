//! The databases that the configuration names, and the rules that there must be.

use anyhow::Context;
use secrecy::ExposeSecret;

use super::{Config, UsageError};
use crate::conninfo::ConnInfo;
use crate::mapping::RuleSet;

impl Config {
    /// The source's connection settings.
    pub fn source_conninfo(&self) -> anyhow::Result<ConnInfo> {
        let url = self.source.url.expose_secret();
        if url.is_empty() && std::env::var_os("PGHOST").is_none() {
            let message = "source.url is not set: write it in walhook.toml, as in \
                url = \"postgres://walhook@db/app\" under [source], name a file that holds it as url_file, or set WALHOOK_SOURCE__URL";
            return Err(UsageError(message.to_owned()).into());
        }
        let source = ConnInfo::parse(url).context("read source.url")?;
        match self.source.primary_url.expose_secret() {
            "" => Ok(source),
            primary => {
                let primary = ConnInfo::parse(primary).context("read source.primary_url")?;
                Ok(source.with_primary(primary))
            }
        }
    }

    /// Where the store is: store.url, or the source itself.
    pub fn store_conninfo(&self, source: &ConnInfo) -> anyhow::Result<ConnInfo> {
        match self.store.url.expose_secret() {
            "" => Ok(source.primary().unwrap_or(source).clone()),
            url => ConnInfo::parse(url).context("read store.url"),
        }
    }

    /// The rules; a configuration without any is refused, because there is nothing to watch.
    pub fn rules_to_watch(&self) -> anyhow::Result<RuleSet> {
        let rules = self.rules()?;
        if rules.is_empty() {
            let message = "the configuration has no [[events]]: write a rule, or include a file of rules, \
                as in include = [\"events/payments.toml\"]";
            return Err(UsageError(message.to_owned()).into());
        }
        Ok(rules)
    }
}
