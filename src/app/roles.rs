//! The roles that a process may have.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Capture,
    Deliver,
    Api,
}

/// The roles of a process, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(pub(super) BTreeSet<Role>);

impl Roles {
    pub fn all() -> Self {
        Roles(BTreeSet::from([Role::Capture, Role::Deliver, Role::Api]))
    }

    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl Role {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Role::Capture => "capture",
            Role::Deliver => "deliver",
            Role::Api => "api",
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.as_str()).collect();
        f.write_str(&names.join(","))
    }
}

/// A role's name was not one of those that there are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a role: expected capture, deliver or api, or several with commas between")]
pub struct ParseRoleError(String);

impl FromStr for Roles {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = |name: &str| match name.trim() {
            "capture" => Ok(Role::Capture),
            "deliver" => Ok(Role::Deliver),
            "api" => Ok(Role::Api),
            other => Err(ParseRoleError(other.to_owned())),
        };
        text.split(',')
            .map(role)
            .collect::<Result<_, _>>()
            .map(Roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_what_they_write() {
        assert_eq!(
            "api,capture".parse::<Roles>().unwrap().to_string(),
            "capture,api"
        );
        assert_eq!("capture,deliver,api".parse(), Ok(Roles::all()));
        assert!("deliver,web".parse::<Roles>().is_err());
        assert!("".parse::<Roles>().is_err());
    }
}
