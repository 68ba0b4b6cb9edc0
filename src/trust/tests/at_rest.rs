//! The file: older formats, encryption, backup and restore.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use time::macros::datetime;

use super::*;

/// Written by the first release's format: a root, an intermediate, and the certificate of shop/web.
const FORMAT_1: &[u8] = include_bytes!("data/format-1.db");
const THEN: OffsetDateTime = datetime!(2026-11-24 07:20 UTC);

fn kek(byte: u8) -> KeyEncryptionKey {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    KeyEncryptionKey::parse("a test", &text).unwrap()
}

fn path(directory: &TempDir) -> std::path::PathBuf {
    directory.path().join("trust.db")
}

fn sealed(directory: &TempDir, key: Option<KeyEncryptionKey>) -> Result<Trust, TrustError> {
    let settings = Settings { cluster: "local".into(), ..settings() };
    Trust::open(Box::new(SqliteStore::open_sealed(&path(directory), key)?), settings, THEN)
}

#[test]
fn the_first_format_is_converted_and_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(&directory), FORMAT_1).unwrap();
    let web = id("shop", "web");
    let trust = sealed(&directory, None).unwrap();
    let (root, held) = (trust.bundle(), trust.workload_certificate("shop/web", &web, THEN).unwrap());
    assert_eq!(trust.intermediate().not_after.date(), datetime!(2026-12-24 0:00 UTC).date());
    trust.add_join_token("secret", "shop/web", &web, DAY, THEN).unwrap();
    drop(trust);

    let raw = rusqlite::Connection::open(path(&directory)).unwrap();
    let version: i64 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 6);
    let again = sealed(&directory, None).unwrap();
    assert_eq!(again.bundle(), root);
    assert_eq!(again.workload_certificate("shop/web", &web, THEN).unwrap(), held, "what was issued is still served");
    assert_eq!(again.join_tokens().unwrap().len(), 1);
    let revoked = again.revoke(&Revoke::Identity(web.clone()), THEN).unwrap();
    assert_eq!(revoked[0].certificate.serial, held.serial, "and can be revoked");
    assert_eq!(revoked[0].certificate.issuer, held.issuer);
}

/// Whether any 24 bytes of these keys are in the file or beside it.
fn shows(directory: &TempDir, keys: &[Vec<u8>]) -> bool {
    let files = fs::read_dir(directory.path()).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|file| keys.iter().any(|key| file.windows(24).any(|window| window == &key[40..64])))
}

#[test]
fn threat_07_turning_encryption_on_leaves_no_key_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(&directory), FORMAT_1).unwrap();
    let contents = SqliteStore::open(&path(&directory)).unwrap().load().unwrap();
    let mut keys: Vec<Vec<u8>> = contents.authorities.iter().map(|it| it.key.to_vec()).collect();
    keys.push(contents.workloads[0].key_pem.as_bytes().to_vec());
    assert!(shows(&directory, &keys), "in the clear they are found, so the search can find");
    let web = id("shop", "web");
    let trust = sealed(&directory, Some(kek(1))).unwrap();
    let held = trust.workload_certificate("shop/web", &web, THEN).unwrap();
    assert!(!shows(&directory, &keys));
    let fresh = trust.workload_certificate("shop/api", id("shop", "api"), THEN).unwrap();
    assert!(!shows(&directory, &[fresh.key_pem.as_bytes().to_vec()]));
    drop(trust);
    let again = sealed(&directory, Some(kek(1))).unwrap();
    assert_eq!(again.workload_certificate("shop/web", &web, THEN).unwrap(), held);
    assert_eq!(again.workload_certificate("shop/api", id("shop", "api"), THEN).unwrap(), fresh);
}

/// A crash after everything is encrypted and before the old pages are wiped.
#[test]
fn threat_07_a_crash_while_encryption_is_turned_on_leaves_no_key_either() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(path(&directory), FORMAT_1).unwrap();
    let contents = SqliteStore::open(&path(&directory)).unwrap().load().unwrap();
    let keys = [contents.workloads[0].key_pem.as_bytes().to_vec()];
    drop(sealed(&directory, Some(kek(1))).unwrap());
    assert!(!shows(&directory, &keys));
    // What the crash has left: a key in a page that is free, and another one in the log.
    let raw = rusqlite::Connection::open(path(&directory)).unwrap();
    raw.pragma_update(None, "secure_delete", "OFF").unwrap();
    raw.execute_batch("CREATE TABLE scrap (text TEXT)").unwrap();
    raw.execute("INSERT INTO scrap VALUES (?1)", [&*contents.workloads[0].key_pem]).unwrap();
    raw.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    raw.execute_batch("DROP TABLE scrap; UPDATE encryption SET clean = 0").unwrap();
    let crashed = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    assert!(shows(&crashed, &keys), "the search can find");
    drop(sealed(&crashed, Some(kek(1))).unwrap());
    assert!(!shows(&crashed, &keys));
    let clean = || -> bool {
        let raw = rusqlite::Connection::open(path(&crashed)).unwrap();
        raw.query_row("SELECT clean FROM encryption", [], |row| row.get(0)).unwrap()
    };
    assert!(clean());
}

#[test]
fn a_wrong_key_and_none_are_refused_and_harm_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = sealed(&directory, Some(kek(1))).unwrap().bundle();
    let wrong = sealed(&directory, Some(kek(2))).unwrap_err().to_string();
    assert!(wrong.contains("is not the one that the keys in the store are encrypted with"), "{wrong}");
    let none = sealed(&directory, None).unwrap_err().to_string();
    assert!(none.contains("COUNTERSIGN_STORE_KEY") && none.contains("store.keyFile"), "{none}");
    assert_eq!(sealed(&directory, Some(kek(1))).unwrap().bundle(), root);
    let form = KeyEncryptionKey::parse("kek.txt", "c2hvcnQ=").unwrap_err().to_string();
    assert!(form.contains("kek.txt") && form.contains("openssl rand -base64 32"), "{form}");
}

#[test]
fn a_sealed_key_is_of_no_use_in_another_row() {
    let directory = tempfile::tempdir().unwrap();
    let trust = sealed(&directory, Some(kek(1))).unwrap();
    trust.workload_certificate("shop/web", id("shop", "web"), THEN).unwrap();
    trust.workload_certificate("shop/api", id("shop", "api"), THEN).unwrap();
    drop(trust);
    let raw = rusqlite::Connection::open(path(&directory)).unwrap();
    raw.execute("UPDATE workload SET key = (SELECT key FROM workload WHERE workload = 'shop/api')", []).unwrap();
    drop(raw);
    let error = sealed(&directory, Some(kek(1))).unwrap_err();
    assert!(matches!(error, TrustError::Store(StoreError::Sealed { .. })), "{error}");
}

#[test]
fn a_backup_is_taken_under_way_and_put_back() {
    let (directory, trust) = fresh();
    let held = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let copy = directory.path().join("copy.db");
    backup(&path(&directory), &copy).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let taken = fs::read(&copy).unwrap();
    assert!(backup(&path(&directory), &copy).is_err() && fs::read(&copy).unwrap() == taken, "none is overwritten");
    // What comes after the backup is not in it.
    let after = trust.renew_workload_certificates(&[("a/b".into(), id("a", "b"))], NOW).unwrap();
    assert_ne!(after[0].serial, held.serial);
    drop(trust);

    let refused = restore(&copy, &path(&directory), false, NOW).unwrap_err().to_string();
    assert!(refused.contains("--force"), "{refused}");
    let aside = restore(&copy, &path(&directory), true, NOW).unwrap().unwrap();
    assert!(aside.exists());
    let trust = open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap().serial, held.serial);
}

#[test]
fn what_is_no_backup_is_not_put_in_place() {
    let (directory, trust) = fresh();
    let root = trust.bundle();
    drop(trust);
    let garbage = directory.path().join("garbage");
    fs::write(&garbage, b"not a database at all".repeat(100)).unwrap();
    let another = directory.path().join("another.db");
    rusqlite::Connection::open(&another).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    for (bad, why) in [
        (garbage, "file is not a database"),
        (another, "it is not a countersign store"),
        (directory.path().to_owned(), "it is not a file"),
        (directory.path().join("absent"), "there is no such file"),
    ] {
        let said = restore(&bad, &path(&directory), true, NOW).unwrap_err().to_string();
        let whole = format!("{} is not put in place: {why}. Nothing has been changed", bad.display());
        assert!(
            said.starts_with(&whole) && said.ends_with("name a file that `countersign backup` has written"),
            "{said}"
        );
    }
    assert_eq!(open(directory.path(), settings(), NOW).unwrap().bundle(), root);
}
