use std::cmp::Ordering;

use super::float::{write_f32, write_f64};
use super::{Decimal, NumberError, compare_texts, float, integer};

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap()
}

#[test]
fn decimal_text_is_read_and_written_as_the_server_does() {
    for (text, expected) in [
        ("120.50", "120.50"),
        ("-0.00", "0.00"),
        (" \t.5\n", "0.5"),
        ("5.", "5"),
        ("+1e3", "1000"),
        ("1.50e1", "15.0"),
        ("12e-3", "0.012"),
        ("0e5", "0"),
        ("0e-2", "0.00"),
        ("nAn", "NaN"),
        ("-inf", "-Infinity"),
        ("+Infinity", "Infinity"),
        (
            "-1234567890123456789012345678901234567890.10",
            "-1234567890123456789012345678901234567890.10",
        ),
    ] {
        assert_eq!(decimal(text).to_string(), expected, "{text}");
    }
    for text in [
        "", " ", ".", "-", "1e", "1e+", "e5", "1 2", "1.2.3", "0x1", "1_0", "-NaN", "infin", "--1",
        "1e 5", "٣",
    ] {
        assert_eq!(Decimal::parse(text), Err(NumberError::Invalid), "{text}");
    }
    for text in [
        "1e999999999",
        "1e99999999999999999999",
        "1e131072",
        "1e-16384",
        "0e-16384",
    ] {
        assert_eq!(
            Decimal::parse(text),
            Err(NumberError::NumericOverflow),
            "{text}"
        );
    }
    assert_eq!(decimal("1e131071").to_string().len(), 131_072);
    assert_eq!(decimal("1e-16383").to_string().len(), 16_385);
}

#[test]
fn decimals_and_their_texts_order_alike() {
    let ascending = [
        "-Infinity",
        "-1234567890123456789012345678901234567890123456789",
        "-10",
        "-2.5",
        "-2.05",
        "0",
        "0.000000000000000000000000000000000000000000001",
        "0.1",
        "0.10000000000000000001",
        "2",
        "10.00",
        "170141183460469231731687303715884105727",
        "170141183460469231731687303715884105728",
        "170141183460469231731687303715884105728.5",
        "Infinity",
        "NaN",
    ];
    for (index, left) in ascending.iter().enumerate() {
        for (other, right) in ascending.iter().enumerate() {
            let expected = index.cmp(&other);
            assert_eq!(
                decimal(left).cmp(&decimal(right)),
                expected,
                "{left} {right}"
            );
            assert_eq!(compare_texts(left, right), Some(expected), "{left} {right}");
        }
    }
    assert_eq!(decimal("-0.00"), decimal("0"));
    assert_eq!(compare_texts("-0.00", "0"), Some(Ordering::Equal));
    assert_eq!(compare_texts("1.50", "1.5"), Some(Ordering::Equal));
    for text in ["", "-", "1.", ".5", "1e3", "nan", "1 "] {
        assert_eq!(compare_texts(text, "1"), None, "{text}");
    }
}

#[test]
fn decimal_arithmetic_has_the_scale_of_the_server() {
    type Operation = fn(&Decimal, &Decimal) -> Result<Decimal, NumberError>;
    let (add, sub, mul, div, rem): (Operation, Operation, Operation, Operation, Operation) = (
        Decimal::add,
        Decimal::sub,
        Decimal::mul,
        Decimal::div,
        Decimal::rem,
    );
    for (left, operation, right, expected) in [
        ("1.10", add, "2", "3.10"),
        (
            "170141183460469231731687303715884105727",
            add,
            "1",
            "170141183460469231731687303715884105728",
        ),
        (
            "170141183460469231731687303715884105728",
            sub,
            "1",
            "170141183460469231731687303715884105727",
        ),
        ("0.05", sub, "1", "-0.95"),
        ("19.99", mul, "100", "1999.00"),
        ("1", div, "3", "0.33333333333333333333"),
        ("10", div, "2", "5.0000000000000000"),
        ("1", div, "10000", "0.000100000000000000000000"),
        ("20000", div, "1", "20000.000000000000"),
        ("0", div, "3", "0.00000000000000000000"),
        ("-7.5", rem, "2", "-1.5"),
        ("7", rem, "-2.00", "1.00"),
        ("inf", sub, "inf", "NaN"),
        ("0", mul, "inf", "NaN"),
        ("-1", mul, "inf", "-Infinity"),
        ("1.5", div, "inf", "0"),
        ("1.5", rem, "-inf", "1.5"),
        ("inf", rem, "2", "NaN"),
    ] {
        let result = operation(&decimal(left), &decimal(right)).unwrap();
        assert_eq!(result.to_string(), expected, "{left} {right}");
    }
    for left in ["1", "inf"] {
        for operation in [div, rem] {
            let result = operation(&decimal(left), &decimal("0.0"));
            assert_eq!(result, Err(NumberError::DivisionByZero));
        }
    }
    let largest = "9".repeat(131_072);
    assert_eq!(
        decimal(&largest).add(&decimal("1")),
        Err(NumberError::NumericOverflow)
    );
}

#[test]
fn decimal_is_rounded_half_away_from_zero() {
    for (text, places, rounded, truncated) in [
        ("2.345", 2, "2.35", "2.34"),
        ("-2.345", 2, "-2.35", "-2.34"),
        ("2.5", 4, "2.5000", "2.5000"),
        ("1250", -2, "1300", "1200"),
        ("5", -1, "10", "0"),
        ("4", -1, "0", "0"),
        ("-0.004", 2, "0.00", "0.00"),
    ] {
        assert_eq!(decimal(text).round(places).unwrap().to_string(), rounded);
        assert_eq!(decimal(text).trunc(places).unwrap().to_string(), truncated);
    }
    assert_eq!(decimal("5").round(-100_000).unwrap().to_string(), "0");
    assert_eq!(decimal("NaN").round(5000).unwrap().to_string(), "NaN");
    let long = decimal("5").round(i32::MAX).unwrap().to_string();
    assert_eq!(long.len(), 2 + 16_383);
    assert_eq!(
        decimal("9e131071").round(-131_072),
        Err(NumberError::NumericOverflow)
    );
    assert_eq!(
        decimal("9e131071").trunc(i32::MIN).unwrap().to_string(),
        "0"
    );
    for (text, floor, ceil) in [
        ("-1.5", "-2", "-1"),
        ("1.5", "1", "2"),
        ("-0.5", "-1", "0"),
        ("3.00", "3", "3"),
        ("0.0000000000000000000000000000000000000000000001", "0", "1"),
        (
            "-0.0000000000000000000000000000000000000000000001",
            "-1",
            "0",
        ),
    ] {
        assert_eq!(decimal(text).floor().unwrap().to_string(), floor);
        assert_eq!(decimal(text).ceil().unwrap().to_string(), ceil);
    }
}

#[test]
fn decimal_converts_as_the_server_casts() {
    assert_eq!(Decimal::from(0.1 + 0.2).to_string(), "0.3");
    assert_eq!(Decimal::from(1e20).to_string(), "100000000000000000000");
    assert_eq!(Decimal::from(-1e-7).to_string(), "-0.0000001");
    assert_eq!(Decimal::from(0.1f32).to_string(), "0.1");
    assert_eq!(Decimal::from(123_456_789f32).to_string(), "123457000");
    assert_eq!(decimal("0.1").to_f64(), Ok(0.1));
    assert_eq!(
        decimal("1e400").to_f64(),
        Err(NumberError::OutOfRange("double precision"))
    );
    assert_eq!(decimal("2.5").to_integer(), Ok(3i32));
    assert_eq!(decimal("-32768.4").to_integer(), Ok(i16::MIN));
    assert_eq!(
        decimal("-32768.5").to_integer::<i16>(),
        Err(NumberError::OutOfRange("smallint"))
    );
    let error = decimal("NaN").to_integer::<i64>().unwrap_err();
    assert_eq!(error.to_string(), "cannot convert NaN to bigint");
}

#[test]
fn float_text_is_read_as_the_server_does() {
    assert_eq!(float::parse_f64(" 1e3 "), Ok(1000.0));
    assert_eq!(float::parse_f64("-inF"), Ok(f64::NEG_INFINITY));
    assert!(float::parse_f64("nan(7)").unwrap().is_nan());
    assert_eq!(float::parse_f64("0e400"), Ok(0.0));
    for text in ["1e400", "-1e400", "1e-400"] {
        let error = Err(NumberError::OutOfRange("double precision"));
        assert_eq!(float::parse_f64(text), error, "{text}");
    }
    assert_eq!(
        float::parse_f32("1e39"),
        Err(NumberError::OutOfRange("real"))
    );
    for text in ["", "0x1p3", "1e", "1.5x", "1_0", "infinit", "nan(", "."] {
        assert_eq!(float::parse_f64(text), Err(NumberError::Invalid), "{text}");
    }
}

#[test]
fn float_is_written_as_the_server_does() {
    for (value, expected) in [
        (1e20, "1e+20"),
        (1e-7, "1e-07"),
        (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
        (123_456_789_012_345.0, "123456789012345"),
        (1e15, "1e+15"),
        (0.0001, "0.0001"),
        (0.00001234, "1.234e-05"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
        (f64::MAX, "1.7976931348623157e+308"),
        (5e-324, "5e-324"),
        // in the middle between two floats
        (1e23, "9.999999999999999e+22"),
        // in the middle between two decimals
        (2f64.powi(50) + 0.25, "1.1258999068426242e+15"),
        (2f64.powi(50) + 0.75, "1.1258999068426248e+15"),
        (2f64.powi(47) + 0.125, "140737488355328.12"),
        (2f64.powi(47) + 0.375, "140737488355328.38"),
    ] {
        let mut text = String::new();
        write_f64(value, &mut text);
        assert_eq!(text, expected);
    }
    for (value, expected) in [(0.1, "0.1"), (1e6, "1e+06"), (123_456.0, "123456")] {
        let mut text = String::new();
        write_f32(value, &mut text);
        assert_eq!(text, expected);
    }
}

#[test]
fn float_arithmetic_fails_where_the_server_does() {
    assert_eq!(
        float::add(f64::MAX, f64::MAX),
        Err(NumberError::FloatOverflow)
    );
    assert_eq!(float::add(f64::INFINITY, 1.0), Ok(f64::INFINITY));
    assert_eq!(float::mul(1e-200, 1e-200), Err(NumberError::FloatUnderflow));
    assert_eq!(float::div(1.0, 0.0), Err(NumberError::DivisionByZero));
    assert!(float::div(f64::NAN, 0.0).unwrap().is_nan());
    assert_eq!(float::div(1.0, f64::INFINITY), Ok(0.0));
    assert_eq!(float::to_f32(1e300), Err(NumberError::FloatOverflow));
    assert_eq!(float::to_f32(1e-300), Err(NumberError::FloatUnderflow));
    assert_eq!(float::to_integer(2.5), Ok(2i16));
    assert_eq!(
        float::to_integer::<i64>(9.3e18),
        Err(NumberError::OutOfRange("bigint"))
    );
    assert_eq!(
        float::to_integer::<i32>(f64::NAN),
        Err(NumberError::OutOfRange("integer"))
    );
    assert_eq!(float::compare(f64::NAN, f64::INFINITY), Ordering::Greater);
    assert_eq!(float::compare(f64::NAN, f64::NAN), Ordering::Equal);
    assert_eq!(float::compare(-0.0, 0.0), Ordering::Equal);
    assert_eq!(float::compare_mixed(0.1, 0.1), Ordering::Greater);
}

#[test]
fn integer_arithmetic_fails_beyond_the_range() {
    assert_eq!(
        integer::add(32767i16, 1),
        Err(NumberError::OutOfRange("smallint"))
    );
    assert_eq!(
        integer::div(i32::MIN, -1),
        Err(NumberError::OutOfRange("integer"))
    );
    assert_eq!(integer::rem(i64::MIN, -1), Ok(0));
    assert_eq!(integer::rem(-7, 2), Ok(-1));
    assert_eq!(integer::div(1, 0), Err(NumberError::DivisionByZero));
    assert_eq!(
        integer::abs(i64::MIN),
        Err(NumberError::OutOfRange("bigint"))
    );
    assert_eq!(integer::parse(" +12\n"), Ok(12i16));
    assert_eq!(
        integer::parse::<i16>("32768"),
        Err(NumberError::OutOfRange("smallint"))
    );
    for text in ["", "1.0", "0x1", "1_0", "- 1", "1 2"] {
        assert_eq!(
            integer::parse::<i32>(text),
            Err(NumberError::Invalid),
            "{text}"
        );
    }
    assert_eq!(integer::compare(1i16, 2i64), Ordering::Less);
}
