//! The units of time and the words for them, shared by interval literals,
//! `date_trunc` and `extract`.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
}

/// The longest word for a unit, `microseconds`.
const LONGEST_WORD: usize = 12;

impl Unit {
    /// All words that the server has, in either case. The server compares no more
    /// than ten characters (`microsecondly` is a unit there); here the word is whole.
    pub fn parse(word: &str) -> Option<Self> {
        let mut lower = [0; LONGEST_WORD];
        let lower = lower.get_mut(..word.len())?;
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"us" | b"usec" | b"usecs" | b"usecond" | b"useconds" | b"microsecond"
            | b"microseconds" => Unit::Microsecond,
            b"ms" | b"msec" | b"msecs" | b"msecond" | b"mseconds" | b"millisecond"
            | b"milliseconds" => Unit::Millisecond,
            b"s" | b"sec" | b"secs" | b"second" | b"seconds" => Unit::Second,
            b"m" | b"min" | b"mins" | b"minute" | b"minutes" => Unit::Minute,
            b"h" | b"hr" | b"hrs" | b"hour" | b"hours" => Unit::Hour,
            b"d" | b"day" | b"days" => Unit::Day,
            b"w" | b"week" | b"weeks" => Unit::Week,
            b"mon" | b"mons" | b"month" | b"months" => Unit::Month,
            b"qtr" | b"quarter" => Unit::Quarter,
            b"y" | b"yr" | b"yrs" | b"year" | b"years" => Unit::Year,
            b"dec" | b"decs" | b"decade" | b"decades" => Unit::Decade,
            b"c" | b"cent" | b"century" | b"centuries" => Unit::Century,
            b"mil" | b"mils" | b"millennium" | b"millenniums" | b"millennia" => Unit::Millennium,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Unit::Microsecond => "microseconds",
            Unit::Millisecond => "milliseconds",
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Quarter => "quarter",
            Unit::Year => "year",
            Unit::Decade => "decade",
            Unit::Century => "century",
            Unit::Millennium => "millennium",
        }
    }
}
