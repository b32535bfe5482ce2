//! The key that keeps signing secrets unreadable in the store.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox};

use super::key_id::KeyId;
use super::{SecretError, mode_open_to_others};

const KEY_BYTES: usize = 32;
/// XChaCha20's nonce is long enough to be drawn at random for ever.
const NONCE_BYTES: usize = 24;
/// The first byte of every ciphertext, so that a later scheme can be told apart. The key's
/// id and the nonce follow it.
const VERSION: u8 = 2;
/// What a key is recognised by encrypts this, in this context.
const CHECK: &[u8] = b"walhook encryption key";
/// A key file is 44 characters and a newline; read no more of what may be a device.
const MAX_FILE_BYTES: u64 = 1024;

/// The key of `security.encryption_key_file`: 32 bytes, XChaCha20-Poly1305. While the store's
/// key is being changed, the one before it too.
pub struct EncryptionKey {
    own: Key,
    /// Of `security.previous_encryption_key_file`.
    previous: Option<Key>,
    /// The previous one is the store's until `walhook rotate-key` has recorded ours: a node
    /// that does not have ours yet must be able to read what this one writes.
    encrypts_with_previous: AtomicBool,
}

struct Key {
    id: KeyId,
    bytes: SecretBox<[u8; KEY_BYTES]>,
}

/// The key file is absent, too open or not one. Each message says the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error(
        "the encryption key file `{path}` does not exist: run `walhook setup` to create it, or put back the one that the store was set up with"
    )]
    Missing { path: PathBuf },
    #[error(
        "the encryption key file `{path}` may be read by others (mode {mode:04o}): run `chmod 600 '{path}'`"
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "the encryption key file `{path}` does not hold a key: expected one line, the base64 of 32 bytes, as from `openssl rand -base64 32`"
    )]
    Malformed { path: PathBuf },
    #[error(
        "the encryption key file `{path}` exists already: it is never overwritten, as what it encrypted would be lost"
    )]
    Exists { path: PathBuf },
    #[error("cannot {action} the encryption key file `{path}`")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
}

impl EncryptionKey {
    /// Reads the key, of a file that [`mode_open_to_others`] does not object to: walhook
    /// made it private, and a mode that is wider can be changed back.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let failed = |action, source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { path: path.into() },
            _ => KeyFileError::Io {
                path: path.into(),
                action,
                source,
            },
        };
        let file = File::open(path).map_err(|e| failed("open", e))?;
        let metadata = file.metadata().map_err(|e| failed("examine", e))?;
        if let Some(mode) = mode_open_to_others(&metadata) {
            return Err(KeyFileError::TooOpen {
                path: path.into(),
                mode,
            });
        }
        // Of full size at once: growing would leave copies behind.
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize + 1));
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut content)
            .map_err(|e| failed("read", e))?;
        let mut key = Box::new([0; KEY_BYTES]);
        let length = STANDARD.decode_slice(content.trim_ascii(), &mut key[..]);
        if length != Ok(KEY_BYTES) {
            return Err(KeyFileError::Malformed { path: path.into() });
        }
        Ok(EncryptionKey::of(SecretBox::new(key)))
    }

    /// Writes a new key to a new file that only its owner can read (mode 0600).
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let failed = |action, source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.into() },
            _ => KeyFileError::Io {
                path: path.into(),
                action,
                source,
            },
        };
        let key = EncryptionKey::generate();
        let mut line = Zeroizing::new(STANDARD.encode(key.own.bytes.expose_secret()));
        line.push('\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| failed("create", e))?;
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|e| failed("write", e))?;
        Ok(key)
    }

    /// A key that lives in memory only, for a throwaway store.
    pub fn generate() -> Self {
        EncryptionKey::of(SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| {
            rand::fill(&mut key[..]);
        }))
    }

    fn of(bytes: SecretBox<[u8; KEY_BYTES]>) -> Self {
        EncryptionKey {
            own: Key {
                id: KeyId::of_key(bytes.expose_secret()),
                bytes,
            },
            previous: None,
            encrypts_with_previous: AtomicBool::new(false),
        }
    }

    /// Reads what the other key encrypted, too.
    pub fn with_previous(mut self, previous: EncryptionKey) -> Self {
        self.previous = (previous.own.id != self.own.id).then_some(previous.own);
        self
    }

    pub fn id(&self) -> KeyId {
        self.own.id
    }

    /// The ids of all that it can decrypt with, that of `security.encryption_key_file` first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        [&self.own]
            .into_iter()
            .chain(&self.previous)
            .map(|key| key.id)
    }

    /// The id of the key that it encrypts with.
    pub fn encrypts_with(&self) -> KeyId {
        self.current().id
    }

    /// What the key of `security.encryption_key_file` is recognised by, beyond its id.
    pub fn check_value(&self) -> Vec<u8> {
        self.own.encrypt(CHECK, CHECK)
    }

    /// Encrypts with the key of this id from now on. Fails where it has none of that id, or
    /// that one did not make the check value.
    pub fn encrypt_with(&self, id: KeyId, check_value: &[u8]) -> Result<(), SecretError> {
        let key = self.find(id).ok_or(SecretError::UnknownKey(id))?;
        key.decrypt(check_value, CHECK)?;
        let previous = id != self.own.id;
        self.encrypts_with_previous
            .store(previous, Ordering::Relaxed);
        Ok(())
    }

    /// Encrypts for the store. `context` says what the value is and whose (such as
    /// the subscription's id): it is not stored, and the value opens under the
    /// same context only, so that no row's secret can be passed off as another's.
    pub fn encrypt(&self, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
        self.current().encrypt(plaintext, context)
    }

    /// What every ciphertext begins with that it makes now.
    pub fn prefix(&self) -> Vec<u8> {
        [&[VERSION], &self.current().id.bytes()[..]].concat()
    }

    /// Opens what [`encrypt`](Self::encrypt) made under the same `context`.
    pub fn decrypt(&self, ciphertext: &[u8], context: &[u8]) -> Result<Vec<u8>, SecretError> {
        let id = KeyId::of_ciphertext(ciphertext).ok_or(SecretError::UnknownCiphertext)?;
        let key = self.find(id).ok_or(SecretError::UnknownKey(id))?;
        key.decrypt(ciphertext, context)
    }

    fn current(&self) -> &Key {
        match &self.previous {
            Some(previous) if self.encrypts_with_previous.load(Ordering::Relaxed) => previous,
            Some(_) | None => &self.own,
        }
    }

    fn find(&self, id: KeyId) -> Option<&Key> {
        let mut keys = [&self.own].into_iter().chain(&self.previous);
        keys.find(|key| key.id == id)
    }
}

impl KeyId {
    /// Of the key that made a ciphertext.
    pub fn of_ciphertext(ciphertext: &[u8]) -> Option<Self> {
        let (id, _) = ciphertext.strip_prefix(&[VERSION])?.split_first_chunk()?;
        Some(KeyId::from(*id))
    }
}

impl Key {
    fn encrypt(&self, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce[..]);
        let payload = Payload {
            msg: plaintext,
            aad: context,
        };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("XChaCha20-Poly1305 refuses only 256 GiB and more");
        [&[VERSION], &self.id.bytes()[..], &nonce[..], &sealed[..]].concat()
    }

    fn decrypt(&self, ciphertext: &[u8], context: &[u8]) -> Result<Vec<u8>, SecretError> {
        let (nonce, sealed) = ciphertext
            .get(1 + KeyId::BYTES..)
            .and_then(|rest| rest.split_first_chunk::<NONCE_BYTES>())
            .ok_or(SecretError::UnknownCiphertext)?;
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        self.cipher()
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| SecretError::WrongKey)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes.expose_secret().into())
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionKey")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_context() {
        let key = EncryptionKey::generate();
        let sealed = key.encrypt(b"whsec_secret", b"sub_1");
        assert_eq!(key.decrypt(&sealed, b"sub_1").unwrap(), b"whsec_secret");
        assert_ne!(sealed, key.encrypt(b"whsec_secret", b"sub_1"));
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key.decrypt(&sealed, b"sub_2"), Err(SecretError::WrongKey));
        let other = EncryptionKey::generate();
        let unknown = SecretError::UnknownKey(key.id());
        assert_eq!(other.decrypt(&sealed, b"sub_1"), Err(unknown));
        assert_eq!(format!("{key:?}"), "EncryptionKey");
    }

    #[test]
    fn a_rotated_key_opens_what_either_made_and_encrypts_with_the_recorded_one() {
        let (old, new) = (EncryptionKey::generate(), EncryptionKey::generate());
        let (old_id, new_id) = (old.id(), new.id());
        let (old_check, new_check) = (old.check_value(), new.check_value());
        let sealed = old.encrypt(b"text", b"");
        let both = new.with_previous(old);
        assert_eq!(both.decrypt(&sealed, b"").unwrap(), b"text");
        both.encrypt_with(old_id, &old_check).unwrap();
        let sealed = both.encrypt(b"text", b"");
        assert_eq!(KeyId::of_ciphertext(&sealed), Some(old_id));
        assert_eq!(both.decrypt(&sealed, b"").unwrap(), b"text");
        both.encrypt_with(new_id, &new_check).unwrap();
        assert_eq!(KeyId::of_ciphertext(&both.encrypt(b"", b"")), Some(new_id));
        // The id alone is not enough, and neither is another's check value.
        assert_eq!(
            both.encrypt_with(new_id, &old_check),
            Err(SecretError::WrongKey)
        );
        let other = EncryptionKey::generate().id();
        assert_eq!(
            both.encrypt_with(other, &new_check),
            Err(SecretError::UnknownKey(other))
        );
        assert_eq!(both.encrypts_with(), new_id);
    }

    #[test]
    fn refuses_every_altered_or_shortened_ciphertext() {
        let key = EncryptionKey::generate();
        let sealed = key.encrypt(b"text", b"");
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.decrypt(&altered, b"").is_err(), "byte {at}");
            assert!(key.decrypt(&sealed[..at], b"").is_err(), "length {at}");
        }
    }

    #[test]
    fn a_created_file_is_private_loads_and_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("walhook.key");
        let sealed = EncryptionKey::create(&path).unwrap().encrypt(b"text", b"");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let loaded = EncryptionKey::load(&path).unwrap();
        assert_eq!(loaded.decrypt(&sealed, b"").unwrap(), b"text");
        assert!(matches!(
            EncryptionKey::create(&path),
            Err(KeyFileError::Exists { .. })
        ));
    }

    #[test]
    fn a_bad_file_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("walhook.key");
        let refused = || EncryptionKey::load(&path).unwrap_err().to_string();
        assert!(refused().contains("walhook setup"), "{}", refused());

        drop(EncryptionKey::create(&path).unwrap());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused().contains("chmod 600"), "{}", refused());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for content in ["", "secret", "c2hvcnQ=\n", &"A".repeat(5000)] {
            fs::write(&path, content).unwrap();
            assert!(
                refused().contains("openssl rand -base64 32"),
                "{}",
                refused()
            );
        }
    }
}
