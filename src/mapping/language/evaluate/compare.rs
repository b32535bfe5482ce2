//! Equality and order of two values of one type, as the type has them.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::mapping::language::number::{compare_texts, float};
use crate::mapping::language::program::{Comparer, Node, Version};
use crate::mapping::language::syntax::{Comparison, Other};
use crate::mapping::language::time::Interval;
use crate::mapping::language::types::EnumType;
use crate::mapping::language::value::Value;
use crate::mapping::language::{array, json};

use super::convert::output;
use super::{Evaluation, Failure, Result, Row, UnknownLabel, failed};

pub(super) fn holds(
    comparer: &Comparer,
    comparison: Comparison,
    left: &Value<'_>,
    right: &Value<'_>,
) -> Result<bool> {
    match comparison {
        Comparison::Equal => equal(comparer, left, right),
        Comparison::NotEqual => equal(comparer, left, right).map(|equal| !equal),
        _ => order(comparer, left, right).map(|order| comparison.holds(order)),
    }
}

fn equal(comparer: &Comparer, left: &Value<'_>, right: &Value<'_>) -> Result<bool> {
    match (comparer, left, right) {
        (Comparer::Jsonb, Value::Text(left), Value::Text(right)) => {
            json::equals(left, right).map_err(of_json)
        }
        (Comparer::Array(element), Value::Text(left), Value::Text(right)) => {
            array::equals(left, right, |a, b| element_equal(element, a, b)).map_err(of_array)
        }
        (Comparer::Enum(_), Value::Text(left), Value::Text(right)) => Ok(left == right),
        (Comparer::Member, Value::Json(left), Value::Json(right)) => {
            super::member::equal(left, right)
        }
        _ => order(comparer, left, right).map(Ordering::is_eq),
    }
}

pub(super) fn order(comparer: &Comparer, left: &Value<'_>, right: &Value<'_>) -> Result<Ordering> {
    Ok(match (comparer, left, right) {
        (Comparer::Integer, Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Comparer::Text, Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Comparer::Numeric, Value::Numeric(left), Value::Numeric(right)) => left.cmp(right),
        (Comparer::Bool, Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Comparer::Float, left, right) => match (double(left), double(right)) {
            (Some(left), Some(right)) => float::compare(left, right),
            _ => return failed("floats are expected"),
        },
        (Comparer::Char, Value::Text(left), Value::Text(right)) => {
            unpadded(left).cmp(unpadded(right))
        }
        (Comparer::Enum(of), Value::Text(left), Value::Text(right)) => {
            place(of, left)?.cmp(&place(of, right)?)
        }
        (Comparer::Date, Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Comparer::Timestamp, Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Comparer::DateTimestamp, Value::Date(left), Value::Timestamp(right)) => {
            left.cmp_timestamp(*right)
        }
        (Comparer::DateTimestamp, Value::Timestamp(left), Value::Date(right)) => {
            right.cmp_timestamp(*left).reverse()
        }
        (Comparer::Interval, Value::Interval(left), Value::Interval(right)) => left.cmp(right),
        _ => return failed("values of two kinds are compared"),
    })
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float4(value) => Some(f64::from(*value)),
        Value::Float8(value) => Some(*value),
        _ => None,
    }
}

fn unpadded(text: &str) -> &str {
    text.trim_end_matches(' ')
}

fn place(of: &EnumType, label: &str) -> Result<usize> {
    let place = of.labels.iter().position(|known| known == label);
    place.ok_or_else(|| {
        Failure::Label(UnknownLabel {
            of: of.name.clone(),
            label: label.to_owned(),
        })
    })
}

/// Two elements of arrays, as the server prints them.
fn element_equal(comparer: &Comparer, left: &str, right: &str) -> Result<bool, ElementError> {
    Ok(match comparer {
        Comparer::Char => unpadded(left) == unpadded(right),
        Comparer::Numeric => match compare_texts(left, right) {
            Some(order) => order.is_eq(),
            None => left == right,
        },
        Comparer::Float => match (float::parse_f64(left), float::parse_f64(right)) {
            (Ok(left), Ok(right)) => float::compare(left, right).is_eq(),
            _ => left == right,
        },
        Comparer::Interval => match (Interval::parse_output(left), Interval::parse_output(right)) {
            (Ok(left), Ok(right)) => left.cmp(&right).is_eq(),
            _ => left == right,
        },
        Comparer::Jsonb => json::equals(left, right).map_err(ElementError::Json)?,
        // With time zone, of an array, or without, of a value.
        Comparer::Timestamp => in_utc(left) == in_utc(right),
        // Equal values have one text.
        Comparer::Bool
        | Comparer::Integer
        | Comparer::Text
        | Comparer::Enum(_)
        | Comparer::Date
        | Comparer::DateTimestamp
        | Comparer::Member
        | Comparer::Array(_) => left == right,
    })
}

/// A timestamp's text, without the zone that it may have.
fn in_utc(text: &str) -> (&str, bool) {
    let ad = text.strip_suffix(" BC");
    let day = ad.unwrap_or(text);
    (day.strip_suffix("+00").unwrap_or(day), ad.is_some())
}

enum ElementError {
    Array,
    Json(json::JsonError),
}

impl From<array::ArrayError> for ElementError {
    fn from(_: array::ArrayError) -> Self {
        ElementError::Array
    }
}

fn of_array(error: ElementError) -> Failure {
    match error {
        ElementError::Array => Failure::Failed("an array cannot be read".to_owned()),
        ElementError::Json(error) => of_json(error),
    }
}

pub(super) fn of_json(error: json::JsonError) -> Failure {
    Failure::Failed(match error {
        json::JsonError::LengthOfScalar => "cannot get array length of a scalar".to_owned(),
        json::JsonError::LengthOfObject => "cannot get array length of a non-array".to_owned(),
        _ => "a JSON value cannot be read".to_owned(),
    })
}

impl<'a, R: Row> Evaluation<'a, R> {
    /// Called before two values are compared.
    pub(super) fn weigh(
        &self,
        comparer: &Comparer,
        left: &Value<'_>,
        right: &Value<'_>,
    ) -> Result<()> {
        match (left, right) {
            (Value::Json(left), Value::Json(right)) => {
                let both = left.len() + right.len();
                self.pass(both, 8)?;
                self.make(both)
            }
            (Value::Text(left), Value::Text(right)) => match comparer {
                Comparer::Jsonb | Comparer::Array(_) => self.pass(left.len() + right.len(), 32),
                _ => self.pass(left.len().min(right.len()), 256),
            },
            _ => Ok(()),
        }
    }

    pub(super) fn equal(
        &self,
        comparer: &Comparer,
        left: &Value<'_>,
        right: &Value<'_>,
    ) -> Result<bool> {
        self.weigh(comparer, left, right)?;
        equal(comparer, left, right)
    }

    pub(super) fn distinct(
        &self,
        comparer: &Comparer,
        left: Option<&Value<'_>>,
        right: Option<&Value<'_>>,
    ) -> Result<bool> {
        match (left, right) {
            (None, None) => Ok(false),
            (Some(left), Some(right)) => self.equal(comparer, left, right).map(|equal| !equal),
            _ => Ok(true),
        }
    }

    pub(super) fn any(
        &'a self,
        comparer: &Comparer,
        of: &'a Node,
        array: &'a Node,
        current: Version,
    ) -> Result<Option<bool>> {
        let value = self.evaluate(of, current)?;
        if let Node::Member(_) = array {
            return self.any_of_member(comparer, value, array, current);
        }
        let Some(array) = self.text(array, current)? else {
            return Ok(None);
        };
        self.pass(array.len(), 64)?;
        let value: Option<Cow<'_, str>> = value.map(output);
        let elements = array::elements(&array);
        array::any_equal(value.as_deref(), elements, |a, b| {
            element_equal(comparer, a, b)
        })
        .map_err(of_array)
    }

    pub(super) fn arrays(
        &'a self,
        comparer: &Comparer,
        operator: Other,
        left: &'a Node,
        right: &'a Node,
        current: Version,
    ) -> Result<Option<bool>> {
        let (left, right) = (self.text(left, current)?, self.text(right, current)?);
        let (Some(left), Some(right)) = (left, right) else {
            return Ok(None);
        };
        // Each element of one is looked for in the other.
        self.pass(left.len().min(right.len()), 16)?;
        self.pass(left.len() + right.len(), 256)?;
        let (a, b) = (array::elements(&left), array::elements(&right));
        let equal = |a: &str, b: &str| element_equal(comparer, a, b);
        let result = match operator {
            Other::Contains => array::contains(a, b, equal),
            Other::ContainedIn => array::contains(b, a, equal),
            Other::Overlaps => array::overlaps(a, b, equal),
            _ => return failed("arrays have no such operator"),
        };
        result.map(Some).map_err(of_array)
    }
}
