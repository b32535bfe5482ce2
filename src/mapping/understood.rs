//! How the expressions of rules were understood, for `walhook check` to show.

use std::sync::Arc;

use super::check::TableDescription;
use super::language::program::Node;
use super::language::syntax::{Expr, Kind};
use super::programs::programs;
use super::rules::RuleSet;
use super::table_name::TableName;

/// One expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Understood {
    pub rule: Arc<str>,
    /// The rule's key: `when`, `tenant` or `data.amount`.
    pub key: String,
    /// As PostgreSQL names the type.
    pub type_name: String,
    /// With all parentheses, where the expression leaves out some that matter.
    pub form: Option<String>,
}

impl RuleSet {
    /// The expressions of the table's rules that are more than a column. None of a rule that
    /// does not fit the table.
    pub fn understood(&self, table: &TableDescription) -> Vec<Understood> {
        let name = TableName {
            schema: table.schema.clone(),
            name: table.name.clone(),
        };
        let columns = table.readable_columns();
        let mut all = Vec::new();
        for rule in self.of_table(&name) {
            let Ok(programs) = programs(rule, &columns, &table.database) else {
                continue;
            };
            for (written, program) in rule.expressions.iter().zip(programs) {
                if matches!(program.node, Node::Column(..)) {
                    continue;
                }
                all.push(Understood {
                    rule: Arc::clone(&rule.name),
                    key: written.key.clone(),
                    type_name: program.r#type.to_string(),
                    form: joins_unlike(&written.expr).then(|| form(&written.expr, &written.source)),
                });
            }
        }
        all
    }
}

/// Whether conditions are joined in more than one way, so that it matters what binds first.
fn joins_unlike(expr: &Expr) -> bool {
    let joins = |part: &&Expr| matches!(part.kind, Kind::And(_) | Kind::Or(_) | Kind::Not(_));
    let here = match &expr.kind {
        Kind::And(parts) | Kind::Or(parts) => parts.iter().any(|part| joins(&part)),
        Kind::Not(of) => !matches!(of.kind, Kind::Name(_)),
        _ => false,
    };
    here || expr.kind.children().into_iter().any(joins_unlike)
}

/// Conditions with all their parentheses; other parts as they were written.
fn form(expr: &Expr, source: &str) -> String {
    let joined = |parts: &[Expr], word: &str| {
        let parts: Vec<String> = parts.iter().map(|part| wrapped(part, source)).collect();
        parts.join(word)
    };
    match &expr.kind {
        Kind::And(parts) => joined(parts, " AND "),
        Kind::Or(parts) => joined(parts, " OR "),
        Kind::Not(of) => format!("NOT {}", wrapped(of, source)),
        _ => source.get(expr.at.clone()).unwrap_or_default().to_owned(),
    }
}

fn wrapped(expr: &Expr, source: &str) -> String {
    let text = form(expr, source);
    match text.starts_with('(')
        && text.ends_with(')')
        && !matches!(expr.kind, Kind::And(_) | Kind::Or(_))
    {
        true => text,
        false => format!("({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::language::parse::parse;

    #[test]
    fn form_has_parentheses_where_conditions_are_joined_in_two_ways() {
        for (source, expected) in [
            ("a = 1 and b = 2", None),
            ("a = 1 or b = 2 and c", Some("(a = 1) OR ((b = 2) AND (c))")),
            ("not a = 1", Some("NOT (a = 1)")),
            ("not a", None),
            ("(a or b) and c", Some("((a) OR (b)) AND (c)")),
        ] {
            let expr = parse(source).unwrap();
            let form = joins_unlike(&expr).then(|| form(&expr, source));
            assert_eq!(form.as_deref(), expected, "{source}");
        }
    }
}
