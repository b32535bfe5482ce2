//! Files that hold one secret: a URL with its password, a key.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

/// More is no secret but a mistake: a log, a database, a disk.
const MAX_BYTES: u64 = 64 * 1024;

/// The file cannot be what holds a secret. Never quotes its content.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("cannot read `{path}`")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is not a plain file")]
    NotPlain { path: PathBuf },
    #[error("`{path}` is larger than 64 KiB: is it another file?")]
    TooLarge { path: PathBuf },
}

/// The whole of a plain file. Anything else, such as a pipe without a writer,
/// could keep the process waiting for ever.
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |source| SecretFileError::Io {
        path: path.to_owned(),
        source,
    };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(SecretFileError::NotPlain {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(failed)?;
    // Of full size at once: growing would leave copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_BYTES as usize + 1));
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut content);
    match read.map_err(failed)? as u64 > MAX_BYTES {
        true => Err(SecretFileError::TooLarge {
            path: path.to_owned(),
        }),
        false => Ok(content),
    }
}

/// The mode of a file that more may read than should. As PostgreSQL does with a TLS key, a
/// file that belongs to root may be read by its group, any other by its owner only.
pub fn mode_open_to_others(metadata: &Metadata) -> Option<u32> {
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    (metadata.mode() & forbidden != 0).then_some(metadata.mode() & 0o7777)
}
