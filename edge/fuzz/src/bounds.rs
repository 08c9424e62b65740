//! What reading may cost: memory in proportion to what was sent, and complaints that fit into an answer.

use common::json::{FIELD_ERRORS_MAX, FieldErrors};

use crate::knowledge;

/// The longest name of a field in an answer, in bytes: 80 characters, and a path around them.
const FIELD_MAX_BYTES: usize = 400;
/// The longest message about a field, in bytes: a name of 80 characters, all of them escaped, and a sentence around it.
const MESSAGE_MAX_BYTES: usize = 1_200;
/// What may be allocated whatever comes, in bytes: a full list of complaints.
const FIXED_BYTES: u64 = 64 * 1024;

/// Reads, and holds the reader to `per_byte` bytes of memory at a time for each of the `len` bytes it was sent, and to a number of
/// allocations that grows no faster. An allocation is work too: what would be quadratic in time shows here before it does on a clock.
pub fn measured<T>(len: usize, per_byte: u64, read: impl FnOnce() -> T) -> T {
    knowledge::make();
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(read()));
    let len = len as u64;
    assert!(used.bytes_max <= FIXED_BYTES + per_byte * len, "{} bytes of memory for {len} bytes", used.bytes_max);
    assert!(used.bytes_total <= 2 * FIXED_BYTES + 4 * per_byte * len, "{} bytes allocated for {len} bytes", used.bytes_total);
    assert!(used.count_total <= 1_000 + 4 * len, "{} allocations for {len} bytes", used.count_total);
    result.expect("measured")
}

/// Complaints are there, not without end, and can be shown to anybody.
pub fn check_errors(errors: &FieldErrors) {
    let errors = errors.as_slice();
    assert!((1..=FIELD_ERRORS_MAX).contains(&errors.len()), "{} errors", errors.len());
    for error in errors {
        assert!((1..=FIELD_MAX_BYTES).contains(&error.field.len()), "{error:?}");
        assert!((1..=MESSAGE_MAX_BYTES).contains(&error.message.len()), "{error:?}");
        assert!(!error.field.chars().chain(error.message.chars()).any(char::is_control), "{error:?}");
    }
}
