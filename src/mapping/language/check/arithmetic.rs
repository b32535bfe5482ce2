//! `+ - * / %`, on numbers and on times.

use crate::mapping::file::suggestion;
use crate::mapping::language::error::{Result, Span};
use crate::mapping::language::program::{Conversion, Node, NumberKind, TimeOperation, time_type};
use crate::mapping::language::syntax::{Arithmetic, Expr};
use crate::mapping::language::time::{ExtractField, Interval};
use crate::mapping::language::types::Type;

use super::fold::{needs_zone, stable};
use super::unify::{convert, operand_type};
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn minus(&mut self, of: &Expr, at: &Span) -> Result<Typed> {
        let of = self.expression(of)?;
        let of = match of.r#type {
            Type::Member => convert(of, &Type::Numeric),
            _ => of,
        };
        let node = match (NumberKind::of(&of.r#type), &of.r#type) {
            (Some(kind), _) => Node::Negate(kind, Box::new(of.node)),
            (None, other) => {
                return Err(Self::error(
                    at,
                    format!(
                        "`-` needs a number, and {} is of type {other}: write -{}::numeric",
                        self.show(&of.at),
                        self.operand(&of.at)
                    ),
                ));
            }
        };
        Ok(Typed {
            node,
            r#type: of.r#type,
            at: at.clone(),
            collation: None,
        })
    }

    pub(super) fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Expr,
        right: &Expr,
        at: &Span,
    ) -> Result<Typed> {
        let (left, right) = (self.expression(left)?, self.expression(right)?);
        let numeric = |of: Typed| match of.r#type {
            Type::Member => convert(of, &Type::Numeric),
            _ => of,
        };
        let (left, right) = self.meet(operator, numeric(left), numeric(right), at)?;
        let number = (left.r#type.is_number() && right.r#type.is_number())
            .then(|| operand_type(&left.r#type, &right.r#type));
        if let Some(r#type) = number {
            return self.number_operator(operator, left, right, r#type, at);
        }
        let Some((operation, r#type)) = time_operation(operator, &left.r#type, &right.r#type)
        else {
            return Err(Self::error(at, self.no_arithmetic(operator, &left, &right)));
        };
        // `interval + time` is `time + interval`.
        let swapped = right.r#type.is_time() && !left.r#type.is_time();
        let (left, right) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        let mixed = operation == TimeOperation::TimestampMinusTimestamp;
        let (of_left, of_right) = (left.r#type.clone(), right.r#type.clone());
        let (left, right) = match mixed {
            true => (
                self.fold(as_timestamp(left))?,
                self.fold(as_timestamp(right))?,
            ),
            false => (left, right),
        };
        let by_zone = r#type == Type::Timestamptz || mixed && needs_zone(&of_left, &of_right);
        let node = Node::Time(operation, Box::new(left.node), Box::new(right.node));
        Ok(Typed {
            node: if by_zone { stable(node) } else { node },
            r#type,
            at: at.clone(),
            collation: None,
        })
    }

    /// A quoted constant takes the other side's type where that is a number.
    fn meet(
        &self,
        operator: Arithmetic,
        left: Typed,
        right: Typed,
        at: &Span,
    ) -> Result<(Typed, Typed)> {
        let target = match (&left.r#type, &right.r#type) {
            (Type::Unknown, other) | (other, Type::Unknown) => other.clone(),
            _ => return Ok((left, right)),
        };
        if !target.is_number() {
            let literal = if left.r#type == Type::Unknown {
                &left
            } else {
                &right
            };
            let shown = self.plain(&literal.at);
            let hint = match &target {
                time if time.is_time() || *time == Type::Interval => {
                    match Interval::parse_literal(shown.trim_matches('\'')) {
                        Ok(_) => format!(": write interval {shown}"),
                        Err(_) => format!(": write interval '1 day', or date {shown}"),
                    }
                }
                other
                    if other.is_text()
                        || matches!(other, Type::Char | Type::Unknown | Type::Enum(_)) =>
                {
                    ": texts are joined with `||`".to_owned()
                }
                Type::Json | Type::Jsonb => {
                    let json = if left.r#type == Type::Unknown {
                        &right
                    } else {
                        &left
                    };
                    format!(": write ({})::numeric", self.as_text(json))
                }
                _ => String::new(),
            };
            return Err(Self::error(
                at,
                format!(
                    "what `{}` means beside a text in quotes is not clear{hint}",
                    operator.as_str()
                ),
            ));
        }
        Ok(match left.r#type {
            Type::Unknown => (self.literal_as(left, &target)?, right),
            _ => (left, self.literal_as(right, &target)?),
        })
    }

    fn number_operator(
        &self,
        operator: Arithmetic,
        left: Typed,
        right: Typed,
        r#type: Type,
        at: &Span,
    ) -> Result<Typed> {
        if operator == Arithmetic::Remainder && r#type.is_float() {
            return Err(Self::error(
                at,
                format!(
                    "`%` is for integers and numeric: cast, as in {}::numeric",
                    self.operand(&left.at)
                ),
            ));
        }
        let left = self.fold(convert(left, &r#type))?;
        let right = self.fold(convert(right, &r#type))?;
        let Some(kind) = NumberKind::of(&r#type) else {
            return Err(Self::error(at, "numbers are expected"));
        };
        Ok(Typed {
            node: Node::Number(operator, kind, Box::new(left.node), Box::new(right.node)),
            r#type,
            at: at.clone(),
            collation: None,
        })
    }

    fn no_arithmetic(&self, operator: Arithmetic, left: &Typed, right: &Typed) -> String {
        let (a, b) = (self.show(&left.at), self.show(&right.at));
        let (of_a, of_b) = (&left.r#type, &right.r#type);
        let text = |of: &Type| of.is_text() || matches!(of, Type::Char | Type::Unknown);
        let hint = match operator {
            Arithmetic::Add if text(of_a) && text(of_b) => ": texts are joined with `||`".to_owned(),
            _ if of_a.is_time() && of_b.is_number() && *of_a != Type::Date => {
                format!(": write {} {} interval '1 day'", a.trim_matches('`'), operator.as_str())
            }
            _ if *of_a == Type::Interval || *of_b == Type::Interval => {
                ": intervals are added and subtracted only; write the span itself, as in interval '2 days', or count seconds by extract(epoch from …)".to_owned()
            }
            _ if text(of_a) && of_b.is_number() => format!(": write {}::numeric", self.operand(&left.at)),
            _ if text(of_b) && of_a.is_number() => format!(": write {}::numeric", self.operand(&right.at)),
            _ if matches!(of_a, Type::Jsonb | Type::Json) => {
                format!(": write ({})::numeric", self.as_text(left))
            }
            _ if matches!(of_b, Type::Jsonb | Type::Json) => {
                format!(": write ({})::numeric", self.as_text(right))
            }
            _ if matches!(of_a, Type::Enum(_)) || matches!(of_b, Type::Enum(_)) => {
                ": labels are compared only, in their order".to_owned()
            }
            _ => String::new(),
        };
        format!(
            "there is no `{}` between {of_a} ({a}) and {of_b} ({b}){hint}",
            operator.as_str()
        )
    }

    pub(super) fn extract(&mut self, field: &str, of: &Expr, at: &Span) -> Result<Typed> {
        let of = self.expression(of)?;
        let Some(kind) = time_type(&of.r#type) else {
            let hint = match of.r#type {
                Type::Unknown => format!(
                    ": write its type before it, as in date {}",
                    self.plain(&of.at)
                ),
                ref text if text.is_text() => {
                    format!(": write {}::timestamptz", self.operand(&of.at))
                }
                Type::Json | Type::Jsonb => format!(": write ({})::timestamptz", self.as_text(&of)),
                _ => String::new(),
            };
            return Err(Self::error(
                &of.at,
                format!(
                    "`extract` needs a date, a timestamp or an interval, and {} is of type {}{hint}",
                    self.show(&of.at),
                    of.r#type
                ),
            ));
        };
        const FIELDS: [&str; 12] = [
            "year", "month", "day", "hour", "minute", "second", "epoch", "dow", "doy", "week",
            "quarter", "isodow",
        ];
        let Some(parsed) = ExtractField::parse(field) else {
            return Err(Self::error(
                at,
                format!(
                    "there is no field `{field}`{}: there are {} and others",
                    suggestion(field, FIELDS),
                    FIELDS.join(", ")
                ),
            ));
        };
        if !parsed.fits(kind) {
            return Err(Self::error(
                at,
                format!(
                    "{} is of type {}, which has no field `{field}`{}",
                    self.show(&of.at),
                    of.r#type,
                    if of.r#type == Type::Date {
                        ": a date has no time of day"
                    } else {
                        ""
                    }
                ),
            ));
        }
        let by_zone = of.r#type == Type::Timestamptz;
        let node = Node::Extract(parsed, kind, Box::new(of.node));
        Ok(Typed {
            node: if by_zone { stable(node) } else { node },
            r#type: Type::Numeric,
            at: at.clone(),
            collation: None,
        })
    }
}

fn as_timestamp(typed: Typed) -> Typed {
    match typed.r#type {
        Type::Date => Typed {
            node: Node::Convert(Conversion::DateToTimestamp, Box::new(typed.node)),
            r#type: Type::Timestamp,
            ..typed
        },
        _ => typed,
    }
}

fn time_operation(
    operator: Arithmetic,
    left: &Type,
    right: &Type,
) -> Option<(TimeOperation, Type)> {
    use TimeOperation as Op;
    let timestamp = |of: &Type| matches!(of, Type::Timestamp | Type::Timestamptz);
    Some(match (operator, left, right) {
        (Arithmetic::Add, Type::Date, Type::Int2 | Type::Int4)
        | (Arithmetic::Add, Type::Int2 | Type::Int4, Type::Date) => {
            (Op::DatePlusInteger, Type::Date)
        }
        (Arithmetic::Subtract, Type::Date, Type::Int2 | Type::Int4) => {
            (Op::DateMinusInteger, Type::Date)
        }
        (Arithmetic::Subtract, Type::Date, Type::Date) => (Op::DateMinusDate, Type::Int4),
        (Arithmetic::Add, Type::Date, Type::Interval)
        | (Arithmetic::Add, Type::Interval, Type::Date) => (Op::DatePlusInterval, Type::Timestamp),
        (Arithmetic::Subtract, Type::Date, Type::Interval) => {
            (Op::DateMinusInterval, Type::Timestamp)
        }
        (Arithmetic::Add, of, Type::Interval) | (Arithmetic::Add, Type::Interval, of)
            if timestamp(of) =>
        {
            (Op::TimestampPlusInterval, of.clone())
        }
        (Arithmetic::Subtract, of, Type::Interval) if timestamp(of) => {
            (Op::TimestampMinusInterval, of.clone())
        }
        (Arithmetic::Subtract, a, b)
            if timestamp(a) && (timestamp(b) || *b == Type::Date)
                || *a == Type::Date && timestamp(b) =>
        {
            (Op::TimestampMinusTimestamp, Type::Interval)
        }
        (Arithmetic::Add, Type::Interval, Type::Interval) => {
            (Op::IntervalPlusInterval, Type::Interval)
        }
        (Arithmetic::Subtract, Type::Interval, Type::Interval) => {
            (Op::IntervalMinusInterval, Type::Interval)
        }
        _ => return None,
    })
}
