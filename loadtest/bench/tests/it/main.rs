//! The bench as a whole, on real servers and processes.
