use std::cmp::Ordering;

use super::*;

fn date(text: &str) -> Date {
    Date::parse_literal(text).unwrap()
}

fn timestamp(text: &str) -> Timestamp {
    Timestamp::parse_literal_tz(text).unwrap()
}

fn interval(text: &str) -> Interval {
    Interval::parse_literal(text).unwrap()
}

fn shown(timestamp: Timestamp) -> String {
    let mut text = String::new();
    timestamp.write_timestamp(&mut text);
    text
}

#[test]
fn output_text_is_read_and_written_the_same() {
    for text in [
        "2024-01-31",
        "15000-01-01",
        "0044-03-15 BC",
        "4714-11-24 BC",
        "5874897-12-31",
        "infinity",
        "-infinity",
    ] {
        assert_eq!(text, Date::parse_output(text).unwrap().to_string());
    }
    for text in [
        "2024-01-31 10:00:00",
        "0044-03-15 10:00:00.12 BC",
        "294276-12-31 23:59:59.999999",
        "4714-11-24 00:00:00 BC",
        "infinity",
    ] {
        assert_eq!(text, shown(Timestamp::parse_output(text).unwrap()));
    }
    for text in ["2024-01-31 10:00:00.5+00", "0044-03-15 10:00:00+00 BC"] {
        let mut written = String::new();
        Timestamp::parse_output_tz(text)
            .unwrap()
            .write_timestamptz(&mut written);
        assert_eq!(text, written);
    }
    for text in [
        "1 year 2 mons -3 days +04:05:06.7",
        "-1 years -2 mons +3 days -04:05:06",
        "00:00:00",
        "-00:00:00.000001",
        "-178956970 years -8 mons -2147483648 days -00:00:01",
        "-2562047788:00:54.775808",
    ] {
        assert_eq!(text, Interval::parse_output(text).unwrap().to_string());
    }
}

#[test]
fn output_of_another_shape_is_refused() {
    for text in ["", "2024-1-31", "2024-02-30", "2024-01-31x", "é", "10000"] {
        assert!(Date::parse_output(text).is_err(), "{text}");
    }
    for text in [
        "2024-01-31",
        "2024-01-31 10:00:00.",
        "2024-01-31 24:00:00",
        "2024-01-31 10:00:00+00",
    ] {
        assert!(Timestamp::parse_output(text).is_err(), "{text}");
    }
    for text in [
        "",
        "1",
        "1 day 1 year",
        "1 week",
        "1 day ",
        "+",
        "1day",
        "99999999999 days",
    ] {
        assert!(Interval::parse_output(text).is_err(), "{text}");
    }
    assert_eq!(
        Err(TimeError::InfiniteInterval),
        Interval::parse_output("infinity").map(|_| ())
    );
}

#[test]
fn literal_is_read_in_iso_forms() {
    for (text, expected) in [
        ("20240131", "2024-01-31 00:00:00"),
        ("2024-01-31T10:00", "2024-01-31 10:00:00"),
        ("20240131T10:00:60z", "2024-01-31 10:01:00"),
        ("2024-12-31 24:00:00", "2025-01-01 00:00:00"),
        ("2024-01-31 10:00:00.0000005+02:30", "2024-01-31 07:30:00"),
        (
            "2024-01-31 10:00:00.0000015 -15:59",
            "2024-02-01 01:59:00.000002",
        ),
        ("0044-03-15 10:00:00+00 bc", "0044-03-15 10:00:00 BC"),
        ("0044-03-15 BC 10:00", "0044-03-15 10:00:00 BC"),
        (" -Infinity ", "-infinity"),
    ] {
        assert_eq!(expected, shown(timestamp(text)), "{text}");
    }
}

#[test]
fn literal_that_is_refused_says_why() {
    for (text, wrong) in [
        ("2024-13-01", "month 13"),
        ("2023-02-29", "day 29 of a month of 28 days"),
        ("24-01-31", "expected YYYY-MM-DD or YYYYMMDD"),
        (
            "0000-01-01",
            "there is no year 0; the year before 0001 is `0001-… BC`",
        ),
        (
            "2024-01-31 10:00",
            "it has a time; cast it to timestamp first",
        ),
        ("now", "expected YYYY-MM-DD or YYYYMMDD"),
        (
            "5874898-01-01",
            "dates are from 4714-11-24 BC to 5874897-12-31",
        ),
    ] {
        let error = Date::parse_literal(text).unwrap_err();
        assert_eq!(
            format!("`{text}` is not a date: {wrong}"),
            error.to_string()
        );
    }
    let zone = Timestamp::parse_literal("2024-01-31 10:00Z").unwrap_err();
    assert!(zone.to_string().contains("time zone"), "{zone}");
    for text in [
        "2024-01-31 10",
        "2024-01-31 10:00:61",
        "2024-01-31 24:00:01",
        "2024-01-31 10:00+16",
        "2024-01-31 10:00+0200",
        "2024-01-31 10:00 Europe/Berlin",
        "2024-01-31 10:00 ü",
    ] {
        assert!(Timestamp::parse_literal_tz(text).is_err(), "{text}");
    }
}

#[test]
fn interval_literal_takes_units_and_time() {
    for (text, expected) in [
        ("2 days", "2 days"),
        ("1YEAR -2 mons 3 d 04:05", "10 mons 3 days 04:05:00"),
        ("1 millennium 2 centuries 3 decs 4 y", "1234 years"),
        ("1.0000005 seconds", "00:00:01"),
        ("-1.5 s 3 minutes ago", "-00:02:58.5"),
        ("-25:00:60", "-25:01:00"),
        ("1 ms 5 us", "00:00:00.001005"),
    ] {
        assert_eq!(expected, interval(text).to_string(), "{text}");
    }
    for text in [
        "",
        "1",
        "day",
        "1.5 days",
        "1 quarter",
        "1 day 2 days",
        "1 hour 01:00",
        "1day2hours",
        "ago",
        "1 day ago 2 hours",
        "P1D",
        "1-2",
        "1:00",
        "200000000 years",
        "99999999999999999999 s",
    ] {
        assert!(Interval::parse_literal(text).is_err(), "{text}");
    }
    assert_eq!(
        Err(TimeError::InfiniteInterval),
        Interval::parse_literal("-infinity").map(|_| ())
    );
}

#[test]
fn interval_compares_by_length() {
    assert_eq!(interval("1 month"), interval("30 days"));
    assert_eq!(interval("1 day"), interval("24:00"));
    assert!(interval("1 year") < interval("365 days"));
}

#[test]
fn date_beyond_timestamps_compares_without_error() {
    let late = date("300000-01-01");
    assert_eq!(
        Ordering::Greater,
        late.cmp_timestamp(timestamp("294276-12-31"))
    );
    assert_eq!(Ordering::Less, late.cmp_timestamp(Timestamp::INFINITY));
    assert_eq!(Err(TimeError::DateBeyondTimestamp), late.to_timestamp());
}

#[test]
fn arithmetic_clamps_months_and_checks_ranges() {
    let plus = |text: &str, span: &str| timestamp(text).plus_interval(interval(span)).map(shown);
    assert_eq!(
        Ok("2024-02-29 10:00:00".into()),
        plus("2024-01-31 10:00", "1 month")
    );
    assert_eq!(
        Ok("2024-03-02 00:00:00".into()),
        plus("2024-01-31", "1 month 1 day 24:00")
    );
    assert_eq!(
        Err(TimeError::TimestampRange),
        plus("294276-12-31", "1 day")
    );
    assert_eq!(Ok("infinity".into()), plus("infinity", "1 day"));
    let between = timestamp("2024-01-01").minus_timestamp(timestamp("2024-01-02 12:00"));
    assert_eq!("-1 days -12:00:00", between.unwrap().to_string());
    assert_eq!(
        Err(TimeError::DateRange),
        date("5874897-12-31").plus_days(1)
    );
    assert_eq!(Ok(366), date("2025-01-01").minus_date(date("2024-01-01")));
}

#[test]
fn extract_has_the_servers_scale() {
    let at = timestamp("2024-12-30 12:34:56.5");
    for (field, unscaled, scale) in [
        ("week", 1, 0),
        ("isoyear", 2025, 0),
        ("seconds", 56_500_000, 6),
        ("ms", 56_500_000, 3),
        ("epoch", 1_735_562_096_500_000, 6),
        ("dow", 1, 0),
        ("doy", 365, 0),
        ("julian", 246067552426504629629629630, 20),
    ] {
        let extracted = ExtractField::parse(field).unwrap().of_timestamp(at);
        assert_eq!(
            Ok(Extracted::Number { unscaled, scale }),
            extracted,
            "{field}"
        );
    }
    let late = ExtractField::Epoch.of_timestamp(timestamp("294276-12-31 00:00:13.082149"));
    let unscaled = 9_224_317_929_613_082_100;
    assert_eq!(Ok(Extracted::Number { unscaled, scale: 6 }), late);
    let infinite = |field: &str| ExtractField::parse(field).unwrap().of_date(Date::INFINITY);
    assert_eq!(Ok(Extracted::Null), infinite("month"));
    assert_eq!(Ok(Extracted::Infinity), infinite("year"));
    assert!(infinite("hour").is_err());
    assert_eq!(None, ExtractField::parse("mm"));
}

#[test]
fn trunc_goes_to_the_start_of_the_period() {
    let trunc = |field: &str, text: &str| {
        let field = TruncField::parse(field).unwrap();
        field.of_timestamp(timestamp(text)).map(shown)
    };
    assert_eq!(
        Ok("2024-12-30 00:00:00".into()),
        trunc("week", "2025-01-01 10:00")
    );
    assert_eq!(
        Ok("2001-01-01 00:00:00".into()),
        trunc("century", "2100-05-05")
    );
    assert_eq!(
        Ok("0001-01-01 00:00:00 BC".into()),
        trunc("decade", "0009-05-05")
    );
    assert_eq!(
        Err(TimeError::TimestampRange),
        trunc("year", "4714-12-01 BC")
    );
    let hours = TruncField::parse("hour").unwrap();
    assert_eq!(
        "-01:00:00",
        hours.of_interval(interval("-01:59")).unwrap().to_string()
    );
}
