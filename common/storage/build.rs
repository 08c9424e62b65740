//! Migrations are compiled in, by a macro that cannot tell cargo about a new file.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
