//! Names the commit in `walhook --version`, in release builds: others would be rebuilt
//! after each commit. Compresses the console's assets.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    println!("cargo::rerun-if-env-changed=WALHOOK_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("WALHOOK_COMMIT").ok();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| is_release.then(of_repository).flatten());
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=WALHOOK_VERSION={version}");
    compress_assets();
}

/// What pages load is compressed here, not at each request.
fn compress_assets() {
    const FOLDER: &str = "src/console/assets";
    println!("cargo::rerun-if-changed={FOLDER}");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for name in [
        "console.css",
        "console.js",
        "enter.js",
        "htmx.min.js",
        "icon.svg",
    ] {
        let content = fs::read(Path::new(FOLDER).join(name)).expect("read an asset");
        let file = File::create(Path::new(&out).join(format!("{name}.gz")));
        let mut encoder = GzEncoder::new(file.expect("create an asset"), Compression::best());
        std::io::Write::write_all(&mut encoder, &content).expect("compress an asset");
        encoder.finish().expect("compress an asset");
    }
}

fn of_repository() -> Option<String> {
    let git = |arguments: &[&str]| {
        // `status` would otherwise write the index, on which a rebuild depends.
        let mut command = Command::new("git");
        command.env("GIT_OPTIONAL_LOCKS", "0").args(arguments);
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    for file in ["HEAD", "index"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=9", "HEAD"])?;
    let date = git(&["show", "-s", "--format=%cs", "HEAD"])?;
    let changed = match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(_) => ", changed",
        None => "",
    };
    Some(format!("{commit}, {date}{changed}"))
}
