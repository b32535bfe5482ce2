//! Charts of attempts, as inline SVG: what was delivered and what failed, by hours or days, with
//! a sentence and a table that say the same. Everything in them is ours.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::fault::Fault;
use super::fields;
use super::markup::{self, Markup};
use crate::api::stats::StatsCounts;
use crate::conninfo::Transaction;
use crate::delivery::stats::{self, Counts, Range, Step};
use crate::event::SubscriptionId;

mod svg;

use svg::bars as draw;
pub use svg::spark;

/// A length of time that is shown, in bars of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub name: &'static str,
    words: &'static str,
    step: Step,
    bars: usize,
}

pub const SPANS: [Span; 3] = [
    Span {
        name: "24h",
        words: "24 hours",
        step: Step::Hour,
        bars: 24,
    },
    Span {
        name: "7d",
        words: "7 days",
        step: Step::SixHours,
        bars: 28,
    },
    Span {
        name: "30d",
        words: "30 days",
        step: Step::Day,
        bars: 30,
    },
];

impl Span {
    /// The one of this name, or the shortest.
    pub fn named(name: Option<&str>) -> Self {
        let found = SPANS.into_iter().find(|span| Some(span.name) == name);
        found.unwrap_or(SPANS[0])
    }

    fn length(self) -> SignedDuration {
        SignedDuration::from_mins(i64::from(self.step.minutes()))
    }

    /// Its intervals, the last of which is now's.
    pub fn range(self, now: Timestamp) -> Range {
        let last = self.step.floor(now);
        let before = i32::try_from(self.bars.saturating_sub(1)).unwrap_or(0);
        let from = last.checked_sub(self.length() * before);
        Range {
            from: from.unwrap_or(last),
            to: last.checked_add(self.length()).unwrap_or(last),
            step: self.step,
        }
    }

    /// When each of its intervals begins.
    fn begins(self, now: Timestamp) -> Vec<Timestamp> {
        let mut at = self.range(now).from;
        let mut begins = Vec::with_capacity(self.bars);
        for _ in 0..self.bars {
            begins.push(at);
            at = at.checked_add(self.length()).unwrap_or(at);
        }
        begins
    }
}

/// An interval of the chart.
pub struct Bar {
    /// In UTC.
    pub when: String,
    pub delivered: i64,
    pub failed: i64,
    /// Its deliveries.
    pub path: String,
}

/// What became of the attempts of a span of time.
pub struct Activity {
    pub svg: Markup,
    pub sentences: Vec<String>,
    /// Those with attempts, the newest first.
    pub bars: Vec<Bar>,
    /// The spans to choose from, with their paths.
    pub spans: Vec<(Span, String)>,
    pub chosen: Span,
}

impl Activity {
    /// Of all endpoints, or of one. `here` is the page's own path.
    pub async fn read(
        transaction: &Transaction<'_>,
        endpoint: Option<SubscriptionId>,
        span: Span,
        here: &str,
        now: Timestamp,
    ) -> Result<Self, Fault> {
        let range = span.range(now);
        let counts = match endpoint {
            None => stats::of_tenant(transaction, range).await?,
            Some(id) => {
                let mut all = stats::of_subscriptions(transaction, &[id.0], range).await?;
                all.remove(&id).unwrap_or_default()
            }
        };
        Ok(Self::of(&counts, endpoint, span, here, now))
    }

    fn of(
        counts: &[Counts],
        endpoint: Option<SubscriptionId>,
        span: Span,
        here: &str,
        now: Timestamp,
    ) -> Self {
        let endpoint = endpoint.map(|id| id.to_string());
        let bars = span.begins(now).into_iter().map(|at| {
            let counted = counts.iter().find(|one| one.at == at);
            let until = at.checked_add(span.length()).unwrap_or(at);
            let (since, until) = (at.to_string(), until.to_string());
            let mut asked = vec![("since", since.as_str()), ("until", until.as_str())];
            if let Some(id) = &endpoint {
                asked.push(("endpoint", id));
            }
            Bar {
                when: when(at, span),
                delivered: counted.map_or(0, |one| one.delivered),
                failed: counted.map_or(0, Counts::all_failed),
                path: format!("/console/deliveries{}", fields::query(asked)),
            }
        });
        let bars: Vec<Bar> = bars.collect();
        Activity {
            svg: draw(&bars),
            sentences: sentences(counts, &bars, span),
            bars: bars
                .into_iter()
                .rev()
                .filter(|bar| bar.delivered + bar.failed > 0)
                .collect(),
            spans: SPANS
                .into_iter()
                .map(|one| {
                    let query = fields::query([("span", one.name)]);
                    (one, format!("{here}{query}"))
                })
                .collect(),
            chosen: span,
        }
    }
}

fn when(at: Timestamp, span: Span) -> String {
    let format = match span.step {
        Step::Minute | Step::Hour => "%H:%M",
        Step::SixHours => "%b %-d, %H:%M",
        Step::Day => "%b %-d",
    };
    at.strftime(format).to_string()
}

/// What the chart shows, in words.
fn sentences(counts: &[Counts], bars: &[Bar], span: Span) -> Vec<String> {
    let total = StatsCounts::of(counts);
    let attempts = total.delivered + total.failed;
    if attempts == 0 {
        return vec![format!("Nothing was sent in the last {}.", span.words)];
    }
    let mut sentences = vec![match total.delivered {
        0 => format!("Nothing was delivered in the last {}.", span.words),
        delivered => format!(
            "{} delivered in the last {}, {} at the first attempt.",
            markup::count(delivered),
            span.words,
            percent(total.first_try, delivered)
        ),
    }];
    let worst = bars.iter().filter(|bar| bar.failed > 0);
    let worst =
        worst.max_by_key(|bar| (bar.failed, bar.failed * 100 / (bar.failed + bar.delivered)));
    if let Some(worst) = worst {
        let mut classes: Vec<_> = total.failed_by_class.iter().collect();
        classes.sort_by_key(|(_, failed)| std::cmp::Reverse(**failed));
        let classes = classes.into_iter().map(|(class, failed)| {
            let class = class.replace('_', " ");
            format!("{class} {}", markup::count(*failed))
        });
        let classes: Vec<String> = classes.collect();
        let failed = u64::try_from(total.failed).unwrap_or(0);
        sentences.push(format!(
            "{} failed ({}), most of them {} {} UTC: {} of what was sent then.",
            markup::counted(failed, "attempt", "attempts"),
            classes.join(", "),
            if span.step == Step::Day { "on" } else { "from" },
            worst.when,
            percent(worst.failed, worst.failed + worst.delivered)
        ));
    }
    if let (Some(p50), Some(p95)) = (total.p50_ms, total.p95_ms) {
        sentences.push(format!(
            "Half of the answers came within {}, 95 % within {}.",
            length(p50),
            length(p95)
        ));
    }
    sentences
}

fn length(milliseconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(milliseconds.ceil() / 1_000.0);
    markup::measured(seconds.unwrap_or_default())
}

/// `99.8 %`; 100 % is all of them, and 0 % none.
pub fn percent(part: i64, whole: i64) -> String {
    if part == whole {
        return "100 %".to_owned();
    }
    let thousandths = i128::from(part) * 1_000 / i128::from(whole.max(1));
    match (part, thousandths) {
        (0, _) => "0 %".to_owned(),
        (_, 0) => "less than 0.1 %".to_owned(),
        (_, thousandths) => format!("{}.{} %", thousandths / 10, thousandths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::client::ErrorClass;
    use crate::delivery::stats::BUCKETS;

    fn counts(at: &str, delivered: i64, timeouts: i64) -> Counts {
        let mut failed = vec![0; ErrorClass::ALL.len()];
        failed[1] = timeouts;
        let mut latency = vec![0; BUCKETS];
        latency[3] = delivered;
        Counts {
            at: at.parse().unwrap(),
            delivered,
            first_try: delivered,
            dead: 0,
            failed,
            latency,
        }
    }

    #[test]
    fn a_chart_has_each_interval_and_says_the_worst() {
        let now: Timestamp = "2026-11-30T12:30:00Z".parse().unwrap();
        let counted = [
            counts("2026-11-30T11:00:00Z", 99, 1),
            counts("2026-11-30T12:00:00Z", 1, 9),
        ];
        let span = Span::named(None);
        let activity = Activity::of(&counted, None, span, "/console/overview", now);
        assert_eq!(
            activity.sentences[..2],
            [
                "100 delivered in the last 24 hours, 100 % at the first attempt.",
                "10 attempts failed (timeout 10), most of them from 12:00 UTC: 90.0 % of what was sent then."
            ]
        );
        let svg = activity.svg.to_string();
        assert_eq!(svg.matches("<a href").count(), 2, "{svg}");
        assert_eq!(svg.matches("class=\"none\"").count(), 22, "{svg}");
        assert_eq!(activity.bars.len(), 2);
        assert_eq!(activity.bars[0].when, "12:00");
        assert_eq!(
            activity.bars[0].path,
            "/console/deliveries?since=2026-11-30T12%3A00%3A00Z&until=2026-11-30T13%3A00%3A00Z"
        );
        let nothing = Activity::of(&[], None, span, "/console/overview", now);
        assert_eq!(
            nothing.sentences,
            ["Nothing was sent in the last 24 hours."]
        );
    }

    #[test]
    fn each_span_ends_now() {
        let now: Timestamp = "2026-11-30T12:30:00Z".parse().unwrap();
        for span in SPANS {
            let begins = span.begins(now);
            assert_eq!(begins.len(), span.bars);
            assert!(*begins.last().unwrap() <= now && span.range(now).to > now);
            assert!(begins.is_sorted());
        }
        assert_eq!(Span::named(Some("7d")).name, "7d");
        assert_eq!(Span::named(Some("7w")).name, "24h");
    }

    #[test]
    fn a_percentage_is_never_rounded_up_to_all_or_down_to_none() {
        assert_eq!(percent(99_999, 100_000), "99.9 %");
        assert_eq!(percent(1, 100_000), "less than 0.1 %");
        assert_eq!(percent(0, 7), "0 %");
        assert_eq!(percent(7, 7), "100 %");
        assert_eq!(percent(1, 3), "33.3 %");
    }

    #[test]
    fn a_small_line_says_what_it_shows() {
        let now: Timestamp = "2026-11-30T12:30:00Z".parse().unwrap();
        let line = spark(&[counts("2026-11-30T12:00:00Z", 3, 1)], now).to_string();
        assert!(line.contains("M23.5 14v-9"), "{line}");
        assert!(line.contains("M23.5 5v-3"), "{line}");
        assert!(line.contains("75.0 % of 4 in 24 h"), "{line}");
        assert!(spark(&[], now).to_string().contains("nothing in 24 h"));
    }
}
