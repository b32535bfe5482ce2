//! Tables of text in, JSON out.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

fn json(type_oid: u32, text: &[u8]) -> Result<String, ValueError> {
    let mut out = b"before".to_vec();
    let written = write_json(&mut out, type_oid, text);
    let json = out.strip_prefix(b"before").unwrap().to_vec();
    if written.is_err() {
        assert!(json.is_empty(), "an error leaves nothing behind");
    }
    written.map(|()| String::from_utf8(json).unwrap())
}

#[track_caller]
fn check(type_name: &str, cases: &[(&str, &str)]) {
    // A type that JSON has no form for stands in the WAL under any other oid.
    let type_oid = built_in_oid(type_name).unwrap_or(99_999);
    for (text, expected) in cases {
        assert_eq!(
            json(type_oid, text.as_bytes()).as_deref(),
            Ok(*expected),
            "{type_name} {text}"
        );
    }
}

#[test]
fn numbers_keep_every_digit() {
    check("int2", &[("-32768", "-32768"), ("0", "0")]);
    check("int4", &[("2147483647", "2147483647")]);
    check("int8", &[("-9223372036854775808", "-9223372036854775808")]);
    check("oid", &[("4294967295", "4294967295")]);
    check(
        "numeric",
        &[
            ("0.00", "0.00"),
            ("-0.10", "-0.10"),
            (
                "12345678901234567890.1234567890",
                "12345678901234567890.1234567890",
            ),
            ("NaN", "\"NaN\""),
            ("Infinity", "\"Infinity\""),
            ("-Infinity", "\"-Infinity\""),
        ],
    );
    for type_name in ["float4", "float8"] {
        check(
            type_name,
            &[
                ("1e+20", "1e+20"),
                ("-1.5e-07", "-1.5e-07"),
                ("-0", "-0"),
                ("0.1", "0.1"),
                ("NaN", "\"NaN\""),
                ("-Infinity", "\"-Infinity\""),
            ],
        );
    }
    let longest = format!("-{}.{}", "9".repeat(131_072), "9".repeat(16_383));
    assert_eq!(json(types::NUMERIC, longest.as_bytes()), Ok(longest));
}

#[test]
fn what_is_no_json_number_becomes_a_string() {
    for text in [
        "", "-", "+1", "01", "-01", ".5", "1.", "1e", "1e+", "1_000", " 1", "1 ", "0x10", "1.5.1",
    ] {
        assert_eq!(
            json(types::NUMERIC, text.as_bytes()),
            Ok(format!("\"{text}\"")),
            "{text}"
        );
    }
}

#[test]
fn booleans_and_text() {
    check(
        "bool",
        &[("t", "true"), ("f", "false"), ("maybe", "\"maybe\"")],
    );
    check(
        "text",
        &[
            ("", r#""""#),
            ("t", r#""t""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            (
                "\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}",
                "\"\\u0008\\t\\n\\u000c\\r\\u0001\\u001f\u{7f}\"",
            ),
            ("Straße 日本 👍\u{2028}", "\"Straße 日本 👍\u{2028}\""),
        ],
    );
    check(
        "uuid",
        &[(
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        )],
    );
    check("money", &[("-$1.50", "\"-$1.50\"")]);
    check(
        "an enum",
        &[("it's \"ok\"", r#""it's \"ok\"""#), ("{1,2}", "\"{1,2}\"")],
    );
}

#[test]
fn times_in_range_follow_rfc_3339_and_others_stay_as_they_are() {
    check(
        "timestamptz",
        &[
            (
                "2026-11-23 12:00:00.123456+00",
                "\"2026-11-23T12:00:00.123456Z\"",
            ),
            ("2026-11-23 12:00:00+00", "\"2026-11-23T12:00:00Z\""),
            ("0001-01-01 00:00:00+00", "\"0001-01-01T00:00:00Z\""),
            (
                "9999-12-31 23:59:59.999999+00",
                "\"9999-12-31T23:59:59.999999Z\"",
            ),
            ("10000-01-01 00:00:00+00", "\"10000-01-01 00:00:00+00\""),
            ("4713-01-01 00:00:00+00 BC", "\"4713-01-01 00:00:00+00 BC\""),
            ("infinity", "\"infinity\""),
            ("-infinity", "\"-infinity\""),
            ("2026-11-23 12:00:00+02", "\"2026-11-23 12:00:00+02\""),
            ("2026-11-23 12:00:00.+00", "\"2026-11-23 12:00:00.+00\""),
            ("", "\"\""),
            ("ä026-11-23 12:00:0+00", "\"ä026-11-23 12:00:0+00\""),
        ],
    );
    check(
        "timestamp",
        &[
            (
                "2026-11-23 12:00:00.123456",
                "\"2026-11-23T12:00:00.123456\"",
            ),
            ("2026-11-23 12:00:00", "\"2026-11-23T12:00:00\""),
            (
                "294276-12-31 23:59:59.999999",
                "\"294276-12-31 23:59:59.999999\"",
            ),
            ("2026-11-23 12:00:00 BC", "\"2026-11-23 12:00:00 BC\""),
        ],
    );
    check(
        "date",
        &[
            ("2026-11-23", "\"2026-11-23\""),
            ("4713-01-01 BC", "\"4713-01-01 BC\""),
        ],
    );
    check("time", &[("24:00:00", "\"24:00:00\"")]);
    check("timetz", &[("12:00:00+05:30", "\"12:00:00+05:30\"")]);
    check(
        "interval",
        &[("1 day 02:03:04.000005", "\"1 day 02:03:04.000005\"")],
    );
}

#[test]
fn json_is_embedded_as_it_is_unless_parsers_would_refuse_it() {
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    for type_name in ["json", "jsonb"] {
        check(
            type_name,
            &[
                (
                    r#" {"b" : 1.50, "a": "\u0000"} "#,
                    r#" {"b" : 1.50, "a": "\u0000"} "#,
                ),
                ("null", "null"),
                ("1e400", "1e400"),
                (r#""\ud83d\udc4d""#, r#""\ud83d\udc4d""#),
                (r#""\\ud800""#, r#""\\ud800""#),
                (&nested, &nested),
                // Lone and swapped surrogates.
                (r#""\ud800""#, r#""\"\\ud800\"""#),
                (r#""\ud800x\udc00""#, r#""\"\\ud800x\\udc00\"""#),
                (r#""\udc00\ud800""#, r#""\"\\udc00\\ud800\"""#),
                (r#"["\ud800\n"]"#, r#""[\"\\ud800\\n\"]""#),
                // The server lets none of these in.
                ("", r#""""#),
                ("{", r#""{""#),
                ("NaN", r#""NaN""#),
                ("1 2", r#""1 2""#),
            ],
        );
    }
}

#[test]
fn bytea_becomes_base64() {
    check(
        "bytea",
        &[
            (r"\x", "\"\""),
            (r"\x00ff10", "\"AP8Q\""),
            (r"\xfbEFff", "\"++//\""),
        ],
    );
    for text in ["", "x00", r"\x0", r"\x0g", r"\000\377", r"\x+1", "\\x0ä"] {
        assert_eq!(
            json(types::BYTEA, text.as_bytes()),
            Err(ValueError::NotHexBytea),
            "{text}"
        );
    }
}

#[test]
fn arrays_of_known_types_become_arrays() {
    check(
        "_int4",
        &[
            ("{}", "[]"),
            ("{1,NULL,-3}", "[1,null,-3]"),
            ("[2:3]={5,6}", "[5,6]"),
            ("[0:1][-1:-1]={{5},{6}}", "[[5],[6]]"),
            ("{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
        ],
    );
    check(
        "_text",
        &[
            (
                r#"{plain,"a b","a\"b","c\\d","{x,y}","NULL",NULL,"",ä}"#,
                r#"["plain","a b","a\"b","c\\d","{x,y}","NULL",null,"","ä"]"#,
            ),
            (r#"{{a,"}"},{NULL,b}}"#, r#"[["a","}"],[null,"b"]]"#),
        ],
    );
    check("_bool", &[("{t,f}", "[true,false]")]);
    check("_numeric", &[("{1.10,NaN}", "[1.10,\"NaN\"]")]);
    check(
        "_jsonb",
        &[(
            r#"{"{\"k\": [1, \"v\\\"w\"]}",null}"#,
            r#"[{"k": [1, "v\"w"]},null]"#,
        )],
    );
    check("_bytea", &[(r#"{"\\x01ff"}"#, r#"["Af8="]"#)]);
    check(
        "_timestamptz",
        &[(
            r#"{"2026-11-23 12:00:00+00",infinity}"#,
            r#"["2026-11-23T12:00:00Z","infinity"]"#,
        )],
    );
    check(
        "_uuid",
        &[(
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "[\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"]",
        )],
    );
    check(
        "_int4range",
        &[(r#"{"[1,5)",empty}"#, r#"["[1,5)","empty"]"#)],
    );
}

#[test]
fn what_is_no_array_literal_becomes_a_string() {
    for text in [
        "",
        "1",
        "{",
        "}",
        "{1",
        "{1,",
        "{1,}",
        "{,1}",
        "{1}{2}",
        "{1}x",
        "{{1}",
        "{1}}",
        "{{1}{2}}",
        "[1:2]",
        "[1:2]x={1}",
        "={1}",
        "{{{{{{{1}}}}}}}",
        "{1{2}}",
        "{1\u{e9}{}",
    ] {
        assert_eq!(
            json(1007, text.as_bytes()),
            Ok(format!("\"{text}\"")),
            "{text}"
        );
    }
    for text in [
        r#"{""#,
        r#"{"a"#,
        r#"{"a\"#,
        r#"{"a\""#,
        r#"{"a"b}"#,
        r#"{a"b"}"#,
        r"{a\}",
    ] {
        let string = json(1009, text.as_bytes()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&string).unwrap(), text);
    }
}

#[test]
fn text_that_is_not_utf8_is_an_error_that_does_not_show_it() {
    for type_oid in [
        25,
        types::NUMERIC,
        types::BOOL,
        types::TIMESTAMP,
        types::JSON,
        1009,
        99_999,
    ] {
        assert_eq!(
            json(type_oid, b"\"ab\xff\""),
            Err(ValueError::NotUtf8 { valid_up_to: 3 }),
            "{type_oid}"
        );
    }
    assert!(matches!(
        json(1009, b"{ok,\"\xff\"}"),
        Err(ValueError::NotUtf8 { .. })
    ));
}

#[test]
fn names_of_built_in_types_lead_to_their_oids() {
    for (name, oid) in [("numeric", 1700), ("_numeric", 1231), ("_jsonb", 3807)] {
        assert_eq!(built_in_oid(name), Some(oid));
    }
    for name in ["", "_", "box", "_box", "int2vector", "mood"] {
        assert_eq!(built_in_oid(name), None, "{name}");
    }
}

/// Quoted as the server does it.
fn literal(elements: &[Option<String>]) -> String {
    let quoted: Vec<String> = elements
        .iter()
        .map(|element| match element {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"")),
        })
        .collect();
    format!("{{{}}}", quoted.join(","))
}

proptest! {
    #[test]
    fn strings_read_back_as_they_were(text: String) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn arrays_read_back_as_they_were(elements: Vec<Option<String>>) {
        let json = json(1009, literal(&elements).as_bytes()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&json).unwrap(), elements);
    }

    #[test]
    fn bytes_read_back_as_they_were(bytes: Vec<u8>) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let json = json(types::BYTEA, format!("\\x{hex}").as_bytes()).unwrap();
        prop_assert_eq!(BASE64.decode(json.trim_matches('"')).unwrap(), bytes);
    }

    #[test]
    fn whatever_is_written_is_json(
        type_oid in prop::sample::select(vec![16u32, 17, 20, 25, 114, 701, 1114, 1184, 1700, 3802, 199, 1001, 1009, 1185, 1231]),
        // Of what number, array and escape are made of, and of anything.
        text in prop_oneof![
            vec(prop::sample::select(br#"{}[]",\-+.:=eu0d8 tNUL"#.as_slice()), 0..24),
            vec(any::<u8>(), 0..24),
        ],
    ) {
        if let Ok(json) = json(type_oid, &text) {
            prop_assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "{}", json);
        }
    }
}
