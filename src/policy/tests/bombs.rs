//! Threat 15: files made to exhaust the parser.

use std::fmt::Write;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;

/// No bomb may cost more; in a debug build the worst costs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `run` costs this thread. Unlike a stopwatch, it does not count what else the machine is doing.
fn cost<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it counts from the thread's start");
    let start = now();
    let value = run();
    (value, now() - start)
}

fn refused(text: &str) -> String {
    let (errors, cost) = cost(|| bad(text));
    assert!(cost < PATIENCE, "{cost:?}");
    errors
}

#[test]
fn threat_15_deep_nesting() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        for depth in [60, 1_000, 100_000] {
            let errors = refused(&format!("{}{}", open.repeat(depth), close.repeat(depth)));
            assert!(errors.contains("f.yaml:1"), "{errors}");
        }
    }
    let mut block = String::new();
    for depth in 0..2_000 {
        let _ = writeln!(block, "{}a:", " ".repeat(depth));
    }
    let errors = refused(&block);
    assert!(errors.contains("48 levels"), "{errors}");
    refused(&"- ".repeat(200_000));
    refused(&"[".repeat(1_000_000));
    refused(&"? ".repeat(200_000));
}

/// A text within a text has the same limits, and where its lines stand is not looked for from the beginning each time.
#[test]
fn threat_15_bombs_within_config_maps() {
    let map = |namespace: usize, text: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: n{namespace}}}\ndata:\n  mesh: |\n    {text}\n"
        )
    };
    let errors = refused(&map(0, &"[".repeat(100_000)));
    assert!(errors.starts_with("f.yaml:7: "), "{errors}");
    let laughs = "a: &a [x, x, x, x]\n    b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n    c: [".to_owned()
        + &"*b, ".repeat(9_000)
        + "]";
    assert!(refused(&map(0, &laughs)).contains("refused"));
    let many: String = (0..20_000).map(|namespace| map(namespace, "trustDomain: a")).collect();
    let ((set, _), cost) = cost(|| good(&many));
    assert!(set.mesh_configs.len() == 20_000 && cost < PATIENCE, "{cost:?}");
}

#[test]
fn threat_15_alias_bombs() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(10);
        let _ = writeln!(laughs, "a{level}: &a{level} [{}]", alias.trim_end_matches(", "));
    }
    let errors = refused(&laughs);
    assert!(errors.contains("refused"), "{errors}");

    let large = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), "*a,".repeat(900));
    let errors = refused(&large);
    assert!(errors.contains("refused"), "{errors}");

    let mut merges = "m0: &m0 {a: 1, b: 2}\n".to_owned();
    for level in 1..30 {
        let _ = writeln!(merges, "m{level}: &m{level}\n  k{level}: {{<<: [*m{0}, *m{0}]}}", level - 1);
    }
    let (_, cost) = cost(|| parse_set([("f.yaml", merges.as_str())]));
    assert!(cost < PATIENCE, "{cost:?}");
    refused("a: &a [*a]");
}

#[test]
fn threat_15_huge_scalars() {
    let errors = refused(&format!("a: \"{}\"", "x".repeat(MAX_FILE_BYTES)));
    assert!(errors.contains("the limit is 4194304"), "{errors}");
    // As large as a file may be: refused as a document, and quotes nothing of it.
    let errors = refused(&format!("kind: \"{}\"\napiVersion: security.istio.io/v1", "x".repeat(MAX_FILE_BYTES - 100)));
    assert!(errors.len() < 500, "{}", errors.len());
    let errors = refused(&object("PeerAuthentication", &format!("  {}: 1", "x".repeat(1 << 20))));
    assert!(errors.len() < 500, "{}", errors.len());
    refused(&format!("a: {}", "9".repeat(1 << 20)));
}

#[test]
fn threat_15_many_small_things() {
    refused(&"---\na\n".repeat(60_000));
    refused(&format!("[{}]", "1,".repeat(1_100_000)));
    let mut keys = String::from("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n");
    for key in 0..100_000 {
        let _ = writeln!(keys, "  k{key}: 1");
    }
    let errors = refused(&keys);
    assert!(errors.contains("99900 more errors"), "{}", errors.len());
}

#[test]
fn threat_15_time_is_linear_in_size() {
    let text = |objects: usize| {
        let mut text = String::new();
        for index in 0..objects {
            let labels = "selector:\n    matchLabels: {app: a, tier: b}\n  mtls: {mode: STRICT}";
            let _ = writeln!(
                text,
                "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p{index}}}\nspec:\n  {labels}"
            );
        }
        text
    };
    let time = |objects: usize| {
        let text = text(objects);
        let parse = || assert_eq!(good(&text).0.peer_authentications.len(), objects);
        (0..3).map(|_| cost(parse).1).min().unwrap_or_default()
    };
    let (small, large) = (time(500), time(4_000));
    // Eight times the size; quadratic time would be sixty-four times as long.
    assert!(large < small * 24, "{small:?} for 500, {large:?} for 4,000");
}
