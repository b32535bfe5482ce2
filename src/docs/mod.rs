//! The guide: Markdown that the repository shows, a running walhook serves at `/docs`, and
//! rustdoc holds as the modules below.

use std::collections::HashMap;
use std::fmt::Write as _;

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// A page of the guide.
pub struct Page {
    /// Its file's name without `.md`, and its path below `/docs/`.
    pub name: &'static str,
    /// What it is about, as README.md says too.
    pub summary: &'static str,
    markdown: &'static str,
}

macro_rules! pages {
    ($($name:ident: $file:literal, $summary:literal),* $(,)?) => {
        $(#[doc = include_str!($file)] pub mod $name {})*

        /// In the order in which they are listed.
        pub const PAGES: &[Page] = &[
            $(Page {
                name: stringify!($name),
                summary: $summary,
                markdown: include_str!($file),
            }),*
        ];
    };
}

pages! {
    rules: "rules.md", "Rules, their language, and what they cannot do",
    filters: "filters.md", "A tenant's condition on the events that it receives",
    receiving: "receiving.md", "Verifying, deduplicating, changing secrets",
    sending: "sending.md", "Attempts, limits, order, batches",
    console: "console.md", "What tenants see in a browser: links, sessions, sending again",
    operating: "operating.md", "Metrics, parked changes, backfill, replay, the WAL budget, gaps",
    troubleshooting: "troubleshooting.md", "No webhooks, failing deliveries, missing metrics",
    runbook: "runbook.md", "What to do at every alert, problem and error class",
    rights: "rights.md", "Which role needs which right, and why",
    availability: "availability.md", "Several machines, fail-over, capture from a standby",
    backup: "backup.md", "What to back up, restoring it, changing the key, removing walhook",
    security: "security.md", "Who may do what, secrets, what a tenant can cost others",
    limits: "limits.md", "What is bounded, and what walhook does not do",
    comparison: "comparison.md", "Svix, Convoy, Outpost, Debezium, Sequin",
}

/// Every key of the configuration with its default, commented: the file that ships.
pub const CONFIGURATION: &str = include_str!("../../config/walhook.toml");

impl Page {
    /// What its first heading says.
    pub fn title(&self) -> &'static str {
        let first = self.markdown.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }

    /// The page as HTML, without a head. Links to other pages lead to where those are served.
    pub fn html(&self) -> String {
        let mut events: Vec<Event<'_>> = Parser::new_ext(self.markdown, Options::ENABLE_TABLES)
            .map(|event| match event {
                Event::Start(Tag::Link {
                    link_type,
                    dest_url,
                    title,
                    id,
                }) => Event::Start(Tag::Link {
                    link_type,
                    dest_url: served(dest_url),
                    title,
                    id,
                }),
                other => other,
            })
            .collect();
        name_headings(&mut events);
        let mut text = String::with_capacity(self.markdown.len() * 2);
        html::push_html(&mut text, events.into_iter());
        text
    }
}

/// `sending.md#order` is served at `/docs/sending#order`.
fn served(link: CowStr<'_>) -> CowStr<'_> {
    if link.contains("://") {
        return link;
    }
    match link.split_once(".md") {
        Some((name, rest)) => CowStr::from(format!("/docs/{name}{rest}")),
        None => link,
    }
}

/// Gives each heading the id that code hosts derive from its text, so that one link leads to
/// the same place in both.
fn name_headings(events: &mut [Event<'_>]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut start: Option<usize> = None;
    let mut text = String::new();
    for index in 0..events.len() {
        match &events[index] {
            Event::Start(Tag::Heading { .. }) => {
                start = Some(index);
                text.clear();
            }
            Event::Text(part) | Event::Code(part) if start.is_some() => text.push_str(part),
            Event::End(TagEnd::Heading(_)) => {
                let Some(at) = start.take() else { continue };
                let mut name = anchor(&text);
                let before = seen.entry(name.clone()).or_default();
                if *before > 0 {
                    let _ = write!(name, "-{before}");
                }
                *before += 1;
                if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
                    *id = Some(CowStr::from(name));
                }
            }
            _ => {}
        }
    }
}

/// Lower case, blanks as hyphens, and nothing else but letters, digits, `-` and `_`.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            other if other.is_alphanumeric() => Some(other),
            _ => None,
        })
        .flat_map(char::to_lowercase)
        .collect()
}

/// The headings of a page below its title, with their level: what links can lead to.
pub fn anchors(page: &Page) -> Vec<(HeadingLevel, String)> {
    let mut events: Vec<Event<'_>> =
        Parser::new_ext(page.markdown, Options::ENABLE_TABLES).collect();
    name_headings(&mut events);
    events
        .into_iter()
        .filter_map(|event| match event {
            Event::Start(Tag::Heading { level, id, .. }) => Some((level, id?.into_string())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_has_the_anchor_that_code_hosts_give_it() {
        for (heading, expected) in [
            ("The WAL budget", "the-wal-budget"),
            ("store_unreachable", "store_unreachable"),
            ("The source's disk fills", "the-sources-disk-fills"),
            (
                "`REPLICATION` is a credential",
                "replication-is-a-credential",
            ),
            ("Backup, restore", "backup-restore"),
        ] {
            assert_eq!(anchor(&heading.replace('`', "")), expected);
        }
    }

    #[test]
    fn every_link_between_pages_leads_to_a_heading() {
        let mut links = 0;
        for page in PAGES {
            for event in Parser::new_ext(page.markdown, Options::ENABLE_TABLES) {
                let Event::Start(Tag::Link { dest_url, .. }) = event else {
                    continue;
                };
                if dest_url.contains("://") {
                    continue;
                }
                let (file, heading) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
                let name = file.strip_suffix(".md").unwrap_or(page.name);
                let target = PAGES.iter().find(|page| page.name == name);
                let target = target.unwrap_or_else(|| panic!("{}: {dest_url}", page.name));
                let known = anchors(target).iter().any(|(_, known)| known == heading);
                assert!(heading.is_empty() || known, "{}: {dest_url}", page.name);
                links += 1;
            }
        }
        assert!(links > 20);
    }

    #[test]
    fn a_page_links_to_where_the_others_are_served() {
        let filters = PAGES.iter().find(|page| page.name == "filters").unwrap();
        let html = filters.html();
        assert!(html.contains("href=\"/docs/operating#replay\""), "{html}");
        assert!(
            html.contains("<table>") && html.contains("id=\"a-filter-that-fails-on-an-event\"")
        );
    }
}
