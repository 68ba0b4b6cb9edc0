//! Each rule by its code, and what holds for all policy sets.

mod authorization;
mod certificates;
mod diff;
mod policies;
mod ways;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::mesh::Settings;
use crate::mesh::tests::random::policies as random_policies;
use crate::policy::parse_set;

const NOW: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

fn report_with(text: &str, settings: &Settings) -> Report {
    match parse_set([("f.yaml", text)]) {
        Err(errors) => refused(&errors),
        Ok((set, parsed)) => {
            let (mesh, built) = Mesh::build(&set, settings);
            let subject = Subject { set: &set, mesh: &mesh, parsed: &parsed, built: &built };
            analyze(subject, &Limits::default(), NOW)
        }
    }
}

fn report(text: &str) -> Report {
    report_with(text, &Settings::default())
}

/// The findings of one code, as they are printed.
fn found(report: &Report, code: &str) -> Vec<String> {
    report.findings.iter().filter(|finding| finding.code == code).map(ToString::to_string).collect()
}

/// The one finding of a code; its place and a part of its message are looked at.
fn assert_found(text: &str, code: &str, line: u32, part: &str) {
    let report = report(text);
    let found = found(&report, code);
    let place = format!("f.yaml:{line}: ");
    assert_eq!(found.len(), 1, "{code} in {report:#?}");
    assert!(found[0].starts_with(&place) && found[0].contains(part), "{place}…{part} is not in {}", found[0]);
    let finding = report.findings.iter().find(|finding| finding.code == code).unwrap();
    assert!(!finding.fix.is_empty());
}

fn assert_silent(text: &str, code: &str) {
    let report = report(text);
    assert_eq!(found(&report, code), Vec::<String>::new());
}

#[test]
fn every_code_is_unique_explained_and_tested() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/analysis/tests");
    let tests: String = ["policies.rs", "authorization.rs", "certificates.rs"]
        .map(|it| fs::read_to_string(directory.join(it)).unwrap())
        .concat();
    for (position, rule) in RULES.iter().enumerate() {
        assert!(RULES[..position].iter().all(|before| before.code < rule.code), "{} is out of order", rule.code);
        assert_eq!(explain(&rule.code.to_lowercase()), Some(*rule));
        assert!(!rule.title.is_empty() && !rule.explanation.is_empty() && !rule.fix.is_empty(), "{}", rule.code);
        assert!(tests.contains(&format!("\nfn {}_", rule.code.to_lowercase())), "{} has no test", rule.code);
    }
}

#[test]
fn sarif_names_each_rule_and_each_place() {
    let report = report("kind: [");
    let value = sarif(&report);
    let run = &value["runs"][0];
    assert_eq!(value["version"], "2.1.0");
    assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), RULES.len());
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], "CS0001");
    assert_eq!(result["level"], "error");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "f.yaml");
    assert_eq!(place["region"]["startLine"], 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The pairs that `tls-check` calls a conflict and those that `analyze` reports are the same, whatever the order of documents.
    #[test]
    fn analysis_is_deterministic_and_agrees_with_the_ways(text in random_policies(), literal in any::<bool>()) {
        let istio_compatibility = if literal { mesh::IstioCompatibility::Strict } else { mesh::IstioCompatibility::Adaptive };
        let settings = Settings { istio_compatibility, ..Settings::default() };
        let first = report_with(&text, &settings);
        prop_assert_eq!(&first, &report_with(&text, &settings));
        let (set, _) = parse_set([("f.yaml", &text)]).unwrap();
        let (mesh, _) = Mesh::build(&set, &settings);
        let conflict = ways(&mesh, &Filter::default()).iter().any(|way| way.status == Status::Conflict);
        prop_assert_eq!(conflict, !found(&first, "CS0101").is_empty(), "{}", text);
        if literal {
            prop_assert_eq!(found(&first, "CS0102"), Vec::<String>::new());
        }
    }
}
