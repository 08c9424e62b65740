//! A run in which every promise was kept, and one broken promise after another: each is noticed by its rule and by no other.

use super::*;
use crate::ledger::Intent;

const ID: &str = "ORD-1";

fn ask(content: u32) -> Ask {
    Ask::Fulfill { reference: "r-1".into(), idempotency_key: None, content, scarce: false }
}

fn call(number: u64, ask: Ask, answer: Answer) -> Call {
    let intent = Intent { intent: number, at_ms: number * 10, store: 0, ask };
    Call { intent, answer: Some(Answer { answer: number, at_ms: number * 10 + 5, ..answer }) }
}

fn fulfilled(id: &str, keys: &[&str]) -> Answer {
    Answer {
        status: Some(201),
        order_id: Some(id.into()),
        order_status: "fulfilled".into(),
        license_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        body_digest: "d".into(),
        ..Answer::default()
    }
}

fn problem(status: u16, code: &str) -> Answer {
    Answer { status: Some(status), code: code.into(), ..Answer::default() }
}

fn true_order(reference: &str, keys: &[&str]) -> TrueOrder {
    let license_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    TrueOrder { store: 0, reference: reference.into(), status: OrderStatus::Fulfilled, license_keys }
}

/// A call of every kind, and the truth that goes with them.
fn good() -> (Vec<Call>, Truth) {
    let accepted = Answer { status: Some(202), order_id: Some("ORD-2".into()), order_status: "processing".into(), ..Answer::default() };
    let second = |content| Ask::Fulfill { reference: "r-2".into(), idempotency_key: Some("i-2".into()), content, scarce: false };
    let scarce = Ask::Fulfill { reference: "r-3".into(), idempotency_key: None, content: 0, scarce: true };
    let revoked = Answer { status: Some(200), order_id: Some("ORD-4".into()), order_status: "revoked".into(), ..Answer::default() };
    let fourth = Ask::Fulfill { reference: "r-4".into(), idempotency_key: None, content: 0, scarce: false };
    let calls = vec![
        call(1, ask(0), fulfilled(ID, &["A", "B"])),
        call(2, ask(0), fulfilled(ID, &["A", "B"])),
        call(3, ask(1), problem(409, "external_reference_conflict")),
        call(4, second(0), accepted.clone()),
        call(5, second(0), fulfilled("ORD-2", &["C"])),
        call(6, second(1), problem(409, "idempotency_key_conflict")),
        call(7, scarce, problem(409, "out_of_stock")),
        call(8, fourth.clone(), fulfilled("ORD-4", &["D"])),
        call(9, Ask::Revoke { order_id: "ORD-4".into() }, revoked.clone()),
        call(10, fourth, Answer { status: Some(201), ..revoked.clone() }),
        call(11, Ask::Read { order_id: "ORD-4".into() }, revoked),
        call(12, Ask::Session, Answer { status: Some(201), token_verifies: Some(true), ..Answer::default() }),
        call(13, ask(0), problem(503, "unavailable")),
        call(14, ask(0), Answer { error: "reset".into(), ..Answer::default() }),
    ];
    let mut truth = Truth::default();
    truth.orders.insert(ID.into(), true_order("r-1", &["A", "B"]));
    truth.orders.insert("ORD-2".into(), true_order("r-2", &["C"]));
    truth.orders.insert("ORD-4".into(), TrueOrder { status: OrderStatus::Revoked, ..true_order("r-4", &["D"]) });
    truth.moves.push(("ORD-2".into(), OrderStatus::Processing, OrderStatus::Fulfilled));
    truth.moves.push(("ORD-4".into(), OrderStatus::Fulfilled, OrderStatus::Revoked));
    (calls, truth)
}

/// The rules that are broken when this is done to the good run.
fn broken_by(change: impl FnOnce(&mut Vec<Call>, &mut Truth)) -> Vec<&'static str> {
    let (mut calls, mut truth) = good();
    change(&mut calls, &mut truth);
    let mut rules: Vec<&str> = judge(&calls, &truth).into_iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

fn answer(calls: &mut [Call], number: u64) -> &mut Answer {
    calls.iter_mut().find(|call| call.intent.intent == number).and_then(|call| call.answer.as_mut()).unwrap()
}

#[test]
fn a_run_in_which_all_is_well_breaks_no_rule() {
    assert_eq!(broken_by(|_, _| {}), [""; 0]);
    // Nothing is known of a call whose answer never came, and an order may come of it or not.
    assert_eq!(broken_by(|calls, _| calls[13].answer = None), [""; 0]);
}

#[test]
fn an_order_that_was_told_and_is_not_there_is_noticed() {
    assert_eq!(broken_by(|_, truth| drop(truth.orders.remove(ID))), ["nothing_lost"]);
    assert_eq!(broken_by(|_, truth| drop(truth.orders.remove("ORD-2"))), ["nothing_lost"]);
    let other = |_: &mut Vec<Call>, truth: &mut Truth| truth.orders.get_mut(ID).unwrap().reference = "r-3".into();
    assert_eq!(broken_by(other), ["nothing_lost"]);
}

#[test]
fn other_license_keys_than_were_told_are_noticed() {
    assert_eq!(broken_by(|_, truth| truth.orders.get_mut(ID).unwrap().license_keys[1] = "X".into()), ["keys_as_told"]);
    assert_eq!(broken_by(|_, truth| drop(truth.orders.get_mut(ID).unwrap().license_keys.pop())), ["keys_as_told"]);
}

#[test]
fn what_is_never_finished_is_noticed() {
    let open = |_: &mut Vec<Call>, truth: &mut Truth| truth.orders.get_mut("ORD-2").unwrap().status = OrderStatus::Processing;
    assert_eq!(broken_by(open), ["finished"]);
    // Failed without a reason is also a shortage that was none.
    let failed = |_: &mut Vec<Call>, truth: &mut Truth| truth.orders.get_mut("ORD-2").unwrap().status = OrderStatus::Failed;
    assert_eq!(broken_by(failed), ["finished", "no_false_shortage"]);
}

#[test]
fn a_reference_with_two_orders_is_noticed() {
    let twice = |_: &mut Vec<Call>, truth: &mut Truth| drop(truth.orders.insert("ORD-9".into(), true_order("r-1", &["Z"])));
    assert_eq!(broken_by(twice), ["one_effect"]);
    let told_twice = |calls: &mut Vec<Call>, truth: &mut Truth| {
        truth.orders.insert("ORD-9".into(), TrueOrder { status: OrderStatus::Failed, ..true_order("r-3", &[]) });
        truth.orders.insert("ORD-10".into(), true_order("r-3", &["Y"]));
        let scarce = calls[6].intent.ask.clone();
        calls.push(call(20, scarce.clone(), fulfilled("ORD-10", &["Y"])));
        calls.push(call(21, scarce, fulfilled("ORD-9", &[])));
    };
    // Told to be fulfilled, and failed: that is noticed as well.
    assert_eq!(broken_by(told_twice), ["finished", "one_effect"]);
}

#[test]
fn a_replay_with_other_bytes_is_noticed() {
    assert_eq!(broken_by(|calls, _| answer(calls, 2).body_digest = "e".into()), ["equal_replays"]);
}

#[test]
fn a_license_key_in_two_orders_is_noticed() {
    let in_truth = |calls: &mut Vec<Call>, truth: &mut Truth| {
        truth.orders.get_mut("ORD-2").unwrap().license_keys = vec!["A".into()];
        answer(calls, 5).license_keys = vec!["A".into()];
    };
    assert_eq!(broken_by(in_truth), ["key_in_one_order"]);
    let within = |calls: &mut Vec<Call>, truth: &mut Truth| {
        truth.orders.get_mut(ID).unwrap().license_keys = vec!["A".into(), "A".into()];
        (1..=2).for_each(|number| answer(calls, number).license_keys = vec!["A".into(), "A".into()]);
    };
    assert_eq!(broken_by(within), ["key_in_one_order"]);
    // In another store it is another key.
    let elsewhere = |calls: &mut Vec<Call>, truth: &mut Truth| {
        in_truth(calls, truth);
        truth.orders.get_mut("ORD-2").unwrap().store = 1;
        calls.iter_mut().filter(|call| (4..=6).contains(&call.intent.intent)).for_each(|call| call.intent.store = 1);
    };
    assert_eq!(broken_by(elsewhere), [""; 0]);
}

#[test]
fn a_shortage_of_what_cannot_run_out_is_noticed() {
    assert_eq!(broken_by(|calls, _| *answer(calls, 14) = problem(409, "out_of_stock")), ["no_false_shortage", "expected_answers"]);
    let failed = |_: &mut Vec<Call>, truth: &mut Truth| {
        truth.orders.insert("ORD-9".into(), TrueOrder { status: OrderStatus::Failed, ..true_order("r-1", &[]) });
    };
    assert_eq!(broken_by(failed), ["no_false_shortage"]);
}

#[test]
fn a_revocation_that_does_not_hold_is_noticed() {
    let undone = |_: &mut Vec<Call>, truth: &mut Truth| truth.orders.get_mut("ORD-4").unwrap().status = OrderStatus::Fulfilled;
    assert_eq!(broken_by(undone), ["revoked_stays"]);
    assert_eq!(broken_by(|calls, _| answer(calls, 11).license_keys = vec!["D".into()]), ["revoked_stays"]);
}

#[test]
fn an_order_that_nobody_asked_for_is_noticed() {
    assert_eq!(broken_by(|_, truth| drop(truth.orders.insert("ORD-9".into(), true_order("r-9", &["Z"])))), ["cause"]);
}

#[test]
fn an_answer_that_the_contract_does_not_know_is_noticed() {
    assert_eq!(broken_by(|calls, _| *answer(calls, 14) = problem(500, "internal_error")), ["expected_answers"]);
    assert_eq!(broken_by(|calls, _| *answer(calls, 14) = problem(401, "invalid_api_key")), ["expected_answers"]);
    assert_eq!(broken_by(|calls, _| answer(calls, 12).token_verifies = Some(false)), ["expected_answers"]);
    assert_eq!(broken_by(|calls, _| answer(calls, 3).code = "out_of_stock".into()), ["no_false_shortage", "expected_answers"]);
}

#[test]
fn an_order_that_cannot_be_read_any_more_is_noticed() {
    assert_eq!(broken_by(|calls, _| *answer(calls, 11) = problem(404, "order_not_found")), ["resolves"]);
}

#[test]
fn a_move_that_an_order_must_not_make_is_noticed() {
    let back = |_: &mut Vec<Call>, truth: &mut Truth| truth.moves.push((ID.into(), OrderStatus::Fulfilled, OrderStatus::Processing));
    assert_eq!(broken_by(back), ["allowed_moves"]);
}

#[test]
fn every_rule_has_been_broken_above() {
    let source = include_str!("tests.rs");
    for (rule, statement, _) in RULES {
        assert!(source.contains(&format!("\"{rule}\"")), "no test breaks {rule}: {statement}");
    }
}
