//! The pictures themselves.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Bar, SPANS, percent};
use crate::console::markup::{self, Markup};
use crate::delivery::stats::Counts;

/// Height of the chart and width of a bar with its gap, in units of its own.
const HEIGHT: i64 = 60;
const WIDTH: i64 = 10;

/// The height of a part of the highest bar: what there is is seen.
fn height(count: i64, highest: i64) -> i64 {
    match count {
        0 => 0,
        _ => (count.saturating_mul(HEIGHT) / highest.max(1)).max(2),
    }
}

/// Failed attempts stand on the deliveries. The table beside it has the same links for the
/// keyboard and for readers.
pub(super) fn bars(bars: &[Bar]) -> Markup {
    let highest = bars.iter().map(|bar| bar.delivered + bar.failed).max();
    let highest = highest.unwrap_or(0);
    let width = i64::try_from(bars.len()).unwrap_or(0) * WIDTH;
    let mut text = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    for (place, bar) in bars.iter().enumerate() {
        let x = i64::try_from(place).unwrap_or(0) * WIDTH;
        let delivered = height(bar.delivered, highest);
        let failed = height(bar.failed, highest).min(HEIGHT - delivered.min(HEIGHT - 2));
        if delivered + failed == 0 {
            _ = write!(
                text,
                "<rect class=\"none\" x=\"{x}\" y=\"{}\" width=\"8\" height=\"1\"/>",
                HEIGHT - 1
            );
            continue;
        }
        _ = write!(
            text,
            "<a href=\"{}\" tabindex=\"-1\"><title>{}: {} delivered, {} failed</title>",
            markup::escape(&bar.path),
            bar.when,
            markup::count(bar.delivered),
            markup::count(bar.failed)
        );
        for (class, y, height) in [
            ("ok", HEIGHT - delivered, delivered),
            ("bad", HEIGHT - delivered - failed, failed),
        ] {
            if height > 0 {
                _ = write!(
                    text,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"8\" height=\"{height}\"/>"
                );
            }
        }
        text.push_str("</a>");
    }
    text.push_str("</svg>");
    Markup::ours(text)
}

/// A line of the last 24 hours, small enough for a row of a list, with what it says.
pub fn spark(counts: &[Counts], now: Timestamp) -> Markup {
    let span = SPANS[0];
    let of = |at: Timestamp| counts.iter().find(|one| one.at == at);
    let hours: Vec<(i64, i64)> = span
        .begins(now)
        .into_iter()
        .map(|at| of(at).map_or((0, 0), |one| (one.delivered, one.all_failed())))
        .collect();
    let (delivered, failed) = hours
        .iter()
        .fold((0, 0), |sum, hour| (sum.0 + hour.0, sum.1 + hour.1));
    if delivered + failed == 0 {
        return Markup::ours("<small>nothing in 24 h</small>".to_owned());
    }
    let highest = hours.iter().map(|hour| hour.0 + hour.1).max().unwrap_or(0);
    let (mut ok, mut bad) = (String::new(), String::new());
    for (x, (delivered, failed)) in hours.into_iter().enumerate() {
        let scaled = |count: i64| match count {
            0 => 0,
            _ => (count.saturating_mul(12) / highest.max(1)).max(1),
        };
        let (delivered, failed) = (scaled(delivered), scaled(failed));
        if delivered > 0 {
            _ = write!(ok, "M{x}.5 14v-{delivered}");
        }
        if failed > 0 {
            _ = write!(bad, "M{x}.5 {}v-{failed}", 14 - delivered);
        }
    }
    let path = |class, d: &str| match d {
        "" => String::new(),
        _ => format!("<path class=\"{class}\" d=\"{d}\"/>"),
    };
    Markup::ours(format!(
        "<svg class=\"spark\" viewBox=\"0 0 24 14\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{}{}</svg> <small>{} of {} in 24 h</small>",
        path("ok", &ok),
        path("bad", &bad),
        percent(delivered, delivered + failed),
        markup::count(delivered + failed),
    ))
}
