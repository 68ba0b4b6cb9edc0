//! The server's own tasks: they end with it, and none of them before.

use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet};

/// Tasks that end when this is dropped.
#[derive(Default)]
pub(super) struct Tasks {
    all: Vec<AbortHandle>,
    watched: JoinSet<Result<(), JoinError>>,
}

impl Tasks {
    /// A task that goes on for as long as the server does.
    pub(super) fn push(&mut self, task: JoinHandle<()>) {
        self.all.push(task.abort_handle());
        self.watched.spawn(task);
    }

    /// A task that may come to its end.
    pub(super) fn push_finite(&mut self, task: &JoinHandle<()>) {
        self.all.push(task.abort_handle());
    }

    /// Resolves when one of those that go on has ended: without it the server would still answer, and serve what is getting old.
    pub(super) async fn one_ended(&mut self) {
        if self.watched.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.all.iter().for_each(AbortHandle::abort);
    }
}
