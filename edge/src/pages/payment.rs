//! The payment of an order that a customer has made: Stripe's own form, or on a development system without keys of Stripe's a button that
//! makes a test payment. Reached by the same signed link as the receipt, to which it leads as soon as there is nothing left to pay. That an
//! order is paid is never taken from a browser: Stripe's event says so.

use askama::Template;
use common::ids::OrderId;
use common::job::PaymentOutcome;
use common::mode::Mode;
use common::order::{Order, OrderStatus};
use http::StatusCode;
use storage::pg::carts::{self, Cart};
use storage::pg::orders;

use super::cart;
use super::receipt;
use super::texts::fill;
use super::visit::{Frame, Sources, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::payments::Means;
use crate::service::Call;
use crate::snapshot::Store;
use crate::stripe::test_payment;

/// What Stripe's form needs.
#[derive(Debug)]
pub struct StripeForm {
    /// Names us to Stripe.
    pub publishable_key: String,
    /// Names the payment, to this customer alone.
    pub client_secret: String,
    /// Where Stripe sends the customer afterwards.
    pub return_url: String,
}

/// The payment.
#[derive(Debug, Template)]
#[template(path = "payment.html")]
pub struct PaymentPage {
    /// What every page has.
    pub frame: Frame,
    /// `Order ORD-…`
    pub order: String,
    /// What is paid.
    pub total: String,
    /// What the button says.
    pub button: String,
    /// Stripe's form; nothing where the payment is a test.
    pub stripe: Option<StripeForm>,
    /// The way back to the shop.
    pub back: Option<String>,
}

/// The address of an order's payment.
pub fn address(edge: &Edge, store: &Store, mode: Mode, order_id: &OrderId) -> String {
    format!("/s/{}/payment/{}/", store.slug, edge.receipts.sign(mode, order_id))
}

/// On to the payment of an order, from wherever its cart was looked at.
pub fn go_on(edge: &Edge, visit: &Visit, store: &Store, mode: Mode, order_id: &OrderId) -> Result<Answer, PageError> {
    visit.see_other(&address(edge, store, mode, order_id))
}

/// `GET /s/{slug}/payment/{link}/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    let (order, cart) = read(edge, visit, call, &store).await?;
    let receipt = receipt::address(edge, &store, order.mode, &order.id);
    if order.status != OrderStatus::Pending {
        return visit.see_other(&receipt);
    }
    let back = cart.as_ref().and_then(|cart| cart.metadata("return_url_cancel")).map(str::to_owned);
    let stripe = match edge.payments.means(order.mode) {
        Means::Nothing => return Err(PageError::new(PageProblem::NotPayable).with_back(back)),
        Means::Test => None,
        Means::Stripe { publishable_key } => match edge.payments.payment(order.mode, &order.id, call.request_id).await {
            PaymentOutcome::Ready { client_secret } => Some(StripeForm {
                publishable_key: publishable_key.clone(),
                client_secret: client_secret.expose().to_owned(),
                return_url: format!("{}{receipt}", edge.knobs.public_base_url),
            }),
            PaymentOutcome::Settled => return visit.see_other(&receipt),
            PaymentOutcome::Refused => return Err(PageError::new(PageProblem::NotPayable).with_back(back)),
            PaymentOutcome::Unavailable => return Err(PageError::new(PageProblem::Unavailable)),
        },
    };
    let frame = Frame { store: store.name.clone(), is_test: order.mode == Mode::Test, step: 3, ..visit.frame() };
    let total = receipt::total(&frame, &order);
    let page = PaymentPage {
        order: fill(frame.t.receipt_title, &[("order", order.id.as_str())]),
        button: match stripe {
            Some(_) => fill(frame.t.pay_now, &[("total", &total)]),
            None => frame.t.payment_test_pay.to_owned(),
        },
        frame,
        total,
        back,
        stripe,
    };
    let sources = if page.stripe.is_some() { Sources::Stripe } else { Sources::Own };
    visit.page_with(StatusCode::OK, &page, sources)
}

/// `POST /s/{slug}/payment/{link}/`: the test payment.
pub async fn test(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = cart::store(edge, call)?;
    visit.form(call)?;
    let (order, _) = read(edge, visit, call, &store).await?;
    if *edge.payments.means(order.mode) != Means::Test {
        return Err(PageError::new(PageProblem::NotFound));
    }
    if order.status == OrderStatus::Pending {
        test_payment::pay(edge, &order, call.now, call.request_id).await?;
    }
    visit.see_other(&receipt::address(edge, &store, order.mode, &order.id))
}

/// The order of a link that we made, and its cart while that is kept.
async fn read(edge: &Edge, visit: &mut Visit, call: &Call<'_>, store: &Store) -> Result<(Order, Option<Cart>), PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let (mode, id) = edge.receipts.verify(call.params.id).ok_or_else(absent)?;
    let read = in_time(edge, async {
        let client = edge.pg.client().await?;
        let order = orders::get(&*client, store.id, mode, &id).await?.ok_or_else(absent)?;
        Ok::<_, PageError>((order, carts::of_order(&*client, &id).await?))
    });
    let (order, cart) = read.await?;
    visit.speak(cart.as_ref().and_then(|cart| cart.locale.as_deref()));
    Ok((order, cart))
}
