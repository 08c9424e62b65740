//! What the fuzzer found worth keeping, and what it once found wrong, through the same properties.

use std::fs;
use std::path::Path;

/// Every file of `corpus/<target>/`.
#[test]
fn every_kept_input_keeps_every_property() {
    for (name, check) in fuzz::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            println!("{}", path.display());
            check(&data);
            count += 1;
        }
        assert!(count >= 10, "{name} has {count} inputs");
    }
}
