//! Names of a filter: they lead into the event.

use crate::mapping::file::suggestion;
use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::Node;
use crate::mapping::language::syntax::Name;
use crate::mapping::language::types::Type;

use super::{Checker, Members, Typed};

impl Checker<'_> {
    /// A member of the event, or of one of its members. JSON's names do not fold: each is
    /// exact, and what was written without quotes is looked for in other case where there
    /// is no exact one.
    pub(super) fn event_member(
        &self,
        event: Members<'_>,
        path: &[Name],
        at: &Span,
    ) -> Result<Typed> {
        let members = event.names;
        let Some(first) = path.first() else {
            return Err(Self::error(at, "a name is expected"));
        };
        if !members.contains(&first.text.as_str()) {
            let text = &first.text;
            let hint = match text.as_str() {
                "new" | "old" => ": write data.name, or previous.name for what it was".to_owned(),
                "tg_op" | "committed_at" => ": write type, or timestamp".to_owned(),
                _ => match suggestion(text, members.iter().copied()).as_str() {
                    "" => format!(": the row's columns are members of data, as in data.{text}"),
                    near => near.to_owned(),
                },
            };
            return Err(Self::error(
                at,
                format!(
                    "an event has no member `{text}`{hint}; it has {}",
                    members.join(", ")
                ),
            ));
        }
        if let (Some(data), "data", Some(name)) = (event.data, first.text.as_str(), path.get(1)) {
            Self::member_of_data(data, name, at)?;
        }
        let names = path.iter().map(|name| Name {
            text: self.spelling(name, at),
            quoted: name.quoted,
        });
        let names = names.collect();
        Ok(Typed {
            node: Node::Member(names),
            r#type: Type::Member,
            at: at.clone(),
            collation: None,
        })
    }

    /// Refuses a member that no event has which the subscription asks for: its filter would
    /// be silent for ever.
    fn member_of_data(data: &[String], name: &Name, at: &Span) -> Result<()> {
        let folded = name.text.to_lowercase();
        let fits = |known: &String| match name.quoted {
            true => *known == name.text,
            false => known.to_lowercase() == folded,
        };
        if data.iter().any(fits) {
            return Ok(());
        }
        let near = suggestion(&name.text, data.iter().map(String::as_str));
        Err(Self::error(
            at,
            format!(
                "the events that are subscribed to have no `data.{}`{near}; their data has {}",
                name.text,
                data.join(", ")
            ),
        ))
    }

    /// The name as it was written, which the lexer folds.
    fn spelling(&self, name: &Name, at: &Span) -> String {
        if name.quoted {
            return name.text.clone();
        }
        let source = self.source.get(at.clone()).unwrap_or_default();
        let mut words = source.rsplit('.').map(str::trim);
        let written = words.find(|word| word.to_lowercase() == name.text);
        written.unwrap_or(&name.text).to_owned()
    }
}
