//! What a session may do. Each route names one, and is refused without it.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    View,
    Payloads,
    Manage,
    Secrets,
    Resend,
    Test,
    Tokens,
}

impl Capability {
    pub const ALL: [Capability; 7] = [
        Capability::View,
        Capability::Payloads,
        Capability::Manage,
        Capability::Secrets,
        Capability::Resend,
        Capability::Test,
        Capability::Tokens,
    ];

    /// What a link gives where nothing else is asked for: a token outlives its session.
    pub const USUAL: [Capability; 6] = [
        Capability::View,
        Capability::Payloads,
        Capability::Manage,
        Capability::Secrets,
        Capability::Resend,
        Capability::Test,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Capability::View => "view",
            Capability::Payloads => "payloads",
            Capability::Manage => "manage",
            Capability::Secrets => "secrets",
            Capability::Resend => "resend",
            Capability::Test => "test",
            Capability::Tokens => "tokens",
        }
    }

    /// What it lets one do, after "may".
    pub fn permits(self) -> &'static str {
        match self {
            Capability::View => "see endpoints, events and deliveries",
            Capability::Payloads => {
                "see the bodies of events, what receivers answered and the queries of URLs, and try filters on events"
            }
            Capability::Manage => "create, change, pause and delete endpoints",
            Capability::Secrets => "see a new secret and rotate it",
            Capability::Resend => "send deliveries again",
            Capability::Test => "send test events",
            Capability::Tokens => "see, make and revoke tokens of the API",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a capability: expected view, payloads, manage, secrets, resend, test or tokens"
)]
pub struct UnknownCapability(String);

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Capability::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| UnknownCapability(text.to_owned()))
    }
}

/// As the store holds them. What it holds beyond ours permits nothing.
pub(super) fn of_names(names: &[String]) -> Vec<Capability> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_read_what_they_write() {
        for one in Capability::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert!("View".parse::<Capability>().is_err());
        assert_eq!(
            of_names(&["view".into(), "root".into()]),
            [Capability::View]
        );
    }
}
