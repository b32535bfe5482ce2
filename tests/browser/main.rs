//! The console in a real browser: Debian's headless Chromium. Not part of plain `cargo test`:
//! `cargo test --test browser` runs it, and says so where there is no Chromium.
//!
//! Screenshots go to the folder that WALHOOK_SCREENSHOTS names.
#![allow(clippy::unwrap_used, unreachable_pub)]

#[path = "../it/api/fixtures.rs"]
#[expect(
    dead_code,
    reason = "the API of `it`, of which this target needs a part"
)]
mod fixtures;
#[path = "../it/harness/mod.rs"]
#[expect(
    dead_code,
    reason = "the harness of `it`, of which this target needs a part"
)]
mod harness;

mod api {
    pub(crate) use crate::fixtures;
}

mod axe;
mod chromium;
#[path = "../it/console/browser.rs"]
#[expect(
    dead_code,
    reason = "the scriptless browser of `it`, of which links are needed"
)]
mod links;
mod looks;
#[path = "../versions/npm.rs"]
mod npm;
mod stage;
mod walk;
