//! What is kept of operators' Certificates.

use super::*;

fn record(name: &str, key: &str) -> CertificateRecord {
    CertificateRecord {
        certificate: name.to_owned(),
        state: "{\"revision\":3}".to_owned(),
        chain_pem: b"chain".to_vec(),
        ca_pem: b"ca".to_vec(),
        key_pem: zeroize::Zeroizing::new(key.as_bytes().to_vec()),
    }
}

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0123456789012345\n";

fn kek(byte: u8) -> KeyEncryptionKey {
    use base64::Engine as _;
    KeyEncryptionKey::parse("a test", &base64::engine::general_purpose::STANDARD.encode([byte; 32])).unwrap()
}

#[test]
fn they_are_replaced_and_forgotten_together_and_survive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.db");
    let store = SqliteStore::open(&path).unwrap();
    store.save_certificates(&[record("shop/a", "1"), record("shop/b", "2")], &[]).unwrap();
    store.save_certificates(&[record("shop/a", "3")], &["shop/b".to_owned(), "shop/nobody".to_owned()]).unwrap();
    drop(store);
    let again = SqliteStore::open(&path).unwrap();
    assert_eq!(again.certificates().unwrap(), [record("shop/a", "3")]);
    assert!(!format!("{:?}", record("shop/a", KEY)).contains("PRIVATE"));
}

#[test]
fn threat_07_their_keys_are_encrypted_where_there_is_a_key_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.db");
    let is_shown = |key: &str| {
        let files =
            std::fs::read_dir(directory.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.into_iter().any(|file| file.windows(24).any(|window| window == &key.as_bytes()[40..64]))
    };
    let store = SqliteStore::open(&path).unwrap();
    store.save_certificates(&[record("shop/a", KEY)], &[]).unwrap();
    drop(store);
    assert!(is_shown(KEY), "in the clear it is found, so the search can find");
    let sealed = SqliteStore::open_sealed(&path, Some(kek(1))).unwrap();
    assert!(!is_shown(KEY), "turning encryption on leaves no copy");
    let other =
        KEY.replace("0123456789012345", "5432109876543210").replace("MIGHAgEAMBMGByqGSM49", "MIGHAgEAMBMGByqGSM48");
    sealed.save_certificates(&[record("shop/b", &other)], &[]).unwrap();
    drop(sealed);
    assert!(!is_shown(&other));
    let again = SqliteStore::open_sealed(&path, Some(kek(1))).unwrap();
    let mut kept = again.certificates().unwrap();
    kept.sort_by(|a, b| a.certificate.cmp(&b.certificate));
    assert_eq!(kept, [record("shop/a", KEY), record("shop/b", &other)]);
    drop(again);
    // A key beside another certificate is of no use.
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute("UPDATE certificate SET chain = x'00' WHERE certificate = 'shop/a'", []).unwrap();
    drop(raw);
    assert!(SqliteStore::open_sealed(&path, Some(kek(1))).unwrap().certificates().is_err());
}
