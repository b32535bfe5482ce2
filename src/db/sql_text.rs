//! SQL that is put together where parameters cannot stand: names, and scripts for psql.

/// Quotes a text for SQL. A backslash would mean something where a server does not conform to
/// the standard: such a text is written as one that escapes.
pub(crate) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// SQL with its places filled, each once: what is put in is never filled.
pub(crate) fn filled(sql: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = sql;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        text.push_str(before);
        let place = values.iter().find(|(place, _)| behind.starts_with(place));
        let (skipped, value) = place.map_or(("{", "{"), |(place, value)| (*place, *value));
        text.push_str(value);
        rest = behind.get(skipped.len()..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// A dollar quote that no name ends.
pub(crate) fn dollar_quote(body: &str) -> String {
    let mut tag = String::from("walhook");
    while body.contains(&format!("${tag}$")) {
        tag.push('_');
    }
    format!("${tag}$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_stays_what_it_is() {
        let values = [("{table}", "\"{tenant}\""), ("{tenant}", "'{table}'")];
        assert_eq!(
            filled("select {other} from {table} where a = {tenant} {", &values),
            "select {other} from \"{tenant}\" where a = '{table}' {"
        );
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\'"), r"E'a\\'''");
        assert_eq!(dollar_quote("'$walhook$'"), "$walhook_$");
    }
}
