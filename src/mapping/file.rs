//! Rules as the configuration writes them: one `[[events]]` each, and their defaults.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::example::ExampleConfig;

/// One `[[events]]` as it was written; [`super::RuleSet::compile`] says what it means.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Unique; part of every event's id. Default: `type@schema.table`.
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub event_type: String,
    /// `schema.table`, or `table` in schema `public`.
    pub table: String,
    /// What the event means, for those who subscribe to it.
    pub description: Option<String>,
    /// The columns that identify a row. Default: the primary key.
    #[serde(default)]
    pub key: Vec<String>,
    /// `insert`, `update`, `delete`, `truncate`.
    #[serde(default = "insert_and_update")]
    pub on: Vec<String>,
    /// The condition; without it every change matches.
    pub when: Option<String>,
    /// Whose row it is, where that is not `defaults.tenant`.
    pub tenant: Option<TenantConfig>,
    /// Where old values come from: `auto`, `full` or `shadow`.
    #[serde(default = "auto")]
    pub old_values: String,
    /// What the event's `data` holds; without it the whole row.
    pub data: Option<DataConfig>,
    /// Rows and what the rule is to make of them; `walhook check` runs them.
    #[serde(default)]
    pub examples: Vec<ExampleConfig>,
}

/// The keys of an `[[events]]`, for suggestions.
pub const RULE_KEYS: &[&str] = &[
    "name",
    "type",
    "table",
    "description",
    "key",
    "on",
    "when",
    "tenant",
    "old_values",
    "data",
    "examples",
];

fn insert_and_update() -> Vec<String> {
    vec!["insert".to_owned(), "update".to_owned()]
}

fn auto() -> String {
    "auto".to_owned()
}

/// `[defaults]`: what a rule that says nothing of its own uses.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultsConfig {
    #[serde(default = "DefaultsConfig::tenant_id")]
    pub tenant: TenantConfig,
}

impl RuleConfig {
    /// A `data` such as its events have, of the first example that has all of it: what an
    /// example expects may be a part.
    pub fn example_data(&self) -> Option<Json> {
        let examples = self.examples.iter().filter(|example| example.expect);
        let mut whole = examples.filter_map(|example| match &self.data {
            // The row itself, with what the example says of it.
            None => {
                let mut row = example.new.clone()?;
                row.extend(example.data.clone().unwrap_or_default());
                Some(row)
            }
            Some(data) => {
                let expected = example.data.clone()?;
                let mut names = data.names();
                names
                    .all(|name| expected.contains_key(name))
                    .then_some(expected)
            }
        });
        whole.next().map(|data| super::example::object(&data))
    }

    /// Tells one meaning of a rule from another: examples and the description have none.
    pub fn fingerprint(&self, defaults: &DefaultsConfig) -> Vec<u8> {
        let meaning = RuleConfig {
            examples: Vec::new(),
            description: None,
            tenant: Some(self.tenant.as_ref().unwrap_or(&defaults.tenant).clone()),
            ..self.clone()
        };
        Sha256::digest(format!("{meaning:?}")).to_vec()
    }
}

impl DefaultsConfig {
    fn tenant_id() -> TenantConfig {
        TenantConfig::Expression("tenant_id".to_owned())
    }
}

impl Default for DefaultsConfig {
    fn default() -> Self {
        DefaultsConfig {
            tenant: DefaultsConfig::tenant_id(),
        }
    }
}

/// Whose row it is: an expression says it, such as a column, or all rows are one tenant's.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected an expression such as a column, or { value = \"…\" } for one tenant"
)]
pub enum TenantConfig {
    Expression(String),
    Value(TenantValue),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantValue {
    pub value: String,
}

/// What `data` holds, in the order in which it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum DataConfig {
    Columns(Vec<String>),
    Members(Vec<(String, DataMember)>),
}

impl DataConfig {
    /// Of its members.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            DataConfig::Columns(names) => Box::new(names.iter().map(String::as_str)),
            DataConfig::Members(members) => Box::new(members.iter().map(|(name, _)| name.as_str())),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum DataMember {
    Expression(String),
    Object(Vec<(String, DataMember)>),
}

impl<'de> Deserialize<'de> for DataConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;

        impl<'de> Visitor<'de> for DataVisitor {
            type Value = DataConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of names and expressions, or a list of columns")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<DataConfig, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = seq.next_element()? {
                    columns.push(column);
                }
                Ok(DataConfig::Columns(columns))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DataConfig, A::Error> {
                members(map).map(DataConfig::Members)
            }
        }

        deserializer.deserialize_any(DataVisitor)
    }
}

impl<'de> Deserialize<'de> for DataMember {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = DataMember;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an expression in quotes (a constant is \"'text'\" or \"1\"), or a table of such")
            }

            fn visit_str<E: de::Error>(self, expression: &str) -> Result<DataMember, E> {
                Ok(DataMember::Expression(expression.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DataMember, A::Error> {
                members(map).map(DataMember::Object)
            }
        }

        deserializer.deserialize_any(MemberVisitor)
    }
}

fn members<'de, A: MapAccess<'de>>(mut map: A) -> Result<Vec<(String, DataMember)>, A::Error> {
    let mut members = Vec::new();
    while let Some(member) = map.next_entry()? {
        members.push(member);
    }
    Ok(members)
}

/// Ends what is said of a tenant that does not fit the table.
pub const TENANT_HINT: &str = " (whose row it is: set `tenant` here or under [defaults], or give a fixed one as { value = \"…\" })";

/// What is wrong with a rule, on its own or against the live table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}`, {}: {message}", self.path())]
pub struct RuleError {
    pub rule: String,
    /// The rule's place in the configuration, over all files.
    pub index: usize,
    /// The key of the rule that is wrong, such as `when` or `data.amount`.
    pub key: String,
    pub message: String,
    /// The other rule, where two contradict each other.
    pub other: Option<usize>,
}

impl RuleError {
    /// The path of the key in the configuration: `events[3].when`.
    pub fn path(&self) -> String {
        format!("events[{}].{}", self.index, self.key)
    }
}

/// The candidate that was most likely meant, if one is near enough to be worth saying.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or nothing.
pub fn suggestion<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(name, candidates) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_rule_and_keeps_the_order_of_its_data() {
        let rule: RuleConfig = toml::from_str(
            r#"
            type = "payment.received"
            table = "public.payments"
            [data]
            zeta = "id"
            alpha = "amount"
            [data.customer]
            name = "customer_name"
            "#,
        )
        .unwrap();
        assert_eq!(rule.on, ["insert", "update"]);
        let Some(DataConfig::Members(members)) = rule.data else {
            panic!("expected members");
        };
        let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zeta", "alpha", "customer"]);
        assert!(matches!(&members[2].1, DataMember::Object(inner) if inner.len() == 1));
    }

    #[test]
    fn refuses_what_is_not_a_rule() {
        let read = |text: &str| toml::from_str::<RuleConfig>(text).unwrap_err().to_string();
        let rule = "type = 'a'\ntable = 'b'\n";
        assert!(read("table = 'b'").contains("missing field `type`"));
        assert!(read(&format!("{rule}whne = 'x'")).contains("unknown field `whne`"));
        assert!(read(&format!("{rule}tenant = 5")).contains("an expression such as a column, or"));
        assert!(read(&format!("{rule}data = 5")).contains("list of columns"));
        assert!(read(&format!("{rule}[data]\nx = 5")).contains("expression in quotes"));
    }

    #[test]
    fn suggests_only_what_is_near() {
        let names = ["status", "amount", "currency"];
        assert_eq!(nearest("statsu", names), Some("status"));
        assert_eq!(nearest("Amout", names), Some("amount"));
        assert_eq!(nearest("zzz", names), None);
    }
}
