//! An event's body as filters read it. An object is parsed once for all filters of the event,
//! so that the size of a body counts once.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::FilterError;
use crate::mapping::language::evaluate::{Operation, Row};
use crate::mapping::language::json;
use crate::mapping::language::program::Version;
use crate::mapping::language::syntax::Name;
use crate::mapping::language::time::Timestamp;

/// An event's body, known to be a JSON object.
#[derive(Debug)]
pub struct Body<'a> {
    text: &'a str,
    /// The objects that were asked for members, by where their text begins.
    objects: RefCell<HashMap<usize, Rc<Object<'a>>>>,
}

impl<'a> Body<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Body<'a>, FilterError> {
        match std::str::from_utf8(body) {
            Ok(text) if text.starts_with('{') => Ok(Body {
                text,
                objects: RefCell::default(),
            }),
            _ => Err(FilterError::Body),
        }
    }

    /// `None` where the text is no object.
    fn object(&self, text: &'a str) -> Result<Option<Rc<Object<'a>>>, String> {
        let place = text.as_ptr().addr();
        if let Some(object) = self.objects.borrow().get(&place) {
            return Ok(Some(Rc::clone(object)));
        }
        let Some(object) = Object::read(text)? else {
            return Ok(None);
        };
        let object = Rc::new(object);
        let kept = Rc::clone(&object);
        self.objects.borrow_mut().insert(place, kept);
        Ok(Some(object))
    }
}

impl Row for Body<'_> {
    fn text(&self, _: Version, _: usize) -> Result<Option<&str>, String> {
        Err("an event has no columns".to_owned())
    }

    fn changed(&self, _: usize) -> Result<bool, String> {
        Err("an event has no columns".to_owned())
    }

    fn operation(&self) -> Operation {
        Operation::Insert
    }

    fn committed_at(&self) -> Timestamp {
        Timestamp::INFINITY
    }

    fn member(&self, path: &[Name]) -> Result<Option<&str>, String> {
        let mut part = self.text;
        for name in path {
            let object = self.object(part)?;
            match object.and_then(|object| object.member(name)) {
                Some(found) => part = found,
                None => return Ok(None),
            }
        }
        Ok(Some(part))
    }
}

#[derive(Debug)]
struct Object<'a> {
    /// By name. Where one is repeated, its last value counts.
    members: Vec<(Cow<'a, str>, &'a str)>,
    /// By the name in lower case; `None` where several have it.
    folded: OnceCell<HashMap<String, Option<&'a str>>>,
}

impl<'a> Object<'a> {
    fn read(text: &'a str) -> Result<Option<Self>, String> {
        let Some(members) = json::members(text) else {
            return Ok(None);
        };
        let mut members = members
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "the event cannot be read".to_owned())?;
        // What was last comes first of its name, and stays.
        members.reverse();
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
        members.dedup_by(|(later, _), (kept, _)| later == kept);
        Ok(Some(Object {
            members,
            folded: OnceCell::new(),
        }))
    }

    /// The member of that name; without one, the only one that differs in case alone.
    fn member(&self, name: &Name) -> Option<&'a str> {
        let wanted = name.text.as_str();
        let exact = self
            .members
            .binary_search_by(|(known, _)| known.as_ref().cmp(wanted));
        match exact {
            Ok(at) => self.members.get(at).map(|(_, value)| *value),
            Err(_) if name.quoted => None,
            Err(_) => *self.folded().get(&wanted.to_lowercase())?,
        }
    }

    fn folded(&self) -> &HashMap<String, Option<&'a str>> {
        self.folded.get_or_init(|| {
            let mut folded = HashMap::with_capacity(self.members.len());
            for (name, value) in &self.members {
                folded
                    .entry(name.to_lowercase())
                    .and_modify(|alike| *alike = None)
                    .or_insert(Some(*value));
            }
            folded
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_name_or_by_the_only_one_that_differs_in_case() {
        let body = br#"{"data":{"a":1,"A":2,"orderId":3,"\u00e9t\u00e9":4,"b":5,"b":6,
            "a\u0000":7,"inner":{"Total":8}},"list":[1]}"#;
        let body = Body::parse(body).unwrap();
        let name = |text: &str| {
            let unquoted = text.trim_matches('"');
            Name {
                text: unquoted.to_owned(),
                quoted: unquoted != text,
            }
        };
        let found = |path: &str| {
            let path: Vec<Name> = path.split('.').map(name).collect();
            body.member(&path).unwrap().map(str::to_owned)
        };
        for (path, expected) in [
            ("data.a", Some("1")),
            ("data.A", Some("2")),
            ("data.\"a\"", Some("1")),
            ("data.orderid", Some("3")),
            ("data.ORDERID", Some("3")),
            ("data.\"orderid\"", None),
            ("data.été", Some("4")),
            ("data.ÉTÉ", Some("4")),
            ("data.b", Some("6")),
            ("data.inner.total", Some("8")),
            ("data.inner.total.deeper", None),
            ("DATA.a", Some("1")),
            ("list.a", None),
            ("absent", None),
        ] {
            assert_eq!(found(path).as_deref(), expected, "{path}");
        }
    }
}
