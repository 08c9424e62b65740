//! Compares what callers were told with what is in Postgres. Pure: the truth is read by [`crate::truth`], the calls by [`crate::ledger`].
//! Every rule is one function, and every rule has a test that breaks it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use common::order::OrderStatus;

use crate::ledger::{Answer, Ask, Call};

/// An order as it is in Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrueOrder {
    /// Which of the run's stores, by its place.
    pub store: usize,
    /// The partner's name for it.
    pub reference: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Its license keys, opened, in the order of items, whether they are usable or not.
    pub license_keys: Vec<String>,
}

/// What is in Postgres when everything has come to rest.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// By id.
    pub orders: HashMap<String, TrueOrder>,
    /// Every change of a status that was made: order, from, to.
    pub moves: Vec<(String, OrderStatus, OrderStatus)>,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// What is wrong, in words for whoever looks for the reason.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

type Rule = fn(&[Call], &Truth) -> Vec<String>;

/// The rules and what each of them says.
pub const RULES: [(&str, &str, Rule); 12] = [
    ("nothing_lost", "every order that a caller was told of is there, under its reference", nothing_lost),
    ("keys_as_told", "the license keys that a caller was told of are the order's", keys_as_told),
    ("finished", "no order is still being worked on, and none that was called fulfilled has failed", finished),
    ("one_effect", "a reference never had two orders that were fulfilled", one_effect),
    ("equal_replays", "the same request was answered with the same bytes, as long as its order stood as it was", equal_replays),
    ("key_in_one_order", "no license key is in two orders, in answers and in Postgres", key_in_one_order),
    ("no_false_shortage", "nobody was told of a shortage of what cannot run out", no_false_shortage),
    ("revoked_stays", "a revocation that was acknowledged holds, and nobody was shown its license keys after it", revoked_stays),
    ("cause", "there is no order that nobody asked for", cause),
    ("expected_answers", "every call was answered as the contract says, or not at all", expected_answers),
    ("resolves", "an order that a caller was told of can always be read", resolves),
    ("allowed_moves", "every change of a status is one that the order may make", allowed_moves),
];

/// Everything that is wrong.
pub fn judge(calls: &[Call], truth: &Truth) -> Vec<Violation> {
    RULES.iter().flat_map(|&(rule, _, check)| check(calls, truth).into_iter().map(move |what| Violation { rule, what })).collect()
}

/// Fulfillments that were answered, with the reference they asked for.
fn answered(calls: &[Call]) -> impl Iterator<Item = (&Call, &str, &Answer)> {
    calls.iter().filter_map(|call| match (&call.intent.ask, &call.answer) {
        (Ask::Fulfill { reference, .. }, Some(answer)) => Some((call, reference.as_str(), answer)),
        _ => None,
    })
}

/// What was ever asked for, by store and reference; `which` chooses by whether it needs something that may run out.
fn asked_for(calls: &[Call], which: impl Fn(bool) -> bool) -> BTreeSet<(usize, &str)> {
    calls
        .iter()
        .filter_map(|call| match &call.intent.ask {
            Ask::Fulfill { reference, scarce, .. } if which(*scarce) => Some((call.intent.store, reference.as_str())),
            _ => None,
        })
        .collect()
}

/// Those that were told of an order.
fn told(calls: &[Call]) -> impl Iterator<Item = (&Call, &str, &Answer, &str)> {
    answered(calls)
        .filter(|(call, ..)| call.acknowledged())
        .filter_map(|(call, reference, answer)| answer.order_id.as_deref().map(|id| (call, reference, answer, id)))
}

fn nothing_lost(calls: &[Call], truth: &Truth) -> Vec<String> {
    let wrong = |(call, reference, _, id): (&Call, &str, &Answer, &str)| match truth.orders.get(id) {
        None => Some(format!("call {}: {id} was told and is not there", call.intent.intent)),
        Some(order) if order.store != call.intent.store || order.reference != reference => {
            Some(format!("call {}: {id} was told for {reference} and is {}", call.intent.intent, order.reference))
        }
        Some(_) => None,
    };
    told(calls).filter_map(wrong).collect()
}

fn keys_as_told(calls: &[Call], truth: &Truth) -> Vec<String> {
    let wrong = |(call, _, answer, id): (&Call, &str, &Answer, &str)| {
        let order = truth.orders.get(id)?;
        let differs = answer.order_status == "fulfilled" && answer.license_keys != order.license_keys;
        differs.then(|| format!("call {}: {id} has other license keys than were told", call.intent.intent))
    };
    told(calls).filter_map(wrong).collect()
}

fn finished(calls: &[Call], truth: &Truth) -> Vec<String> {
    let open = truth.orders.iter().filter(|(_, order)| order.status == OrderStatus::Processing);
    let mut wrong: Vec<String> = open.map(|(id, _)| format!("{id} is still being worked on")).collect();
    wrong.extend(told(calls).filter_map(|(call, _, answer, id)| {
        let failed = truth.orders.get(id)?.status == OrderStatus::Failed;
        let scarce = matches!(call.intent.ask, Ask::Fulfill { scarce: true, .. });
        let broken = failed && (answer.order_status == "fulfilled" || !scarce);
        broken.then(|| format!("call {}: {id} was told to be {} and has failed", call.intent.intent, answer.order_status))
    }));
    wrong
}

fn one_effect(calls: &[Call], truth: &Truth) -> Vec<String> {
    let mut orders: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
    for (call, reference, answer, id) in told(calls) {
        if answer.order_status != "processing" {
            orders.entry((call.intent.store, reference)).or_default().insert(id);
        }
    }
    for (id, order) in truth.orders.iter().filter(|(_, order)| order.status != OrderStatus::Failed) {
        orders.entry((order.store, &order.reference)).or_default().insert(id);
    }
    let doubled = orders.into_iter().filter(|(_, ids)| ids.len() > 1);
    doubled.map(|((_, reference), ids)| format!("{reference} has {ids:?}")).collect()
}

fn equal_replays(calls: &[Call], _: &Truth) -> Vec<String> {
    let mut first: HashMap<&str, (&Call, &Answer)> = HashMap::new();
    let mut wrong = Vec::new();
    for (call, _, answer, id) in told(calls).filter(|(_, _, answer, _)| answer.status == Some(201) && answer.order_status == "fulfilled") {
        let (earlier, known) = *first.entry(id).or_insert((call, answer));
        if known.body_digest != answer.body_digest {
            wrong.push(format!("calls {} and {} were told differently of {id}", earlier.intent.intent, call.intent.intent));
        }
    }
    wrong
}

fn key_in_one_order(calls: &[Call], truth: &Truth) -> Vec<String> {
    let mut owner: HashMap<(usize, &str), &str> = HashMap::new();
    let mut wrong = BTreeSet::new();
    let in_answers = told(calls).flat_map(|(call, _, answer, id)| answer.license_keys.iter().map(move |key| (call.intent.store, key, id)));
    let in_truth = truth.orders.iter().flat_map(|(id, order)| order.license_keys.iter().map(move |key| (order.store, key, id.as_str())));
    for (store, key, id) in in_answers.chain(in_truth) {
        let other = *owner.entry((store, key)).or_insert(id);
        if other != id {
            wrong.insert(format!("a license key is in {} and in {}", other.min(id), other.max(id)));
        }
    }
    for (id, order) in &truth.orders {
        if order.license_keys.iter().collect::<BTreeSet<_>>().len() < order.license_keys.len() {
            wrong.insert(format!("a license key is twice in {id}"));
        }
    }
    wrong.into_iter().collect()
}

fn no_false_shortage(calls: &[Call], truth: &Truth) -> Vec<String> {
    let mut wrong: Vec<String> = answered(calls)
        .filter(|(call, _, answer)| answer.code == "out_of_stock" && matches!(call.intent.ask, Ask::Fulfill { scarce: false, .. }))
        .map(|(call, reference, _)| format!("call {}: {reference} was told that the stock is out", call.intent.intent))
        .collect();
    let plentiful = asked_for(calls, |scarce| !scarce);
    let failed = truth.orders.iter().filter(|(_, order)| order.status == OrderStatus::Failed);
    let failed = failed.filter(|(_, order)| plentiful.contains(&(order.store, order.reference.as_str())));
    wrong.extend(failed.map(|(id, _)| format!("{id} has failed although nothing was short")));
    wrong
}

fn revoked_stays(calls: &[Call], truth: &Truth) -> Vec<String> {
    let mut revoked: HashMap<&str, u64> = HashMap::new();
    let mut wrong = Vec::new();
    for call in calls {
        if let (Ask::Revoke { order_id }, Some(answer), true) = (&call.intent.ask, &call.answer, call.acknowledged()) {
            let since = revoked.entry(order_id).or_insert(answer.at_ms);
            *since = answer.at_ms.min(*since);
            if truth.orders.get(order_id).is_none_or(|order| order.status != OrderStatus::Revoked) {
                wrong.push(format!("call {}: {order_id} was revoked and is not", call.intent.intent));
            }
        }
    }
    for call in calls {
        let Some(answer) = &call.answer else { continue };
        let Some(since) = answer.order_id.as_deref().and_then(|id| revoked.get(id)) else { continue };
        if call.intent.at_ms > *since && !answer.license_keys.is_empty() {
            wrong.push(format!("call {}: shown license keys that had been revoked", call.intent.intent));
        }
    }
    wrong
}

fn cause(calls: &[Call], truth: &Truth) -> Vec<String> {
    let asked = asked_for(calls, |_| true);
    let uncaused = truth.orders.iter().filter(|(_, order)| !asked.contains(&(order.store, order.reference.as_str())));
    uncaused.map(|(id, order)| format!("{id}: nobody asked for {}", order.reference)).collect()
}

fn expected_answers(calls: &[Call], _: &Truth) -> Vec<String> {
    let expected = |call: &Call, answer: &Answer| {
        let Some(status) = answer.status else { return true };
        match (&call.intent.ask, status) {
            // Send it again: nothing is known, and it says so.
            (_, 503) => answer.code == "unavailable" && answer.order_id.is_none(),
            (Ask::Fulfill { content: 0, .. }, 201 | 202) => answer.order_id.is_some(),
            (Ask::Fulfill { scarce: true, .. }, 409) if answer.code == "out_of_stock" => true,
            // Only ever sent once the reference or the key belongs to an order.
            (Ask::Fulfill { content: 1.., .. }, 409) => {
                ["external_reference_conflict", "idempotency_key_conflict"].contains(&answer.code.as_str())
            }
            (Ask::Revoke { .. } | Ask::Read { .. }, 200) => answer.order_id.is_some(),
            (Ask::Session, 201) => answer.token_verifies == Some(true),
            // `resolves` speaks of these.
            (Ask::Revoke { .. } | Ask::Read { .. }, 404) => true,
            _ => false,
        }
    };
    calls
        .iter()
        .filter_map(|call| call.answer.as_ref().filter(|answer| !expected(call, answer)).map(|answer| (call, answer)))
        .map(|(call, answer)| format!("call {} {:?}: {:?} {}", call.intent.intent, call.intent.ask, answer.status, answer.code))
        .collect()
}

fn resolves(calls: &[Call], _: &Truth) -> Vec<String> {
    let missing =
        calls.iter().filter(|call| matches!(call.intent.ask, Ask::Revoke { .. } | Ask::Read { .. }) && call.status() == Some(404));
    missing.map(|call| format!("call {}: {:?} was not found", call.intent.intent, call.intent.ask)).collect()
}

fn allowed_moves(_: &[Call], truth: &Truth) -> Vec<String> {
    let wrong = truth.moves.iter().filter(|(_, from, to)| !from.may_become(*to));
    wrong.map(|(id, from, to)| format!("{id} went from {from} to {to}")).collect()
}

#[cfg(test)]
mod tests;
