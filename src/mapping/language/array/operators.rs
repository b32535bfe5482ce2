//! `=`, `@>`, `&&`, `= any` and cardinality. `equal` is the equality of the element type.

use super::events::{Elements, Event, Events};
use super::{ArrayError, elements};

/// `=` of arrays: the same dimensions and bounds, and equal elements; a null equals a null.
/// Both are texts that the server prints or [`Array::to_text`](super::Array::to_text) gives.
pub fn equals<E: From<ArrayError>>(
    a: &str,
    b: &str,
    equal: impl Fn(&str, &str) -> Result<bool, E>,
) -> Result<bool, E> {
    if a == b {
        return Ok(true);
    }
    let (mut a, mut b) = (Events::new(a)?, Events::new(b)?);
    // Without bounds they are those of an array that starts at 1.
    let lower = |events: &Events<'_>| events.bounds.map(|(lower, _)| lower);
    if lower(&a) != lower(&b) {
        return Ok(false);
    }
    loop {
        match (a.next()?, b.next()?) {
            (Event::Open, Event::Open) | (Event::Close, Event::Close) => {}
            (Event::Element(a), Event::Element(b)) => {
                let same = match (a.text(), b.text()) {
                    (Some(a), Some(b)) => equal(&a, &b)?,
                    (None, None) => true,
                    _ => false,
                };
                if !same {
                    return Ok(false);
                }
            }
            (Event::End, Event::End) => return Ok(true),
            _ => return Ok(false),
        }
    }
}

/// `container @> contained`, which is `contained <@ container`: whether every element of
/// `contained` occurs in `container`, whatever the dimensions. A null occurs nowhere.
pub fn contains<E: From<ArrayError>>(
    container: Elements<'_>,
    contained: Elements<'_>,
    equal: impl Fn(&str, &str) -> Result<bool, E>,
) -> Result<bool, E> {
    for element in contained {
        match element? {
            Some(element) if occurs(&element, container.clone(), &equal)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// `a && b`: whether an element that is not null occurs in both.
pub fn overlaps<E: From<ArrayError>>(
    a: Elements<'_>,
    b: Elements<'_>,
    equal: impl Fn(&str, &str) -> Result<bool, E>,
) -> Result<bool, E> {
    for element in a {
        if let Some(element) = element?
            && occurs(&element, b.clone(), &equal)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `value = any(elements)`: true where one equals, else null (none) where the value or an
/// element is null, else false. An empty array gives false even for a null value.
pub fn any_equal<E: From<ArrayError>>(
    value: Option<&str>,
    elements: Elements<'_>,
    equal: impl Fn(&str, &str) -> Result<bool, E>,
) -> Result<Option<bool>, E> {
    let mut result = Some(false);
    for element in elements {
        match (value, element?) {
            (Some(value), Some(element)) => {
                if equal(value, &element)? {
                    return Ok(Some(true));
                }
            }
            (None, _) => return Ok(None),
            (_, None) => result = None,
        }
    }
    Ok(result)
}

/// cardinality: the number of elements of all dimensions.
pub fn cardinality(text: &str) -> Result<usize, ArrayError> {
    elements(text).try_fold(0, |count, element| element.map(|_| count + 1))
}

fn occurs<E: From<ArrayError>>(
    wanted: &str,
    elements: Elements<'_>,
    equal: impl Fn(&str, &str) -> Result<bool, E>,
) -> Result<bool, E> {
    for element in elements {
        if let Some(element) = element?
            && equal(wanted, &element)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
