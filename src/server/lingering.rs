//! The end of a connection, so that the peer hears of it.
//!
//! A socket that is closed while something of the peer's is unread, or on its way, is reset, and a reset takes with it what the peer has
//! not read yet: the status of its streams, GOAWAY, TLS's own farewell. So the side that ends first says so, and then reads until
//! the other has ended too (RFC 9112 §9.6 has the same for HTTP/1.1).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Who does not end its side within this time is reset.
const LINGER: Duration = Duration::from_secs(2);
/// Who goes on sending more than this, in bytes, is not one that has yet to hear of the end: it is reset too.
const PATIENCE: usize = 256 << 10;

/// A connection whose shutdown is over when the peer has ended its side as well.
pub(super) struct Lingering<I> {
    io: I,
    /// Our side has ended; until then, and for so many bytes, the other's is read.
    until: Option<Pin<Box<Sleep>>>,
    patience: usize,
}

impl<I> Lingering<I> {
    pub(super) fn new(io: I) -> Self {
        Self { io, until: None, patience: PATIENCE }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Lingering<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.until.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(context))?;
        }
        let until = this.until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut rest = [0; 1024];
        while until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut rest);
            match ready!(Pin::new(&mut this.io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() && this.patience > 0 => {
                    this.patience = this.patience.saturating_sub(buffer.filled().len());
                }
                // It has ended, or broken, or does not listen: our side was whole before.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (client.unwrap(), server.unwrap().0)
    }

    #[tokio::test]
    async fn what_was_said_last_is_heard_by_who_is_still_speaking() {
        let (mut client, server) = pair().await;
        client.write_all(&[1; 5000]).await.unwrap();
        let server = tokio::spawn(async move {
            let mut server = Lingering::new(server);
            server.write_all(b"farewell").await.unwrap();
            server.shutdown().await.unwrap();
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.write_all(&[2; 5000]).await.unwrap();
        client.write_all(&[3; 5000]).await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"farewell");
        client.shutdown().await.unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_listen_is_reset() {
        let (mut client, server) = pair().await;
        let server = tokio::spawn(async move { Lingering::new(server).shutdown().await });
        let sent = async { while client.write_all(&[0; 4096]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), sent).await.expect("it may not go on for ever");
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_never_ends_is_not_waited_for_long() {
        let (client, server) = pair().await;
        Lingering::new(server).shutdown().await.unwrap();
        drop(client);
    }
}
