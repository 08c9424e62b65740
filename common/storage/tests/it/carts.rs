//! Carts: one for each session, each its browser's own, and nothing changes once it is an order.

use common::cart::{Line, Sku};
use common::ids::{CartId, OrderId};
use common::mode::Mode;
use common::money::Currency;
use storage::Pg;
use storage::pg::carts::{self, Cart, Details, NewCart};
use testkit::database::Database;
use testkit::shop::Shop;
use uuid::Uuid;

use crate::patient;

fn new(store_id: i64, session_id: Option<Uuid>, browser: u8, sku: &str) -> NewCart {
    NewCart {
        id: CartId::new(rand::random()),
        store_id,
        mode: Mode::Live,
        session_id,
        browser: [browser; 32],
        currency: Currency::parse("GBP").unwrap(),
        locale: Some("de-CH".into()),
        metadata: vec![("external_reference".into(), "r-1".into()), ("note".into(), "\"<>'".into())],
        lines: vec![Line { sku: Sku::parse(sku).unwrap(), quantity: 2 }],
        email: None,
    }
}

fn details() -> Details {
    let text = |text: &str| Some(text.to_owned());
    Details { email: text("a@b.example"), country: text("US"), subdivision: text("CA"), vat_id: None }
}

async fn get(pg: &Pg, cart: &Cart) -> Cart {
    carts::get(&*pg.client().await.unwrap(), cart.store_id, &cart.id).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_makes_one_cart_however_often_and_wherever_it_is_opened() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let session = Some(Uuid::from_u128(7));
    let opened = futures_util::future::join_all((0..16).map(|_| {
        let (pg, new) = (pg.clone(), new(1, session, 1, "A"));
        async move { carts::open(&pg, &new).await.unwrap() }
    }))
    .await;
    assert!(opened.iter().all(|cart| cart.id == opened[0].id), "{opened:?}");
    let cart = &opened[0];
    assert_eq!(cart.metadata("note"), Some("\"<>'"));
    // Another store's session of that number, and a link, are others.
    assert_ne!(carts::open(&pg, &new(2, session, 1, "A")).await.unwrap().id, cart.id);
    assert_ne!(carts::open(&pg, &new(1, None, 1, "A")).await.unwrap().id, carts::open(&pg, &new(1, None, 1, "A")).await.unwrap().id);
    assert!(carts::get(&*pg.client().await.unwrap(), 2, &cart.id).await.unwrap().is_none());

    // It goes with the token, and leaves behind what was typed in.
    let client = pg.client().await.unwrap();
    assert!(carts::set_details(&*client, cart, &details()).await.unwrap());
    assert_eq!(get(&pg, cart).await.details, details());
    let moved = carts::open(&pg, &new(1, session, 2, "A")).await.unwrap();
    assert_eq!((moved.browser, &moved.details), ([2; 32], &Details::default()));
    assert_eq!(get(&pg, cart).await.details, Details::default());

    // An order stays where it is, and nothing of its cart changes.
    let order = OrderId::new(1, 2);
    carts::set_order(&*client, &cart.id, &order).await.unwrap();
    let left = carts::open(&pg, &new(1, session, 3, "A")).await.unwrap();
    assert_eq!((left.browser, left.order_id), ([2; 32], Some(order.clone())));
    assert!(!carts::set_lines(&*client, &cart.id, &[]).await.unwrap());
    assert!(!carts::set_details(&*client, cart, &details()).await.unwrap());
    assert_eq!(carts::of_order(&*client, &order).await.unwrap().unwrap().id, cart.id);
    let other = carts::open(&pg, &new(1, None, 1, "A")).await.unwrap();
    assert!(carts::set_order(&*client, &other.id, &order).await.unwrap_err().is_unique_violation());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_have_the_catalogues_prices_of_now() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let shop = Shop::open(&pg, "shop").await.unwrap();
    let product = shop.generated(&pg, "A").await.unwrap();
    let mut cart = carts::open(&pg, &new(shop.store_id, None, 1, "A")).await.unwrap();
    let client = pg.client().await.unwrap();
    let lines = [("A", 3), ("GONE", 1)].map(|(sku, quantity)| Line { sku: Sku::parse(sku).unwrap(), quantity });
    assert!(carts::set_lines(&*client, &cart.id, &lines).await.unwrap());
    cart = get(&pg, &cart).await;
    let priced = carts::priced(&*client, &cart).await.unwrap();
    let shown: Vec<_> = priced.iter().map(|line| (line.quantity, line.product.as_ref().map(|product| product.unit_minor))).collect();
    assert_eq!(shown, [(3, Some(2_999)), (1, None)]);
    storage::pg::products::set_prices(&pg, &product, &[(cart.currency, 1)]).await.unwrap();
    assert_eq!(carts::priced(&*client, &cart).await.unwrap()[0].product.as_ref().unwrap().unit_minor, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_marketplace_each_store_has_a_cart_and_details_are_told_once() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    for (store, sku) in [(1, "A"), (1, "A"), (1, "B"), (2, "A")] {
        carts::add_on_market(&pg, &new(store, None, 1, sku)).await.unwrap();
    }
    carts::add_on_market(&pg, &new(1, None, 9, "A")).await.unwrap();
    carts::open(&pg, &new(1, None, 1, "A")).await.unwrap();
    let client = pg.client().await.unwrap();
    let mine = carts::on_market(&*client, &[1; 32]).await.unwrap();
    let shown: Vec<_> = mine.iter().map(|cart| (cart.store_id, cart.lines.iter().map(|line| line.quantity).collect())).collect();
    assert_eq!(shown, [(1, vec![4, 2]), (2, vec![2])]);
    carts::set_details(&*client, &mine[0], &details()).await.unwrap();
    let mine = carts::on_market(&*client, &[1; 32]).await.unwrap();
    assert!(mine.iter().all(|cart| cart.details == details()));
    let others = carts::on_market(&*client, &[9; 32]).await.unwrap();
    assert_eq!(others[0].details, Details::default());
    // Its order made, the next piece begins a new cart.
    carts::set_order(&*client, &mine[0].id, &OrderId::new(1, 1)).await.unwrap();
    let again = carts::add_on_market(&pg, &new(1, None, 1, "A")).await.unwrap();
    assert_ne!(again.id, mine[0].id);
}
