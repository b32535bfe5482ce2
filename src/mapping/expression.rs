//! Expressions: minijinja's syntax, read once into a tree of our own.
//!
//! Only the parser is minijinja's. Its machine orders `none` before every number and
//! numbers before text, so that `stock < 5` would hold where `stock` is null and
//! `'9' < 10` would fail in silence; it also needs owned rows and a budget against
//! loops. This tree has no loops, no functions that grow text, and one node for each
//! node of the source, so that evaluation is bounded by construction, and [`super::condition`]
//! can give it SQL's idea of null over a borrowed row.

mod parse;
mod show;

pub(crate) use parse::parse;
pub(crate) use show::{prefix, show};

/// A parsed expression; columns are numbers into the [`Names`] it was read with.
#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    /// A number with a fraction, kept as its digits so that comparisons stay exact.
    Decimal(String),
    Text(String),
    List(Vec<Node>),
    Column(Row, usize),
    /// `op`: which operation made the change.
    Operation,
    /// A member of a JSON value.
    Member(Box<Node>, String),
    Element(Box<Node>, i64),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    /// A chain: `1 < a <= 5` holds if each link does.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    Arithmetic(Arithmetic, Box<Node>, Box<Node>),
    Concatenate(Box<Node>, Box<Node>),
    Choose(Box<Node>, Box<Node>, Box<Node>),
    Filter(Filter, Box<Node>, Vec<Node>),
    Test(Test, Box<Node>, Vec<Node>),
    Became(usize, Box<Node>),
    Changed(Vec<usize>),
}

/// Which version of the row a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A bare name: the new row, or the old one of a delete.
    Current,
    New,
    Old,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Filter {
    Lower,
    Upper,
    Trim,
    Length,
    Abs,
    Round,
    Int,
    Float,
    String,
    Default,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    None,
    String,
    Number,
    Boolean,
    StartingWith,
    EndingWith,
}

/// What bare names may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// Columns, `new`, `old`, `op`, `became` and `changed`.
    Row,
    /// The members of an event's body and nothing else.
    Body(&'static [&'static str]),
}

/// How an expression uses a column, for the check against the live table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Current,
    New,
    Old,
    Became,
    Changed,
}

/// The columns that a rule names, each once, and where it uses them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) names: Vec<String>,
    pub(crate) uses: Vec<Use>,
}

#[derive(Debug)]
pub(crate) struct Use {
    pub(crate) name: usize,
    pub(crate) usage: Usage,
    /// The rule's key that the use stands under, such as `when` or `data.amount`.
    pub(crate) key: String,
}

impl Names {
    pub(crate) fn intern(&mut self, name: &str, usage: Usage, key: &str) -> usize {
        let known = self.names.iter().position(|known| known == name);
        let name = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        self.uses.push(Use {
            name,
            usage,
            key: key.to_owned(),
        });
        name
    }
}
