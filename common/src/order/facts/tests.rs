//! Facts in every order of arrival, with repeats, end in the same state; no step on the way leaves the graph of statuses.

use proptest::prelude::*;

use super::*;
use crate::stripe::Refund;

const TOTAL: i64 = 2_999;

fn gbp() -> Currency {
    Currency::parse("GBP").unwrap()
}

fn paid() -> Happened {
    Happened::Paid { received_minor: TOTAL, currency: gbp() }
}

fn refunded(refunded_minor: i64) -> Happened {
    Happened::Refunded(Refund { refunded_minor, charged_minor: TOTAL, currency: gbp() })
}

fn dispute(status: DisputeStatus, funds_withdrawn: bool) -> Happened {
    Happened::Disputed(DisputeNews { id: "dp_1".into(), status, amount_minor: TOTAL, currency: gbp(), funds_withdrawn })
}

/// An order's life as the worker leads it, with keys in stock.
#[derive(Default)]
struct Life {
    facts: OrderFacts,
    /// The last of each kind that was told.
    fulfilled: bool,
    refund_told: Option<i64>,
    dispute_told: Option<Dispute>,
    /// How many there were.
    told: usize,
}

impl Life {
    fn hear(&mut self, happened: &Happened) {
        let before = self.facts.clone();
        let mut after = before.clone().merge(OrderFacts::of(happened, Some((TOTAL, gbp()))).unwrap());
        if after.wants_keys(false) {
            after.is_allocated = true;
            self.fulfilled = true;
        }
        for news in before.news(&after) {
            self.told += 1;
            match news {
                News::Refunded { refunded_minor } => self.refund_told = Some(refunded_minor),
                News::Disputed { dispute, .. } => self.dispute_told = Some(dispute),
            }
        }
        let (was, is) = (before.status(), after.status());
        assert!(was == is || was.may_become(is), "{was} -> {is} by {happened:?}");
        self.facts = after;
    }

    fn of<'h>(all: impl IntoIterator<Item = &'h Happened>) -> Self {
        let mut life = Self::default();
        all.into_iter().for_each(|happened| life.hear(happened));
        life
    }

    fn end(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let usable = [(true, true), (true, false), (false, true), (false, false)].map(|(revoke_when_refunded, suspend_while_disputed)| {
            self.facts.keys_usable(Policy { revoke_when_refunded, suspend_while_disputed })
        });
        (self.facts.clone(), self.facts.status(), usable, self.fulfilled, self.refund_told, self.dispute_told)
    }
}

/// All orders of these, each once.
fn permutations(of: &[Happened], mut each: impl FnMut(&[Happened])) {
    fn heap(of: &mut Vec<Happened>, length: usize, each: &mut impl FnMut(&[Happened])) {
        if length <= 1 {
            return each(of);
        }
        for index in 0..length {
            heap(of, length - 1, each);
            of.swap(if length.is_multiple_of(2) { index } else { 0 }, length - 1);
        }
    }
    heap(&mut of.to_vec(), of.len(), &mut each);
}

/// The seven events that the page lists, as they come when the dispute is lost, or won; two refunds; an inquiry first.
fn sets() -> Vec<Vec<Happened>> {
    use DisputeStatus::*;
    let life = |refund: i64, closed: DisputeStatus| {
        vec![
            paid(),
            refunded(refund),
            dispute(Open, false),
            dispute(Open, true),
            dispute(Open, false),
            dispute(closed, false),
            dispute(closed, false),
        ]
    };
    vec![
        life(1_000, Won),
        life(1_000, Lost),
        life(TOTAL, Won),
        life(TOTAL, Lost),
        vec![paid(), refunded(500), refunded(1_000), refunded(TOTAL), dispute(Inquiry, false), dispute(InquiryClosed, false)],
        vec![paid(), dispute(Inquiry, false), dispute(Inquiry, true), dispute(Open, false), dispute(Won, false), refunded(1)],
        vec![paid(), dispute(Open, false), dispute(Won, false), dispute(Lost, false)],
    ]
}

#[test]
fn every_order_of_arrival_ends_alike() {
    for set in sets() {
        let expected = Life::of(&set).end();
        let mut seen = 0;
        permutations(&set, |order| {
            seen += 1;
            assert_eq!(Life::of(order).end(), expected, "{order:?}");
        });
        assert_eq!(seen, (1..=set.len()).product::<usize>());
    }
}

#[test]
fn what_comes_again_changes_nothing() {
    for set in sets() {
        let expected = Life::of(&set).end();
        permutations(&set, |order| {
            // Each at once again, and all of them at the end.
            let mut life = Life::default();
            for happened in order {
                life.hear(happened);
                let told = life.told;
                life.hear(happened);
                assert_eq!(life.told, told, "{happened:?} was told twice");
            }
            let told = life.told;
            order.iter().for_each(|happened| life.hear(happened));
            assert_eq!((life.end(), life.told), (Life::of(order).end(), told));
            assert_eq!(life.end(), expected);
        });
    }
}

#[test]
fn lives_as_the_contract_tells_them() {
    use DisputeStatus::*;
    let status = |all: &[Happened]| {
        let life = Life::of(all);
        (life.facts.status(), life.facts.keys_usable(Policy::default()), life.told)
    };
    assert_eq!(status(&[]), (OrderStatus::Pending, false, 0));
    assert_eq!(status(&[paid()]), (OrderStatus::Fulfilled, true, 0));
    assert_eq!(status(&[paid(), refunded(1)]), (OrderStatus::PartiallyRefunded, true, 1));
    assert_eq!(status(&[paid(), refunded(1), refunded(TOTAL)]), (OrderStatus::Refunded, false, 2));
    assert_eq!(status(&[paid(), dispute(Inquiry, false)]), (OrderStatus::Fulfilled, true, 0));
    assert_eq!(status(&[paid(), dispute(Open, false), dispute(Open, true)]), (OrderStatus::Disputed, false, 1));
    assert_eq!(status(&[paid(), dispute(Open, false), dispute(Won, false)]), (OrderStatus::Fulfilled, true, 2));
    assert_eq!(status(&[paid(), dispute(Open, false), dispute(Lost, false)]), (OrderStatus::Revoked, false, 2));
    assert_eq!(
        status(&[paid(), dispute(Lost, false), dispute(Open, false)]),
        (OrderStatus::Revoked, false, 1),
        "it ended before it was opened"
    );
    let kept = Policy { revoke_when_refunded: false, suspend_while_disputed: false };
    assert!(Life::of(&[paid(), refunded(TOTAL)]).facts.keys_usable(kept));
    assert!(Life::of(&[paid(), dispute(Open, false)]).facts.keys_usable(kept));
    assert!(!Life::of(&[paid(), dispute(Lost, false)]).facts.keys_usable(kept), "whoever took the money back has no keys");
}

#[test]
fn other_money_pays_for_nothing() {
    let pays = |received_minor, currency: &str| {
        let currency = Currency::parse(currency).unwrap();
        OrderFacts::of(&Happened::Paid { received_minor, currency }, Some((TOTAL, gbp())))
    };
    assert!(pays(TOTAL, "GBP").is_ok());
    for (received, currency) in [(TOTAL - 1, "GBP"), (TOTAL + 1, "GBP"), (0, "GBP"), (TOTAL, "USD"), (TOTAL, "JPY")] {
        assert!(pays(received, currency).is_err());
    }
    assert_eq!(pays(1, "USD").unwrap_err().to_string(), "1 USD were paid for an order over 2999 GBP");
}

#[test]
fn money_that_comes_late_is_money() {
    let late = OrderFacts { is_expired: true, ..OrderFacts::default() };
    assert_eq!(late.status(), OrderStatus::Expired);
    let paid = late.merge(OrderFacts::of(&paid(), Some((TOTAL, gbp()))).unwrap());
    assert_eq!((paid.status(), paid.wants_keys(false)), (OrderStatus::AwaitingStock, true));
    let gone = paid.clone().merge(OrderFacts::of(&refunded(TOTAL), Some((TOTAL, gbp()))).unwrap());
    assert!(!gone.wants_keys(true) && gone.wants_keys(false) && paid.wants_keys(true));
}

fn any_status() -> impl Strategy<Value = DisputeStatus> {
    use DisputeStatus::*;
    prop::sample::select(vec![Inquiry, InquiryClosed, Open, Won, Lost])
}

prop_compose! {
    fn any_facts()(
        flags in any::<[bool; 4]>(),
        refunded_minor in 0..=TOTAL,
        charged_minor in 0..=TOTAL,
        disputes in prop::collection::btree_map("[ab]", (any_status(), 0..=TOTAL), 0..3),
    ) -> OrderFacts {
        let [is_paid, is_expired, is_allocated, is_revoked] = flags;
        let disputes = disputes.into_iter().map(|(id, (status, amount_minor))| (id, Dispute { status, amount_minor })).collect();
        OrderFacts { is_paid, is_expired, is_allocated, is_revoked, refunded_minor, charged_minor, disputes }
    }
}

fn any_happened() -> impl Strategy<Value = Happened> {
    prop_oneof![
        Just(paid()),
        (0..=TOTAL).prop_map(refunded),
        ("[ab]", any_status(), 0..=TOTAL, any::<bool>()).prop_map(|(id, status, amount_minor, funds_withdrawn)| {
            Happened::Disputed(DisputeNews { id, status, amount_minor, currency: gbp(), funds_withdrawn })
        }),
    ]
}

proptest! {
    #[test]
    fn merging_is_a_join(a in any_facts(), b in any_facts(), c in any_facts()) {
        prop_assert_eq!(a.clone().merge(b.clone()), b.clone().merge(a.clone()));
        prop_assert_eq!(a.clone().merge(b.clone()).merge(c.clone()), a.clone().merge(b.merge(c)));
        prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
        prop_assert_eq!(a.clone().merge(OrderFacts::default()), a);
    }

    #[test]
    fn many_facts_in_two_orders_of_arrival(
        (first, second) in prop::collection::vec(any_happened(), 0..20).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let (first, second) = (Life::of(&first), Life::of(&second));
        prop_assert_eq!(&first.facts, &second.facts);
        prop_assert_eq!((first.fulfilled, first.refund_told), (second.fulfilled, second.refund_told));
    }
}
