//! Golden tests of the pure stages: policy in, plans and Envoy's resources out.
//!
//! A case is a folder of `tests/golden`, named after the one rule that it shows. It holds `policy.yaml` and what becomes of it:
//! `plan.yaml` (warnings, plans, and the reasons of each decision; of Certificates, what is issued for them) and `envoy.yaml` (every field of
//! every resource, if there is any workload). A `case.yaml` may narrow what is shown, or ask for the findings of an analysis. A policy set that is refused has its errors in `plan.yaml`, and no `envoy.yaml`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the files anew; the diff is what a reviewer reads.
//! `GOLDEN=word cargo test --test golden` looks at the cases with `word` in their names.

#[path = "golden/case.rs"]
mod case;
#[path = "golden/certificates.rs"]
mod certificates;
#[path = "golden/protobuf.rs"]
mod protobuf;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use case::Case;
use protobuf::Renderer;
use similar::TextDiff;

const OUTPUTS: [&str; 2] = ["plan.yaml", "envoy.yaml"];

#[test]
fn every_case_is_as_recorded() {
    let wanted = std::env::var("GOLDEN").unwrap_or_default();
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let renderer = Renderer::new();
    let mut differences = Vec::new();
    let mut count = 0;
    for folder in folders() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        count += 1;
        let case = Case::read(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (file, produced) in OUTPUTS.into_iter().zip(case.outputs(&renderer)) {
            let path = folder.join(file);
            if update {
                record(&path, produced.as_deref());
            } else {
                let recorded = fs::read_to_string(&path).ok();
                differences.extend(difference(&format!("{name}/{file}"), recorded.as_deref(), produced.as_deref()));
            }
        }
    }
    assert!(count > 0, "no case has {wanted:?} in its name");
    assert!(differences.is_empty(), "{}\n{} files differ", differences.join("\n"), differences.len());
}

#[test]
fn a_difference_is_seen_and_shown() {
    assert_eq!(difference("f", Some("a\nb\n"), Some("a\nb\n")), None);
    assert_eq!(difference("f", None, None), None);
    let changed = difference("f", Some("a\nb\n"), Some("a\nc\n")).unwrap();
    assert!(changed.contains("-b") && changed.contains("+c"), "{changed}");
    assert!(difference("f", None, Some("a\n")).unwrap().contains("is missing"));
    assert!(difference("f", Some("a\n"), None).unwrap().contains("no longer"));
}

/// The subjects whose rules are listed.
const LISTED: [&str; 6] =
    ["automatic_", "chains_", "destination_rule_", "istio_", "peer_authentication_", "interception_passthrough_"];

#[test]
fn each_rule_of_istios_has_cases_and_each_of_them_is_listed() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/istio-rules.md")).unwrap();
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule |")).collect();
    let cases = |row: &&str| -> Vec<String> {
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let there: BTreeSet<_> =
        folders().iter().map(|it| it.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let listed: BTreeSet<_> = rows.iter().flat_map(cases).collect();
    let without: Vec<_> = rows.iter().filter(|row| cases(row).is_empty()).collect();
    assert!(without.is_empty(), "rules without a case: {without:#?}");
    assert_eq!(listed.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new(), "cases that are not there");
    let of_subject = |name: &&String| LISTED.iter().any(|subject| name.starts_with(subject));
    let missing: Vec<_> = there.iter().filter(of_subject).filter(|name| !listed.contains(*name)).collect();
    assert_eq!(missing, Vec::<&String>::new(), "cases that the list does not name");
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn record(path: &Path, text: Option<&str>) {
    match text {
        Some(text) => fs::write(path, text).unwrap(),
        None if path.exists() => fs::remove_file(path).unwrap(),
        None => {}
    }
}

fn difference(file: &str, recorded: Option<&str>, produced: Option<&str>) -> Option<String> {
    match (recorded, produced) {
        (recorded, produced) if recorded == produced => None,
        (Some(recorded), Some(produced)) => {
            let diff = TextDiff::from_lines(recorded, produced);
            Some(
                diff.unified_diff().context_radius(4).header(&format!("{file} as recorded"), "as produced").to_string(),
            )
        }
        (None, _) => Some(format!("{file} is missing: UPDATE_GOLDEN=1 cargo test --test golden writes it")),
        (Some(_), _) => Some(format!("{file} is no longer produced: remove it, or UPDATE_GOLDEN=1 does")),
    }
}
