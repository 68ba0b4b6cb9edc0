//! Policy files of every kind: whatever is read says where a mistake is, and becomes a model, plans and findings.
#![no_main]

use countersign::analysis::{Limits, Subject, analyze};
use countersign::envoy::{class_resources, proxy_resources};
use countersign::mesh::{Mesh, Settings};
use countersign::plan::{self, class_plan, proxy_plan};
use countersign::policy::parse_set;
use countersign::trust::fuzzing::NOW;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // In YAML a carriage return ends a line too.
    let lines = u32::try_from(text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count()).expect("it is short");
    let (set, parsed) = match parse_set([("policy.yaml", text)]) {
        Ok(read) => read,
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| (1..=lines + 1).contains(&error.at.line)), "{errors:?}");
            return;
        }
    };
    let (mesh, built) = Mesh::build(&set, &Settings::default());
    for workload in mesh.workloads() {
        let node = plan::Node::default();
        class_resources(&class_plan(&mesh, workload, node, &plan::Settings::default()));
        proxy_resources(&proxy_plan(&mesh, workload, node));
    }
    let report = analyze(Subject { set: &set, mesh: &mesh, parsed: &parsed, built: &built }, &Limits::default(), NOW);
    let again = analyze(Subject { set: &set, mesh: &mesh, parsed: &parsed, built: &built }, &Limits::default(), NOW);
    assert_eq!(format!("{report:?}"), format!("{again:?}"));
});
