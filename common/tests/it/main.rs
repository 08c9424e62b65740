//! What must hold for all inputs and not for examples: properties, each over some hundred cases that are drawn anew in every run, and
//! vectors that others have collected. One test binary, so that it links once.

mod bodies;
mod drawn;
mod hmac_vectors;
mod license_keys;
mod limits;
mod links;
mod money;
mod sealing;
mod tax_examples;
mod tax_properties;
mod tokens;
