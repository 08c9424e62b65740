//! Wycheproof's vectors for HMAC-SHA256, through the keyed states that hash API keys, sign sessions and digest license keys.

use common::mac::KeyedMacs;
use common::secret::{SECRET_MIN_BYTES, Secret, SecretList};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

const TAG_BYTES: usize = 32;

/// As we key it; a secret that is shorter than we take is keyed in the same way by hand.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    if key.len() < SECRET_MIN_BYTES {
        return Hmac::new_from_slice(key).unwrap();
    }
    let secrets = SecretList::new(vec![Secret::new("k", key.to_vec()).unwrap()]).unwrap();
    KeyedMacs::new(&secrets).first().begin()
}

#[test]
fn agrees_with_every_vector() {
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    let mut seen = [[0; 2]; 2];
    let mut ours = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let (key, message, tag) = (&test.key[..], &test.msg[..], &test.tag[..]);
            assert_eq!((key.len() * 8, tag.len() * 8), (group.key_size, group.tag_size), "vector {}", test.tc_id);
            let valid = test.result == TestResult::Valid;
            let truncated = tag.len() < TAG_BYTES;
            let mac = || keyed(key).chain_update(message);
            let accepted = if truncated { mac().verify_truncated_left(tag) } else { mac().verify_slice(tag) }.is_ok();
            assert_eq!(accepted, valid, "vector {}: {}", test.tc_id, test.comment);
            // A part of a tag is never taken for the whole, as who verifies a session does.
            assert!(!truncated || mac().verify_slice(tag).is_err(), "vector {}", test.tc_id);
            // And made in pieces, it is the same tag, of which digests of license keys are the beginning.
            let pieces = message.chunks(7).fold(keyed(key), |mac, piece| mac.chain_update(piece)).finalize().into_bytes();
            assert_eq!(pieces[..tag.len()] == *tag, valid, "vector {}", test.tc_id);
            seen[usize::from(truncated)][usize::from(valid)] += 1;
            ours += usize::from(key.len() >= SECRET_MIN_BYTES);
        }
    }
    assert!(seen.iter().flatten().all(|&count| count >= 20), "whole and truncated, invalid and valid: {seen:?}");
    assert!(ours >= 60, "{ours} through our own states");
}
