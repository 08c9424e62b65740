//! An answer's body on HTTP/2 that knows how much of it was written out. The client decides that, by its windows: until then the body waits
//! inside `h2`, and the connection looks idle from the socket's side.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::activity::Unread;

/// A body, and the answer it belongs to until its last piece carries that on.
#[derive(Debug)]
pub struct Handover<B> {
    body: B,
    answer: Option<Unread>,
}

impl<B: Body> Handover<B> {
    /// The body of this answer.
    pub fn new(body: B, answer: Unread) -> Self {
        if body.is_end_stream() {
            // Nothing that could wait for a window.
            answer.taken();
            return Self { body, answer: None };
        }
        Self { body, answer: Some(answer) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Handover<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        polled.map_ok(|frame| {
            // Answers are one piece.
            let answer = if this.body.is_end_stream() { this.answer.take() } else { None };
            frame.map_data(|bytes| Piece { bytes, answer })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer. What is taken from them is on its way to the socket.
#[derive(Debug)]
pub struct Piece {
    bytes: Bytes,
    answer: Option<Unread>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        let Some(answer) = &self.answer else { return };
        answer.took(count);
        if self.bytes.is_empty()
            && let Some(answer) = self.answer.take()
        {
            answer.taken();
        }
    }
}
