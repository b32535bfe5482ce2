//! Random values of every type, as the server reads them.

use super::kinds::{Kind, MOODS, Scalar};
use super::pools::{TEXT, pool};
use super::random::Random;

/// Letters of which random texts are made.
const LETTERS: &[char] = &[
    'a', 'b', 'B', 'A', 'x', ' ', ' ', ',', '%', '_', '\\', '\'', '"', '1', '0', '-', '.', ':',
    'ä', 'Ä', 'ß', 'é', 'ÿ', 'Σ', 'σ', 'İ', 'ŉ', '日', '😀', '\t', '{', '}',
];

/// Which characters a database holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    Utf8,
    Latin1,
    /// Any bytes: the encoding SQL_ASCII.
    Bytes,
}

impl Charset {
    /// The text with what the encoding lacks replaced.
    pub fn fit(self, text: String) -> String {
        let fits = |c: char| self != Charset::Latin1 || u32::from(c) < 256;
        text.chars()
            .map(|c| if fits(c) { c } else { 'Þ' })
            .collect()
    }
}

/// A text that the server reads as a value of the type, or nearly always.
pub fn value(random: &mut Random, kind: Kind) -> String {
    match kind.array {
        true => array(random, kind.of),
        false if random.chance(75) => {
            let castable = random.chance(50);
            random.of(pool(castable, kind.of)).to_owned()
        }
        false => made(random, kind.of),
    }
}

fn made(random: &mut Random, of: Scalar) -> String {
    let shift = random.below(62);
    match of {
        Scalar::Bool => random.chance(50).to_string(),
        Scalar::Int2 => random.between(-40, 40).to_string(),
        Scalar::Int4 => ((random.next() as i32) >> (shift / 2)).to_string(),
        Scalar::Int8 => ((random.next() as i64) >> shift).to_string(),
        Scalar::Numeric => decimal(random, 40),
        Scalar::Float4 => float(f32::from_bits(random.next() as u32).into()),
        Scalar::Float8 => match random.chance(50) {
            true => float(f64::from_bits(random.next())),
            false => decimal(random, 12),
        },
        Scalar::Text | Scalar::Varchar => {
            let length = random.below(7);
            (0..length).map(|_| random.of(LETTERS)).collect()
        }
        Scalar::Char => {
            let length = random.below(5);
            (0..length).map(|_| random.of(LETTERS)).collect()
        }
        Scalar::Mood => random.of(&MOODS).to_owned(),
        Scalar::Uuid => format!(
            "{:08x}-0000-4000-8000-{:012x}",
            random.next() as u32,
            random.below(3)
        ),
        Scalar::Date => format!(
            "{:04}-{:02}-{:02}",
            random.between(1, 20_000),
            random.between(1, 12),
            random.between(1, 28)
        ),
        Scalar::Timestamp | Scalar::Timestamptz => {
            let day = made(random, Scalar::Date);
            let (hour, rest) = (random.below(24), random.below(60));
            format!(
                "{day} {hour:02}:{rest:02}:{rest:02}.{}",
                random.below(1_000_000)
            )
        }
        Scalar::Interval => format!(
            "{} mons {} days {:02}:00:{:02}.{}",
            random.between(-30, 30),
            random.between(-70, 70),
            random.below(50),
            random.below(60),
            random.below(1000)
        ),
        Scalar::Json | Scalar::Jsonb => json(random, 3),
        Scalar::Bytea => {
            let length = random.below(130);
            let digits = (0..length).map(|_| format!("{:02x}", random.below(256)));
            format!("\\x{}", digits.collect::<String>())
        }
    }
}

fn decimal(random: &mut Random, most: usize) -> String {
    let length = 1 + random.below(most);
    let digits: String = (0..length)
        .map(|_| char::from(b'0' + random.below(10) as u8))
        .collect();
    let (whole, fraction) = digits.split_at(random.below(length));
    let sign = if random.chance(40) { "-" } else { "" };
    match fraction {
        "" => format!("{sign}0{whole}"),
        _ => format!("{sign}0{whole}.{fraction}"),
    }
}

fn float(value: f64) -> String {
    match value.is_finite() {
        true => format!("{value:e}"),
        false => "NaN".to_owned(),
    }
}

fn json(random: &mut Random, depth: usize) -> String {
    let count = random.below(4);
    match random.below(if depth == 0 { 4 } else { 7 }) {
        0 => format!("{}.{}", random.between(-50, 50), random.below(1000)),
        1 => ["null", "true", "false", "0", "1.50"][random.below(5)].to_owned(),
        2 | 3 => quoted_json(random.of(TEXT)),
        4 => {
            let items: Vec<_> = (0..count).map(|_| json(random, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let mut member = || {
                let key = random.of(&["a", "b", "c", "ä", "n", "1", ""]);
                format!("{}: {}", quoted_json(key), json(random, depth - 1))
            };
            let members: Vec<_> = (0..count).map(|_| member()).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn quoted_json(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n").replace('\t', "\\t"))
}

fn array(random: &mut Random, of: Scalar) -> String {
    let one = |random: &mut Random| match random.chance(15) {
        true => "NULL".to_owned(),
        false => {
            let value = value(random, Kind::one(of));
            format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        }
    };
    let list = |random: &mut Random, count: usize| {
        let items: Vec<_> = (0..count).map(|_| one(random)).collect();
        format!("{{{}}}", items.join(","))
    };
    let count = random.below(5);
    match random.below(10) {
        0 if count > 0 => format!("[2:{}]={}", count + 1, list(random, count)),
        1 if count > 0 => format!("{{{},{}}}", list(random, count), list(random, count)),
        _ => list(random, count),
    }
}

/// A pattern of `like`.
pub fn pattern(random: &mut Random) -> String {
    let length = random.below(5);
    let mut one = || match random.below(4) {
        0 => "%".to_owned(),
        1 => "_".to_owned(),
        2 => format!("\\{}", random.of(LETTERS)),
        _ => random.of(LETTERS).to_string().replace('\\', "\\\\"),
    };
    (0..length).map(|_| one()).collect()
}

/// A constant in quotes, as an expression writes it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
