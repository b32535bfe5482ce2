//! Random expressions, typed, so that nearly all of them mean something.

use super::constants::constants;
use super::forms;
use super::kinds::{Kind, Scalar};
use super::random::Random;
use super::values::{Charset, pattern, quoted, value};

/// An expression, with the parts that are expressions themselves.
#[derive(Clone, Debug)]
pub struct Expression {
    pub text: String,
    pub parts: Vec<Expression>,
    /// Needs no parentheses as an operand.
    atom: bool,
}

pub struct Generator<'a> {
    pub random: &'a mut Random,
    pub charset: Charset,
    /// The columns' names and kinds.
    pub columns: &'a [(String, Kind)],
    /// Constants stand where else columns do.
    pub constant: bool,
    /// No name says which row it means.
    pub bare: bool,
}

const NUMBERS: [Scalar; 6] = [
    Scalar::Int2,
    Scalar::Int4,
    Scalar::Int8,
    Scalar::Numeric,
    Scalar::Float4,
    Scalar::Float8,
];
/// The types that a form has chosen.
#[derive(Default)]
struct Chosen {
    eq: Option<Kind>,
    scalar: Option<Scalar>,
    order: Option<Kind>,
    any: Option<Kind>,
}

impl Generator<'_> {
    /// An expression of a type of which half of the expressions in use are.
    pub fn any(&mut self, depth: usize) -> Expression {
        let kind = match self.random.chance(50) {
            true => Kind::one(Scalar::Bool),
            false => self.kind(),
        };
        self.expression(kind, depth)
    }

    pub fn kind(&mut self) -> Kind {
        Kind {
            of: self.random.of(&Scalar::ALL),
            array: self.random.chance(10),
        }
        .listed()
    }

    pub fn expression(&mut self, kind: Kind, depth: usize) -> Expression {
        if depth == 0 || self.random.chance(15) {
            return self.leaf(kind);
        }
        let own = if kind.array { &[] } else { forms::of(kind.of) };
        let mut lists = vec![forms::EVERY];
        if kind.has_equality() {
            lists.push(forms::EQUAL);
        }
        if kind.has_order() {
            lists.push(forms::ORDERED);
        }
        let wide = [Scalar::Numeric, Scalar::Float8];
        if !kind.array && wide.contains(&kind.of) {
            lists.push(forms::NUMBERS);
        }
        if !kind.array && matches!(kind.of, Scalar::Timestamp | Scalar::Timestamptz) {
            lists.push(forms::TIMES);
        }
        let form = loop {
            let form = match own.is_empty() || self.random.chance(20) {
                true => {
                    let list = self.random.of(&lists);
                    self.random.of(list)
                }
                false => self.random.of(own),
            };
            if !(self.bare && form.contains("tg_op")) {
                break form;
            }
        };
        self.fill(form, kind, depth - 1)
    }

    fn fill(&mut self, form: &str, kind: Kind, depth: usize) -> Expression {
        let mut text = String::new();
        let mut parts = Vec::new();
        let mut chosen = Chosen::default();
        let mut rest = form;
        let style = self.random.below(30);
        let styled = |text: &str| match style {
            0 => text.to_uppercase(),
            1 => text.replace(' ', "\n\t "),
            2 => text.replace(", ", ","),
            _ => text.to_owned(),
        };
        while let Some((before, behind)) = rest.split_once('{') {
            text += &styled(before);
            let (slot, behind) = behind.split_once('}').unwrap();
            rest = behind;
            if let Some(constant) = self.constant_of(slot) {
                text += &constant;
                continue;
            }
            if slot == "constant" {
                let outer = std::mem::replace(&mut self.constant, true);
                let part = self.expression(Kind::one(Scalar::Bool), depth.max(1));
                self.constant = outer;
                text += &format!("({})", part.text);
                parts.push(part);
                continue;
            }
            let literal = slot.starts_with('\'');
            let may_be_literal = slot.ends_with('?');
            let name = slot.trim_start_matches('\'').trim_end_matches('?');
            let array = name.ends_with("[]");
            let mut of = self.resolve(name.trim_end_matches("[]"), kind, &mut chosen);
            of.array |= array;
            if literal || may_be_literal && self.random.chance(50) {
                text += &self.literal(of);
                continue;
            }
            let part = self.expression(of, depth);
            // Without parentheses what comes out is another expression, or none.
            let bare = part.atom
                || before.ends_with('(') && !behind.starts_with(" in ")
                || self.random.chance(4);
            text += &match bare {
                true => part.text.clone(),
                false => format!("({})", part.text),
            };
            parts.push(part);
        }
        text += &styled(rest);
        Expression {
            text,
            parts,
            atom: is_call(form),
        }
    }

    fn resolve(&mut self, name: &str, own: Kind, chosen: &mut Chosen) -> Kind {
        if let Some(scalar) = Scalar::named(name) {
            return Kind::one(scalar);
        }
        let strings = [Scalar::Text, Scalar::Text, Scalar::Varchar, Scalar::Char];
        let times = [Scalar::Date, Scalar::Timestamp, Scalar::Timestamptz];
        let mut until = |holds: fn(Kind) -> bool| loop {
            let kind = self.kind();
            if holds(kind) {
                break kind;
            }
        };
        match name {
            "same" => own,
            "eq" => *chosen.eq.get_or_insert_with(|| until(Kind::has_equality)),
            "order" => *chosen.order.get_or_insert_with(|| until(Kind::has_order)),
            "any" => *chosen.any.get_or_insert_with(|| until(|_| true)),
            "scalar" => {
                let scalar = chosen
                    .scalar
                    .get_or_insert_with(|| until(|kind| kind.has_equality() && !kind.array).of);
                Kind::one(*scalar)
            }
            "number" => Kind::one(self.random.of(&NUMBERS)),
            "integer" => Kind::one(self.random.of(&NUMBERS[..3])),
            "string" => Kind::one(self.random.of(&strings)),
            "time" => Kind::one(self.random.of(&times)),
            other => panic!("no slot is named {other}"),
        }
    }

    /// What is no expression of its own.
    fn constant_of(&mut self, slot: &str) -> Option<String> {
        let from = constants(slot)?;
        let constant = self.charset.fit(self.random.of(from).to_owned());
        Some(match slot {
            "pattern" if self.random.chance(40) => {
                let made = pattern(self.random);
                quoted(&self.charset.fit(made))
            }
            "pattern" => quoted(&constant),
            _ => constant,
        })
    }

    fn leaf(&mut self, kind: Kind) -> Expression {
        let atom = |text| Expression {
            text,
            parts: Vec::new(),
            atom: true,
        };
        if (self.constant || self.random.chance(12))
            && let Some(constant) = self.typed(kind)
        {
            return atom(constant);
        }
        let fits: Vec<&String> = self
            .columns
            .iter()
            .filter(|(_, of)| *of == kind)
            .map(|(name, _)| name)
            .collect();
        let name = self.random.of(&fits);
        let plain = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let name = match plain && !self.random.chance(3) {
            true if self.random.chance(3) => name.to_uppercase(),
            true => name.clone(),
            false => format!("\"{name}\""),
        };
        atom(match self.random.below(20) {
            _ if self.bare => name,
            0 => format!("new.{name}"),
            1 | 2 => format!("old.{name}"),
            _ => name,
        })
    }

    /// A constant that takes its type from what it meets, or digits.
    pub fn literal(&mut self, kind: Kind) -> String {
        let text = loop {
            let text = value(self.random, kind);
            if !(kind.of == Scalar::Interval && text == "0") {
                break self.charset.fit(text);
            }
        };
        let digits = !kind.array && kind.of.is_number() && kind.of != Scalar::Float4;
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'e'));
        match digits && plain && self.random.chance(70) {
            true => text,
            false if matches!(text.as_str(), "true" | "false") && self.random.chance(60) => text,
            false => quoted(&text),
        }
    }

    /// A constant that has a type of its own, where the language can write one.
    fn typed(&mut self, kind: Kind) -> Option<String> {
        if kind.array {
            return None;
        }
        let name = match kind.of {
            Scalar::Char | Scalar::Mood => return None,
            Scalar::Bool => {
                return Some(
                    self.random
                        .of(&["true", "false", "null::boolean"])
                        .to_owned(),
                );
            }
            Scalar::Float8 => "double precision",
            of => of.name(),
        };
        let literal = self.literal(kind);
        if self.random.chance(4) {
            return Some(format!("null::{name}"));
        }
        Some(match literal.strip_prefix('\'') {
            Some(_) if self.random.chance(40) && kind.of != Scalar::Float8 => {
                format!("{name} {literal}")
            }
            Some(_) => format!("{literal}::{name}"),
            None => format!("({literal})::{name}"),
        })
    }
}

impl Kind {
    /// There are no arrays of json.
    fn listed(self) -> Self {
        Kind {
            array: self.array && self.of != Scalar::Json,
            ..self
        }
    }
}

/// Whether the form is one call, or one `case`.
fn is_call(form: &str) -> bool {
    if form.starts_with("case ") {
        return true;
    }
    let name = form
        .bytes()
        .take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_')
        .count();
    let mut depth = 0;
    let closes = form.bytes().position(|byte| {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        byte == b')' && depth == 0
    });
    name > 0 && form.as_bytes().get(name) == Some(&b'(') && closes == Some(form.len() - 1)
}

impl Expression {
    /// One whose parts are not known.
    pub fn whole(text: String) -> Self {
        Expression {
            text,
            parts: Vec::new(),
            atom: false,
        }
    }
}
