//! What outlives a server, a policy, and a disk that cannot be written.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_while_no_server_runs_goes_in_steps_too() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    drop((lab.connect("back/web").await, lab.connect("shop/client").await));
    lab.restart().await;
    lab.write(&at("STRICT")).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert!(lab.late().await.contains("back/web: it is not connected"), "{}", lab.late().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_deleted_and_made_again_does_not_jump() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (_web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    let without = [workload_entry("shop/client", "10.0.0.1"), workload_entry("back/web", "10.0.0.2")].concat();
    lab.write(&without).await.unwrap();
    client.take_all();
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
}

/// A WorkloadEntry that is deleted and written again, or a Pod that is made anew under its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_is_deleted_and_made_again_does_not_jump() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let (_web, mut client) = (lab.connect("back/web").await, lab.connect("shop/client").await);
    lab.write(&workload_entry("shop/client", "10.0.0.1")).await.unwrap();
    client.take_all();
    lab.restart().await;
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
    assert_eq!(lab.late().await, "back/web: it has not acknowledged the listener 10.0.0.2_8080\n");
}

/// Without it, the port is as good as new to a server that is started under the next policy.
#[tokio::test(flavor = "multi_thread")]
async fn new_ports_that_could_not_be_kept_are_kept_when_they_can_be() {
    let mut lab = Lab::new(&workload_entry("back/web", "10.0.0.2")).await;
    let path = lab._directory.path().join("modes.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (set, warnings) = crate::policy::parse_set([("f.yaml", at("DISABLE"))]).unwrap();
    let update = source::Update { set: Arc::new(set), files: 1, warnings, generation: 2 };
    let state = source::State { current: Some(Arc::new(update)), rejected: None };
    let (_source, policy) = tokio::sync::watch::channel(Arc::new(state));
    let (served, mut models) = tokio::sync::watch::channel(None);
    let following =
        super::super::super::policy_loop::start(lab.proxies.clone(), policy, lab.staging.clone(), served).await;
    assert_eq!(models.borrow_and_update().as_ref().map(|it| it.generation), Some(2), "it is served all the same");
    std::fs::remove_dir(&path).unwrap();
    let kept = || std::fs::read_to_string(&path).is_ok_and(|text| text.contains(r#""8080":"DISABLE""#));
    tokio::time::timeout(Duration::from_secs(30), async {
        while !kept() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the loop tries again");
    following.abort();
    lab.restart().await;
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_is_taken_before_there_is_a_policy() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    lab.mode("STRICT").await;
    lab.restart().await;
    lab.proxies.model.store(None);
    lab.tick().await;
    let pace = lab.staging.advance().await.unwrap();
    assert_eq!((lab.step().await, pace.look), (Some(Step::Accepting), LOOK));
    for force in [false, true] {
        assert!(matches!(lab.staging.push_on(force).await, Err(NotAdvanced::NoPolicy)));
    }
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_kept_is_not_served() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let file = lab._directory.path().join("modes.json");
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(lab.write(&at("STRICT")).await.is_err());
    assert_eq!(lab.proxies.model.load_full().unwrap().generation, 1);
    assert_eq!(lab.step().await, None);
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, &kept).unwrap();
    lab.write(&at("STRICT")).await.unwrap();
    assert_eq!(lab.step().await, Some(Step::Accepting));
    // And a step that could not be kept is not taken.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(matches!(lab.staging.push_on(true).await, Err(NotAdvanced::File(_))));
    assert_eq!(lab.step().await, Some(Step::Accepting));
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = ModeFile::new(directory.path());
    assert!(file.read().unwrap().is_none());
    let empty = ModeRollout::first(&Default::default());
    file.write(&empty).unwrap();
    assert_eq!(file.read().unwrap(), Some(empty));
    let path = directory.path().join("modes.json");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    std::fs::write(&path, "{").unwrap();
    let error = file.read().unwrap_err().to_string();
    assert!(error.contains("modes.json cannot be read") && error.contains("remove it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_has_left_half_written_is_removed() {
    let mut lab = Lab::new(&at("DISABLE")).await;
    let directory = lab._directory.path().to_owned();
    let left = || {
        let names = std::fs::read_dir(&directory).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".new-")).collect::<Vec<_>>()
    };
    for name in [".new-modes-Ab12Cd", ".new-Ab12Cd"] {
        std::fs::write(directory.join(name), "{").unwrap();
    }
    lab.restart().await;
    assert_eq!(left(), [".new-Ab12Cd"], "what others write here is theirs");
    lab.mode("STRICT").await;
    assert_eq!(lab.step().await, Some(Step::Accepting));
}
