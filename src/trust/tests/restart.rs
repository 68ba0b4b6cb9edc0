//! What survives, and what is refused to be guessed at.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_restart_finds_the_same_root_intermediate_and_certificates() {
    let (directory, trust) = fresh();
    let before = trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let (bundle, intermediate) = (trust.bundle(), trust.intermediate());
    // Not closed: as after kill -9, the second one finds the write-ahead log.
    let again = open(directory.path(), settings(), NOW + Duration::from_secs(60)).unwrap();
    assert_eq!((again.bundle(), again.intermediate()), (bundle, intermediate));
    let after = again.workload_certificate("a/b", id("a", "b"), NOW + Duration::from_secs(60)).unwrap();
    assert_eq!(after, before);
}

#[test]
fn threat_07_files_are_the_owners_only() {
    let (directory, trust) = fresh();
    trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    let files: Vec<_> = fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 2, "the database and its log");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    drop(trust);
    let path = directory.path().join("trust.db");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    open(directory.path(), settings(), NOW).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    let (directory, trust) = fresh();
    drop(trust);
    let path = directory.path().join("trust.db");
    let good = fs::read(&path).unwrap();
    let halved = [&good[..good.len() / 2], &vec![0xff; good.len() / 2]].concat();
    for damaged in [Vec::new(), b"not a database at all".repeat(100), halved] {
        fs::write(&path, &damaged).unwrap();
        let error = open(directory.path(), settings(), NOW).unwrap_err();
        assert!(matches!(error, TrustError::Store(StoreError::Damaged { .. })), "{error}");
        assert!(
            error.to_string().contains("restore the file from a backup")
                && error.to_string().contains("countersign restore FILE"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), damaged, "nothing is written over it");
    }
    fs::write(&path, &good).unwrap();
    open(directory.path(), settings(), NOW).unwrap();
}

#[test]
fn somebody_elses_database_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let other = rusqlite::Connection::open(directory.path().join("trust.db")).unwrap();
    other.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    drop(other);
    let error = open(directory.path(), settings(), NOW).unwrap_err();
    assert!(error.to_string().contains("not a countersign store"), "{error}");
}

#[test]
fn a_later_format_is_refused() {
    let (directory, trust) = fresh();
    drop(trust);
    let later = rusqlite::Connection::open(directory.path().join("trust.db")).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    drop(later);
    let error = open(directory.path(), settings(), NOW).unwrap_err();
    assert!(matches!(error, TrustError::Store(StoreError::TooNew { found: 99, .. })), "{error}");
}

#[test]
fn a_crash_while_the_store_is_made_leaves_nothing_that_counts() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("trust.new"), b"half a data").unwrap();
    open(directory.path(), settings(), NOW).unwrap();
    assert!(!directory.path().join("trust.new").exists());
}

#[test]
fn another_trust_domain_is_refused() {
    let (directory, trust) = fresh();
    drop(trust);
    let other = Settings { trust_domain: "elsewhere".parse().unwrap(), ..settings() };
    let error = open(directory.path(), other, NOW).unwrap_err();
    assert!(matches!(error, TrustError::TrustDomain { .. }), "{error}");
}

#[test]
fn a_renamed_cluster_gets_an_intermediate_of_its_name() {
    let (directory, trust) = fresh();
    let before = trust.intermediate();
    drop(trust);
    let renamed = Settings { cluster: "two".into(), ..settings() };
    let after = open(directory.path(), renamed, NOW).unwrap().intermediate();
    assert_ne!(before.serial, after.serial);
    assert!(after.subject.contains("countersign two"), "{}", after.subject);
}

#[test]
fn what_has_expired_is_forgotten() {
    let (directory, trust) = fresh();
    trust.workload_certificate("a/b", id("a", "b"), NOW).unwrap();
    trust.maintain(NOW + 2 * DAY).unwrap();
    drop(trust);
    let kept = SqliteStore::open(&directory.path().join("trust.db")).unwrap().load().unwrap();
    assert!(kept.workloads.is_empty());
    assert_eq!(kept.authorities.len(), 2);
}

/// A file that the first format's code has written.
#[test]
fn a_store_of_format_1_goes_on_with_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trust.db");
    fs::write(&path, include_bytes!("fixtures/format-1.db")).unwrap();
    let now = datetime!(2026-11-24 08:00 UTC);
    let lived = Settings { cluster: "local".into(), ..settings() };
    let trust = open(directory.path(), lived.clone(), now).unwrap();
    let (bundle, intermediate) = (trust.bundle(), trust.intermediate());
    assert_eq!(bundle.roots().len(), 1);
    assert_eq!(trust.root_of(&intermediate.serial), Some(bundle.roots()[0].serial.clone()));
    assert_eq!(
        trust.issued_until(&trust.root()),
        intermediate.not_after,
        "nobody has counted, so it is the latest there is"
    );
    trust.workload_certificate("a/b", id("a", "b"), now).unwrap();
    drop(trust);
    let version = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(version(&path) >= 2);
    let again = open(directory.path(), lived, now).unwrap();
    assert_eq!((again.bundle(), again.intermediate()), (bundle, intermediate));
    // A new file has taken the same steps.
    let (fresh, _trust) = fresh();
    assert_eq!(version(&fresh.path().join("trust.db")), version(&path));
}
