//! Filters agree with PostgreSQL, wherever the contract makes their members equal to
//! something of SQL: `data.n > 5` to `number(b #> '{data,n}') > 5`.

use walhook::mapping::Filter;
use walhook::mapping::filter::Body;
use walhook::mapping::language::check::{Checked, Members, Scope, check, check_condition};
use walhook::mapping::language::error::SyntaxError;
use walhook::mapping::language::evaluate::Evaluation;
use walhook::mapping::language::letters::Letters;
use walhook::mapping::language::parse::parse;
use walhook::mapping::language::types::Encoding;

use super::bodies::{MEMBERS, body};
use super::compare::{Answer, answers, shown};
use super::random::Random;
use crate::harness::{self, TestDatabase};

/// A member as a value of one kind: null where it is absent, an error of another kind. And
/// two members, which are of one kind, and an element of an array.
const FUNCTIONS: &str = "
create function member(j jsonb) returns jsonb immutable language sql
    as $$ select nullif(j, 'null') $$;
create function kind(j jsonb, kinds text[]) returns text immutable language plpgsql as $$ begin
    if j is null or j = 'null' then return null; end if;
    if jsonb_typeof(j) <> all(kinds) then raise 'another kind'; end if;
    return j #>> '{}';
end $$;
create function number(j jsonb) returns numeric immutable language sql
    as $$ select kind(j, '{number}')::numeric $$;
create function texts(j jsonb) returns text immutable language sql
    as $$ select kind(j, '{string}') $$;
create function bools(j jsonb) returns boolean immutable language sql
    as $$ select kind(j, '{boolean}')::boolean $$;
-- A number as it is written, which jsonb does not keep.
create function spelt(j json) returns text immutable language sql
    as $$ select case when kind(j::jsonb, '{string,number,boolean}') is not null then j #>> '{}' end $$;
create function same(a jsonb, b jsonb) returns boolean immutable language plpgsql as $$ begin
    if a is null or a = 'null' or b is null or b = 'null' then return null; end if;
    if jsonb_typeof(a) <> jsonb_typeof(b) then raise 'two kinds'; end if;
    return a = b;
end $$;
create function has(j jsonb, element jsonb) returns boolean immutable language plpgsql as $$ begin
    if kind(j, '{array}') is null then return null; end if;
    return exists (select from jsonb_array_elements(j) e where e.value = element);
end $$;
create table bodies (id int primary key, j json, b jsonb)";

/// A filter's expression and the server's: `∥` parts the two where they differ. Slots as in
/// `forms`; a member is `{m}`, by itself of no kind yet.
const CONDITIONS: &[&str] = &[
    "{b} and {b}",
    "{b} or {b}",
    "not {b}",
    "{b} is true",
    "{b} is not false",
    "{m} is null ∥ member({m}) is null",
    "{m} is not null ∥ member({m}) is not null",
    "{m} ∥ bools({m})",
    "{m} = true ∥ bools({m}) = true",
    "{m} = {m} ∥ same({m}, {m})",
    "{m} <> {m} ∥ not same({m}, {m})",
    "{m} = {nl} ∥ number({m}) = {nl}",
    "{nl} < {m} ∥ {nl} < number({m})",
    "{m} >= {n} ∥ number({m}) >= {n}",
    "{n} {c} {n}",
    "{m} is distinct from {nl} ∥ number({m}) is distinct from {nl}",
    "{m} between 1 and 3 ∥ number({m}) between 1 and 3",
    "{m} in (1, 2.50, -3) ∥ number({m}) in (1, 2.50, -3)",
    "{m} not in ('a', 'b') ∥ texts({m}) not in ('a', 'b')",
    "{m} = {tl} ∥ texts({m}) = {tl}",
    "{tl} <> {m} ∥ {tl} <> texts({m})",
    "{m} = {t} ∥ texts({m}) = {t}",
    "{t} = {t}",
    "{t} collate \"C\" < {t}",
    "{m} collate \"C\" >= {tl} ∥ texts({m}) collate \"C\" >= {tl}",
    "{m} like 'a%' ∥ texts({m}) like 'a%'",
    "{m} not like '_b%' ∥ texts({m}) not like '_b%'",
    "starts_with({m}, 'a') ∥ starts_with(texts({m}), 'a')",
    "'a' = any({m}) ∥ has({m}, '\"a\"')",
    "2.5 = any({m}) ∥ has({m}, '2.5')",
    "true = any({m}) ∥ has({m}, 'true')",
    "{m} @> '{\"k\": 1}' ∥ member({m}) @> '{\"k\": 1}'",
    "{m} @> '[2.5]' ∥ member({m}) @> '[2.5]'",
    "'{\"k\": 1, \"x\": 2}' @> {m} ∥ '{\"k\": 1, \"x\": 2}' @> member({m})",
    "{m} ? 'k' ∥ member({m}) ? 'k'",
    "previous ? 'n' ∥ member(b #> '{previous}') ? 'n'",
    "({m})::boolean ∥ bools({m})",
    "({m})::text::boolean ∥ spelt({j})::boolean",
    "({m})::timestamptz > '2024-01-01' ∥ texts({m})::timestamptz > '2024-01-01'",
    "({m})::date < '2024-02-29' ∥ texts({m})::date < '2024-02-29'",
    "({m})::jsonb = '{\"k\": 1.0}' ∥ member({m}) = '{\"k\": 1.0}'",
    "case when {b} then {b} else {b} end",
    "case {m} when 1 then {b} when 2.5 then {b} end ∥ case number({m}) when 1 then {b} when 2.5 then {b} end",
    "coalesce({m}, false) ∥ coalesce(bools({m}), false)",
    "coalesce({b}, {b})",
    "type = 'order.paid' ∥ texts(b #> '{type}') = 'order.paid'",
];

const NUMBERS: &[&str] = &[
    "{nl}",
    "{m} {a} {nl} ∥ number({m}) {a} {nl}",
    "{nl} {a} {m} ∥ {nl} {a} number({m})",
    "{m} {a} {m} ∥ number({m}) {a} number({m})",
    "{n} {a} {n}",
    "-{m} ∥ -number({m})",
    "abs({m}) ∥ abs(number({m}))",
    "round({m}) ∥ round(number({m}))",
    "round({m}, 1) ∥ round(number({m}), 1)",
    "trunc({n})",
    "({m})::numeric ∥ number({m})",
    "({m})::int ∥ number({m})::int",
    "({m})::bigint ∥ number({m})::bigint",
    "({m})::double precision ∥ number({m})::double precision",
    "({m})::text::numeric ∥ spelt({j})::numeric",
    "coalesce({m}, {nl}) ∥ coalesce(number({m}), {nl})",
    "nullif({m}, {nl}) ∥ nullif(number({m}), {nl})",
    "greatest({m}, {nl}) ∥ greatest(number({m}), {nl})",
    "case when {b} then {n} else {n} end",
    "length({m}) ∥ length(texts({m}))",
    "length({t})",
    "position('b' in {m}) ∥ position('b' in texts({m}))",
    "jsonb_array_length({m}::jsonb) ∥ jsonb_array_length(member({m}))",
    "({m} ->> 'k')::numeric ∥ (member({m}) ->> 'k')::numeric",
    "extract(year from ({m})::timestamptz) ∥ extract(year from texts({m})::timestamptz)",
];

const TEXTS: &[&str] = &[
    "{tl} || {tl}",
    "{m} || {tl} ∥ texts({m}) || {tl}",
    "{m} || {m} ∥ texts({m}) || texts({m})",
    "{t} || {t}",
    "({m})::text ∥ spelt({j})",
    "coalesce({m}, {tl}) ∥ coalesce(texts({m}), {tl})",
    "nullif({m}, {tl}) ∥ nullif(texts({m}), {tl})",
    "case when {b} then {t} else {t} end",
    "left({m}, 2) ∥ left(texts({m}), 2)",
    "substring({m} from 2) ∥ substring(texts({m}) from 2)",
    "replace({m}, 'a', 'b') ∥ replace(texts({m}), 'a', 'b')",
    "split_part({m}, ',', 1) ∥ split_part(texts({m}), ',', 1)",
    "trim({m}) ∥ trim(texts({m}))",
    "{m} ->> 'k' ∥ member({m}) ->> 'k'",
    "{m} #>> '{k,0}' ∥ member({m}) #>> '{k,0}'",
];

const LITERALS: &[&str] = &["0", "1", "3", "2.50", "-1", "0.1", "1e2", "100"];
const WORDS: &[&str] = &["'a'", "'ab'", "''", "'1'", "'a,b'", "'日'"];

/// A filter and what the server is asked.
struct Pair {
    ours: String,
    server: String,
}

fn pair(random: &mut Random, forms: &[&str], depth: usize) -> Pair {
    let form = random.of(forms);
    let (ours, server) = form.split_once(" ∥ ").unwrap_or((form, form));
    // A member that nearly always is of the kind that the form takes.
    let likely: &[&str] = match server {
        form if form.contains("number(") => &["n", "n2", "Order No", "n"],
        form if form.contains("texts(") => &["t", "t2"],
        form if form.contains("bools(") => &["f"],
        form if form.contains("has(") => &["a"],
        _ => MEMBERS,
    };
    // Both sides have the same slots, in the same order.
    let mut filled = Vec::new();
    let mut next = 0;
    let ours = fill(ours, |slot| {
        filled.push((slot.to_owned(), part(random, slot, likely, depth)));
        filled.last().unwrap().1.ours.clone()
    });
    let server = fill(server, |slot| {
        let (known, part) = &filled[next];
        next += 1;
        match (known.as_str(), slot) {
            ("m", "j") => part.server.replacen('b', "j", 1),
            _ => part.server.clone(),
        }
    });
    Pair { ours, server }
}

/// The form with its slots, which have a short name each, filled.
fn fill(form: &str, mut part: impl FnMut(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = form;
    while let Some((before, behind)) = rest.split_once('{') {
        let slot = behind.split_once('}').map(|(slot, _)| slot);
        text += before;
        match slot.filter(|slot| SLOTS.contains(slot)) {
            Some(slot) => {
                text += &part(slot);
                rest = &behind[slot.len() + 1..];
            }
            None => {
                text.push('{');
                rest = behind;
            }
        }
    }
    text + rest
}

const SLOTS: [&str; 9] = ["b", "n", "t", "m", "j", "nl", "tl", "a", "c"];

fn part(random: &mut Random, slot: &str, likely: &[&str], depth: usize) -> Pair {
    let both = |text: &str| Pair {
        ours: text.to_owned(),
        server: text.to_owned(),
    };
    let forms = match slot {
        "nl" => return both(random.of(LITERALS)),
        "tl" => return both(random.of(WORDS)),
        "a" => return both(random.of(&["+", "-", "*", "/", "%"])),
        "c" => return both(random.of(&["=", "<", ">=", "<>"])),
        "m" => {
            let any = random.chance(10);
            let name = random.of(if any { MEMBERS } else { likely });
            let nested = random.chance(10);
            let (outer, path) = if nested { (".o", "o,") } else { ("", "") };
            let written = match name.contains(' ') || random.chance(20) {
                true => format!("\"{name}\""),
                false => name.to_owned(),
            };
            return Pair {
                ours: format!("data{outer}.{written}"),
                server: format!("(b #> '{{data,{path}\"{name}\"}}')"),
            };
        }
        "b" if depth == 0 => &CONDITIONS[5..20],
        "n" if depth == 0 => &NUMBERS[..4],
        "t" if depth == 0 => &TEXTS[..3],
        "b" => CONDITIONS,
        "n" => NUMBERS,
        _ => TEXTS,
    };
    let Pair { ours, server } = pair(random, forms, depth.saturating_sub(1));
    Pair {
        ours: format!("({ours})"),
        server: format!("({server})"),
    }
}

/// As a filter's own scope has it.
fn checked(source: &str, is_condition: bool, letters: &Letters) -> Result<Checked, SyntaxError> {
    let scope = Scope {
        table: "",
        columns: &[],
        members: Some(Members {
            names: &["type", "data", "previous"],
            data: None,
        }),
        encoding: Encoding::Utf8,
        letters,
    };
    let expr = parse(source)?;
    match is_condition {
        true => check_condition(source, &expr, &scope),
        false => check(source, &expr, &scope),
    }
}

const NO_DATE: &str = "a text is no date, time or interval in a form that is read";

/// Compares so many cases, a filter on a body each.
pub(super) async fn agree(seed: u64, cases: usize) {
    const BODIES: usize = 40;
    let options = "template template0 encoding 'UTF8' locale 'C'";
    let database = TestDatabase::create_with(harness::server(), options).await;
    let client = &database.client;
    client.batch_execute(super::table::SETTINGS).await.unwrap();
    client.batch_execute(FUNCTIONS).await.unwrap();
    let mut random = Random::new(seed).with("filters");
    let bodies: Vec<String> = (0..BODIES).map(|_| body(&mut random)).collect();
    for (id, body) in bodies.iter().enumerate() {
        let insert = format!("insert into bodies values ({id}, $b${body}$b$, $b${body}$b$)");
        client.batch_execute(&insert).await.unwrap();
    }
    let letters = Letters::unicode();
    let (mut compared, mut failing, mut narrowed, mut refused) = (0, 0, 0, 0);
    let mut faults = Vec::new();
    let mut reasons = std::collections::BTreeMap::new();
    while compared < cases {
        let kind = random.below(4);
        let forms = [NUMBERS, TEXTS, CONDITIONS, CONDITIONS][kind];
        let depth = random.below(3);
        let Pair { ours, server } = pair(&mut random, forms, depth);
        let checked = match checked(&ours, kind > 1, &letters) {
            Ok(checked) => checked,
            Err(error) => {
                refused += 1;
                *reasons.entry(super::shape(&error.message)).or_insert(0) += 1;
                continue;
            }
        };
        let query = format!("select id, ({server}) from bodies");
        let all = answers(client, &query, "id", bodies.len()).await;
        for (body, server_says) in bodies.iter().zip(all) {
            let row = Body::parse(body.as_bytes()).unwrap();
            let evaluation = Evaluation::new(&row, &letters);
            let value = evaluation.value(&checked.node);
            let we_say: Answer = match value {
                Ok(value) => Ok(value.map(|value| shown(&value, &checked.r#type))),
                Err(failure) => Err(failure.to_string()),
            };
            compared += 1;
            match (&we_say, &server_says) {
                (Ok(a), Ok(b)) if a == b => {}
                (Err(_), Err(error)) if !error.starts_with("42") => failing += 1,
                // A time is not dropped in silence.
                (Err(reason), Ok(_)) if reason.starts_with(NO_DATE) && server.contains("date") => {
                    narrowed += 1;
                }
                _ => {
                    faults.push(format!(
                        "{ours}\n  {server}\n  ours: {we_say:?}, server: {server_says:?}\n  {body}"
                    ));
                    break;
                }
            }
        }
        // What is true here is what is sent.
        if kind > 1 && ours.len() < 1024 {
            assert!(Filter::compile(&ours).is_ok(), "{ours}");
        }
    }
    println!(
        "filters, seed {seed}: {compared} cases, {failing} fail in both, {narrowed} narrowed, {refused} refused"
    );
    for (reason, count) in reasons {
        println!("  refused {count}: {reason}");
    }
    let count = faults.len();
    faults.truncate(20);
    assert!(
        faults.is_empty(),
        "seed {seed}: {count} filters disagree\n{}",
        faults.join("\n")
    );
    assert!(refused * 40 < compared, "too many are refused: {refused}");
}
