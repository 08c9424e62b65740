//! From the hosted cart to the receipt, through edges and workers: one cart becomes at most one order, at the price that its customer has
//! agreed to, and only Stripe's word pays it. Stripe is a stand-in of ours where it misbehaves, and one of somebody else's where it does not.

mod localstripe;
pub mod stripe;

use std::sync::Arc;
use std::time::Duration;

use common::ids::OrderId;
use common::mode::Mode;
use http::Method;
use serde_json::{Value, json};
use storage::pg::audit::{self, Moment};
use storage::pg::order_checkouts;
use testkit::browser::{Browser, Page};
use testkit::http::Response;
use testkit::receiver::{Behavior, Receiver};
use testkit::shop::Shop;
use testkit::stripe::{Payment, tell};

use crate::system::{Edge, SOON, System, eventually, in_parallel, read_order, until_order_is};

const BASE: &str = "http://127.0.0.1:8000";
const LIVE: &str = "whsec_live_mode_of_the_checkout";
const TEST: &str = "whsec_test_mode_of_the_checkout";
const BRITISH: [(&str, &str); 2] = [("email", "customer@example.com"), ("country", "GB")];

async fn system() -> System {
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", BASE);
    system.set("STRIPE__LIVE_SIGNING_SECRETS", LIVE);
    system.set("STRIPE__TEST_SIGNING_SECRETS", TEST);
    system.set("LIMITS__PAGES", "1000000");
    system
}

fn browser(edge: &Edge) -> Browser {
    Browser::new(edge.client(""))
}

/// A link's cart with details, up to the page where it is checked.
pub async fn checked(browser: &mut Browser, query: &str) -> Page {
    let cart = browser.get(&format!("/s/demo/cart/?{query}")).await;
    assert_eq!(cart.status(), 200, "{}", cart.text);
    let details = browser.get(&format!("{}details/", cart.address)).await;
    let page = browser.submit(&details, &BRITISH).await;
    assert_eq!(page.status(), 200, "{}", page.text);
    page
}

fn seen(page: &Page) -> String {
    page.between("name=\"total_minor\" value=\"", "\"").expect("a total to agree to").to_owned()
}

/// Presses the button of the page where the cart is checked.
pub async fn ordered(browser: &mut Browser, page: &Page) -> Page {
    let total = seen(page);
    browser.submit(page, &[("total_minor", &total)]).await
}

/// The order of a payment's or a receipt's address.
fn order_of(address: &str) -> OrderId {
    let link = address.trim_end_matches('/').rsplit('/').next().unwrap();
    OrderId::parse(link.split('.').nth(3).expect("a signed link")).unwrap()
}

async fn orders(system: &System) -> i64 {
    system.number("select count(*) from orders").await
}

async fn audited(system: &System) {
    let report = audit::run(&system.pg, &system.settings().secrets, Moment::AtRest, &|_| {}).await.unwrap();
    assert!(report.ok, "{:#?}", report.violated().collect::<Vec<_>>());
}

async fn until_receipt_has(browser: &mut Browser, address: &str, text: &str) -> Page {
    eventually("the receipt to have it", SOON, async || {
        let page = browser.get(address).await;
        page.text.contains(text).then_some(page)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_goes_from_the_link_to_license_keys_and_the_partner_hears_of_it() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let receiver = Receiver::start(Behavior::status(200)).await.unwrap();
    shop.endpoint(&system.pg, Mode::Live, &receiver.url("/hook")).await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut browser = browser(&edge);
    let page = checked(&mut browser, "items=MADE:2&currency=GBP&external_reference=link-1").await;
    page.has("Order for £59.98");
    let payment = ordered(&mut browser, &page).await;
    payment.has("Make the test payment").has("£59.98");
    let id = order_of(&payment.address);
    // The order is there, and told of, before anybody has paid.
    let client = edge.client(&key);
    let order = read_order(&client, "demo", id.as_str()).await.json();
    assert_eq!((order["status"].as_str(), order["external_reference"].as_str()), (Some("pending"), Some("link-1")));
    receiver.wait_for_requests(1, SOON).await.unwrap();
    // Its receipt says what is missing, and leads back.
    let receipt = payment.address.replace("/payment/", "/receipt/");
    browser.get(&receipt).await.has("Go to the payment").has_not("License keys for");
    let done = browser.submit(&payment, &[]).await;
    assert_eq!(done.address, receipt);
    let page = until_receipt_has(&mut browser, &receipt, "Here are your license keys").await;
    assert_eq!(page.text.matches("class=\"key\"").count(), 2, "{}", page.text);
    // Whoever looks at the payment or at the cart again is led to the receipt, and pays nothing again.
    for address in [payment.address.as_str(), "/s/demo/cart/?items=MADE:2&currency=GBP"] {
        let again = browser.get(address).await;
        assert_eq!(again.status(), 200);
    }
    assert_eq!(browser.get(&payment.address).await.address, receipt);
    assert_eq!(browser.submit(&payment, &[]).await.address, receipt);
    // Stripe's own way back has a secret in it, which does not stay.
    let back = browser.ask(Method::GET, &format!("{receipt}?payment_intent=pi_1&payment_intent_client_secret=x"), &[]).await;
    assert_eq!((back.status.as_u16(), back.header("location")), (303, receipt.as_str()));

    let order = until_order_is(&client, "demo", id.as_str(), "fulfilled").await.json();
    assert_eq!((order["total_minor"].as_i64(), order["currency"].as_str()), (Some(5_998), Some("GBP")));
    receiver.wait_for_requests(2, SOON).await.unwrap();
    let told: Vec<Value> = receiver.received().iter().map(|received| serde_json::from_slice(&received.body).unwrap()).collect();
    let events: Vec<_> = told.iter().map(|body| (body["event"].as_str().unwrap(), body["external_reference"].as_str())).collect();
    assert_eq!(events, [("order.created", Some("link-1")), ("order.fulfilled", Some("link-1"))]);
    let checkout = order_checkouts::get(&*system.pg.client().await.unwrap(), &id).await.unwrap().unwrap();
    assert!(!checkout.is_market);
    assert_eq!((checkout.tax_quote.tax_minor.get(), checkout.tax_quote.rates[0].rate_ppm), (1_000, 200_000));
    edge.stop().await;
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cart_becomes_one_order_whichever_edge_or_tab() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edges, worker) = ([system.edge().await, system.edge().await], system.worker().await);
    let body = json!({"cart": {"MADE": 1}, "currency": "GBP"});
    let session = edges[0].client(&key).post("/api/v1/stores/demo/checkout/session/", &body).await.unwrap().json();
    let link = session["checkout_url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    let mut browser = browser(&edges[0]);
    let cart = browser.get(&link).await;
    let details = browser.get(&format!("{}details/", cart.address)).await;
    let page = browser.submit(&details, &BRITISH).await;
    let form = Arc::new((page.address.clone(), page.form_token(), seen(&page), browser.cookies.clone()));
    let answers: Vec<Response> = in_parallel(40, 20, |n| {
        let (form, client) = (form.clone(), edges[n % 2].client(""));
        async move {
            let mut tab = Browser::new(client);
            tab.cookies = form.3.clone();
            tab.ask(Method::POST, &form.0, &[("form_token", &form.1), ("total_minor", &form.2)]).await
        }
    })
    .await;
    let ways: Vec<_> = answers.iter().map(|answer| (answer.status.as_u16(), answer.header("location").to_owned())).collect();
    assert!(ways.iter().all(|way| *way == ways[0] && way.0 == 303), "{ways:?}");
    assert_eq!(orders(&system).await, 1);
    assert_eq!(system.number("select count(*) from events where kind = 'order.created'").await, 1);
    // The token, opened again, leads to the same payment, in this browser; nothing about the order can be changed any more.
    for address in [&link, &cart.address, &details.address, &page.address] {
        assert_eq!(browser.get(address).await.address, ways[0].1, "{address}");
    }
    let late = browser.submit(&details, &[("email", "other@example.com"), ("country", "DE")]).await;
    assert_eq!(late.address, ways[0].1);
    // In another browser it is used up.
    assert_eq!(Browser::new(edges[1].client("")).get(&link).await.status(), 410);
    // Twenty test payments at once are one.
    let payment = browser.get(&ways[0].1).await;
    let form = Arc::new((payment.address.clone(), payment.form_token(), browser.cookies.clone()));
    in_parallel(20, 20, |n| {
        let (form, client) = (form.clone(), edges[n % 2].client(""));
        async move {
            let mut tab = Browser::new(client);
            tab.cookies = form.2.clone();
            assert_eq!(tab.ask(Method::POST, &form.0, &[("form_token", &form.1)]).await.status, 303);
        }
    })
    .await;
    until_order_is(&edges[0].client(&key), "demo", order_of(&payment.address).as_str(), "fulfilled").await;
    assert_eq!(system.number("select count(*) from order_keys").await, 1);
    for edge in edges {
        edge.stop().await;
    }
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_says_beside_its_yes_is_not_looked_at() {
    let system = system().await;
    let (shop, _) = system.shop("demo").await;
    let product = shop.generated(&system.pg, "MADE").await.unwrap();
    shop.generated(&system.pg, "OTHER").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut customer = browser(&edge);
    let page = checked(&mut customer, "items=MADE:2&currency=GBP").await;
    // Another total than the one that is owed, or none: the page is shown again, and says so.
    for total in ["1", "0", "-5998", "5998.00", "", "59980", "x"] {
        let again = customer.submit(&page, &[("total_minor", total)]).await;
        assert_eq!(again.status(), 409, "{total:?}");
        again.has("Something changed since you looked").has("£59.98");
    }
    // Without the form's token, or with that of another browser.
    let mut other = browser(&edge);
    let foreign = checked(&mut other, "items=OTHER:1&currency=USD").await.form_token();
    for token in ["", "AAAA", &foreign] {
        let refused = customer.ask(Method::POST, &page.address, &[("form_token", token), ("total_minor", &seen(&page))]).await;
        assert_eq!(refused.status, 403);
    }
    // Another browser has no such cart.
    let refused = other.ask(Method::POST, &page.address, &[("form_token", &foreign), ("total_minor", &seen(&page))]).await;
    assert_eq!(refused.status, 404);
    assert_eq!(orders(&system).await, 0);
    // A price that changes after the look is not paid unseen.
    system.pg.client().await.unwrap().execute("update prices set amount_minor = 3999 where product_id = $1", &[&product.id]).await.unwrap();
    let again = ordered(&mut customer, &page).await;
    assert_eq!(again.status(), 409);
    again.has("Something changed since you looked").has("£79.98");
    // Nor a cart that another tab has changed.
    let cart_address = page.address.strip_suffix("pay/").unwrap().to_owned();
    let cart = customer.get(&cart_address).await;
    customer.submit(&cart, &[("quantity.MADE", "1")]).await;
    let once_more = ordered(&mut customer, &again).await;
    assert_eq!(once_more.status(), 409);
    assert_eq!(orders(&system).await, 0);
    // Prices, quantities and currencies of the browser's own are so many words.
    let fields = [
        ("total_minor", seen(&once_more)),
        ("price", "1".into()),
        ("quantity.MADE", "1000".into()),
        ("currency", "USD".into()),
        ("unit_minor", "1".into()),
        ("mode", "test".into()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let payment = customer.submit(&once_more, &fields).await;
    payment.has("£39.99");
    let row = "select count(*) from orders where total_minor = 3999 and currency = 'GBP' and live and status = 'pending'";
    assert_eq!((orders(&system).await, system.number(row).await), (1, 1));
    // A link to a payment is good for its order alone, and cannot be made up; nobody pays by looking.
    let id = order_of(&payment.address);
    let made_up = payment.address.replace(id.as_str(), OrderId::new(1, 2).as_str());
    assert_eq!(customer.get(&made_up).await.status(), 404);
    let token = payment.form_token();
    assert_eq!(customer.ask(Method::POST, &made_up, &[("form_token", &token)]).await.status, 404);
    assert_eq!(customer.ask(Method::POST, &payment.address, &[("form_token", &foreign)]).await.status, 403);
    customer.get(&payment.address).await;
    assert_eq!(system.number("select count(*) from stripe_events").await, 0);
    // Another store does not know the link.
    let (second, _) = system.shop("second").await;
    assert_eq!(second.slug, "second");
    eventually("the edge to know the store", SOON, async || {
        (edge.client("").get("/s/second/cart/").await.unwrap().status != 404).then_some(())
    })
    .await;
    assert_eq!(customer.get(&payment.address.replace("/demo/", "/second/")).await.status(), 404);
    edge.stop().await;
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_has_an_order_is_not_bought_twice() {
    let system = system().await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut first = browser(&edge);
    let page = checked(&mut first, "add=MADE&currency=GBP&external_reference=once").await;
    let payment = ordered(&mut first, &page).await;
    let mut second = browser(&edge);
    let page = checked(&mut second, "add=MADE&currency=GBP&external_reference=once").await;
    let refused = ordered(&mut second, &page).await;
    assert_eq!(refused.status(), 409);
    refused.has("This purchase was made already");
    assert_eq!(orders(&system).await, 1);
    // Nor does the partner's own call make a second one of it: it is the same order, and not a paid one.
    let body = json!({"customer_email": BRITISH[0].1, "items": [{"sku": "MADE", "quantity": 1}], "external_reference": "once",
                      "currency": "GBP", "total_minor": 2_999});
    let answer = edge.client(&key).post("/api/v1/stores/demo/licensing/fulfill/", &body).await.unwrap();
    assert_eq!((orders(&system).await, answer.json()["order_id"].as_str()), (1, Some(order_of(&payment.address).as_str())));
    assert!(!answer.json().to_string().contains("license_keys\":[\""), "{}", answer.json());
    edge.stop().await;
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_to_pay_no_order_is_made() {
    let mut system = System::new().await;
    system.set("HTTP__PUBLIC_BASE_URL", BASE);
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut customer = browser(&edge);
    let page = checked(&mut customer, "add=MADE&currency=GBP").await;
    page.has("This shop cannot take payments yet").has_not("name=\"total_minor\"");
    let refused = customer.submit(&browser_token(&mut browser(&edge), &page).await, &[("total_minor", "2999")]).await;
    assert_eq!(refused.status(), 403);
    let details = customer.get(&page.address.replace("/pay/", "/details/")).await;
    let fields = [("form_token", details.form_token()), ("total_minor", "2999".to_owned())];
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(customer.ask(Method::POST, &page.address, &fields).await.status, 503);
    assert_eq!(orders(&system).await, 0);
    edge.stop().await;
    worker.stop().await;
}

/// The page as another browser would have been given it.
async fn browser_token(other: &mut Browser, page: &Page) -> Page {
    let cart = other.get("/s/demo/cart/?add=MADE&currency=GBP").await;
    Page { address: page.address.clone(), ..other.get(&format!("{}details/", cart.address)).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_pays_expires_and_money_that_comes_all_the_same_counts() {
    let mut system = system().await;
    system.set("WORKER__UNPAID_ORDERS_EXPIRE_S", "3600");
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut customer = browser(&edge);
    let mut payments = Vec::new();
    for _ in 0..2 {
        let page = checked(&mut customer, "add=MADE&currency=GBP").await;
        payments.push(ordered(&mut customer, &page).await);
    }
    let [old, young] = [0, 1].map(|n: usize| order_of(&payments[n].address));
    let age = "update orders set created_at = now() - interval '3601 seconds' where id = $1";
    system.pg.client().await.unwrap().execute(age, &[&old.as_str()]).await.unwrap();
    let client = edge.client(&key);
    until_order_is(&client, "demo", old.as_str(), "expired").await;
    assert_eq!(read_order(&client, "demo", young.as_str()).await.json()["status"], "pending");
    let page = customer.get(&payments[0].address).await;
    page.has("This order has ended without license keys");
    assert_eq!(customer.submit(&payments[0], &[]).await.address, page.address, "what has expired is not offered any more");
    assert_eq!(system.number("select count(*) from stripe_events").await, 0);
    // Whoever had Stripe's form still open has paid.
    let payment = Payment { id: "pi_late", livemode: true, amount: 2_999, currency: "gbp" };
    assert_eq!(tell(&client, LIVE, &payment.succeeded("evt_late", &old)).await.unwrap().status, 200);
    until_order_is(&client, "demo", old.as_str(), "fulfilled").await;
    edge.stop().await;
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marketplace_makes_an_order_in_each_store_and_keeps_where_it_came_from() {
    let system = system().await;
    let mut products = Vec::new();
    for slug in ["demo", "other"] {
        let (shop, _) = system.shop(slug).await;
        products.push(listed(&system, &shop, slug).await);
    }
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut customer = browser(&edge);
    for (slug, sku) in [("demo", "GAME-demo"), ("other", "GAME-other")] {
        let token = customer.get("/market/?currency=GBP").await.form_token();
        let added = [("form_token", token.as_str()), ("store", slug), ("sku", sku), ("currency", "GBP")];
        assert_eq!(customer.ask(Method::POST, "/market/", &added).await.status, 303);
    }
    for left in [1, 0] {
        let cart = customer.get("/market/cart/").await;
        let next = format!("/s/{}", cart.between("href=\"/s/", "\"").expect("a part to check out"));
        let details = customer.get(&next).await;
        let page = customer.submit(&details, &BRITISH).await;
        let payment = ordered(&mut customer, &page).await;
        let done = customer.submit(&payment, &[]).await;
        let receipt = until_receipt_has(&mut customer, &done.address, "Here are your license keys").await;
        assert_eq!(receipt.text.contains("Go on with the rest"), left > 0);
    }
    assert_eq!(system.number("select count(*) from order_checkouts where market").await, 2);
    assert_eq!(system.number("select count(distinct store_id) from orders").await, 2);
    edge.stop().await;
    worker.stop().await;
    audited(&system).await;
}

async fn listed(system: &System, shop: &Shop, slug: &str) -> i64 {
    let product = shop.generated(&system.pg, &format!("GAME-{slug}")).await.unwrap();
    let client = system.pg.client().await.unwrap();
    assert!(storage::pg::listings::add(&*client, product.id).await.unwrap());
    product.id
}

/// Longer than an edge waits for a payment in these tests.
const A_WHILE: Duration = Duration::from_millis(800);

/// A system that asks this Stripe.
async fn asking(url: &str) -> System {
    let mut system = system().await;
    system.set("STRIPE__API_BASE_URL", url);
    system.set("STRIPE__TIMEOUT_MS", "500");
    system.set("EDGE__PAYMENT_DEADLINE_MS", "800");
    system.set("STRIPE__LIVE_SECRET_KEY", stripe::SECRET_KEY);
    system.set("STRIPE__LIVE_PUBLISHABLE_KEY", "pk_live_checkout");
    system
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_has_one_payment_of_stripes_however_often_it_is_asked_for() {
    let fake = stripe::Fake::start().await;
    let system = asking(&fake.url()).await;
    let (shop, key) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edges, worker) = ([system.edge().await, system.edge().await], system.worker().await);
    let mut customer = browser(&edges[0]);
    let page = checked(&mut customer, "items=MADE:2&currency=GBP").await;
    let payment = ordered(&mut customer, &page).await;
    payment.has("pk_live_checkout").has("https://js.stripe.com/v3/").has("Pay £59.98").has_not("Make the test payment");
    let policy = payment.answer.header("content-security-policy").to_owned();
    assert!(policy.contains("https://js.stripe.com") && policy.contains("frame-src") && !policy.contains("unsafe"), "{policy}");
    let id = order_of(&payment.address);
    let secret = payment.between("data-client-secret=\"", "\"").unwrap().to_owned();
    assert_eq!(
        payment.between("data-return-url=\"", "\""),
        Some(format!("{BASE}{}", payment.address.replace("/payment/", "/receipt/")).as_str())
    );
    // Stripe was asked for the right thing, once, by our name for it.
    let made = fake.made();
    assert_eq!(made.len(), 1);
    assert_eq!((made[0].key.as_str(), made[0].amount, made[0].currency.as_str()), (id.as_str(), 5_998, "gbp"));
    assert_eq!(made[0].order_id, id.as_str());
    // Looked at again, by many at once, on both edges: the same payment.
    let form = Arc::new((payment.address.clone(), customer.cookies.clone()));
    let again = in_parallel(20, 10, |n| {
        let (form, client) = (form.clone(), edges[n % 2].client(""));
        async move {
            let mut tab = Browser::new(client);
            tab.cookies = form.1.clone();
            tab.get(&form.0).await.between("data-client-secret=\"", "\"").map(str::to_owned)
        }
    })
    .await;
    assert!(again.iter().all(|other| other.as_ref() == Some(&secret)), "{again:?}");
    // Not even its memory of our name for the payment is needed, which lasts for a day.
    assert_eq!((fake.made().len(), fake.asked()), (1, 1));
    // The test payment is not to be had here.
    let token = customer.get(&page.address.replace("/pay/", "/")).await.form_token();
    assert!(token.is_empty(), "the payment has no form of ours");
    let forced = [("form_token", page.form_token())];
    let refused = customer.ask(Method::POST, &payment.address, &[("form_token", forced[0].1.as_str())]).await;
    assert_eq!(refused.status, 404);
    // Its money is there: nobody is asked to pay again, even before Stripe's event has come.
    fake.pay(id.as_str());
    let waiting = customer.get(&payment.address).await;
    waiting.has("waiting for your payment to be confirmed");
    let client = edges[0].client(&key);
    assert_eq!(tell(&client, LIVE, &fake.event(id.as_str())).await.unwrap().status, 200);
    until_order_is(&client, "demo", id.as_str(), "fulfilled").await;
    // What names the payment alone finds the order.
    let payment = Payment { id: &fake.made()[0].id, livemode: true, amount: 5_998, currency: "gbp" };
    assert_eq!(tell(&client, LIVE, &payment.refunded("evt_refund", 5_998)).await.unwrap().status, 200);
    until_order_is(&client, "demo", id.as_str(), "refunded").await;
    for edge in edges {
        edge.stop().await;
    }
    worker.stop().await;
    audited(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stripe_in_trouble_costs_the_customer_a_moment_and_nothing_else() {
    let fake = stripe::Fake::start().await;
    let system = asking(&fake.url()).await;
    let (shop, _) = system.shop("demo").await;
    shop.generated(&system.pg, "MADE").await.unwrap();
    let (edge, worker) = (system.edge().await, system.worker().await);
    let mut customer = browser(&edge);
    let page = checked(&mut customer, "add=MADE&currency=GBP").await;
    fake.answer(stripe::Mood::Status(500));
    let mut late = ordered(&mut customer, &page).await;
    for mood in
        [stripe::Mood::Status(500), stripe::Mood::Status(429), stripe::Mood::Status(409), stripe::Mood::Silent, stripe::Mood::Garbage]
    {
        fake.answer(mood);
        let begun = tokio::time::Instant::now();
        late = customer.get(&late.address).await;
        let is_refusal = mood == stripe::Mood::Garbage;
        assert_eq!(late.status(), 503, "{mood:?}");
        assert_eq!(late.text.contains("cannot take payments"), is_refusal, "{mood:?}: {}", late.text);
        assert!(begun.elapsed() < A_WHILE + Duration::from_secs(2), "{mood:?} took {:?}", begun.elapsed());
    }
    // An answer about another order, amount or currency takes nobody's money.
    for mood in [stripe::Mood::OtherAmount, stripe::Mood::OtherOrder, stripe::Mood::Status(401), stripe::Mood::Status(400)] {
        fake.answer(mood);
        customer.get(&late.address).await.has("cannot take payments");
    }
    assert_eq!(orders(&system).await, 1);
    // All is well again, and it is still one payment.
    fake.answer(stripe::Mood::Good);
    let payment = eventually("the payment", SOON, async || {
        let mut tab = browser(&edge);
        tab.cookies = customer.cookies.clone();
        let page = tab.get(&late.address).await;
        (page.status() == 200).then_some(page)
    })
    .await;
    payment.has("data-client-secret");
    let keys: std::collections::BTreeSet<_> = fake.made().into_iter().map(|made| made.key).collect();
    assert_eq!(keys.len(), 1, "every question was about the same payment");
    edge.stop().await;
    worker.stop().await;
}
