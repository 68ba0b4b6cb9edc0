//! Large HTTP/2 DATA frames, cut into small ones before anybody buffers them.
//!
//! HTTP/2 lets a client send frames of 16 KB (RFC 9113 §4.2 allows no smaller limit), and a library reads a frame whole before it
//! hands it on, into a buffer that then stays with the connection. An Envoy sends such a frame once, with its node, and never
//! again. Cut small, the same bytes fit the buffer that the connection has from its start. After each piece the connection gives
//! way: otherwise it would queue all that has arrived before its stream has read the first of it, and keep the room for that too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(test)]
mod tests;

/// What a connection begins with, before its first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// A frame's head: length, type, flags, stream.
const HEAD: usize = 9;
const DATA: u8 = 0;
const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
/// A longer frame breaks the protocol, and whoever reads this has to see that.
const LONGEST: usize = 16_384;
/// The longest piece, in bytes.
const PIECE: usize = 4096;

/// A server's side of an HTTP/2 connection. What is written goes through as it is.
pub(super) struct SmallFrames<I> {
    io: I,
    /// A head that is being read from the connection.
    head: [u8; HEAD],
    read: usize,
    /// A head that is being handed on.
    out: [u8; HEAD],
    written: usize,
    /// Bytes of the current piece that have yet to come, and bytes of its frame after that.
    piece_left: usize,
    frame_left: usize,
    flags: u8,
    /// The current frame is cut.
    is_cut: bool,
    /// A piece is handed on, and its reader has its turn first.
    gives_way: bool,
}

impl<I> SmallFrames<I> {
    /// Of a connection that nothing has been read from.
    pub(super) fn new(io: I) -> Self {
        Self {
            io,
            head: [0; HEAD],
            read: 0,
            out: [0; HEAD],
            written: HEAD,
            piece_left: PREFACE,
            frame_left: 0,
            flags: 0,
            is_cut: false,
            gives_way: false,
        }
    }

    /// The head is there: the frame begins.
    fn begin(&mut self) {
        self.read = 0;
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.out = self.head;
        self.written = 0;
        self.piece_left = length;
        self.frame_left = 0;
        // Padding stands at both ends of a frame, and Envoy has no use for it.
        self.is_cut = kind == DATA && flags & PADDED == 0 && (PIECE + 1..=LONGEST).contains(&length);
        if self.is_cut {
            self.flags = flags;
            self.frame_left = length;
            self.next_piece();
        }
    }

    fn next_piece(&mut self) {
        self.piece_left = self.frame_left.min(PIECE);
        self.frame_left -= self.piece_left;
        let length = u32::try_from(self.piece_left).unwrap_or_default().to_be_bytes();
        self.out[..3].copy_from_slice(&length[1..]);
        self.out[4] = if self.frame_left == 0 { self.flags } else { self.flags & !END_STREAM };
        self.written = 0;
    }
}

impl<I: AsyncRead + Unpin> SmallFrames<I> {
    /// Reads at least one byte into `buffer`, or nothing at the end of the connection.
    fn poll_some(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.gives_way) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            if self.written < HEAD {
                let length = (HEAD - self.written).min(buffer.remaining());
                buffer.put_slice(&self.out[self.written..self.written + length]);
                self.written += length;
            } else if self.piece_left > 0 {
                let room = self.piece_left.min(buffer.remaining());
                let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(room));
                let poll = Pin::new(&mut self.io).poll_read(context, &mut piece);
                let length = piece.filled().len();
                match poll {
                    Poll::Pending if buffer.filled().len() > before => break,
                    poll => ready!(poll)?,
                }
                if length == 0 {
                    break;
                }
                buffer.advance(length);
                self.piece_left -= length;
                if self.piece_left == 0 && self.is_cut {
                    self.gives_way = true;
                    if self.frame_left > 0 {
                        self.next_piece();
                    }
                    break;
                }
            } else {
                let mut head = ReadBuf::new(&mut self.head[self.read..]);
                let poll = Pin::new(&mut self.io).poll_read(context, &mut head);
                let length = head.filled().len();
                match poll {
                    Poll::Pending if buffer.filled().len() > before => break,
                    poll => ready!(poll)?,
                }
                if length == 0 {
                    break;
                }
                self.read += length;
                if self.read == HEAD {
                    self.begin();
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for SmallFrames<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_some(context, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for SmallFrames<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
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
