//! Values of one type of which one is chosen: `coalesce`, `nullif`, `greatest`, `least` and
//! `case`.

use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Comparer, Node};
use crate::mapping::language::syntax::{Comparison, Expr};
use crate::mapping::language::types::Type;

use super::fold::{needs_zone, stable};
use super::function::usage;
use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn coalesce(&mut self, arguments: &[Expr], at: &Span) -> Result<Typed> {
        let (parts, r#type) = self.alike("coalesce", arguments, at)?;
        let collation = self.collation_of(&parts)?;
        let nodes = parts.into_iter().map(|part| part.node).collect();
        Ok(Typed {
            node: Node::Coalesce(nodes),
            r#type,
            at: at.clone(),
            collation,
        })
    }

    pub(super) fn extreme(&mut self, name: &str, arguments: &[Expr], at: &Span) -> Result<Typed> {
        let (parts, r#type) = self.alike(name, arguments, at)?;
        if !r#type.has_order() {
            return Err(Self::error(
                at,
                format!(
                    "`{name}` needs values that have an order, and {type} has none here: write case when a > b collate \"C\" then a else b end",
                    r#type = r#type
                ),
            ));
        }
        let comparer = self.must_have(at, name, &r#type)?;
        let nodes = parts.into_iter().map(|part| part.node).collect();
        Ok(Typed {
            node: Node::Extreme(comparer, name == "greatest", nodes),
            r#type,
            at: at.clone(),
            collation: None,
        })
    }

    /// Arguments of one type.
    pub(super) fn alike(
        &mut self,
        name: &str,
        arguments: &[Expr],
        at: &Span,
    ) -> Result<(Vec<Typed>, Type)> {
        if arguments.is_empty() {
            return Err(Self::error(at, usage(name, 0)));
        }
        let typed: Vec<Typed> = arguments
            .iter()
            .map(|argument| self.expression(argument))
            .collect::<Result<_>>()?;
        let what = format!("`{name}` takes values of one type");
        let r#type = self.common(&typed.iter().collect::<Vec<_>>(), &what)?;
        let parts = typed.into_iter().map(|part| self.brought_to(part, &r#type));
        Ok((parts.collect::<Result<_>>()?, r#type))
    }

    pub(super) fn nullif(&mut self, arguments: &[Expr], at: &Span) -> Result<Typed> {
        let [a, b] = arguments else {
            return Err(Self::error(at, usage("nullif", arguments.len())));
        };
        let (a, b) = (self.expression(a)?, self.expression(b)?);
        // Brought together as in a list, where it matters which type comes out.
        self.common(&[&a, &b], "`nullif` takes values of one type")?;
        let collation = self.collation_of([&a, &b])?;
        // There are operators between all integers, and between both floats: the first
        // stays what it is.
        let comparer = match (&a.r#type, &b.r#type) {
            (x, y) if x.is_integer() && y.is_integer() => Some(Comparer::Integer),
            (x, y) if x.is_float() && y.is_float() => Some(Comparer::Float),
            // real = double precision
            (Type::Float4, y) if y.is_integer() => Some(Comparer::Float),
            _ => None,
        };
        let (a, b, comparer) = match comparer {
            Some(comparer) if b.r#type.is_integer() && a.r#type.is_float() => {
                (a, self.fold(convert(b, &Type::Float8))?, comparer)
            }
            Some(comparer) => (a, b, comparer),
            None => self.unify(a, b)?,
        };
        let by_zone = needs_zone(&a.r#type, &b.r#type);
        // The operator of varchar is that of text.
        let r#type = match a.r#type {
            Type::Varchar => Type::Text,
            r#type => r#type,
        };
        let node = Node::Nullif(comparer, Box::new(a.node), Box::new(b.node));
        Ok(Typed {
            r#type,
            node: if by_zone { stable(node) } else { node },
            at: at.clone(),
            collation,
        })
    }

    pub(super) fn case(
        &mut self,
        operand: Option<&Expr>,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
        at: &Span,
    ) -> Result<Typed> {
        let mut conditions = Vec::with_capacity(branches.len());
        for (when, _) in branches {
            conditions.push(match operand {
                Some(operand) => {
                    let at = when.at.clone();
                    self.case_value(operand, when, &at)?
                }
                None => self.condition(when, "`when` in `case` takes a condition")?,
            });
        }
        let values = branches.iter().map(|(_, then)| then).chain(otherwise);
        let values: Vec<Typed> = values
            .map(|value| self.expression(value))
            .collect::<Result<_>>()?;
        // As the server has it, which looks at `else` first.
        let mut order: Vec<&Typed> = values.iter().collect();
        if otherwise.is_some() {
            order.rotate_right(1);
        }
        let r#type = self.common(&order, "`case` has values of one type")?;
        let collation = self.collation_of(&values)?;
        let mut values: Vec<Node> = values
            .into_iter()
            .map(|value| self.brought_to(value, &r#type).map(|value| value.node))
            .collect::<Result<_>>()?;
        let otherwise = match otherwise {
            Some(_) => values.pop().map(Box::new),
            None => None,
        };
        Ok(Typed {
            node: Node::Case(conditions.into_iter().zip(values).collect(), otherwise),
            r#type,
            at: at.clone(),
            collation,
        })
    }

    /// `case x when y`: as `x = y`.
    pub(super) fn case_value(&mut self, operand: &Expr, value: &Expr, at: &Span) -> Result<Node> {
        if Self::is_null_constant(value) {
            return Err(Self::error(
                at,
                "null equals nothing: write `case when x is null then …`",
            ));
        }
        let (a, b) = (self.expression(operand)?, self.expression(value)?);
        self.common(&[&a, &b], "`case` compares values of one type")?;
        let equal = self.compare(Comparison::Equal, operand, value, at)?;
        self.folded(equal, at)
    }
}
