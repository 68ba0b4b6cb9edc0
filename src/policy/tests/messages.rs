//! Errors: the right place, the right path, the likely remedy, and never a secret.

use serde::Deserialize;

use super::*;

#[test]
fn unknown_field_names_the_nearest() {
    let errors = bad(&object("PeerAuthentication", "  mtls:\n    mod: STRICT"));
    assert_eq!(errors, "f.yaml:7: spec.mtls: unknown field \"mod\" (did you mean \"mode\"?)");
    let errors = bad(&object("PeerAuthentication", "  mtls:\n    frobnicate: STRICT"));
    assert_eq!(errors, "f.yaml:7: spec.mtls: unknown field \"frobnicate\" (known here: mode)");
}

#[test]
fn unknown_enum_value_names_the_nearest() {
    let errors = bad(&object("PeerAuthentication", "  mtls:\n    mode: STRCT"));
    assert_eq!(errors, "f.yaml:7: spec.mtls.mode: unknown value \"STRCT\" (did you mean \"STRICT\"?)");
    let errors = bad(&object("PeerAuthentication", "  mtls:\n    mode: strict"));
    assert_eq!(errors, "f.yaml:7: spec.mtls.mode: unknown value \"strict\" (did you mean \"STRICT\"?)");
}

#[test]
fn wrong_types_say_what_was_found() {
    let errors = bad(&object("PeerAuthentication", "  selector:\n    matchLabels:\n      a.b/v: 1.10\n      on: true"));
    let first =
        "f.yaml:8: spec.selector.matchLabels[\"a.b/v\"]: found a fraction, expected a string (put it in quotes)";
    assert_eq!(errors, first);
    let errors = bad(&object("DestinationRule", "  host: a\n  subsets: x"));
    assert_eq!(errors, "f.yaml:7: spec.subsets: found a string, expected a list");
    let errors = bad(&object("DestinationRule", "  host: a\n  subsets:\n  - x"));
    assert_eq!(errors, "f.yaml:8: spec.subsets[0]: found a string, expected a mapping");
    let errors = bad(&object("DestinationRule", "  trafficPolicy: {}"));
    assert_eq!(errors, "f.yaml:6: spec: the field \"host\" is missing");
}

#[test]
fn syntax_errors_have_line_and_column() {
    let errors = bad("a: b\n  c: [1, 2\n");
    assert!(errors.starts_with("f.yaml:2: column "), "{errors}");
    assert!(errors.contains("not valid YAML"), "{errors}");
    let errors = bad("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  name: b\n");
    assert_eq!(errors, "f.yaml:5: column 3: the key \"name\" is in this mapping twice (remove one of them)");
}

#[test]
fn all_errors_of_all_files_come_out() {
    let first = object("PeerAuthentication", "  mtls:\n    mod: STRICT\n  portLevelMtls: {}\n  bogus: 1");
    let second = object("DestinationRule", "  host: 'a b'");
    let errors = parse_set([("b.yaml", second.as_str()), ("a.yaml", first.as_str()), ("c.yaml", "[")]).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| error.at.to_string()).collect();
    assert_eq!(places[..4], ["a.yaml:7", "a.yaml:8", "a.yaml:9", "b.yaml:6"], "{}", lines(&errors));
    assert_eq!(errors.len(), 5);
}

#[test]
fn api_versions_and_kinds() {
    let errors = bad("apiVersion: security.istio.io/v2\nkind: PeerAuthentication\nmetadata: {name: a}\n");
    assert!(errors.contains("PeerAuthentication has no apiVersion") && errors.contains("did you mean"), "{errors}");
    let errors = bad("apiVersion: security.istio.io/v1\nkind: PeerAuthentification\nmetadata: {name: a}\n");
    assert!(errors.contains("did you mean \"PeerAuthentication\"?"), "{errors}");
    let errors = bad("kind: PeerAuthentication\nmetadata: {name: a}\n");
    assert_eq!(errors, "f.yaml:1: the field \"apiVersion\" is missing");
    let (_, warnings) = good("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n");
    assert_eq!(warnings, ["f.yaml:1: serving.knative.dev/v1 Service is not read"]);
    let (_, warnings) = good("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n");
    assert_eq!(warnings.len(), 1);
}

#[test]
fn lists_empty_documents_and_json() {
    let list = "---\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: a\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";
    let (set, warnings) = good(list);
    assert_eq!((set.namespaces.len(), warnings.len()), (2, 0));
    assert_eq!(set.namespaces[0].at.line, 8);
    let (set, _) = good("{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}");
    assert_eq!(set.namespaces[0].meta.namespace, "");
    assert_eq!(good("").0.namespaces.len(), 0);
}

#[test]
fn duplicates_name_both_places_whatever_the_order() {
    let text = object("DestinationRule", "  host: a");
    for files in [["a.yaml", "b.yaml"], ["b.yaml", "a.yaml"]] {
        let errors = parse_set(files.map(|file| (file, text.as_str()))).unwrap_err();
        let expected = "b.yaml:1: metadata.name: DestinationRule default/it is already defined at a.yaml:1 (remove one of the two)";
        assert_eq!(lines(&errors), expected);
    }
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "base: &base\n  mode: STRICT\n";
    let value: serde_json::Value =
        parse_config("c.yaml", &format!("{text}one:\n  <<: *base\n  more: 1\ntwo: *base\n")).unwrap();
    assert_eq!(value["one"], serde_json::json!({"mode": "STRICT", "more": 1}));
    assert_eq!(value["two"]["mode"], "STRICT");
}

#[test]
fn secrets_stay_secret() {
    let secret = |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n{data}\n");
    for data in [
        "data:\n  k: hunter2!",
        "data:\n  k: 31337",
        "stringData:\n  k: 31337.5",
        "stringData:\n  k: [hunter2]",
        "data: hunter2",
        "stringData:\n  k: hunter2\n  k: hunter2",
        "stringData:\n  k: \"hunter2",
        "stringData:\n  k: hunter2: x",
        "stringData:\n  k: !!int hunter2",
        "stringData:\n  k: *hunter2",
        "type:\n  hunter2: x",
    ] {
        let text = secret(data);
        let errors = parse_set([("f.yaml", &text)]).unwrap_err();
        for error in &errors {
            let shown = format!("{error} {error:?} {}", error.render(&text));
            assert!(!shown.contains("hunter2") && !shown.contains("31337"), "{shown}");
        }
    }
    let (set, _) = good(&secret("data:\n  k: |\n    aHVu\n    dGVyMg==\nstringData:\n  s: hunter2"));
    assert_eq!(set.secrets[0].spec.data["k"].as_slice(), b"hunter2");
    let shown = format!("{set:?}");
    assert!(shown.contains("\"k\"") && !shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    listen: Option<Located<String>>,
    #[serde(default)]
    limits: std::collections::BTreeMap<String, u8>,
    #[serde(default)]
    store: Store,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Store {
    #[default]
    Memory,
    Sqlite {
        path: String,
    },
}

#[test]
fn configuration() {
    let config: Config =
        parse_config("c.yaml", "listen: here\nlimits: {a: 1}\nstore:\n  sqlite:\n    path: /x\n").unwrap();
    let listen = config.listen.unwrap();
    assert_eq!((listen.value.as_str(), listen.at.to_string()), ("here", "c.yaml:1".to_owned()));
    assert_eq!(config.limits["a"], 1);
    assert_eq!(config.store, Store::Sqlite { path: "/x".to_owned() });
    assert_eq!(parse_config::<Config>("c.yaml", "").unwrap().store, Store::Memory);
    let errors = |text| lines(&parse_config::<Config>("c.yaml", text).unwrap_err());
    assert_eq!(errors("lisen: x"), "c.yaml:1: unknown field \"lisen\" (did you mean \"listen\"?)");
    assert_eq!(errors("limits:\n  a: 300"), "c.yaml:2: limits.a: found 300, expected a number from 0 to 255");
    assert_eq!(errors("store:\n  sqlte: {}"), "c.yaml:2: store: unknown value \"sqlte\" (did you mean \"sqlite\"?)");
    assert_eq!(
        errors("store:\n  sqlite:\n    pth: x"),
        "c.yaml:3: store.sqlite: unknown field \"pth\" (did you mean \"path\"?)\nc.yaml:3: store.sqlite: the field \"path\" is missing"
    );
    assert!(errors("listen: a\n---\nlisten: b").contains("second document"));
}

#[test]
fn rendered_with_an_excerpt() {
    let text = object("PeerAuthentication", "  mtls:\n    mod: STRICT");
    let errors = parse_set([("f.yaml", &text)]).unwrap_err();
    let shown = errors[0].render(&text);
    assert!(shown.contains("mod: STRICT") && shown.contains("f.yaml:7:5"), "{shown}");
    assert!(shown.contains("did you mean \"mode\"?"), "{shown}");
}
