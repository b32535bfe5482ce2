use super::*;

fn equal(a: &str, b: &str) -> Result<bool, ArrayError> {
    Ok(a == b)
}

#[test]
fn literal_becomes_the_servers_text() {
    for (literal, expected) in [
        ("{}", "{}"),
        (" { } ", "{}"),
        ("{vip, gold}", "{vip,gold}"),
        (
            "{ a b ,\"c d\", null, \"null\", NULL }",
            "{\"a b\",\"c d\",NULL,\"null\",NULL}",
        ),
        (
            r#"{a\,b,"\"\\",\ x\ , \null}"#,
            r#"{"a,b","\"\\"," x ","null"}"#,
        ),
        ("{{1,2},{3,4}}", "{{1,2},{3,4}}"),
        ("{{{1},{2}},{{3},{4}}}", "{{{1},{2}},{{3},{4}}}"),
        ("[0:2]={1,2,3}", "[0:2]={1,2,3}"),
        ("[2]={1,2}", "{1,2}"),
        (" [1:1] [-2:-1] = {{1,2}}", "[1:1][-2:-1]={{1,2}}"),
        ("{\"\"}", "{\"\"}"),
        ("{é\\é}", "{éé}"),
    ] {
        assert_eq!(parse(literal).unwrap().to_text(), expected, "{literal}");
    }
}

#[test]
fn malformed_literal_is_refused() {
    for literal in [
        "",
        "a",
        "{",
        "}",
        "{a",
        "{a,}",
        "{,a}",
        "{a,,b}",
        "{a}b",
        "{a}{b}",
        "{\"a\"b}",
        "{a\"b\"}",
        "{\"a}",
        "{a\\",
        "{{1},2}",
        "{1,{2}}",
        "{{1,2},{3}}",
        "{{1},{}}",
        "{{}}",
        "{a{b}}",
        "{{a}",
        "[1:2]={1}",
        "[2:1]={}",
        "[1:1]={}",
        "[a]={1}",
        "[1:1]{1}",
        "[1:1]={{1}}",
        "[99999999999:1]={1}",
        "{{{{{{{1}}}}}}}",
        "[2147483647:2147483647]={1}",
        "[-:1]={1}",
        "[1:]={1}",
        "[]={1}",
        "[1",
    ] {
        assert!(parse(literal).is_err(), "{literal}");
    }
    assert_eq!(
        parse("{a,}").unwrap_err().to_string(),
        "malformed array at byte 3: expected an element, met '}'"
    );
}

#[test]
fn elements_come_in_row_major_order() {
    let read: Result<Vec<_>, _> = elements("[0:1][1:2]={{1,NULL},{\"x\\\"\",\"\"}}").collect();
    let read = read.unwrap();
    assert_eq!(
        read,
        [Some("1".into()), None, Some("x\"".into()), Some("".into())]
    );
    assert!(matches!(read[0], Some(Cow::Borrowed(_))));
    let broken: Vec<_> = elements("{1,").collect();
    assert!(matches!(broken[..], [Ok(Some(_)), Err(_)]));
    assert!(matches!(elements("[").collect::<Vec<_>>()[..], [Err(_)]));
}

#[test]
fn equality_compares_dimensions_bounds_and_nulls() {
    for (a, b, expected) in [
        ("{1,NULL}", "{1,NULL}", true),
        ("{1,NULL}", "{1,1}", false),
        ("{1,2}", "[0:1]={1,2}", false),
        ("[1:2]={1,2}", "{1,2}", true),
        ("{1,2}", "{{1,2}}", false),
        ("{1}", "{1,2}", false),
        ("{}", "{}", true),
        ("{\"1\"}", "{1}", true),
    ] {
        assert_eq!(equals(a, b, equal), Ok(expected), "{a} {b}");
    }
}

#[test]
fn containment_and_overlap_ignore_nulls() {
    let contains = |a, b| contains(elements(a), elements(b), equal).unwrap();
    assert!(contains("{1,NULL,2}", "{{2},{1}}"));
    assert!(contains("{}", "{}"));
    assert!(!contains("{1,NULL}", "{NULL}"));
    assert!(!contains("{1}", "{1,2}"));
    let overlaps = |a, b| overlaps(elements(a), elements(b), equal).unwrap();
    assert!(overlaps("{1,NULL,2}", "{3,2}"));
    assert!(!overlaps("{NULL}", "{NULL}"));
    let literal = parse("{b}").unwrap();
    assert_eq!(
        super::contains(elements("{a,b}"), literal.elements(), equal),
        Ok(true)
    );
}

#[test]
fn any_follows_three_valued_logic() {
    let any = |value, array| any_equal(value, elements(array), equal).unwrap();
    assert_eq!(any(Some("1"), "{2,NULL,1}"), Some(true));
    assert_eq!(any(Some("1"), "{2,NULL}"), None);
    assert_eq!(any(Some("1"), "{2}"), Some(false));
    assert_eq!(any(None, "{2}"), None);
    assert_eq!(any(None, "{}"), Some(false));
}

#[test]
fn cardinality_counts_all_dimensions() {
    assert_eq!(cardinality("{}"), Ok(0));
    assert_eq!(cardinality("{{1,2},{3,NULL}}"), Ok(4));
}

/// Cuts and changes texts at every place: nothing panics.
#[test]
fn malformed_text_never_panics() {
    let text = r#"[-1:0][1:2]={{"a\"é",NULL},{é\é , b}}"#;
    for place in 0..=text.len() {
        for insert in ["", "\\", "\"", "{", "}", ",", "é", "[", ":", "-"] {
            for keep in [place, place + 1, text.len()] {
                let head = text.get(..place).unwrap_or_default();
                let tail = text.get(keep..).unwrap_or_default();
                let text = format!("{head}{insert}{tail}");
                if let Ok(array) = parse(&text) {
                    assert_eq!(parse(&array.to_text()), Ok(array.clone()));
                }
                let _ = cardinality(&text);
                let _ = equals(&text, head, equal);
                let _ = contains(elements(&text), elements(head), equal);
                let _ = any_equal(Some("b"), elements(&text), equal);
            }
        }
    }
}
