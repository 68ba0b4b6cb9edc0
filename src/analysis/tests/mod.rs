//! Each rule by its code, and what holds for all policy sets.

mod authorization;
mod certificates;
mod diff;
mod gateways;
mod issuers;
mod linkerd;
mod policies;
mod spire;
mod ways;

use std::collections::BTreeSet;
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
    let files =
        ["policies.rs", "authorization.rs", "certificates.rs", "gateways.rs", "issuers.rs", "linkerd.rs", "spire.rs"];
    let tests: String = files.map(|it| fs::read_to_string(directory.join(it)).unwrap()).concat();
    for (position, rule) in RULES.iter().enumerate() {
        assert!(RULES[..position].iter().all(|before| before.code < rule.code), "{} is out of order", rule.code);
        assert_eq!(explain(&rule.code.to_lowercase()), Some(*rule));
        assert!(!rule.title.is_empty() && !rule.explanation.is_empty() && !rule.fix.is_empty(), "{}", rule.code);
        assert!(tests.contains(&format!("\nfn {}_", rule.code.to_lowercase())), "{} has no test", rule.code);
    }
}

/// The parts of SARIF 2.1.0 (OASIS, §3) that code hosts hold a file to.
#[test]
fn sarif_has_the_structure_that_it_promises() {
    let text = [
        mesh::tests::text::client_and_server(),
        mesh::tests::text::peer_authentication("back/a", "{mtls: {mode: DISABLE}}"),
        mesh::tests::text::peer_authentication("back/b", "{mtls: {mode: STRICT}}"),
        mesh::tests::text::destination_rule(
            "shop/web",
            "{host: nowhere, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}}",
        ),
        mesh::tests::text::object("apps/v1", "Deployment", "back/web", "{}"),
    ];
    let report = report(&text.concat());
    let levels: BTreeSet<&str> = report.findings.iter().map(|finding| finding.severity.label()).collect();
    assert_eq!(levels, BTreeSet::from(["error", "note", "warning"]), "{report:#?}");
    let value = sarif(&report);
    assert_eq!(value["version"], "2.1.0");
    assert!(value["$schema"].as_str().unwrap().ends_with("sarif-2.1.0.json"));
    let runs = value["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "countersign");
    let rules = driver["rules"].as_array().unwrap();
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), RULES.len(), "each rule once");
    for rule in rules {
        for text in ["shortDescription", "fullDescription", "help"] {
            assert!(!rule[text]["text"].as_str().unwrap().is_empty(), "{rule}");
        }
        assert!(matches!(rule["defaultConfiguration"]["level"].as_str(), Some("error" | "warning" | "note")));
    }
    let results = runs[0]["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    for (result, finding) in results.iter().zip(&report.findings) {
        assert!(ids.contains(result["ruleId"].as_str().unwrap()), "{result}");
        assert_eq!(result["level"], finding.severity.label());
        assert!(result["message"]["text"].as_str().unwrap().contains(&finding.message));
        let places = result["locations"].as_array().unwrap();
        assert_eq!(places.len(), 1);
        let place = &places[0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "f.yaml");
        assert_eq!(place["region"]["startLine"], finding.line);
        assert!(finding.line >= 1, "lines are counted from 1");
    }
    assert_eq!(sarif(&Report::default())["runs"][0]["results"], serde_json::json!([]), "no result is a list too");
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
