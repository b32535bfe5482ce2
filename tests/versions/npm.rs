//! Packages of npm that tests need: fetched once, checked against what is pinned, and kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha512};

/// A package as npm names it, with its tarball's SHA-512 as npm writes it.
pub struct Package {
    pub name: &'static str,
    pub release: &'static str,
    pub checksum: &'static str,
}

/// Says it on the terminal also where the test's output is captured: the test
/// harness captures what the print macros write and nothing else.
pub fn notice(text: &str) {
    let text = format!("\n!! {text}\n");
    io::stderr().write_all(text.as_bytes()).unwrap();
}

impl Package {
    /// Its folder below `home`, which `prepare` has made ready.
    pub fn available(&self, home: &Path, prepare: fn(&Path)) -> Result<PathBuf, String> {
        let package = home.join(self.release);
        if !package.is_dir() {
            // Test processes run at the same time: one fetches, the others find it done.
            let lock = File::create(home.join(format!("{}.lock", self.release))).unwrap();
            lock.lock().unwrap();
            if !package.is_dir() {
                self.fetch(home, &package, prepare)?;
            }
        }
        Ok(package)
    }

    /// Fetches, verifies and unpacks it; it stands in its place complete or not at all.
    fn fetch(&self, home: &Path, package: &Path, prepare: fn(&Path)) -> Result<(), String> {
        let release = self.release;
        let work = tempfile::tempdir_in(home).unwrap();
        let tarball = work.path().join("package.tgz");
        self.pack(work.path(), &tarball)?;
        let found = BASE64_STANDARD.encode(Sha512::digest(fs::read(&tarball).unwrap()));
        assert_eq!(
            found, self.checksum,
            "the tarball of {release} is not the one that is pinned"
        );
        let unpacked = Command::new("tar")
            .args(["-xzf", "package.tgz", "--no-same-owner"])
            .current_dir(work.path())
            .status()
            .map_err(|error| format!("tar: {error}"))?;
        assert!(unpacked.success(), "tar cannot unpack {release}");
        let unpacked = work.path().join("package");
        prepare(&unpacked);
        fs::rename(&unpacked, package).unwrap();
        Ok(())
    }

    fn pack(&self, directory: &Path, tarball: &Path) -> Result<(), String> {
        let packed = Command::new("npm")
            .args(["pack", "--loglevel=error", "--fetch-retries=1"])
            .arg(format!("{}@{}", self.name, self.release))
            .current_dir(directory)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("npm: {error}"))?;
        let name = String::from_utf8_lossy(&packed.stdout).trim().to_owned();
        if !packed.status.success() {
            let said = String::from_utf8_lossy(&packed.stderr);
            let said: Vec<&str> = said.lines().take(3).collect();
            return Err(format!("npm cannot fetch it: {}", said.join("; ")));
        }
        fs::rename(directory.join(name), tarball).map_err(|error| format!("npm's tarball: {error}"))
    }
}
