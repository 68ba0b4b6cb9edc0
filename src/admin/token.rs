//! The bearer token of the API on a loopback port.

use std::fmt;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::data_dir::{DataDirError, write_private};

/// The digest of the token: enough to recognise it, useless to whoever sees it.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl Token {
    /// The token in the file at `path`, which is made (mode 0600) if there is none. A token survives restarts, so that a
    /// scraper's copy stays good; deleting the file and restarting makes a new one, and so does having made it readable for
    /// others.
    pub(super) fn load_or_create(path: &Path) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_file() && found.mode() & 0o077 == 0 => {
                let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
                if is_token(text.trim()) {
                    return Ok(Self::of(text.trim()));
                }
            }
            Ok(_) => tracing::warn!(path = %path.display(), "the admin token was readable for others and is replaced"),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(io(e)),
        }
        let mut random = Zeroizing::new([0_u8; 32]);
        OsRng.try_fill_bytes(random.as_mut_slice()).map_err(|e| io(std::io::Error::other(e)))?;
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in random.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        let token = Self::of(&text);
        text.push('\n');
        write_private(path, text.as_bytes())?;
        Ok(token)
    }

    /// Whether `presented` is the token. Digests are compared, all 32 bytes whatever the first ones are, so the time tells
    /// nothing about the token.
    pub(super) fn matches(&self, presented: &str) -> bool {
        let other = Sha256::digest(presented.as_bytes());
        let difference = self.0.iter().zip(other.iter()).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        difference == 0
    }

    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
