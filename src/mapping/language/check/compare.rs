//! Comparisons of every form.

use crate::mapping::language::error::{Result, Span, SyntaxError};
use crate::mapping::language::evaluate::constant_value;
use crate::mapping::language::program::{Case, Comparer, Node, Pattern, PatternPart};
use crate::mapping::language::syntax::{Comparison, Expr, Kind};
use crate::mapping::language::types::{Encoding, Type};

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
        Ok(Node::Compare(
            comparer,
            comparison,
            Box::new(left.node),
            Box::new(right.node),
        ))
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
    fn maybe_text(&self, mut error: SyntaxError, expr: &Expr) -> SyntaxError {
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
        Ok(Node::Distinct(
            comparer,
            Box::new(left.node),
            Box::new(right.node),
            negated,
        ))
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
                    "write `collate \"C\"` behind the value before `between`, not behind a bound",
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

    pub(super) fn is_in(&mut self, of: &Expr, list: &[Expr], negated: bool) -> Result<Node> {
        if let Kind::Text(column) = &of.kind
            && list.iter().all(|item| matches!(item.kind, Kind::Text(_)))
        {
            return Err(Self::error(
                &of.at,
                format!(
                    "both sides are texts in quotes: a column is written without, {column} in (…)"
                ),
            ));
        }
        let of = self.expression(of)?;
        let mut items = Vec::with_capacity(list.len());
        for item in list {
            let typed = self
                .expression(item)
                .map_err(|error| self.maybe_text(error, item))?;
            match &typed.node {
                Node::Constant(Some(_)) => items.push(typed),
                Node::Constant(None) => {
                    let way = match negated {
                        true => {
                            "with null in the list, `not in` is never true: leave it out, and write `x is not null` with `and`"
                        }
                        false => {
                            "null in the list matches nothing: leave it out, and write `x is null` with `or`"
                        }
                    };
                    return Err(Self::error(&typed.at, way));
                }
                _ => {
                    let (value, item) = (self.plain(&of.at), self.plain(&typed.at));
                    let way = match typed.r#type {
                        Type::Array(_) => format!("write {value} = any({item})"),
                        _ => format!(
                            "a text is written in single quotes, '{}'; with a column write {value} = {item}, joined by `or`",
                            item.trim_matches('"')
                        ),
                    };
                    return Err(Self::error(
                        &typed.at,
                        format!(
                            "the list behind `in` holds constants, and {} is none: {way}",
                            self.show(&typed.at)
                        ),
                    ));
                }
            }
        }
        let mut all: Vec<&Typed> = vec![&of];
        all.extend(&items);
        let target = match self.common(&all, "the list behind `in` has constants of one type") {
            Ok(target) => target,
            // Said more clearly of the first that cannot be compared at all.
            Err(error) => {
                for item in items {
                    let at = item.at.clone();
                    let united = self.unify(of.clone(), item);
                    united.map_err(|error| SyntaxError { at, ..error })?;
                }
                return Err(error);
            }
        };
        // A date is not converted, which may fail: it is compared with timestamps as it is.
        let as_it_is = of.r#type == Type::Date && target != Type::Date;
        let (of, comparer) = match as_it_is {
            true => (of, Comparer::DateTimestamp),
            false => {
                let comparer = self.must_have(&of.at, "in", &target)?;
                (self.brought_to(of, &target)?, comparer)
            }
        };
        let mut constants = Vec::with_capacity(items.len());
        for item in items {
            let item = self.brought_to(item, &target)?;
            match item.node {
                Node::Constant(Some(constant)) => constants.push(constant),
                node => {
                    let value = constant_value(&node, self.scope.letters)
                        .map_err(|reason| Self::error(&item.at, reason.to_string()))?;
                    constants.extend(value);
                }
            }
        }
        Ok(Node::In(comparer, Box::new(of.node), constants, negated))
    }

    pub(super) fn like(
        &mut self,
        text: &Expr,
        pattern: &str,
        ignore_case: bool,
        negated: bool,
    ) -> Result<Node> {
        let word = if ignore_case { "ilike" } else { "like" };
        if let Kind::Text(column) = &text.kind {
            return Err(Self::error(
                &text.at,
                format!(
                    "both sides are texts in quotes: a column is written without, {column} {word} …"
                ),
            ));
        }
        let of = self.expression(text)?;
        let shown = self.show(&of.at);
        let shown = shown.trim_matches('`');
        let of = match &of.r#type {
            Type::Text | Type::Varchar => of,
            Type::Member => convert(of, &Type::Text),
            Type::Unknown => self.literal_as(of, &Type::Text)?,
            other => {
                let hint = match other {
                    Type::Array(_) => format!(": for an element write 'x' = any({shown})"),
                    _ if of.node == Node::Operation => ": write tg_op = 'INSERT'".to_owned(),
                    other if other.is_time() => format!(
                        ": for a range of times write {shown} >= '2024-01-01' and {shown} < '2024-02-01'"
                    ),
                    _ => match self.text_of(&of) {
                        Some(text) => format!(": write {text} {word} …"),
                        None => String::new(),
                    },
                };
                return Err(Self::error(
                    &of.at,
                    format!("`{word}` needs a text, and `{shown}` is of type {other}{hint}"),
                ));
            }
        };
        let ignore_case = match ignore_case {
            true => Some(self.must_have_letters(&of, word)?),
            false => None,
        };
        self.unknown(pattern, &of.at)?;
        Ok(Node::Like(
            Box::new(of.node),
            compiled(pattern, ignore_case),
            negated,
        ))
    }

    /// `'x' = any(data.tags)`.
    fn any_of_member(&self, of: Typed, array: Typed) -> Result<Node> {
        let of = match &of.r#type {
            Type::Unknown => self.literal_as(of, &Type::Text)?,
            Type::Text | Type::Bool | Type::Numeric => of,
            number if number.is_number() => convert(of, &Type::Numeric),
            _ => {
                return Err(Self::error(
                    &of.at,
                    format!(
                        "{} is of type {}: expected a text, a number, true or false before `= any(…)`; of a member say which, as in (data.a)::text",
                        self.show(&of.at),
                        of.r#type
                    ),
                ));
            }
        };
        let comparer = self.must_have(&of.at, "any", &of.r#type)?;
        Ok(Node::Any(comparer, Box::new(of.node), Box::new(array.node)))
    }

    pub(super) fn any(&mut self, of: &Expr, array: &Expr, at: &Span) -> Result<Node> {
        let (of, array) = (self.expression(of)?, self.expression(array)?);
        if array.r#type == Type::Member {
            return self.any_of_member(of, array);
        }
        let array = match (&array.r#type, &of.r#type) {
            (Type::Unknown, Type::Unknown) => {
                self.literal_as(array, &Type::Array(Box::new(Type::Text)))?
            }
            (Type::Unknown, element) => {
                let target = Type::Array(Box::new(element.clone()));
                self.literal_as(array, &target)?
            }
            _ => array,
        };
        let Type::Array(element) = array.r#type.clone() else {
            let shown = self.show(&array.at);
            let hint = match array.r#type {
                Type::Jsonb => format!(
                    ": for a text in an array of json write {} ? 'x'",
                    shown.trim_matches('`')
                ),
                _ => ": compare it with `=`".to_owned(),
            };
            return Err(Self::error(
                &array.at,
                format!(
                    "`any` needs an array, and {shown} is of type {}{hint}",
                    array.r#type
                ),
            ));
        };
        let of = match of.r#type {
            Type::Unknown => self.literal_as(of, &element)?,
            _ => of,
        };
        // Elements are read as they are: the value is brought to their type.
        let fits = of.r#type == *element
            || of.r#type.is_text() && element.is_text()
            || of.r#type.is_integer() && (element.is_integer() || *element == Type::Numeric)
            || of.r#type == Type::Numeric && *element == Type::Numeric;
        if !fits {
            return Err(Self::error(
                at,
                format!(
                    "{} is of type {} and the elements of {} of type {element}: write {}",
                    self.show(&of.at),
                    of.r#type,
                    self.show(&array.at),
                    match (element.is_text(), self.text_of(&of)) {
                        (true, Some(text)) => text,
                        _ => format!("{}::{element}", self.operand(&of.at)),
                    },
                ),
            ));
        }
        let comparer = self.must_have(at, "any", &element)?;
        self.collation_of([&of, &array])?;
        let of = convert(of, &element);
        Ok(Node::Any(comparer, Box::new(of.node), Box::new(array.node)))
    }
}

/// The pattern, read once: a backslash takes what follows as it stands.
fn compiled(pattern: &str, ignore_case: Option<Case>) -> Pattern {
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' if parts.last() == Some(&PatternPart::Any) => {}
            '%' => parts.push(PatternPart::Any),
            '_' => parts.push(PatternPart::One),
            '\\' => parts.extend(characters.next().map(PatternPart::Literal)),
            c => parts.push(PatternPart::Literal(c)),
        }
    }
    Pattern { parts, ignore_case }
}
