use std::cmp::Ordering;

use super::*;

fn json(text: &str) -> Slice<'_> {
    Slice {
        text,
        kind: Kind::Json,
    }
}

fn jsonb(text: &str) -> Slice<'_> {
    Slice {
        text,
        kind: Kind::Jsonb,
    }
}

fn text_of(part: Result<Option<Slice<'_>>, JsonError>) -> Option<String> {
    part.unwrap().map(|part| part.text.to_owned())
}

#[test]
fn member_of_jsonb_is_found() {
    let value = jsonb(r#"{"": 0, "a": {"b": [1, "x"]}, "é": "\"\n", "bb": null}"#);
    let get = |key| text_of(value.get(Step::Key(key)));
    assert_eq!(get("").as_deref(), Some("0"));
    assert_eq!(get("a").as_deref(), Some(r#"{"b": [1, "x"]}"#));
    assert_eq!(get("b"), None);
    assert_eq!(get("bb").as_deref(), Some("null"));
    let as_text = |key| value.get(Step::Key(key)).unwrap().unwrap().as_text();
    assert_eq!(as_text("é").unwrap().unwrap(), "\"\n");
    assert_eq!(as_text("bb").unwrap(), None);
    assert_eq!(text_of(jsonb("[1]").get(Step::Key("a"))), None);
}

#[test]
fn member_of_json_is_the_last_as_written() {
    let value = json(r#" { "a" : 1 , "\u0061" : { "b":1e3,"b" : [ ] } } "#);
    let member = value.get(Step::Key("a")).unwrap().unwrap();
    assert_eq!(member.text, r#"{ "b":1e3,"b" : [ ] }"#);
    assert_eq!(text_of(member.get(Step::Key("b"))).unwrap(), "[ ]");
}

#[test]
fn json_with_an_impossible_escape_fails_anywhere() {
    for escape in [
        r"\u0000",
        r"\ud83d",
        r"\ude00",
        r"\ud83d\n",
        r"\ud83d\ud83d",
    ] {
        let text = format!(r#"{{"a": 1, "b": "{escape}"}}"#);
        assert!(json(&text).get(Step::Key("a")).is_err(), "{escape}");
        assert!(to_jsonb_text(&text).is_err(), "{escape}");
    }
    assert!(check_escapes(r#""\u20ac""#, |char| char <= 'ÿ').is_err());
    assert!(check_escapes(r#""\u00e4""#, |char| char <= 'ÿ').is_ok());
}

#[test]
fn element_is_found_from_either_end() {
    for (index, expected) in [
        (0, Some("1")),
        (2, Some("3")),
        (3, None),
        (-1, Some("3")),
        (-3, Some("1")),
        (-4, None),
        (i32::MIN, None),
    ] {
        for value in [json("[1, 2, 3]"), jsonb("[1, 2, 3]")] {
            let element = text_of(value.get(Step::Index(index)));
            assert_eq!(element.as_deref(), expected);
        }
    }
    assert_eq!(text_of(json("1").get(Step::Index(0))), None);
    assert_eq!(text_of(jsonb("1").get(Step::Index(0))).unwrap(), "1");
}

#[test]
fn path_steps_into_objects_and_arrays() {
    let text = r#"{"a": [{"b": 1}, {"b": "x"}]}"#;
    for value in [json(text), jsonb(text)] {
        let path = |steps: &[Option<&str>]| text_of(value.path(steps));
        let found = path(&[Some("a"), Some(" -1"), Some("b")]);
        assert_eq!(found.as_deref(), Some("\"x\""));
        assert_eq!(path(&[Some("a"), Some("1 ")]), None);
        assert_eq!(path(&[Some("a"), None]), None);
        assert_eq!(path(&[]).as_deref(), Some(text));
    }
    assert_eq!(text_of(jsonb("1").path(&[Some("0")])), None);
    // The server counts -1 at the first array of the level.
    let beside = json(r#"{"x": [1, 2, 3], "a": [1, 2]}"#);
    assert_eq!(text_of(beside.path(&[Some("a"), Some("-1")])), None);
}

#[test]
fn literal_becomes_normal_form() {
    for (literal, expected) in [
        (r#"{"b":1,"a":2}"#, r#"{"a": 2, "b": 1}"#),
        (r#"{"bb":1,"c":2,"bb":3}"#, r#"{"c": 2, "bb": 3}"#),
        ("[ ]", "[]"),
        ("1e3", "1000"),
        ("1.50", "1.50"),
        ("1.50e1", "15.0"),
        ("-0.0e0", "0.0"),
        ("1E-2", "0.01"),
        ("-12.5e-1", "-1.25"),
        (r#""\u00e4\/\u001f\ud83d\ude00""#, r#""ä/\u001f😀""#),
    ] {
        assert_eq!(to_jsonb_text(literal).as_deref(), Ok(expected));
    }
    assert_eq!(to_jsonb_text("1e131071").unwrap().len(), 131_072);
    for literal in [
        "1e131072",
        "1e-16384",
        "0e-16384",
        "1e-9223372036854775808",
        "[01]",
        "1.",
        "\"\t\"",
        "",
    ] {
        assert!(to_jsonb_text(literal).is_err(), "{literal}");
    }
}

#[test]
fn syntax_error_names_the_place() {
    assert_eq!(
        Json::parse("{\"a\" 1}").unwrap_err().to_string(),
        "invalid JSON at byte 5: expected `:`, met '1'"
    );
    assert_eq!(
        Json::parse("[1").unwrap_err().to_string(),
        "invalid JSON at byte 2: expected `,` or `]`, met the end"
    );
}

#[test]
fn containment_follows_the_server() {
    for (container, contained, expected) in [
        (
            r#"{"a": 1, "b": [1, {"c": 2}]}"#,
            r#"{"b":[{}],"a":1.0}"#,
            true,
        ),
        (r#"{"a": 1}"#, r#"{"a":1,"b":1}"#, false),
        ("[1, 2, [1, 3]]", "[3]", false),
        ("[1, 2, [1, 3]]", "[[3],1,1]", true),
        (r#"["a", "b"]"#, r#""a""#, true),
        (r#""a""#, r#"["a"]"#, false),
        ("1", "[]", false),
        (r#"{"a": ["x"]}"#, r#"{"a":"x"}"#, false),
        ("[]", "{}", false),
    ] {
        let contained = Json::parse_jsonb(contained).unwrap();
        assert_eq!(contains(container, &contained), Ok(expected), "{container}");
    }
}

#[test]
fn equality_is_by_value() {
    assert_eq!(equals(r#"{"a": [1.0]}"#, r#"{"a": [1.00]}"#), Ok(true));
    assert_eq!(equals("[1, 2]", "[1]"), Ok(false));
    assert_eq!(equals("[]", "{}"), Ok(false));
    assert_eq!(equals("1", "[1]"), Ok(false));
}

/// A LATIN1 database counts one byte for an é: its order is not that of our literals.
#[test]
fn order_of_keys_in_another_encoding_does_not_matter() {
    let column = r#"{"éé": 1, "abc": 2.0}"#;
    let literal = to_jsonb_text(column).unwrap();
    assert_eq!(literal, r#"{"abc": 2.0, "éé": 1}"#);
    assert_eq!(equals(column, &literal), Ok(true));
    assert_eq!(equals(column, r#"{"abc": 3, "éé": 1}"#), Ok(false));
    let contained = Json::parse_jsonb(&literal).unwrap();
    assert_eq!(contains(column, &contained), Ok(true));
    let member = text_of(jsonb(column).get(Step::Key("abc")));
    assert_eq!(member.as_deref(), Some("2.0"));
}

#[test]
fn numbers_compare_by_value() {
    let ascending = [
        "-1e99999999999999999999",
        "-2E2",
        "-100.5",
        "-1e-9",
        "0",
        "1e-99999999999999999999",
        "9e-2",
        "0.1",
        "99",
        "100.00000000000000000000001",
        "1.1e2",
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(compare_numbers(a, b), i.cmp(&j), "{a} {b}");
        }
    }
    for (a, b) in [
        ("-0", "0.00"),
        ("1e2", "100"),
        ("0.010", "1E-2"),
        ("0e9", "0"),
    ] {
        assert_eq!(compare_numbers(a, b), Ordering::Equal);
    }
}

#[test]
fn length_exists_and_type_follow_the_server() {
    assert_eq!(jsonb("[1, [2, 3]]").array_length(), Ok(2));
    let error = |text| jsonb(text).array_length().unwrap_err().to_string();
    assert_eq!(error("1"), "cannot get array length of a scalar");
    assert_eq!(error("{}"), "cannot get array length of a non-array");
    for text in [r#"{"a": 1}"#, r#"[1, "a"]"#, r#""a""#] {
        assert_eq!(jsonb(text).exists("a"), Ok(true));
        assert_eq!(jsonb(text).exists("1"), Ok(false));
    }
    assert_eq!(jsonb("-1").type_name(), Ok("number"));
}

#[test]
fn deep_text_fits_half_a_threads_stack() {
    let thread = std::thread::Builder::new().stack_size(1024 * 1024);
    let run = thread.spawn(|| {
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let text = deep(MAX_DEPTH);
        let value = Json::parse_jsonb(&text).unwrap();
        assert_eq!(contains(&text, &value), Ok(true));
        assert_eq!(to_jsonb_text(&text).as_deref(), Ok(text.as_str()));
        let path = vec![Some("0"); MAX_DEPTH];
        assert_eq!(text_of(json(&text).path(&path)), None);
        let text = deep(1_000_000);
        assert!(Json::parse(&text).is_err());
        assert!(jsonb(&text).get(Step::Index(0)).unwrap().is_some());
        let text = deep(5_000);
        let path = vec![Some("-1"); 5_000];
        assert!(json(&text).path(&path).is_err());
    });
    run.unwrap().join().unwrap();
}

/// Cuts and changes texts at every place: nothing panics.
#[test]
fn malformed_text_never_panics() {
    let text = r#" {"a\u0041\ud83d\ude00é": [1.5e-3, true, null, "\\x"], "b": {"": -0}} "#;
    for place in 0..=text.len() {
        for insert in ["", "\\", "\"", "{", "]", ",", "é", "1", "\\u", "e"] {
            for keep in [place, place + 1, text.len()] {
                let head = text.get(..place).unwrap_or_default();
                let tail = text.get(keep..).unwrap_or_default();
                let text = format!("{head}{insert}{tail}");
                let _ = to_jsonb_text(&text);
                let _ = check_escapes(&text, |_| true);
                let _ = equals(&text, head);
                let other = Json::parse(r#"{"b": {"": 0}}"#).unwrap();
                let _ = contains(&text, &other);
                compare_numbers(&text, head);
                for value in [json(&text), jsonb(&text)] {
                    for step in [Step::Key("b"), Step::Index(-1)] {
                        if let Ok(Some(part)) = value.get(step) {
                            let _ = part.as_text();
                        }
                    }
                    let _ = value.path(&[Some("b"), Some("-1"), Some("")]);
                    let _ = value.exists("b");
                    let _ = value.array_length();
                    let _ = value.type_name();
                }
            }
        }
    }
}
