//! What hurts on purpose: every tool shows its effect on a real server or socket.

mod clock;
mod disk;
mod proxy;
mod servers;
