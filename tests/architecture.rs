//! The direction in which modules use each other. Data flows one way, so the arrows do too.
//!
//! What a module may name is written here once; every path of `src/` that begins at the crate's root, or climbs to it, is held to it.
//! Tests are exempt: they build their input with whatever stands before their module.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the crate's root, and those that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    // From the operator's text to Envoy's resources: each stage knows the one before it.
    // SPIFFE IDs and trust domains are read in one place, wherever they are written.
    ("policy", &["identity"]),
    ("source", &["policy"]),
    ("mesh", &["policy", "identity"]),
    ("plan", &["mesh"]),
    ("envoy", &["plan"]),
    // The transport carries bytes, and knows nothing of what they say.
    ("xds", &[]),
    // Who someone is, what proves it, and who may have which secret.
    ("identity", &[]),
    ("trust", &["identity"]),
    ("secrets", &["trust", "identity"]),
    // What is wrong in a policy set: the model's own decisions, and whether a Secret could be served.
    ("analysis", &["policy", "mesh", "secrets"]),
    // The contracts of a node's own credentials, both ends of them.
    ("enrollment", &["identity"]),
    // What came back from the proxies, and what waits for it.
    ("fleet", &["xds", "identity"]),
    ("certificates", &["policy", "trust"]),
    ("rollout", &["fleet", "trust", "mesh"]),
    ("telemetry", &[]),
    // The operator's door reads everything above.
    (
        "admin",
        &[
            "policy",
            "source",
            "mesh",
            "plan",
            "envoy",
            "xds",
            "identity",
            "trust",
            "certificates",
            "secrets",
            "fleet",
            "rollout",
            "telemetry",
            "analysis",
        ],
    ),
    // Commands speak the door's types; `serve` and `bootstrap` name trust domains and SPIFFE IDs. Those about policy work on a
    // directory too.
    ("cli", &["admin", "identity", "enrollment", "analysis", "source", "mesh", "policy"]),
    ("lab", &["cli", "enrollment"]),
    // Puts all of it together.
    (
        "server",
        &[
            "policy",
            "source",
            "mesh",
            "plan",
            "envoy",
            "xds",
            "identity",
            "trust",
            "certificates",
            "secrets",
            "enrollment",
            "fleet",
            "rollout",
            "telemetry",
            "analysis",
            "admin",
            "cli",
            "lab",
        ],
    ),
];

#[test]
fn modules_use_each_other_along_the_arrows_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut faults = Vec::new();
    let mut seen = 0;
    for path in rust_files(&root) {
        let inner: Vec<_> = path.strip_prefix(&root).unwrap().iter().map(|part| part.to_string_lossy()).collect();
        let inner: Vec<&str> = inner.iter().map(AsRef::as_ref).collect();
        if inner.len() == 1 && ["lib.rs", "main.rs"].contains(&inner[0]) {
            continue;
        }
        seen += 1;
        faults.extend(check(&inner, &fs::read_to_string(&path).unwrap()));
    }
    assert!(seen > 50, "only {seen} files were found");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_wrong_arrow_is_found_in_every_spelling() {
    let found = |path: &[&str], text: &str| check(path, text).len();
    assert_eq!(found(&["envoy", "tls.rs"], "use crate::plan::UpstreamTls;\nuse super::sds;\n"), 0);
    assert_eq!(found(&["envoy", "tls.rs"], "use crate::mesh::San;\n"), 1);
    assert_eq!(found(&["envoy", "tls.rs"], "use crate::{plan, mesh::San};\n"), 1);
    assert_eq!(
        found(&["envoy", "tls.rs"], "use crate::{\n    mesh::{self, San},\n    policy,\n    plan::{A, B},\n};\n"),
        2
    );
    assert_eq!(found(&["envoy", "tls.rs"], "fn f() { crate::mesh::f() }\n"), 1);
    assert_eq!(found(&["envoy", "tls.rs"], "use super::super::mesh::San;\n"), 1);
    assert_eq!(found(&["envoy", "mod.rs"], "use super::mesh::San;\n"), 1);
    assert_eq!(found(&["envoy.rs"], "use super::mesh::San;\n"), 1);
    assert_eq!(
        found(&["mesh", "decide", "inbound.rs"], "use super::super::plan;\nuse super::super::super::plan;\n"),
        1
    );
    assert_eq!(found(&["envoy", "tls.rs"], "// crate::mesh is not for us\n/// Nor is [`crate::mesh::San`].\n"), 0);
    assert_eq!(found(&["envoy", "tests.rs"], "use crate::mesh::San;\n"), 0);
    assert_eq!(found(&["envoy", "tests", "tls.rs"], "use crate::mesh::San;\n"), 0);
    assert_eq!(found(&["novelty", "mod.rs"], ""), 1);
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|it| it == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
    files
}

/// What is wrong with one file. `path` is its place under `src`.
fn check(path: &[&str], text: &str) -> Vec<String> {
    let (file, shown) = (path[path.len() - 1], path.join("/"));
    if path.contains(&"tests") || file == "tests.rs" {
        return Vec::new();
    }
    let module = path[0].trim_end_matches(".rs");
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        return vec![format!("src/{shown}: the module `{module}` has no row in tests/architecture.rs")];
    };
    // How many times `super` leads from here to the crate's root.
    let depth = path.len() - usize::from(file == "mod.rs");
    let used = used_modules(text, depth);
    let wrong = used.iter().filter(|used| *used != module && !allowed.contains(&used.as_str()));
    wrong.map(|used| format!("src/{shown}: `{module}` may not use `{used}`")).collect()
}

/// The root's modules that `text` names.
fn used_modules(text: &str, depth: usize) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .fold(String::new(), |code, line| code + line + "\n");
    let climb = "super::".repeat(depth);
    let mut used = BTreeSet::new();
    for start in ["crate::", &climb] {
        for (at, _) in code.match_indices(start) {
            // `$crate::`, and a longer climb, which could only be a mistake that does not compile.
            let before = code[..at].chars().next_back();
            if before.is_none_or(|it| !(it.is_alphanumeric() || it == '_' || it == ':')) {
                used.extend(first_names(&code[at + start.len()..]));
            }
        }
    }
    used.retain(|name| MAY_USE.iter().any(|(module, _)| module == name));
    used
}

/// The first name of a path, or of each path in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, it) in group.char_indices() {
        match it {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                return names;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}
