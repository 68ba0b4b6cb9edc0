//! What people read.

use super::*;

#[test]
fn the_adoption_table_says_what_each_who_is_missing_holds() {
    let one = MissingProxy {
        node: "shop/stuck".into(),
        node_id: "stuck-1".into(),
        state: AdoptionState::Behind,
        reason: "it has another since then".into(),
        serial: Some("0a".into()),
        ..MissingProxy::default()
    };
    let status = AdoptionStatus {
        secret: "default".into(),
        acknowledged: 1,
        missing: vec![one],
        unused: vec!["shop/idle".into()],
        away: 3,
        ..AdoptionStatus::default()
    };
    let mut out = Vec::new();
    adoption::write_table(&status, &mut out).unwrap();
    let expected = "\
SECRET          default
acknowledged    1 proxy
missing         1
not used by     shop/idle
not connected   3

NODE         NODE-ID   STATE    HOLDS   REASON
shop/stuck   stuck-1   BEHIND   0a      it has another since then
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_proxy_table() {
    let of = |name: &str, state, error: Option<&str>| TypeStatus {
        type_name: name.into(),
        state,
        error: error.map(str::to_owned),
        ..TypeStatus::default()
    };
    let web = ProxyStatus {
        name: "shop/web".into(),
        version: "1.40.0".into(),
        connected_since: "2026-11-24T00:00:00Z".into(),
        types: vec![
            of("CDS", TypeState::Synced, None),
            of("LDS", TypeState::Stale, None),
            of("SDS", TypeState::Rejected, Some("Failed to load\u{1b}[2J")),
        ],
        ..ProxyStatus::default()
    };
    let mut out = Vec::new();
    proxy_status::write_table(&[web], datetime!(2026-11-24 03:12:40 UTC), &mut out).unwrap();
    let expected = "\
NAME       CLUSTER   VERSION   CDS      LDS     EDS        RDS        SDS        CONNECTED
shop/web   -         1.40.0    SYNCED   STALE   NOT SENT   NOT SENT   REJECTED   3h 12m

shop/web refused SDS: Failed to load\u{fffd}[2J
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn the_secret_table_has_a_row_for_each_root_and_a_node_column_only_for_many() {
    let root = |serial: &str, valid| SecretStatus {
        node: "shop/web".into(),
        name: "ROOTCA".into(),
        r#type: SecretType::Ca,
        status: SecretState::Active,
        valid: Some(valid),
        serial: serial.into(),
        not_after: "2036-01-01T00:00:00Z".into(),
        not_before: "2026-01-01T00:00:00Z".into(),
    };
    let secrets = [root("1f", true), root("0a2b", false)];
    let table = |with_node| {
        let mut out = Vec::new();
        secrets::write_table(&secrets, with_node, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let expected = "\
NAME     TYPE   STATUS   VALID   SERIAL   NOT-AFTER              NOT-BEFORE
ROOTCA   CA     ACTIVE   true    1f       2036-01-01T00:00:00Z   2026-01-01T00:00:00Z
ROOTCA   CA     ACTIVE   false   0a2b     2036-01-01T00:00:00Z   2026-01-01T00:00:00Z
";
    assert_eq!(table(false), expected);
    assert!(table(true).starts_with("NODE       NAME     TYPE"), "{}", table(true));
}

#[tokio::test]
async fn the_root_rotation_s_table_names_who_is_waited_for() {
    let server = start().await;
    assert_eq!(run(server.dir.path(), "rotate root status").await.unwrap(), "no root rotation so far\n");
    let status = RootRotationStatus {
        step: "activating".into(),
        paused: true,
        force: true,
        old_root: "0a".into(),
        new_root: "0b".into(),
        started_at: "2026-06-01T12:00:00Z".into(),
        step_since: "2026-06-01T12:05:00Z".into(),
        waiting: vec![
            WaitingFor { proxy: Some("shop/web".into()), reason: "it refuses the trust bundle: bad\u{1b}[2J".into() },
            WaitingFor { proxy: None, reason: "certificates below the other root may be valid".into() },
        ],
    };
    let mut out = Vec::new();
    rotate::write_root(&status, &mut out).unwrap();
    let expected = "\
ROOT ROTATION   activating (paused) (forced)
old root        0a
new root        0b
since           2026-06-01T12:05:00Z
started         2026-06-01T12:00:00Z

waiting for:
  shop/web: it refuses the trust bundle: bad\u{fffd}[2J
  certificates below the other root may be valid
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
