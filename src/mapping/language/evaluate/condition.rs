//! Conditions: true, false, null, or not known.

use crate::mapping::language::program::{Change, Comparer, Node, Version};
use crate::mapping::language::value::Value;

use super::{Evaluation, Failure, Operation, Result, Row, compare, failed, version_of};

impl<'a, R: Row> Evaluation<'a, R> {
    /// `current`: what a bare name means, which `became` asks of both rows.
    pub(super) fn boolean(&'a self, node: &'a Node, current: Version) -> Result<Option<bool>> {
        match node {
            Node::And(parts) => self.junction(parts, false, current),
            Node::Or(parts) => self.junction(parts, true, current),
            Node::Not(of) => Ok(self.boolean(of, current)?.map(|value| !value)),
            Node::IsNull(of, negated) => Ok(Some(self.is_null(of, current)? != *negated)),
            Node::IsBool(of, expected, negated) => {
                let value = self.boolean(of, current)?;
                Ok(Some((value == Some(*expected)) != *negated))
            }
            Node::Compare(comparer, comparison, left, right) => {
                self.step(1)?;
                let Some(left) = self.evaluate(left, current)? else {
                    // The server evaluates both sides too.
                    self.evaluate(right, current)?;
                    return Ok(None);
                };
                let Some(right) = self.evaluate(right, current)? else {
                    return Ok(None);
                };
                self.weigh(comparer, &left, &right)?;
                compare::holds(comparer, *comparison, &left, &right).map(Some)
            }
            Node::Distinct(comparer, left, right, negated) => {
                self.step(1)?;
                let left = self.evaluate(left, current)?;
                let right = self.evaluate(right, current)?;
                let distinct = self.distinct(comparer, left.as_ref(), right.as_ref())?;
                Ok(Some(distinct != *negated))
            }
            Node::In(comparer, of, list, negated) => {
                self.step(1)?;
                let Some(value) = self.evaluate(of, current)? else {
                    return Ok(None);
                };
                for item in list {
                    if self.equal(comparer, &value, &item.as_value())? {
                        return Ok(Some(!negated));
                    }
                }
                Ok(Some(*negated))
            }
            Node::Like(of, pattern, negated) => {
                let Some(text) = self.text(of, current)? else {
                    return Ok(None);
                };
                Ok(Some(self.like(&text, pattern)? != *negated))
            }
            Node::Any(comparer, of, array) => self.any(comparer, of, array, current),
            Node::Array(comparer, operator, left, right) => {
                self.arrays(comparer, *operator, left, right, current)
            }
            Node::Became(condition, columns) => self.became(condition, columns).map(Some),
            Node::Changed(changes) => self.changed(changes).map(Some),
            other => match self.evaluate(other, current)? {
                None => Ok(None),
                Some(Value::Bool(value)) => Ok(Some(value)),
                Some(_) => failed("a condition gave no boolean"),
            },
        }
    }

    /// `and` where the deciding value is false, `or` where it is true. From left to right;
    /// what is not known does not matter where a later part decides.
    pub(super) fn junction(
        &'a self,
        parts: &'a [Node],
        deciding: bool,
        current: Version,
    ) -> Result<Option<bool>> {
        let mut unknown = None;
        let mut null = false;
        for part in parts {
            match self.boolean(part, current) {
                Ok(Some(value)) if value == deciding => return Ok(Some(deciding)),
                Ok(Some(_)) => {}
                Ok(None) => null = true,
                Err(failure @ Failure::Unknown(_)) => {
                    unknown.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match unknown {
            Some(failure) => Err(failure),
            None if null => Ok(None),
            None => Ok(Some(!deciding)),
        }
    }

    pub(super) fn is_null(&'a self, of: &'a Node, current: Version) -> Result<bool> {
        self.step(1)?;
        match of {
            // Whatever its text is, also where it cannot be read as a value.
            Node::Column(version, column, _) => {
                let is_null = self.row.is_null(version_of(*version, current), *column);
                is_null.map_err(Failure::Unknown)
            }
            of => Ok(self.evaluate(of, current)?.is_none()),
        }
    }

    pub(super) fn became(&'a self, condition: &'a Node, columns: &[usize]) -> Result<bool> {
        let is_true = |version| self.boolean(condition, version);
        match self.row.operation() {
            Operation::Delete | Operation::Truncate => Ok(false),
            Operation::Insert => Ok(is_true(Version::New)? == Some(true)),
            Operation::Update => {
                if is_true(Version::New)? != Some(true) {
                    return Ok(false);
                }
                let mut unchanged = true;
                for column in columns {
                    unchanged &= matches!(self.row.changed(*column), Ok(false));
                }
                if unchanged {
                    return Ok(false);
                }
                Ok(is_true(Version::Old)? != Some(true))
            }
        }
    }

    pub(super) fn changed(&'a self, changes: &'a [Change]) -> Result<bool> {
        if self.row.operation() != Operation::Update {
            return Ok(false);
        }
        let mut unknown = None;
        for change in changes {
            self.step(1)?;
            let changed = match change {
                Change::Column(column) => self.row.changed(*column).map_err(Failure::Unknown),
                Change::Expression(comparer, node) => self.differs(comparer, node),
            };
            match changed {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(failure @ Failure::Unknown(_)) => {
                    unknown.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match unknown {
            Some(failure) => Err(failure),
            None => Ok(false),
        }
    }

    pub(super) fn differs(&'a self, comparer: &'a Comparer, node: &'a Node) -> Result<bool> {
        let new = self.evaluate(node, Version::New)?;
        let old = self.evaluate(node, Version::Old)?;
        self.distinct(comparer, new.as_ref(), old.as_ref())
    }
}
