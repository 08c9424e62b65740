//! Turns, caps and pauses, at times that the test says.

use super::*;

const CAPS: Caps = Caps { in_flight: 100, per_endpoint: 16, per_destination: 50 };

fn address(store_id: i64, endpoint: u128, destination: &str) -> Address {
    Address { store_id, endpoint_id: Uuid::from_u128(endpoint), destination: destination.into() }
}

/// Starts everything that may be started, in order.
fn start<W>(lanes: &mut Lanes<W>) -> Vec<(Address, W)> {
    std::iter::from_fn(|| lanes.take_turn()).collect()
}

#[test]
fn stores_take_turns_and_within_a_store_its_endpoints_do() {
    let (mut lanes, now) = (Lanes::new(Caps { in_flight: 9, ..CAPS }), Instant::now());
    // A store with much to send, to two endpoints; another with little.
    for n in 0..10 {
        lanes.add(address(1, 11, "a:443"), format!("11/{n}"), now);
        lanes.add(address(1, 12, "b:443"), format!("12/{n}"), now);
    }
    lanes.add(address(2, 21, "c:443"), "21/0".to_owned(), now);
    lanes.add(address(2, 21, "c:443"), "21/1".to_owned(), now);
    let started: Vec<String> = start(&mut lanes).into_iter().map(|(_, work)| work).collect();
    assert_eq!(started, ["11/0", "21/0", "12/0", "21/1", "11/1", "12/1", "11/2", "12/2", "11/3"]);
    assert_eq!((lanes.in_flight(), lanes.waiting()), (9, 13));
}

#[test]
fn an_endpoint_begins_with_few_attempts_at_once_and_earns_more() {
    let (mut lanes, now) = (Lanes::new(CAPS), Instant::now());
    let at = address(1, 1, "a:443");
    for n in 0..200 {
        lanes.add(at.clone(), n, now);
    }
    let mut under_way = start(&mut lanes).len();
    assert_eq!(under_way, 4);
    let mut most = under_way;
    for _ in 0..60 {
        assert!(lanes.done(&at, Sign::Taken, now).is_empty());
        under_way = under_way - 1 + start(&mut lanes).len();
        most = most.max(under_way);
    }
    assert_eq!(most, 16);
}

#[test]
fn who_does_not_answer_shrinks_to_one_pauses_and_gives_back_what_waits() {
    let (mut lanes, mut now) = (Lanes::new(CAPS), Instant::now());
    let at = address(1, 1, "a:443");
    for n in 0..8 {
        lanes.add(at.clone(), n, now);
    }
    let mut pauses = Vec::new();
    let mut under_way = start(&mut lanes).len();
    for failure in 1..=12 {
        if under_way == 0 {
            // Nothing is started while it pauses, and there is no room for it; then there is room for two, and one is started.
            assert_eq!(lanes.room_of(at.endpoint_id), 0);
            let begun = now;
            while lanes.rooms(now)[0].deliveries == 0 {
                now += Duration::from_millis(100);
            }
            pauses.push((now - begun).as_secs());
            assert_eq!(lanes.room_of(at.endpoint_id), 2);
            lanes.add(at.clone(), 100 + failure, now);
            lanes.add(at.clone(), 200 + failure, now);
            under_way = start(&mut lanes).len();
            assert_eq!(under_way, 1);
        }
        let given_back = lanes.done(&at, Sign::Silent, now);
        under_way -= 1;
        assert_eq!(given_back.is_empty(), failure < 5, "{failure}: {given_back:?}");
        under_way += start(&mut lanes).len();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!((lanes.in_flight(), lanes.waiting()), (0, 0));
}

#[test]
fn an_answer_ends_the_silence_whatever_it_says() {
    let (mut lanes, now) = (Lanes::new(CAPS), Instant::now());
    let at = address(1, 1, "a:443");
    for round in 0..20 {
        lanes.add(at.clone(), round, now);
        let started = start(&mut lanes).len();
        assert_eq!(started, 1, "round {round}");
        let sign = if round % 5 == 4 { Sign::Answered } else { Sign::Silent };
        assert!(lanes.done(&at, sign, now).is_empty());
    }
}

#[test]
fn endpoints_of_many_stores_share_what_one_destination_is_asked_to_take() {
    let (mut lanes, now) = (Lanes::new(Caps { per_destination: 10, ..CAPS }), Instant::now());
    for store in 0..20 {
        for n in 0..4 {
            lanes.add(address(store, store as u128, "shared:443"), n, now);
        }
    }
    lanes.add(address(99, 99, "other:443"), 0, now);
    let started = start(&mut lanes);
    assert_eq!(started.iter().filter(|(at, _)| &*at.destination == "shared:443").count(), 10);
    assert!(started.iter().any(|(at, _)| at.store_id == 99), "the full destination is in nobody's way");
    // Every store gets there.
    let (mut under_way, mut served) = (VecDeque::from(started), std::collections::BTreeSet::new());
    while let Some((at, _)) = under_way.pop_front() {
        served.insert(at.store_id);
        lanes.done(&at, Sign::Taken, now);
        under_way.extend(start(&mut lanes));
        let shared = under_way.iter().filter(|(at, _)| &*at.destination == "shared:443").count();
        assert!(shared <= 10, "{shared}");
    }
    assert_eq!((served.len(), lanes.in_flight(), lanes.waiting()), (21, 0, 0));
}

#[test]
fn lanes_without_work_are_forgotten() {
    let (mut lanes, now) = (Lanes::new(CAPS), Instant::now());
    let at = address(1, 1, "a:443");
    lanes.add(at.clone(), 0, now);
    assert_eq!(start(&mut lanes).len(), 1);
    assert_eq!(lanes.rooms(now + FORGOTTEN_AFTER).len(), 1, "it is under way");
    lanes.done(&at, Sign::Taken, now);
    assert_eq!(lanes.rooms(now + FORGOTTEN_AFTER / 2).len(), 1);
    assert_eq!(lanes.rooms(now + FORGOTTEN_AFTER).len(), 0);
}
