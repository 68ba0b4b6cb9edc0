//! What the repository ships beside the program fits the program: policies parse without a warning that nobody expects, command lines
//! are ones that the program takes, configuration files are read.

use std::path::{Path, PathBuf};

use clap::Parser;
use countersign::cli::Cli;
use countersign::mesh::{Mesh, Settings};
use countersign::policy::{parse_set, parse_spire_config};
use countersign::server::config::Config;

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every warning there is, or a panic with every error.
fn warnings(files: &[&str]) -> Vec<String> {
    let documents = files.iter().map(|file| (*file, read(file)));
    let (set, mut warnings) = parse_set(documents).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let (mesh, found) = Mesh::build(&set, &Settings::default());
    assert!(mesh.workloads().count() > 0);
    warnings.sort();
    warnings.iter().map(ToString::to_string).chain(found.iter().map(ToString::to_string)).collect()
}

#[test]
fn the_example_of_two_envoys_has_nothing_to_complain_of() {
    assert_eq!(warnings(&["config/examples/two-envoys/policy.yaml"]), [""; 0]);
}

#[test]
fn the_example_for_who_comes_from_spire_works() {
    let text = read("config/examples/spire/policies/entries.yaml");
    let (set, parsed) = parse_set([("entries.yaml", text)]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let settings = Settings { trust_domain: "example.org".into(), ..Settings::default() };
    let (mesh, built) = Mesh::build(&set, &settings);
    assert_eq!(parsed.len() + built.len(), 0, "{parsed:?} {built:?}");
    let ids: Vec<_> = mesh.workloads().map(|workload| workload.spiffe_id.as_str()).collect();
    let expected =
        ["payments/ledger", "shop/backend", "shop/frontend"].map(|path| format!("spiffe://example.org/{path}"));
    assert_eq!(ids, expected);
    let file = "config/examples/spire/server.conf";
    let (server, warnings) = parse_spire_config(file, &read(file), None).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!((server.trust_domain.value.as_str(), warnings.len()), ("example.org", 0));
    let file = "config/examples/spire/countersign.yaml";
    let config = Config::parse(file, &read(file)).unwrap_or_else(|error| panic!("{error}"));
    // What the example's Envoy connects to is the server's socket, and who it expects is registered.
    let envoy = read("config/examples/spire/envoy-backend.yaml");
    let _: serde_json::Value = serde_saphyr::from_str(&envoy).unwrap();
    assert!(envoy.contains(config.xds.unix.path.unwrap().to_str().unwrap()));
    assert!(expected.iter().filter(|id| envoy.contains(id.as_str())).count() == 2);
}

#[test]
fn the_example_of_cert_manager_issues_all_its_certificates() {
    use countersign::certificates::Controller;

    let file = "config/examples/cert-manager/policy.yaml";
    assert_eq!(warnings(&[file]), [""; 0]);
    let (set, _) = parse_set([(file, read(file))]).unwrap();
    let (mut controller, now) = (Controller::default(), time::OffsetDateTime::now_utc());
    assert_eq!(controller.pass(&set, now).issued, 3);
    let set = controller.with_secrets(&std::sync::Arc::new(set));
    for certificate in controller.statuses(&set) {
        let ready = certificate.conditions.iter().any(|it| it.r#type == "Ready" && it.status);
        assert!(ready && certificate.conditions.len() == 1, "{certificate:#?}");
    }
    assert!(controller.issuers(&set, now).iter().all(|issuer| issuer.ready.is_ok()));
    let (mesh, built) = Mesh::build(&set, &Settings::default());
    let subject = countersign::analysis::Subject { set: &set, mesh: &mesh, parsed: &[], built: &built };
    let report = countersign::analysis::analyze(subject, &countersign::analysis::Limits::default(), now);
    assert_eq!(report.findings, [], "{report:#?}");
}

#[test]
fn the_example_for_linkerd_completes_its_seed() {
    let files = ["config/policies/seed/linkerd.yaml", "config/examples/linkerd/policy.yaml"];
    let warnings = warnings(&files);
    let expected = ["Service default/my-service has skip-outbound-ports", "names none of its ports"];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, part) in warnings.iter().zip(expected) {
        assert!(warning.contains(part), "{warning}");
    }
    let (set, _) = parse_set(files.map(|file| (file, read(file)))).unwrap();
    let (mesh, _) = Mesh::build(&set, &Settings::default());
    let app = mesh.workload(&"my-namespace/my-app".parse().unwrap()).unwrap();
    assert_eq!(*app.dns_names, ["my-app.my-namespace.serviceaccount.identity.linkerd.cluster.local"]);
    let decided = countersign::mesh::decide::inbound(&mesh, app, 8080);
    assert_eq!(decided.policy.as_deref(), Some("Server my-namespace/external-api"));
    assert_eq!(decided.mode.to_string(), "STRICT");
}

#[test]
fn the_compose_lab_runs_on_the_seed_policies() {
    assert_eq!(warnings(&["config/policies/seed/istio.yaml", "deploy/compose/policy/workloads.yaml"]), [""; 0]);
}

#[test]
fn configurations_are_read() {
    for file in ["config/countersign.yaml", "deploy/compose/countersign.yaml"] {
        let config = Config::parse(file, &read(file)).unwrap_or_else(|error| panic!("{error}"));
        config.check().unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

fn takes(arguments: &[String]) {
    let program = std::iter::once("countersign".to_owned());
    if let Err(error) = Cli::try_parse_from(program.chain(arguments.iter().cloned())) {
        panic!("{arguments:?}: {error}");
    }
}

#[test]
fn the_compose_file_runs_commands_that_there_are() {
    let compose: serde_json::Value = serde_saphyr::from_str(&read("deploy/compose/docker-compose.yaml")).unwrap();
    let mut commands = 0;
    for (name, service) in compose["services"].as_object().unwrap() {
        let words = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        if name.ends_with("-bootstrap") || name.ends_with("-agent") {
            // An agent's command stands once, for all of them.
            let own = words(&service["command"]);
            let command = if own.is_empty() { words(&compose["x-agent"]["command"]) } else { own };
            takes(&command);
            commands += 1;
        }
        if let ["CMD", "countersign", arguments @ ..] =
            words(&service["healthcheck"]["test"]).iter().map(String::as_str).collect::<Vec<_>>().as_slice()
        {
            takes(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            commands += 1;
        }
        // What is mounted from the repository is in it.
        for volume in words(&service["volumes"]).iter().filter(|volume| volume.starts_with('.')) {
            let source = PathBuf::from("deploy/compose").join(volume.split(':').next().unwrap());
            read(source);
        }
    }
    assert_eq!(commands, 7);
}

#[test]
fn the_image_and_the_unit_start_a_server_that_there_is() {
    let image = read("deploy/Dockerfile");
    let command = image.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    takes(&serde_json::from_str::<Vec<String>>(command).unwrap());
    let unit = read("deploy/countersign.service");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/countersign ")).unwrap();
    takes(&command.split(' ').map(str::to_owned).collect::<Vec<_>>());
}
