//! Comparisons of every form.

use crate::mapping::language::error::{Result, Span, SyntaxError};
use crate::mapping::language::program::{Comparer, Node};
use crate::mapping::language::syntax::{Comparison, Expr, Kind};
use crate::mapping::language::types::{Encoding, Type};

use super::fold::{needs_zone, stable};
use super::unify::convert;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn compare(
        &mut self,
        comparison: Comparison,
        left: &Expr,
        right: &Expr,
        at: &Span,
    ) -> Result<Node> {
        self.refuse_null(comparison, left, right, at)?;
        if let (Kind::Text(one), Kind::Text(_)) = (&left.kind, &right.kind) {
            return Err(Self::error(
                at,
                format!(
                    "both sides are texts in quotes: a column is written without, {one} {} {}",
                    comparison.as_str(),
                    self.plain(&right.at)
                ),
            ));
        }
        let (left, left_by_bytes) = self.collated(left)?;
        let (right, right_by_bytes) = self
            .collated(right)
            .map_err(|error| self.maybe_text(error, right))?;
        if !left_by_bytes && !right_by_bytes {
            self.collation_of([&left, &right])?;
        }
        let (left, right, comparer) = self.unify(left, right)?;
        if comparison.is_order() {
            let by_bytes = left_by_bytes || right_by_bytes;
            self.must_order(&left, &right, &comparer, by_bytes, at)?;
        }
        self.operation_alone(comparison, &left, at)?;
        self.operation_alone(comparison, &right, at)?;
        let by_zone = needs_zone(&left.r#type, &right.r#type);
        let (left, right) = (Box::new(left.node), Box::new(right.node));
        let node = Node::Compare(comparer, comparison, left, right);
        Ok(if by_zone { stable(node) } else { node })
    }

    /// `x = null` is null for every row, and never what was meant.
    fn refuse_null(
        &self,
        comparison: Comparison,
        left: &Expr,
        right: &Expr,
        at: &Span,
    ) -> Result<()> {
        let other = match (Self::is_null_constant(left), Self::is_null_constant(right)) {
            (_, true) => left,
            (true, false) => right,
            (false, false) => return Ok(()),
        };
        let shown = self.show(&other.at);
        let shown = shown.trim_matches('`');
        let hint = match comparison {
            Comparison::Equal => format!("write {shown} is null"),
            Comparison::NotEqual => format!("write {shown} is not null"),
            _ => format!("write {shown} is null, or compare it with a value"),
        };
        Err(Self::error(
            at,
            format!("a comparison with null is never true: {hint}"),
        ))
    }

    fn operation_alone(&self, comparison: Comparison, side: &Typed, at: &Span) -> Result<()> {
        match (&side.node, comparison.is_order()) {
            (Node::Operation, true) => Err(Self::error(
                at,
                "`tg_op` has no order: write tg_op = 'INSERT' or tg_op in ('INSERT', 'UPDATE')",
            )),
            _ => Ok(()),
        }
    }

    /// A word that names no column may have been meant as a text.
    pub(super) fn maybe_text(&self, mut error: SyntaxError, expr: &Expr) -> SyntaxError {
        if self.is_unknown_name(expr) && !error.message.contains("single quotes") {
            let text = self.plain(&expr.at);
            let message = error.message.split("; it has ").next().unwrap_or_default();
            error.message = format!("{message}; a text is written in single quotes, '{text}'");
        }
        error
    }

    /// A direct operand of a comparison, with `collate "C"` or without.
    fn collated(&mut self, expr: &Expr) -> Result<(Typed, bool)> {
        let Kind::Collate(of) = &expr.kind else {
            return Ok((self.expression(expr)?, false));
        };
        let typed = self.expression(of)?;
        match typed.r#type {
            Type::Text | Type::Varchar | Type::Char | Type::Unknown => Ok((typed, true)),
            Type::Member => Ok((convert(typed, &Type::Text), true)),
            ref other => Err(Self::error(
                &expr.at,
                format!(
                    "`collate` belongs to texts, and {} is of type {other}",
                    self.show(&typed.at)
                ),
            )),
        }
    }

    /// `<` and the like: texts order by `collate "C"` only.
    fn must_order(
        &self,
        left: &Typed,
        right: &Typed,
        comparer: &Comparer,
        by_bytes: bool,
        at: &Span,
    ) -> Result<()> {
        let is_text = |of: &Typed| of.r#type.is_text() || of.r#type == Type::Char;
        if is_text(left) || is_text(right) {
            if !by_bytes {
                return Err(Self::error(
                    at,
                    format!(
                        "how texts order depends on the database's language: write {} collate \"C\" to order by bytes; for numbers or dates cast, as in {}::numeric",
                        self.plain(at),
                        self.operand(&left.at).trim_end_matches("::text")
                    ),
                ));
            }
            return match self.scope.encoding {
                Encoding::Utf8 | Encoding::Latin1 => Ok(()),
                Encoding::SqlAscii | Encoding::Other => Err(Self::error(
                    at,
                    "texts are ordered in databases with the encoding UTF8 or LATIN1 only",
                )),
            };
        }
        let ordered = match comparer {
            Comparer::Member => {
                return Err(Self::error(
                    at,
                    "two members of the event have no order before it is known what they are: write (data.a)::numeric < (data.b)::numeric",
                ));
            }
            Comparer::Bool | Comparer::Jsonb | Comparer::Array(_) | Comparer::Char => false,
            Comparer::Text => left.r#type == Type::Uuid,
            _ => true,
        };
        match ordered {
            true => Ok(()),
            false => Err(Self::error(
                at,
                format!(
                    "values of type {} have no order here: write = or <>",
                    left.r#type
                ),
            )),
        }
    }

    pub(super) fn distinct(
        &mut self,
        left: &Expr,
        right: &Expr,
        negated: bool,
        at: &Span,
    ) -> Result<Node> {
        let null = match (Self::is_null_constant(left), Self::is_null_constant(right)) {
            (_, true) => Some(left),
            (true, false) => Some(right),
            (false, false) => None,
        };
        if let Some(of) = null {
            let shown = self.show(&of.at);
            let not = if negated { "" } else { "not " };
            return Err(Self::error(
                at,
                format!("write {} is {not}null", shown.trim_matches('`')),
            ));
        }
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        self.collation_of([&left, &right])?;
        let (left, right, comparer) = self.unify(left, right)?;
        let by_zone = needs_zone(&left.r#type, &right.r#type);
        let (left, right) = (Box::new(left.node), Box::new(right.node));
        let node = Node::Distinct(comparer, left, right, negated);
        Ok(if by_zone { stable(node) } else { node })
    }

    /// `x between a and b` is `x >= a and x <= b`.
    pub(super) fn between(
        &mut self,
        of: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
    ) -> Result<Node> {
        for bound in [low, high] {
            if let Kind::Collate(_) = bound.kind {
                return Err(Self::error(
                    &bound.at,
                    "write `collate \"C\"` after the value before `between`, not after a bound",
                ));
            }
            self.refuse_mixed(of, bound)?;
        }
        let at = of.at.start..low.at.end;
        let above = self.compare(Comparison::GreaterOrEqual, of, low, &at)?;
        let above = self.folded(above, &at)?;
        let at = of.at.start..high.at.end;
        let below = self.compare(Comparison::LessOrEqual, of, high, &at)?;
        let below = self.folded(below, &at)?;
        let both = self.folded(Node::And(vec![above, below]), &at)?;
        Ok(match negated {
            true => Node::Not(Box::new(both)),
            false => both,
        })
    }

    /// Types that the server would bring together in a way that surprises.
    fn refuse_mixed(&mut self, of: &Expr, bound: &Expr) -> Result<()> {
        let of = match &of.kind {
            Kind::Collate(of) => of,
            _ => of,
        };
        let (of, bound) = (self.expression(of)?, self.expression(bound)?);
        let is_null = matches!(bound.node, Node::Constant(None));
        if is_null {
            return Err(Self::error(
                &bound.at,
                "a comparison with null is never true: give a value as bound of `between`",
            ));
        }
        let mixes = |a: &Type, b: &Type| {
            *a == Type::Float4 && *b == Type::Numeric
                || *a == Type::Char && matches!(b, Type::Text | Type::Varchar)
        };
        match mixes(&of.r#type, &bound.r#type) || mixes(&bound.r#type, &of.r#type) {
            true => Err(Self::error(
                &bound.at,
                format!(
                    "{} is of type {} and {} of type {}: cast one of them",
                    self.show(&of.at),
                    of.r#type,
                    self.show(&bound.at),
                    bound.r#type
                ),
            )),
            false => Ok(()),
        }
    }
}
