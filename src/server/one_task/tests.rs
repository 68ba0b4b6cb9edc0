use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use hyper::rt::Executor as _;
use tokio::sync::{mpsc, oneshot};

use super::*;

/// A connection that hands a stream to the nursery for each that it is given, counts its turns, and ends with the channel.
fn connection(
    nursery: Nursery,
    mut streams: mpsc::UnboundedReceiver<Answer>,
    turns: Arc<AtomicUsize>,
) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        turns.fetch_add(1, Ordering::Relaxed);
        while let Poll::Ready(stream) = streams.poll_recv(context) {
            match stream {
                Some(stream) => nursery.execute(stream),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    })
}

/// The sender of its streams, how many turns it had, and the task.
fn start() -> (mpsc::UnboundedSender<Answer>, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (nursery, turns) = (Nursery::default(), Arc::<AtomicUsize>::default());
    let task = OneTask::new(connection(nursery.clone(), receiver, Arc::clone(&turns)), nursery);
    (sender, turns, tokio::spawn(task))
}

#[tokio::test]
async fn streams_go_on_in_the_connections_task_and_leave_it_alone() {
    let (streams, turns, task) = start();
    let (ask, asked) = oneshot::channel::<u8>();
    let (answer, answered) = oneshot::channel::<u8>();
    streams.send(Box::pin(async move { answer.send(asked.await.unwrap() + 1).unwrap() })).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = turns.load(Ordering::Relaxed);
    ask.send(1).unwrap();
    assert_eq!(answered.await, Ok(2));
    assert_eq!(turns.load(Ordering::Relaxed), before, "only the stream was woken");
    drop(streams);
    task.await.unwrap();
}

#[tokio::test]
async fn streams_end_with_the_connection() {
    let (streams, _, task) = start();
    let (held, mut gone) = mpsc::channel::<()>(1);
    streams
        .send(Box::pin(async move {
            std::future::pending::<()>().await;
            drop(held)
        }))
        .unwrap();
    tokio::task::yield_now().await;
    drop(streams);
    task.await.unwrap();
    assert_eq!(gone.recv().await, None);
}

#[tokio::test]
async fn a_stream_that_always_has_more_to_do_lets_others_have_their_turn() {
    let (streams, _, task) = start();
    let busy = poll_fn(|context: &mut Context<'_>| {
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    streams.send(Box::pin(busy)).unwrap();
    let (said, heard) = oneshot::channel();
    streams.send(Box::pin(async move { said.send(()).unwrap() })).unwrap();
    tokio::time::timeout(Duration::from_secs(60), heard).await.expect("another stream has its turn").unwrap();
    tokio::time::timeout(Duration::from_secs(60), tokio::task::yield_now()).await.expect("and another task");
    drop(streams);
    tokio::time::timeout(Duration::from_secs(60), task).await.expect("and the connection").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_is_lost_between_two_threads() {
    let (streams, _, task) = start();
    let mut pairs = Vec::new();
    for _ in 0..8 {
        let (ask, mut asked) = mpsc::channel::<usize>(1);
        let (answer, answered) = mpsc::channel::<usize>(1);
        streams
            .send(Box::pin(async move {
                while let Some(number) = asked.recv().await {
                    answer.send(number + 1).await.unwrap();
                }
            }))
            .unwrap();
        pairs.push((ask, answered));
    }
    let clients: Vec<_> = pairs
        .into_iter()
        .map(|(ask, mut answered)| {
            tokio::spawn(async move {
                for number in 0..2000 {
                    ask.send(number).await.unwrap();
                    assert_eq!(answered.recv().await, Some(number + 1));
                }
            })
        })
        .collect();
    for client in clients {
        tokio::time::timeout(Duration::from_secs(120), client).await.expect("a wake was lost").unwrap();
    }
    drop(streams);
    task.await.unwrap();
}
