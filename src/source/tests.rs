//! Real directories, changed the way editors, kubelet and accidents change them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::*;
use std::time::Duration;

/// Long enough for a loaded machine; a test that passes never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must happen for "nothing happened".
const SILENCE: Duration = Duration::from_millis(300);

/// The poll would hide a watch that does not work.
fn without_poll() -> Options {
    Options { poll: Duration::from_secs(3600), ..Options::default() }
}

fn policy(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\nspec:\n  mtls:\n    mode: {mode}\n"
    )
}

struct Fixture {
    dir: TempDir,
    states: watch::Receiver<Arc<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fixture {
    fn new(options: Options, fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("policies");
        fs::create_dir(&root).unwrap();
        fill(&root);
        let (states, task) = Directory::start(&root, options).unwrap();
        Self { dir, states, task }
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("policies")
    }

    async fn until(&mut self, what: &str, want: impl Fn(&State) -> bool) -> Arc<State> {
        let found = timeout(PATIENCE, self.states.wait_for(|state| want(state))).await;
        found.unwrap_or_else(|_| panic!("never: {what}")).unwrap().clone()
    }

    async fn until_mode(&mut self, wanted: &str) -> Arc<State> {
        self.until(wanted, |state| state.rejected.is_none() && mode(state) == wanted).await
    }

    async fn silent(&mut self) {
        self.states.mark_unchanged();
        sleep(SILENCE).await;
        assert!(!self.states.has_changed().unwrap(), "{:?}", self.states.borrow());
    }
}

fn mode(state: &State) -> String {
    let policies = state.current.as_ref().map(|current| &current.set.peer_authentications);
    let mode = policies.and_then(|policies| policies.first()?.spec.mode.as_ref());
    mode.map(|mode| format!("{:?}", mode.value).to_uppercase()).unwrap_or_default()
}

fn generation(state: &State) -> u64 {
    state.current.as_ref().map_or(0, |current| current.generation)
}

#[tokio::test]
async fn the_first_state_is_there_at_once() {
    let fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let state = fixture.states.borrow().clone();
    assert_eq!((mode(&state).as_str(), generation(&state)), ("STRICT", 1));
    let empty = Fixture::new(without_poll(), |_| {});
    let state = empty.states.borrow().clone();
    assert!(state.rejected.is_none() && generation(&state) == 1);
    let broken = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), "[").unwrap());
    let state = broken.states.borrow().clone();
    assert!(state.current.is_none() && state.rejected.is_some());
    assert!(Directory::start("/nonexistent/policies", without_poll()).is_err());
}

#[tokio::test]
async fn an_editor_saves_by_rename() {
    let mut fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let root = fixture.root();
    for wanted in ["DISABLE", "PERMISSIVE", "STRICT"] {
        fs::write(root.join(".a.yaml.swp"), policy(wanted)).unwrap();
        fs::rename(root.join("a.yaml"), root.join("a.yaml~")).unwrap();
        fs::rename(root.join(".a.yaml.swp"), root.join("a.yaml")).unwrap();
        fixture.until_mode(wanted).await;
    }
}

#[tokio::test]
async fn kubelet_swaps_a_symlink() {
    let fill = |root: &Path, version: &str, mode: &str| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("a.yaml"), policy(mode)).unwrap();
        symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    let mut fixture = Fixture::new(without_poll(), |root| {
        fill(root, "1", "STRICT");
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    });
    assert_eq!(mode(&fixture.states.borrow()), "STRICT");
    let root = fixture.root();
    for (version, wanted) in [("2", "DISABLE"), ("3", "PERMISSIVE"), ("4", "STRICT")] {
        fill(&root, version, wanted);
        let state = fixture.until_mode(wanted).await;
        let files: Vec<_> = state.current.iter().map(|c| c.set.peer_authentications[0].at.file.to_string()).collect();
        assert_eq!(files, ["a.yaml"]);
        let old = version.parse::<u32>().unwrap() - 1;
        fs::remove_dir_all(root.join(format!("..{old}"))).unwrap();
    }
    // The target itself is watched too.
    fs::write(root.join("..4/a.yaml"), policy("DISABLE")).unwrap();
    fixture.until_mode("DISABLE").await;
}

#[tokio::test]
async fn the_root_is_a_symlink_that_is_swapped() {
    let mut fixture = Fixture::new(without_poll(), |root| {
        let parent = root.parent().unwrap();
        for (name, mode) in [("one", "STRICT"), ("two", "DISABLE")] {
            fs::create_dir(parent.join(name)).unwrap();
            fs::write(parent.join(name).join("a.yaml"), policy(mode)).unwrap();
        }
        fs::remove_dir(root).unwrap();
        symlink("one", root).unwrap();
    });
    let parent = fixture.dir.path().to_owned();
    symlink("two", parent.join("next")).unwrap();
    fs::rename(parent.join("next"), parent.join("policies")).unwrap();
    fixture.until_mode("DISABLE").await;
    fs::write(parent.join("two/a.yaml"), policy("STRICT")).unwrap();
    fixture.until_mode("STRICT").await;
}

#[tokio::test]
async fn a_burst_is_one_change() {
    let options = Options { quiet: Duration::from_millis(200), at_most: PATIENCE, ..without_poll() };
    let mut fixture = Fixture::new(options, |_| {});
    let root = fixture.root();
    for index in 0..40 {
        let text = policy("STRICT").replace("name: default", &format!("name: p{index}"));
        fs::write(root.join(format!("{index}.yaml")), text).unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    let all = |state: &State| state.current.iter().any(|current| current.set.peer_authentications.len() == 40);
    let state = fixture.until("all policies", all).await;
    assert_eq!(generation(&state), 2);
    fixture.silent().await;
}

#[tokio::test]
async fn a_directory_that_is_never_quiet_is_read_after_all() {
    let options = Options { quiet: Duration::from_secs(5), at_most: Duration::from_millis(200), ..without_poll() };
    let mut fixture = Fixture::new(options, |_| {});
    let noise = fixture.root().join("noise.txt");
    fs::write(fixture.root().join("a.yaml"), policy("STRICT")).unwrap();
    let writer = tokio::spawn(async move {
        loop {
            fs::write(&noise, "x").unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    let start = std::time::Instant::now();
    fixture.until_mode("STRICT").await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    writer.abort();
}

#[tokio::test]
async fn a_broken_file_keeps_the_last_good_set_and_clears_later() {
    let mut fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let file = fixture.root().join("a.yaml");
    fs::write(&file, policy("STRCT")).unwrap();
    let state = fixture.until("rejected", |state| state.rejected.is_some()).await;
    assert_eq!((mode(&state).as_str(), generation(&state)), ("STRICT", 1));
    let errors = &state.rejected.as_ref().unwrap().errors;
    assert_eq!(errors[0].to_string(), "a.yaml:7: spec.mtls.mode: unknown value \"STRCT\" (did you mean \"STRICT\"?)");
    // Back to what it was: the same update, not a new one.
    fs::write(&file, policy("STRICT")).unwrap();
    let state = fixture.until("cleared", |state| state.rejected.is_none()).await;
    assert_eq!(generation(&state), 1);
    fs::write(&file, policy("STRCT")).unwrap();
    fixture.until("rejected again", |state| state.rejected.is_some()).await;
    fs::write(&file, policy("DISABLE")).unwrap();
    let state = fixture.until_mode("DISABLE").await;
    assert_eq!(generation(&state), 2);
}

#[tokio::test]
async fn the_same_content_is_no_change() {
    let mut fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let root = fixture.root();
    fs::write(root.join("a.yaml"), policy("STRICT")).unwrap();
    fs::write(root.join("b.txt"), "not a policy").unwrap();
    fs::write(root.join(".hidden.yaml"), "[").unwrap();
    fixture.silent().await;
}

#[tokio::test]
async fn truncated_unreadable_and_foreign_files_are_rejected() {
    let mut fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let root = fixture.root();
    let file = root.join("a.yaml");
    let breakages: [(&str, &dyn Fn()); 4] = [
        ("holds nothing and had policies before", &|| fs::write(&file, "").unwrap()),
        ("not UTF-8", &|| fs::write(&file, [0xff, 0xfe]).unwrap()),
        ("the limit is 4194304", &|| fs::File::create(&file).unwrap().set_len(5 << 20).unwrap()),
        ("cannot be read", &|| {
            fs::remove_file(&file).unwrap();
            symlink("nowhere", &file).unwrap();
        }),
    ];
    for (expected, breakage) in breakages {
        breakage();
        let matches = |rejected: &Arc<Rejected>| rejected.errors.iter().any(|e| e.to_string().contains(expected));
        let state = fixture.until(expected, |state| state.rejected.as_ref().is_some_and(matches)).await;
        assert_eq!(mode(&state), "STRICT");
    }
    fs::remove_file(&file).unwrap();
    fs::write(&file, policy("DISABLE")).unwrap();
    fixture.until_mode("DISABLE").await;
}

#[tokio::test]
async fn a_vanished_directory_is_a_rejection_until_it_is_back() {
    let mut fixture = Fixture::new(without_poll(), |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let (root, aside) = (fixture.root(), fixture.dir.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    let state = fixture.until("vanished", |state| state.rejected.is_some()).await;
    assert_eq!(mode(&state), "STRICT");
    fs::rename(&aside, &root).unwrap();
    let state = fixture.until("back", |state| state.rejected.is_none()).await;
    assert_eq!(generation(&state), 1);
    fs::write(root.join("a.yaml"), policy("DISABLE")).unwrap();
    fixture.until_mode("DISABLE").await;
    fs::remove_dir_all(&root).unwrap();
    fixture.until("removed", |state| state.rejected.is_some()).await;
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), policy("STRICT")).unwrap();
    fixture.until_mode("STRICT").await;
}

#[tokio::test]
async fn emptiness_is_believed_late_and_with_a_warning() {
    let options = Options { empty: Duration::from_millis(400), ..without_poll() };
    let mut fixture = Fixture::new(options, |root| fs::write(root.join("a.yaml"), policy("STRICT")).unwrap());
    let file = fixture.root().join("a.yaml");
    // A deployment that removes and writes again.
    fs::remove_file(&file).unwrap();
    sleep(Duration::from_millis(100)).await;
    fs::write(&file, policy("DISABLE")).unwrap();
    let state = fixture.until_mode("DISABLE").await;
    assert_eq!(generation(&state), 2);
    fs::remove_file(&file).unwrap();
    let state = fixture.until("empty", |state| generation(state) == 3).await;
    let current = state.current.as_ref().unwrap();
    assert!(current.set.peer_authentications.is_empty());
    assert!(current.warnings[0].message.contains("falls back to its defaults"), "{:?}", current.warnings);
}

#[tokio::test]
async fn sub_directories_and_loops() {
    let mut fixture = Fixture::new(without_poll(), |root| {
        fs::create_dir(root.join("team")).unwrap();
        fs::write(root.join("team/a.yml"), policy("STRICT")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        fs::write(root.join(".git/a.yaml"), "[").unwrap();
    });
    assert_eq!(mode(&fixture.states.borrow()), "STRICT");
    fs::write(fixture.root().join("team/a.yml"), policy("DISABLE")).unwrap();
    fixture.until_mode("DISABLE").await;
    fs::create_dir(fixture.root().join("new")).unwrap();
    sleep(Duration::from_millis(100)).await;
    fs::write(fixture.root().join("new/b.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").unwrap();
    fixture.until("new", |s| s.current.as_ref().is_some_and(|current| current.set.namespaces.len() == 1)).await;
    symlink("..", fixture.root().join("team/up")).unwrap();
    let state = fixture.until("loop", |state| state.rejected.is_some()).await;
    assert!(state.rejected.as_ref().unwrap().errors[0].message.contains("its own directory"));
}

#[tokio::test]
async fn the_poll_finds_what_no_event_told() {
    let options = Options { poll: Duration::from_millis(50), ..Options::default() };
    let target = tempfile::tempdir().unwrap();
    fs::write(target.path().join("a.yaml"), policy("STRICT")).unwrap();
    let mut fixture = Fixture::new(options, |_| {});
    // Through a chain of symlinks whose middle is in a directory that is not watched.
    let middle = tempfile::tempdir().unwrap();
    symlink(target.path().join("a.yaml"), middle.path().join("a.yaml")).unwrap();
    symlink(middle.path().join("a.yaml"), fixture.root().join("a.yaml")).unwrap();
    fixture.until_mode("STRICT").await;
    fs::write(target.path().join("b.yaml"), policy("DISABLE")).unwrap();
    symlink(target.path().join("b.yaml"), middle.path().join("next")).unwrap();
    fs::rename(middle.path().join("next"), middle.path().join("a.yaml")).unwrap();
    fixture.until_mode("DISABLE").await;
}

#[tokio::test]
async fn the_task_ends_with_its_last_receiver() {
    let dir = tempfile::tempdir().unwrap();
    let (states, task) = Directory::start(dir.path(), without_poll()).unwrap();
    drop(states);
    timeout(PATIENCE, task).await.unwrap().unwrap();
}
