//! The bench as a whole, on real servers and processes, with tiny numbers: that it works, and notices what must not be.

mod load;
mod parts;
mod peers;
mod roles;
