//! `became` and `changed`, which look at both rows.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Change, Comparer, Node, Version};
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::types::Type;

use super::{Checker, Typed, spelt};

impl Checker<'_> {
    pub(super) fn within<T>(
        &mut self,
        word: &'static str,
        at: &Span,
        run: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<(T, Vec<usize>)> {
        if let Some(outer) = self.within {
            return Err(Self::error(
                at,
                format!(
                    "`{word}` has no place within `{outer}`: write it beside, joined by `and` or `or`"
                ),
            ));
        }
        self.within = Some(word);
        let before = std::mem::take(&mut self.read);
        let result = run(self);
        self.within = None;
        let read = std::mem::replace(&mut self.read, before);
        for place in &read {
            if !self.read.contains(place) {
                self.read.push(*place);
            }
        }
        Ok((result?, read))
    }

    pub(super) fn became(&mut self, condition: &Expr, at: &Span) -> Result<Typed> {
        let (node, read) = self.within("became", at, |checker| {
            checker.condition(condition, "`became` takes a condition")
        })?;
        Ok(Typed {
            node: Node::Became(Box::new(node), read),
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        })
    }

    pub(super) fn changed(&mut self, of: &[Expr], at: &Span) -> Result<Typed> {
        let (changes, _) = self.within("changed", at, |checker| {
            let changes = of.iter().map(|one| checker.change(one));
            changes.collect::<Result<Vec<_>>>()
        })?;
        Ok(Typed {
            node: Node::Changed(changes),
            r#type: Type::Bool,
            at: at.clone(),
            collation: None,
        })
    }

    pub(super) fn change(&mut self, expr: &Expr) -> Result<Change> {
        let typed = self.expression(expr)?;
        match &typed.node {
            Node::Column(Version::Current, place, _) => Ok(Change::Column(*place)),
            node if node.constant().is_some() => Err(Self::error(
                &typed.at,
                match &expr.kind {
                    Kind::Text(text) => {
                        let columns = self.scope.columns;
                        match columns.iter().any(|column| column.name == *text) {
                            true => format!(
                                "`changed` names columns without quotes: write changed({})",
                                spelt(text)
                            ),
                            false => format!(
                                "`changed` names columns: for a change to a value write became(status = '{text}')"
                            ),
                        }
                    }
                    _ => format!(
                        "{} never changes: name a column, as in changed(status)",
                        self.show(&typed.at)
                    ),
                },
            )),
            node => match Comparer::of(&typed.r#type) {
                Some(comparer) => Ok(Change::Expression(comparer, Box::new(node.clone()))),
                None => Err(Self::error(
                    &typed.at,
                    format!(
                        "{} is of type {}, which has no equality: name a column, or write changed({})",
                        self.show(&typed.at),
                        typed.r#type,
                        self.as_text(&typed)
                    ),
                )),
            },
        }
    }
}
