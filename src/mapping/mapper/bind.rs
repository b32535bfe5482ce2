//! Rules as they are bound to a relation that the stream has described: each name is a
//! place in its rows.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mapping::check::{columns_of, misfit};
use crate::mapping::database::Database;
use crate::mapping::language::check::Checked;
use crate::mapping::language::types::Column;
use crate::mapping::payload::whole_row;
use crate::mapping::programs::programs;
use crate::mapping::rules::{Rule, RuleSet};
use crate::mapping::table_name::TableName;
use crate::pgoutput::{Relation, ReplicaIdentity};

pub(super) struct BoundRelation {
    pub(super) relation: Arc<Relation>,
    pub(super) name: Arc<str>,
    pub(super) rules: Vec<BoundRule>,
}

/// A rule of a relation; the places are `Err` with the reason where the relation has
/// changed so that the rule no longer fits it.
pub(super) struct BoundRule {
    pub(super) rule: usize,
    pub(super) places: Result<Places, String>,
}

pub(super) struct Places {
    /// The relation's columns with their types.
    pub(super) known: Vec<Column>,
    pub(super) database: Arc<Database>,
    /// The rule's expressions, in their order; columns are places of the relation.
    pub(super) programs: Vec<Checked>,
    /// By the number of the name in the rule.
    pub(super) columns: Vec<usize>,
    pub(super) key: Vec<usize>,
    /// Where the rule's data is the whole row.
    pub(super) whole_row: Vec<(Vec<u8>, usize)>,
}

/// The relation with its rules, bound again when the stream has described it again.
pub(super) fn bound<'a>(
    relations: &'a mut HashMap<u32, BoundRelation>,
    rules: &RuleSet,
    relation: &Arc<Relation>,
) -> &'a BoundRelation {
    let bound = relations
        .entry(relation.oid)
        .or_insert_with(|| bind(rules, relation));
    if !Arc::ptr_eq(&bound.relation, relation) {
        *bound = bind(rules, relation);
    }
    bound
}

fn bind(rules: &RuleSet, relation: &Arc<Relation>) -> BoundRelation {
    let table = TableName {
        schema: relation.namespace.clone(),
        name: relation.name.clone(),
    };
    let bind_rule = |rule: &Rule| BoundRule {
        rule: rule.index,
        places: places(rules, rule, relation),
    };
    BoundRelation {
        relation: Arc::clone(relation),
        name: Arc::from(table.to_string()),
        rules: rules.of_table(&table).map(bind_rule).collect(),
    }
}

pub(super) fn places(rules: &RuleSet, rule: &Rule, relation: &Relation) -> Result<Places, String> {
    let described = rules.described(&rule.table);
    let database = described.as_ref().map(|table| Arc::clone(&table.database));
    let database = database.unwrap_or_else(Database::unasked);
    let known = columns_of(relation, described.as_deref());
    let unfit =
        |what: String| format!("the rule does not fit the table as it was at this change, {what}");
    if let Some(misfit) = misfit(rule, relation) {
        return Err(unfit(misfit));
    }
    let programs = programs(rule, &known, &database).map_err(|errors| {
        let first = errors.into_iter().next().unwrap_or_default();
        unfit(format!("`{}`: {}", first.0, first.1))
    })?;
    let columns: Vec<usize> = rule
        .names
        .names
        .iter()
        // All are there, or the rule would not fit.
        .filter_map(|name| relation.column_index(name))
        .collect();
    let is_key = |names: &[String]| -> Option<Vec<usize>> {
        let places = names.iter().map(|name| relation.column_index(name));
        places.collect()
    };
    let key = if !rule.key.is_empty() {
        let of_name = |name: &usize| columns.get(*name).copied().unwrap_or(usize::MAX);
        rule.key.iter().map(of_name).collect()
    } else if let Some(primary_key) = rules
        .primary_key(&rule.table)
        .and_then(|names| is_key(&names))
        .filter(|key| !key.is_empty())
    {
        primary_key
    } else if relation.replica_identity != ReplicaIdentity::Full {
        let identity = relation.columns.iter().enumerate();
        identity
            .filter(|(_, column)| column.identity)
            .map(|(place, _)| place)
            .collect()
    } else {
        Vec::new()
    };
    if key.is_empty() && rule.on.has_rows() {
        return Err(format!(
            "table `{}` has no known primary key: name the rule's `key`",
            rule.table
        ));
    }
    Ok(Places {
        known,
        database,
        programs,
        columns,
        key,
        whole_row: match rule.data {
            Some(_) => Vec::new(),
            None => whole_row(relation),
        },
    })
}
