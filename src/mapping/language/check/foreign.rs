//! Functions of other languages, and how they are written here.

use crate::mapping::file::suggestion;
use crate::mapping::language::syntax::{Expr, Kind};
use crate::mapping::language::types::Type;

use super::function::FUNCTIONS;
use super::{Checker, Typed};

impl Checker<'_> {
    pub(super) fn no_function(&mut self, name: &str, arguments: &[Expr]) -> String {
        let typed: Option<Typed> = arguments.first().and_then(|one| self.expression(one).ok());
        let hint = match arguments {
            [first, ..] => match self.cast_function(name, first, typed.as_ref()) {
                hint if hint.is_empty() => self.foreign(name, arguments, typed.as_ref()),
                hint => hint,
            },
            [] => self.foreign(name, arguments, None),
        };
        match hint.as_str() {
            "" => format!(
                "there is no function `{name}`{}",
                suggestion(name, FUNCTIONS)
            ),
            hint => format!("there is no function `{name}`: {hint}"),
        }
    }

    /// A type as a function: `int(x)`, `date('2024-01-31')`.
    fn cast_function(&self, name: &str, first: &Expr, typed: Option<&Typed>) -> String {
        let to = match name {
            "date" | "to_date" => "date",
            "timestamp" | "datetime" => "timestamp",
            "timestamptz" | "to_timestamp" => "timestamptz",
            "interval" => "interval",
            "int" | "integer" | "parseint" | "toint" => "integer",
            "float" | "double" | "to_number" | "parsefloat" | "decimal" | "numeric"
            | "tonumber" | "number" => "numeric",
            "str" | "string" | "tostring" | "to_char" | "text" | "char" | "varchar" => "text",
            "bool" | "boolean" => "boolean",
            "uuid" => "uuid",
            "jsonb" | "json" | "to_jsonb" | "to_json" | "parse_json" => "jsonb",
            _ => return String::new(),
        };
        let shown = self.plain(&first.at);
        match (&first.kind, typed.map(|one| &one.r#type), to) {
            (Kind::Text(_), _, "text") => format!("write {shown}"),
            (Kind::Text(_), _, to) => format!("write {to} {shown}"),
            (Kind::Number(_), _, "date" | "timestamp" | "timestamptz") => {
                format!("write {to} '2024-01-31'")
            }
            (Kind::Number(number), _, "interval") => format!("write interval '{number} days'"),
            (_, Some(time), "text") if time.is_time() => format!(
                "write extract(year from {shown}), date_trunc('day', {shown}), or compare {shown} itself"
            ),
            (_, Some(Type::Jsonb | Type::Json), _) => match typed.map(|one| self.as_text(one)) {
                Some(text) if to != "text" => format!("write ({text})::{to}"),
                Some(text) => format!("write {text}"),
                None => String::new(),
            },
            _ => format!("write {}::{to}", self.operand(&first.at)),
        }
    }

    /// `typed` is the first argument, where it has a type.
    fn foreign(&self, name: &str, arguments: &[Expr], typed: Option<&Typed>) -> String {
        let shown: Vec<String> = arguments.iter().map(|one| self.plain(&one.at)).collect();
        let argument = |at: usize, or: &str| shown.get(at).map_or(or.to_owned(), String::clone);
        let (a, b, c) = (argument(0, "x"), argument(1, "'part'"), argument(2, "0"));
        let all = shown.join(", ");
        let is_array = matches!(typed.map(|one| &one.r#type), Some(Type::Array(_)));
        let is_json = matches!(typed.map(|one| &one.r#type), Some(Type::Json | Type::Jsonb));
        let text = |quoted: &str| quoted.trim_matches('\'').to_owned();
        match name {
            "now" | "getdate" | "clock_timestamp" | "transaction_timestamp" | "sysdate"
            | "utcnow" | "statement_timestamp" | "sysdatetime" | "utc_timestamp" | "unixepoch" => {
                "a change is judged as of its commit: write committed_at".to_owned()
            }
            "today" | "curdate" => "write committed_at::date".to_owned(),
            "if" | "iif" | "iff" if arguments.len() == 3 => {
                format!("write case when {a} then {b} else {c} end")
            }
            "if" | "iif" | "iff" | "switch" | "decode" | "choose" => {
                "write case when condition then value else other end".to_owned()
            }
            "ifnull" | "nvl" | "isnull" | "default" | "coalese" | "ifempty" => format!("write coalesce({all})"),
            "len" | "char_length" | "character_length" | "strlen" | "size" | "octet_length" | "array_length" | "count" if is_array => {
                format!("write cardinality({a})")
            }
            "len" | "size" | "count" if is_json => format!("write jsonb_array_length({a})"),
            "len" | "char_length" | "character_length" | "strlen" | "size" => format!("write length({a})"),
            "array_length" | "array_size" => format!("write cardinality({a})"),
            "substr" | "mid" => format!("write substring({all})"),
            "instr" | "indexof" | "find" => format!("write position({b} in {a})"),
            "charindex" | "locate" => format!("write position({a} in {b})"),
            "contains" | "includes" | "has" | "array_contains" | "in_array" | "array_position" | "has_element"
                if is_array =>
            {
                format!("write {b} = any({a})")
            }
            "array_contains" | "in_array" | "array_position" => "write 'x' = any(array)".to_owned(),
            "contains" | "includes" | "has" | "jsonb_exists" | "json_contains" if is_json => {
                format!("write {a} ? {b}, or {a} @> '{{\"name\": \"value\"}}'")
            }
            "contains" | "includes" | "has" => format!("write {a} like '%{}%'", text(&b)),
            "startswith" | "begins_with" => format!("write starts_with({all})"),
            "endswith" | "ends_with" => format!("write {a} like '%{}'", text(&b)),
            "ucase" | "toupper" | "uppercase" | "touppercase" => format!("write upper({a})"),
            "lcase" | "tolower" | "lowercase" | "tolowercase" => format!("write lower({a})"),
            "btrim" | "strip" => format!("write trim({all})"),
            "initcap" | "reverse" | "lpad" | "rpad" | "repeat" | "md5" | "sha256" | "format"
            | "sprintf" | "quote_literal" | "translate" | "overlay" | "ascii" | "chr" => {
                "texts have lower, upper, length, trim, left, right, substring, position, split_part, replace, concat, starts_with and ||".to_owned()
            }
            "substring_index" => format!("write split_part({a}, {b}, 1)"),
            "mod" if arguments.len() == 2 => format!("write {a} % {b}"),
            "pow" | "power" | "sqrt" | "exp" | "ln" | "log" | "random" | "sign" | "div" | "mod" => {
                "there are + - * / %, abs, round, trunc, floor and ceil".to_owned()
            }
            "max" if arguments.len() > 1 => format!("write greatest({all})"),
            "min" if arguments.len() > 1 => format!("write least({all})"),
            "max" | "min" => format!(
                "an expression reads one row alone, and has no aggregates; of several values write {}(a, b)",
                if name == "max" { "greatest" } else { "least" }
            ),
            "count" | "sum" | "avg" | "bool_and" | "bool_or" | "array_agg" | "string_agg" | "json_agg"
            | "jsonb_agg" | "every" | "row_number" | "lag" | "lead" | "rank" | "first_value" => {
                "an expression reads one row alone, and has no aggregates; the value before is old.column".to_owned()
            }
            "exists" => "an expression has no subqueries; for null write `is not null`".to_owned(),
            "not" => "write `not condition`".to_owned(),
            "regexp_match" | "regexp_matches" | "regexp_like" | "regexp_replace" | "match" | "regexp"
            | "regexp_substr" | "similar_to" => {
                format!("there are no regular expressions: write {a} like 'begin%', or replace(x, 'from', 'to')")
            }
            "year" | "month" | "day" | "hour" | "minute" | "second" | "week" | "quarter" => {
                format!("write extract({name} from {a})")
            }
            "dayofweek" | "weekday" => format!("write extract(dow from {a})"),
            "date_part" | "datepart" => format!("write extract({} from {})", text(&a), argument(1, "x")),
            "strftime" | "date_format" | "dateformat" => {
                "write extract(year from x), or date_trunc('day', x)".to_owned()
            }
            "unix_timestamp" | "epoch" => format!("write extract(epoch from {a})"),
            "age" if arguments.len() == 1 => format!("write committed_at - {a}"),
            "age" | "datediff" | "timediff" | "timestampdiff" | "date_diff" => match arguments.len() {
                2 => format!("write {a} - {b}, an interval: {a} - {b} > interval '1 day'"),
                _ => "subtract one time from the other, as in a - b > interval '1 day'".to_owned(),
            },
            "dateadd" | "date_add" | "adddate" | "timedelta" | "make_interval" | "date_sub" => {
                "write x + interval '1 day'".to_owned()
            }
            "unnest" | "any" | "all" | "some" => "write value = any(array)".to_owned(),
            "jsonb_extract_path_text" | "jsonb_extract_path" | "json_extract_path_text" => {
                match shown.get(1..) {
                    Some([one]) => format!("write {a}->>{one}"),
                    Some(names) => {
                        let names: Vec<String> = names.iter().map(|name| text(name)).collect();
                        format!("write {a}#>>'{{{}}}'", names.join(","))
                    }
                    None => format!("write {a}->>'name'"),
                }
            }
            "json_extract" | "json_value" | "json_query" | "json_unquote" | "json_extract_scalar" | "get_json_object" => {
                let path = text(&b);
                let names: Vec<&str> = path.trim_start_matches(['$', '.']).split('.').collect();
                match names.as_slice() {
                    [one] if *one != "part" => format!("write {a}->>'{one}'"),
                    [_] => format!("write {a}->>'name'"),
                    names => format!("write {a}#>>'{{{}}}'", names.join(",")),
                }
            }
            "jsonb_typeof" | "json_typeof" | "typeof" | "pg_typeof" => {
                "types are not asked for: write json ? 'name', or (json->>'name') is not null".to_owned()
            }
            "concat_ws" => match shown.split_first() {
                Some((separator, parts)) if parts.len() > 1 => {
                    format!("write concat({})", parts.join(&format!(", {separator}, ")))
                }
                _ => "write concat(a, ' ', b)".to_owned(),
            },
            "is_null" | "isnil" | "isna" => format!("write {a} is null"),
            "notnull" | "is_not_null" | "isset" | "defined" => format!("write {a} is not null"),
            "empty" | "isempty" | "is_empty" | "blank" => format!(
                "write {a} = '{}', or {a} is null",
                if is_array { "{}" } else { "" }
            ),
            "old" | "new" | "previous" => format!("write old.{a} or new.{a}"),
            "has_changed" | "changes" | "was_changed" | "updated" | "modified" => format!("write changed({all})"),
            "changed_to" | "becomes" | "turned" => format!("write became({a} = {})", argument(1, "'paid'")),
            "in" => "write x in ('a', 'b')".to_owned(),
            "row" => "rows are not compared: compare column by column with `and`".to_owned(),
            "array" => "write an array as '{a,b}'".to_owned(),
            "convert" | "try_cast" | "safe_cast" | "try_convert" => "write x::integer, or cast(x as integer)".to_owned(),
            "nextval" | "pg_sleep" | "current_setting" | "query_to_xml" | "pg_read_file"
            | "txid_current" | "gen_random_uuid" | "uuid_generate_v4" | "newid" | "current_user" | "getenv" => {
                "an expression reads the row and its commit alone".to_owned()
            }
            _ => String::new(),
        }
    }
}
