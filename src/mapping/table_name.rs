//! Tables' names, as rules write them and as SQL needs them.

use std::fmt;

use super::language::words::is_reserved;

/// A table's schema and name, unquoted. Displayed as `schema.table`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

impl TableName {
    /// Reads `schema.table`, or `table` in schema `public`; either part may stand in
    /// double quotes, and a quote within is written twice. Unquoted names are taken as
    /// written, not folded to lower case.
    pub fn parse(text: &str) -> Option<TableName> {
        let (first, rest) = part(text)?;
        let (schema, name, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let (name, rest) = part(rest)?;
                (first, name, rest)
            }
            None => ("public".to_owned(), first, rest),
        };
        rest.is_empty().then_some(TableName { schema, name })
    }

    /// As SQL needs it, each part quoted where it must be.
    pub fn to_sql(&self) -> String {
        let quoted = |part: &str| {
            let plain = part.bytes().enumerate().all(|(at, byte)| {
                byte.is_ascii_lowercase() || byte == b'_' || (at > 0 && byte.is_ascii_digit())
            });
            match plain && !is_reserved(part) {
                true => part.to_owned(),
                false => format!("\"{}\"", part.replace('"', "\"\"")),
            }
        };
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// One name, and what stands after it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let plain = !name.is_empty() && !name.contains('"') && name.trim() == name;
        return plain.then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (until, behind) = rest.split_once('"')?;
        name.push_str(until);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return (!name.is_empty()).then_some((name, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_writes_them_for_sql() {
        for (text, sql) in [
            ("payments", "public.payments"),
            ("app.order", "app.\"order\""),
            ("\"My Schema\".\"a.b\"", "\"My Schema\".\"a.b\""),
            ("app.Mixed", "app.\"Mixed\""),
            (r#""a""b"."""""#, r#""a""b"."""""#),
            (r#"" a "."日本""#, r#"" a "."日本""#),
        ] {
            let name = TableName::parse(text).unwrap();
            assert_eq!(name.to_sql(), sql);
        }
        for text in [
            "", ".", "a.", ".b", "a.b.c", "\"a", "\"a\"b", "a b\"", " a", "\"\"", "\"a\"\"",
        ] {
            assert_eq!(TableName::parse(text), None, "{text}");
        }
    }
}
