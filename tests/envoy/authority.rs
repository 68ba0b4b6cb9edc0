//! A root whose key is offline: the server makes the intermediates' keys, and takes what was signed elsewhere into service under traffic.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Mesh, Setting, countersign, eventually, finish, on_envoys};

on_envoys!(an_intermediate_is_signed_offline_and_brought_under_traffic: delta_1_40, sotw_1_36);

/// What an intermediate may do, in OpenSSL's words.
const EXTENSIONS: &str = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

/// A machine without a network, with OpenSSL and the root's key.
struct Offline(tempfile::TempDir);

impl Offline {
    fn new() -> Self {
        let offline = Self(tempfile::tempdir().unwrap());
        std::fs::write(offline.path("extensions"), EXTENSIONS).unwrap();
        offline.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            "root.key",
            "-out",
            "root.pem",
            "-subj",
            "/CN=the offline root",
            "-days",
            "30",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        offline
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The file with the certificate for a request.
    fn sign(&self, request: &str, name: &str) -> String {
        std::fs::write(self.path("request"), request).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "request",
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "20",
            "-extfile",
            "extensions",
            "-out",
            name,
        ]);
        self.path(name)
    }
}

/// Runs `countersign ca …` for the server with this data directory, whether it runs or not. What it has printed.
fn ca(data: &Path, arguments: &[&str]) -> String {
    let config = data.with_extension("yaml");
    let mut command = countersign().into_std();
    let place = ["--config".as_ref(), config.as_os_str(), "--data-dir".as_ref(), data.as_os_str()];
    let output = command.arg("ca").args(arguments).args(place).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn all_show_what_the_newest_has_signed(mesh: &Mesh, before: &[String]) {
    eventually("every proxy shows a new certificate", async || {
        let held = mesh.server().secrets().await.into_iter().filter(|it| it.name == "default").collect::<Vec<_>>();
        (held.len() == 3 && held.iter().all(|it| !before.contains(&it.serial))).then_some(())
    })
    .await;
    mesh.server().wait_synced(3).await;
}

async fn an_intermediate_is_signed_offline_and_brought_under_traffic(setting: Setting) {
    let offline = Offline::new();
    const CONFIG: &str = "cluster: west\nrotation:\n  spread: 1s\n";
    let mut mesh = setting
        .mesh_with(CONFIG, |policies| {
            let data = policies.with_file_name("data");
            std::fs::write(data.with_extension("yaml"), CONFIG).unwrap();
            let first = offline.sign(&ca(&data, &["csr"]), "first.pem");
            let said = ca(&data, &["import", "--chain", &first, "--root", &offline.path("root.pem")]);
            assert!(said.contains("signs from the next start on"), "{said}");
        })
        .await;
    mesh.server().wait_synced(3).await;
    let traffic = mesh.traffic();
    let (before, data) = (mesh.server().status().await, mesh.server().data_dir().to_owned());
    let leaves: Vec<_> = mesh.server().secrets().await.into_iter().map(|it| it.serial).collect();

    let signed = offline.sign(&ca(&data, &["csr"]), "second.pem");
    let said = ca(&data, &["import", "--chain", &signed, "--root", &offline.path("root.pem")]);
    let after = mesh.server().status().await;
    assert!(said.contains(&after.intermediate.serial) && said.contains("signs from now on"), "{said}");
    assert_eq!(after.root, before.root);
    assert_ne!(after.intermediate, before.intermediate);
    all_show_what_the_newest_has_signed(&mesh, &leaves).await;

    // What is wrong is refused, and what was taken in survives a crash.
    let mut command = countersign();
    command.args(["ca", "import", "--chain", &signed, "--root", &offline.path("root.pem"), "--data-dir"]);
    let again = command.arg(&data).stderr(Stdio::piped()).output().await.unwrap();
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("in the store already"));
    mesh.lab.control_plane.kill().await;
    mesh.lab.control_plane.start_again().await;
    assert_eq!(mesh.server().status().await.intermediate, after.intermediate);
    mesh.server().wait_synced(3).await;
    finish(traffic).await;
    mesh.stop().await;
}
