//! One direction of one connection: what has been read and not yet been written, each piece with the moment at which it is due.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const QUEUE_MAX_BYTES: usize = 64 * 1024;
/// Many tiny pieces cost more than their bytes.
const QUEUE_MAX_PIECES: usize = 1024;
const READ_MAX_BYTES: usize = 16 * 1024;

/// The queue between two sockets.
#[derive(Debug, Default)]
pub struct Lane {
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    /// The source has closed, or is not listened to any more.
    ended: bool,
    /// The destination has been told so.
    closed: bool,
}

/// Bytes, or, when there are none, the news that the source has closed.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    written: usize,
    due: Instant,
}

impl Lane {
    /// Whether the source should be read.
    pub fn wants_bytes(&self) -> bool {
        !self.ended && self.queued_bytes < QUEUE_MAX_BYTES && self.queue.len() < QUEUE_MAX_PIECES
    }

    /// When there is something to write.
    pub fn due(&self) -> Option<Instant> {
        self.queue.front().map(|piece| piece.due)
    }

    /// Nothing will ever come through here again, and the destination knows.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads once.
    pub fn read(&mut self, mut source: &TcpStream, now: Instant, delay: Duration) -> io::Result<()> {
        if !self.wants_bytes() {
            return Ok(());
        }
        let mut buffer = [0; READ_MAX_BYTES];
        let room = READ_MAX_BYTES.min(QUEUE_MAX_BYTES - self.queued_bytes);
        let Some(count) = unless_not_ready(source.read(&mut buffer[..room]))? else { return Ok(()) };
        self.ended = count == 0;
        self.queued_bytes += count;
        self.queue.push_back(Piece { bytes: buffer[..count].to_vec(), written: 0, due: now + delay });
        Ok(())
    }

    /// Writes what is due, as much as the destination takes. Returns the number of bytes.
    pub fn write(&mut self, mut destination: &TcpStream, now: Instant) -> io::Result<usize> {
        let mut total = 0;
        while let Some(piece) = self.queue.front_mut().filter(|piece| piece.due <= now) {
            if piece.bytes.is_empty() {
                self.close(destination)?;
                break;
            }
            let Some(count) = unless_not_ready(destination.write(&piece.bytes[piece.written..]))? else { break };
            piece.written += count;
            total += count;
            if piece.written == piece.bytes.len() {
                self.queue.pop_front();
            }
        }
        self.queued_bytes -= total;
        Ok(total)
    }

    /// Nothing that is queued is due later than this: for a delay that was made shorter or taken away.
    pub fn hurry(&mut self, latest: Instant) {
        for piece in &mut self.queue {
            piece.due = piece.due.min(latest);
        }
    }

    /// Tells the destination that nothing more will come. What is queued is lost.
    pub fn close(&mut self, destination: &TcpStream) -> io::Result<()> {
        (self.ended, self.closed) = (true, true);
        self.queue.clear();
        destination.shutdown(Shutdown::Write)
    }
}

fn unless_not_ready(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        result => result.map(Some),
    }
}
