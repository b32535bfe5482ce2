//! The style sheet and the scripts, in the binary, each under a path that names its content.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A file that pages load.
pub struct Asset {
    name: &'static str,
    extension: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    /// The same, compressed at build.
    gzip: &'static [u8],
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

static STYLE: Asset = Asset {
    name: "console",
    extension: "css",
    content_type: "text/css; charset=utf-8",
    content: include_bytes!("assets/console.css"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/console.css.gz")),
};
static SCRIPT: Asset = Asset {
    name: "console",
    extension: "js",
    content_type: JAVASCRIPT,
    content: include_bytes!("assets/console.js"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/console.js.gz")),
};
static ENTER: Asset = Asset {
    name: "enter",
    extension: "js",
    content_type: JAVASCRIPT,
    content: include_bytes!("assets/enter.js"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/enter.js.gz")),
};
/// htmx 4.0.1 as npm has it, under the licence beside it.
static HTMX: Asset = Asset {
    name: "htmx",
    extension: "js",
    content_type: JAVASCRIPT,
    content: include_bytes!("assets/htmx.min.js"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/htmx.min.js.gz")),
};
static ICON: Asset = Asset {
    name: "icon",
    extension: "svg",
    content_type: "image/svg+xml",
    content: include_bytes!("assets/icon.svg"),
    gzip: include_bytes!(concat!(env!("OUT_DIR"), "/icon.svg.gz")),
};

static ALL: [&Asset; 5] = [&STYLE, &SCRIPT, &ENTER, &HTMX, &ICON];

impl Asset {
    fn file_name(&self) -> String {
        let mut hash = String::new();
        for byte in &Sha256::digest(self.content)[..6] {
            let _ = write!(hash, "{byte:02x}");
        }
        format!("{}.{hash}.{}", self.name, self.extension)
    }

    fn path(&self) -> String {
        format!("/console/assets/{}", self.file_name())
    }
}

/// Where pages find them.
pub struct Paths {
    pub style: String,
    pub script: String,
    pub enter: String,
    pub htmx: String,
    pub icon: String,
}

pub static PATHS: LazyLock<Paths> = LazyLock::new(|| Paths {
    style: STYLE.path(),
    script: SCRIPT.path(),
    enter: ENTER.path(),
    htmx: HTMX.path(),
    icon: ICON.path(),
});

static NAMES: LazyLock<Vec<(String, &'static Asset)>> =
    LazyLock::new(|| ALL.iter().map(|one| (one.file_name(), *one)).collect());

/// One of them, for ever: another content has another path.
pub async fn get(Path(name): Path<String>, asked: HeaderMap) -> Response {
    let found = NAMES.iter().find(|(known, _)| *known == name);
    let Some((_, asset)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::VARY, "accept-encoding"),
    ];
    if takes_gzip(&asked) {
        let gzip = [(header::CONTENT_ENCODING, "gzip")];
        return (headers, gzip, Bytes::from_static(asset.gzip)).into_response();
    }
    (headers, Bytes::from_static(asset.content)).into_response()
}

/// Whether the caller names it, and not only to refuse it.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let encodings = asked.get_all(header::ACCEPT_ENCODING).into_iter();
    encodings
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.split(';').map(str::trim).collect::<Vec<_>>())
        .any(|one| one.first() == Some(&"gzip") && !one.contains(&"q=0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of dist/htmx.min.js in the package htmx.org of npm.
    const HTMX_4_0_1: &str = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130";

    #[test]
    fn htmx_is_the_one_that_npm_has() {
        let mut hash = String::new();
        for byte in Sha256::digest(HTMX.content) {
            write!(hash, "{byte:02x}").unwrap();
        }
        assert_eq!(hash, HTMX_4_0_1);
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |value: &str| {
            let mut asked = HeaderMap::new();
            asked.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            takes_gzip(&asked)
        };
        assert!(takes("gzip") && takes("br, gzip;q=0.5"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("gzip; q=0"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn all_that_a_first_page_loads_is_small() {
        let ours: usize = ALL.iter().map(|asset| asset.gzip.len()).sum();
        assert!(ours <= 25_000, "{ours} bytes");
        assert!(SCRIPT.gzip.len() <= 4_096);
    }
}
