//! Reads minijinja's syntax tree into ours, and says what it cannot take over.

use minijinja::machinery::ast::{self, BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};
use minijinja::machinery::parse_expr;
use minijinja::value::ValueKind;

use super::{Arithmetic, Comparison, Filter, Names, Node, Row, Test, Usage, Vocabulary};

#[cfg(test)]
mod tests;

/// By name, with the most arguments that each takes; all of them may be left out.
const FILTERS: &[(&str, Filter, usize)] = &[
    ("lower", Filter::Lower, 0),
    ("upper", Filter::Upper, 0),
    ("trim", Filter::Trim, 0),
    ("length", Filter::Length, 0),
    ("abs", Filter::Abs, 0),
    ("round", Filter::Round, 1),
    ("int", Filter::Int, 0),
    ("float", Filter::Float, 0),
    ("string", Filter::String, 0),
    ("default", Filter::Default, 1),
];

/// By name, with the arguments that each takes.
const TESTS: &[(&str, Test, usize)] = &[
    ("none", Test::None, 0),
    ("string", Test::String, 0),
    ("number", Test::Number, 0),
    ("boolean", Test::Boolean, 0),
    ("startingwith", Test::StartingWith, 1),
    ("endingwith", Test::EndingWith, 1),
];

/// How deep a tree may be: evaluation recurses, and a task's stack has 2 MiB.
const MAX_DEPTH: usize = 128;

/// Longest source that is parsed. minijinja's parser recurses along a chain of
/// operators: 40 KB of `+1` ended the process, 4 KB did not (dependencies, pitfall 4).
const MAX_SOURCE: usize = 4096;

/// Reads an expression; `key` says where it stands, for [`Names::uses`].
/// The error is a sentence for whoever wrote the expression.
pub(crate) fn parse(
    source: &str,
    vocabulary: Vocabulary,
    names: &mut Names,
    key: &str,
) -> Result<Node, String> {
    if source.trim().is_empty() {
        return Err("the expression is empty".to_owned());
    }
    if source.len() > MAX_SOURCE {
        return Err(format!("the expression is longer than {MAX_SOURCE} bytes"));
    }
    let tree = parse_expr(source).map_err(|error| match error.detail() {
        Some(detail) => format!("`{source}` is not an expression: {detail}"),
        None => format!("`{source}` is not an expression"),
    })?;
    let mut reader = Reader {
        source,
        vocabulary,
        names,
        key,
    };
    reader.node(&tree, 0)
}

struct Reader<'a> {
    source: &'a str,
    vocabulary: Vocabulary,
    names: &'a mut Names,
    key: &'a str,
}

impl Reader<'_> {
    fn node(&mut self, tree: &Expr<'_>, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} levels deep"));
        }
        let depth = depth + 1;
        Ok(match tree {
            Expr::Var(var) => self.variable(var.id)?,
            Expr::Const(constant) => self.constant(constant)?,
            Expr::UnaryOp(op) => {
                let operand = Box::new(self.node(&op.expr, depth)?);
                match op.op {
                    UnaryOpKind::Not => Node::Not(operand),
                    UnaryOpKind::Neg => Node::Negate(operand),
                }
            }
            Expr::BinOp(op) => self.binary(op, depth)?,
            Expr::Compare(chain) => {
                let first = self.node(&chain.expr, depth)?;
                let mut links = Vec::with_capacity(chain.ops.len());
                for link in &chain.ops {
                    links.push((comparison(link.op), self.node(&link.expr, depth)?));
                }
                Node::Compare(Box::new(first), links)
            }
            Expr::IfExpr(choice) => Node::Choose(
                Box::new(self.node(&choice.test_expr, depth)?),
                Box::new(self.node(&choice.true_expr, depth)?),
                Box::new(match &choice.false_expr {
                    Some(otherwise) => self.node(otherwise, depth)?,
                    None => Node::Null,
                }),
            ),
            Expr::Filter(filter) => {
                let (kind, arity) = named(FILTERS, filter.name, "filter")?;
                let operand = filter.expr.as_ref().ok_or("a filter needs a value")?;
                let operand = Box::new(self.node(operand, depth)?);
                let arguments = self.arguments(filter.name, &filter.args, 0..=arity, depth)?;
                Node::Filter(kind, operand, arguments)
            }
            Expr::Test(test) => {
                let (kind, arity) = named(TESTS, test.name, "test")?;
                let operand = Box::new(self.node(&test.expr, depth)?);
                let arguments = self.arguments(test.name, &test.args, arity..=arity, depth)?;
                Node::Test(kind, operand, arguments)
            }
            Expr::GetAttr(attribute) => self.member(&attribute.expr, attribute.name, depth)?,
            Expr::GetItem(item) => match &item.subscript_expr {
                Expr::Const(constant) => match constant.value.as_str() {
                    Some(name) => self.member(&item.expr, name, depth)?,
                    None => {
                        let index = constant
                            .value
                            .as_i64()
                            .ok_or("expected a name or a number in `[…]`")?;
                        Node::Element(Box::new(self.node(&item.expr, depth)?), index)
                    }
                },
                _ => return Err("expected a constant in `[…]`, such as `new['status']`".to_owned()),
            },
            Expr::Call(call) => self.call(call, depth)?,
            Expr::List(list) => self.list(&list.items, depth)?,
            Expr::Tuple(tuple) => self.list(&tuple.items, depth)?,
            Expr::Map(_) => return Err("a map is not allowed in an expression".to_owned()),
            Expr::Slice(_) => return Err("a slice is not allowed in an expression".to_owned()),
        })
    }

    fn list(&mut self, items: &[Expr<'_>], depth: usize) -> Result<Node, String> {
        let items: Result<_, _> = items.iter().map(|item| self.node(item, depth)).collect();
        Ok(Node::List(items?))
    }

    fn variable(&mut self, name: &str) -> Result<Node, String> {
        match self.vocabulary {
            Vocabulary::Row => match name {
                "op" => Ok(Node::Operation),
                "new" | "old" => Err(format!(
                    "`{name}` is the whole row: name one of its columns, as in `{name}.status`"
                )),
                "became" | "changed" => Err(format!(
                    "`{name}` is a function: call it, as in `{}`",
                    example(name)
                )),
                column => Ok(self.column(Row::Current, Usage::Current, column)),
            },
            Vocabulary::Body(members) => members
                .iter()
                .position(|member| *member == name)
                .map(|index| Node::Column(Row::Current, index))
                .ok_or_else(|| {
                    format!(
                        "`{name}` is not a member of an event: expected {}; the row's values are under `data`, as in `data.{name}`",
                        listed(members.iter().copied())
                    )
                }),
        }
    }

    fn column(&mut self, row: Row, usage: Usage, name: &str) -> Node {
        Node::Column(row, self.names.intern(name, usage, self.key))
    }

    fn member(&mut self, of: &Expr<'_>, name: &str, depth: usize) -> Result<Node, String> {
        if let (Expr::Var(var), Vocabulary::Row) = (of, self.vocabulary) {
            match var.id {
                "new" => return Ok(self.column(Row::New, Usage::New, name)),
                "old" => return Ok(self.column(Row::Old, Usage::Old, name)),
                _ => {}
            }
        }
        Ok(Node::Member(
            Box::new(self.node(of, depth)?),
            name.to_owned(),
        ))
    }

    fn constant(&self, constant: &ast::Spanned<ast::Const>) -> Result<Node, String> {
        let value = &constant.value;
        Ok(match value.kind() {
            ValueKind::None => Node::Null,
            ValueKind::Bool => Node::Bool(value.is_true()),
            ValueKind::String => Node::Text(value.as_str().unwrap_or_default().to_owned()),
            ValueKind::Number => {
                if let (true, Ok(integer)) = (value.is_integer(), i128::try_from(value.clone())) {
                    return Ok(Node::Integer(integer));
                }
                let span = constant.span();
                let written = self
                    .source
                    .get(span.start_offset as usize..span.end_offset as usize)
                    .unwrap_or_default();
                let plain =
                    |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                match written.split_once('.') {
                    Some((whole, fraction)) if plain(whole) && plain(fraction) => {
                        Node::Decimal(written.to_owned())
                    }
                    _ => Node::Float(
                        f64::try_from(value.clone()).map_err(|_| "number out of range")?,
                    ),
                }
            }
            _ => return Err("unexpected constant".to_owned()),
        })
    }

    fn binary(&mut self, op: &ast::BinOp<'_>, depth: usize) -> Result<Node, String> {
        let left = self.node(&op.left, depth)?;
        let right = self.node(&op.right, depth)?;
        let compare =
            |left, comparison, right| Node::Compare(Box::new(left), vec![(comparison, right)]);
        let arithmetic =
            |kind, left, right| Node::Arithmetic(kind, Box::new(left), Box::new(right));
        Ok(match op.op {
            BinOpKind::Eq => compare(left, Comparison::Equal, right),
            BinOpKind::Ne => compare(left, Comparison::NotEqual, right),
            BinOpKind::Lt => compare(left, Comparison::Less, right),
            BinOpKind::Lte => compare(left, Comparison::LessOrEqual, right),
            BinOpKind::Gt => compare(left, Comparison::Greater, right),
            BinOpKind::Gte => compare(left, Comparison::GreaterOrEqual, right),
            BinOpKind::In => compare(left, Comparison::In, right),
            BinOpKind::ScAnd => Node::And(Box::new(left), Box::new(right)),
            BinOpKind::ScOr => Node::Or(Box::new(left), Box::new(right)),
            BinOpKind::Add => arithmetic(Arithmetic::Add, left, right),
            BinOpKind::Sub => arithmetic(Arithmetic::Subtract, left, right),
            BinOpKind::Mul => arithmetic(Arithmetic::Multiply, left, right),
            BinOpKind::Div => arithmetic(Arithmetic::Divide, left, right),
            BinOpKind::FloorDiv => arithmetic(Arithmetic::FloorDivide, left, right),
            BinOpKind::Rem => arithmetic(Arithmetic::Remainder, left, right),
            BinOpKind::Pow => return Err("`**` is not allowed in an expression".to_owned()),
            BinOpKind::Concat => Node::Concatenate(Box::new(left), Box::new(right)),
        })
    }

    fn call(&mut self, call: &ast::Call<'_>, depth: usize) -> Result<Node, String> {
        let function = match (&call.expr, self.vocabulary) {
            (Expr::Var(var), Vocabulary::Row) => var.id,
            (Expr::Var(var), Vocabulary::Body(_)) => {
                return Err(format!(
                    "`{}` is not a function that a filter may call",
                    var.id
                ));
            }
            _ => return Err("methods may not be called in an expression".to_owned()),
        };
        match function {
            "became" => {
                let [CallArg::Pos(column), CallArg::Pos(value)] = call.args.as_slice() else {
                    return Err(format!("expected `{}`", example("became")));
                };
                let column = self.quoted_column(column, Usage::Became)?;
                Ok(Node::Became(column, Box::new(self.node(value, depth)?)))
            }
            "changed" => {
                let mut columns = Vec::with_capacity(call.args.len());
                for argument in &call.args {
                    let CallArg::Pos(column) = argument else {
                        return Err(format!("expected `{}`", example("changed")));
                    };
                    columns.push(self.quoted_column(column, Usage::Changed)?);
                }
                if columns.is_empty() {
                    return Err(format!("expected `{}`", example("changed")));
                }
                Ok(Node::Changed(columns))
            }
            other => Err(format!(
                "`{other}` is not a function: there are `became` and `changed`"
            )),
        }
    }

    fn quoted_column(&mut self, argument: &Expr<'_>, usage: Usage) -> Result<usize, String> {
        let Expr::Const(constant) = argument else {
            return Err(
                "expected a column's name in quotes, as in `became('status', 'paid')`".to_owned(),
            );
        };
        let name = constant
            .value
            .as_str()
            .ok_or("expected a column's name in quotes, as in `became('status', 'paid')`")?;
        Ok(self.names.intern(name, usage, self.key))
    }

    fn arguments(
        &mut self,
        name: &str,
        arguments: &[CallArg<'_>],
        arity: std::ops::RangeInclusive<usize>,
        depth: usize,
    ) -> Result<Vec<Node>, String> {
        if !arity.contains(&arguments.len()) {
            return Err(format!(
                "`{name}` takes {} arguments, not {}",
                arity.end(),
                arguments.len()
            ));
        }
        arguments
            .iter()
            .map(|argument| match argument {
                CallArg::Pos(argument) => self.node(argument, depth),
                CallArg::Kwarg(..) | CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    Err(format!("`{name}` takes no named or spread arguments"))
                }
            })
            .collect()
    }
}

fn example(function: &str) -> &'static str {
    match function {
        "became" => "became('status', 'paid')",
        _ => "changed('status', 'amount')",
    }
}

fn comparison(op: CompareOpKind) -> Comparison {
    match op {
        CompareOpKind::Eq => Comparison::Equal,
        CompareOpKind::Ne => Comparison::NotEqual,
        CompareOpKind::Lt => Comparison::Less,
        CompareOpKind::Lte => Comparison::LessOrEqual,
        CompareOpKind::Gt => Comparison::Greater,
        CompareOpKind::Gte => Comparison::GreaterOrEqual,
        CompareOpKind::In => Comparison::In,
        CompareOpKind::NotIn => Comparison::NotIn,
    }
}

fn named<T: Copy>(
    table: &[(&str, T, usize)],
    name: &str,
    what: &str,
) -> Result<(T, usize), String> {
    table
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, kind, arity)| (*kind, *arity))
        .ok_or_else(|| {
            let known = listed(table.iter().map(|(known, ..)| *known));
            format!("`{name}` is not a {what}: there are {known}")
        })
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
