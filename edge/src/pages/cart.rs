//! The way into the hosted checkout, and its first step: a session's token or a partner's link becomes a cart, and the cart is shown and
//! changed. What is bought and for whom comes from the row; what it costs, from the catalogue as it is now. Nothing of a price is ever taken
//! from a browser.

use std::sync::Arc;

use askama::Template;
use common::cart::link::CartLink;
use common::cart::{Line, QUANTITY_MAX};
use common::ids::CartId;
use common::json::FieldErrors;
use common::mode::Mode;
use common::money::Minor;
use common::session::TokenError;
use storage::pg::carts::{self, Cart, NewCart, PricedLine};

use super::form::Form;
use super::market;
use super::payment;
use super::texts::fill;
use super::visit::{Frame, Visit};
use crate::answer::Answer;
use crate::api::database::in_time;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;
use crate::snapshot::Store;

/// The store of a page's path.
pub fn store(edge: &Edge, call: &Call<'_>) -> Result<Arc<Store>, PageError> {
    edge.snapshot.store(call.params.slug).ok_or_else(|| PageError::new(PageProblem::NotFound))
}

/// `GET /s/{slug}/cart/`: opens a session's token, or a partner's link, and goes on to the cart.
pub async fn open(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = store(edge, call)?;
    let mut tokens = form_urlencoded::parse(call.query.as_bytes()).filter(|(name, _)| name == "token").map(|(_, value)| value);
    // A token wins over whatever else is there.
    let new = match (tokens.next(), tokens.next()) {
        (Some(token), None) => of_token(edge, visit, call, &store, &token)?,
        (Some(_), Some(_)) => return Err(PageError::new(PageProblem::BadToken)),
        (None, _) => of_link(visit, call, &store)?,
    };
    let back = new.metadata.iter().find(|(name, _)| name == "return_url_cancel").map(|(_, url)| url.clone());
    visit.speak(new.locale.as_deref());
    let cart = in_time(edge, async { Ok::<_, PageError>(carts::open(&edge.pg, &new).await?) }).await?;
    if cart.browser != visit.browser() {
        return Err(PageError::new(PageProblem::Used).with_back(back));
    }
    visit.see_other(&address(&store, &cart.id, ""))
}

/// The address of a cart, or of a step that follows it.
pub fn address(store: &Store, id: &CartId, step: &str) -> String {
    format!("/s/{}/cart/{id}/{step}", store.slug)
}

fn of_token(edge: &Edge, visit: &mut Visit, call: &Call<'_>, store: &Store, token: &str) -> Result<NewCart, PageError> {
    let bad = || PageError::new(PageProblem::BadToken);
    let claims = edge.signer.verify(token, call.now.unix_s()).or_else(|error| match error {
        TokenError::Expired => edge.signer.read(token).map_err(|_| bad()).and_then(|claims| {
            visit.speak(claims.locale.as_deref());
            let back = claims.metadata.into_iter().find(|(name, _)| name == "return_url_cancel").map(|(_, url)| url);
            Err(PageError::new(PageProblem::Expired).with_back(back))
        }),
        _ => Err(bad()),
    })?;
    if claims.store_id != store.id {
        return Err(bad());
    }
    Ok(NewCart {
        id: CartId::new(rand::random()),
        store_id: store.id,
        mode: claims.mode,
        session_id: Some(claims.id),
        browser: visit.browser(),
        currency: claims.currency,
        locale: claims.locale,
        metadata: claims.metadata,
        lines: claims.cart,
        email: None,
    })
}

fn of_link(visit: &Visit, call: &Call<'_>, store: &Store) -> Result<NewCart, PageError> {
    let link = CartLink::parse(call.query).map_err(PageError::bad_link)?;
    let mut errors = FieldErrors::default();
    for line in &link.cart {
        match store.catalogue.get(&line.sku) {
            None => errors.add("items", format!("names {}, which this shop does not sell", line.sku)),
            Some(prices) if !prices.iter().any(|(currency, _)| *currency == link.currency) => {
                errors.add("items", format!("names {}, which has no price in {}", line.sku, link.currency));
            }
            Some(_) => {}
        }
    }
    errors.into_result(Some(())).map_err(PageError::bad_link)?;
    Ok(NewCart {
        id: CartId::new(rand::random()),
        store_id: store.id,
        mode: Mode::Live,
        session_id: None,
        browser: visit.browser(),
        currency: link.currency,
        locale: link.locale,
        metadata: link.external_reference.into_iter().map(|reference| ("external_reference".to_owned(), reference)).collect(),
        lines: link.cart,
        email: link.email,
    })
}

/// The cart of a page's path, if it is this browser's. To any other it is not there.
pub async fn mine(edge: &Edge, visit: &mut Visit, call: &Call<'_>, store: &Store) -> Result<Cart, PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let id = CartId::parse(call.params.id).map_err(|_| absent())?;
    let found = in_time(edge, async { Ok::<_, PageError>(carts::get(&*edge.pg.client().await?, store.id, &id).await?) }).await?;
    let cart = found.filter(|cart| cart.browser == visit.browser()).ok_or_else(absent)?;
    visit.speak(cart.locale.as_deref());
    Ok(cart)
}

/// The frame of a page about a cart.
pub fn frame(visit: &Visit, store: &Store, cart: &Cart, step: u8) -> Frame {
    Frame { store: store.name.clone(), is_test: cart.mode == Mode::Test, step, ..visit.frame() }
}

/// A line as pages show it.
#[derive(Debug)]
pub struct LineView {
    /// The partner's name for it.
    pub sku: String,
    /// The name people read; the SKU where there is none any more.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// `£29.99 each`; empty for a single piece.
    pub each: String,
    /// What the line costs; empty where it is not sold any more.
    pub sum: String,
    /// What its field and its button are called for those who cannot see where they stand.
    pub quantity_of: String,
    /// See `quantity_of`.
    pub remove_of: String,
}

/// A cart's lines and their sum.
#[derive(Debug)]
pub struct Lines {
    /// The lines.
    pub views: Vec<LineView>,
    /// What they cost together, as text.
    pub subtotal: String,
    /// Whether all of them can be bought.
    pub all_sold: bool,
}

impl Lines {
    /// The lines as the catalogue has them now.
    pub fn of(visit: &Visit, cart: &Cart, priced: &[PricedLine]) -> Result<Self, PageError> {
        let frame = visit.frame();
        let money = |minor: Minor| frame.locale.money(minor, cart.currency);
        let too_much = |_| PageError::new(PageProblem::BadRequest);
        let (mut subtotal, mut views) = (Minor::ZERO, Vec::with_capacity(priced.len()));
        for PricedLine { sku, quantity, product } in priced {
            let (mut each, mut sum) = (String::new(), String::new());
            if let Some(product) = product {
                let unit = Minor::new(product.unit_minor).map_err(too_much)?;
                let line = unit.checked_mul(*quantity).map_err(too_much)?;
                subtotal = subtotal.checked_add(line).map_err(too_much)?;
                sum = money(line);
                if *quantity > 1 {
                    each = fill(frame.t.cart_each, &[("price", &money(unit))]);
                }
            }
            let name = product.as_ref().map_or_else(|| sku.to_string(), |product| product.name.clone());
            let quantity_of = fill(frame.t.cart_quantity_of, &[("product", &name)]);
            let remove_of = fill(frame.t.cart_remove_of, &[("product", &name)]);
            views.push(LineView { sku: sku.to_string(), name, quantity: *quantity, each, sum, quantity_of, remove_of });
        }
        Ok(Self { views, subtotal: money(subtotal), all_sold: priced.iter().all(|line| line.product.is_some()) })
    }
}

/// The cart.
#[derive(Debug, Template)]
#[template(path = "cart.html")]
pub struct CartPage {
    /// What every page has.
    pub frame: Frame,
    /// What is bought.
    pub lines: Lines,
    /// Whether the shop has decided what is bought, so that it cannot be changed here.
    pub fixed: bool,
    /// The next step.
    pub next: String,
    /// The way back to the shop.
    pub back: Option<String>,
    /// Whether it is part of a cart over several stores.
    pub market: bool,
}

/// `GET /s/{slug}/cart/{cart_id}/`
pub async fn show(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = store(edge, call)?;
    let cart = mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    let priced = in_time(edge, async { Ok::<_, PageError>(carts::priced(&*edge.pg.client().await?, &cart).await?) }).await?;
    let page = CartPage {
        frame: frame(visit, &store, &cart, 1),
        lines: Lines::of(visit, &cart, &priced)?,
        fixed: cart.session_id.is_some(),
        next: address(&store, &cart.id, "details/"),
        back: cart.metadata("return_url_cancel").map(str::to_owned),
        market: cart.market,
    };
    visit.page(&page)
}

/// `POST /s/{slug}/cart/{cart_id}/`: changes quantities, or removes a line. A session's cart is what the shop signed, and stays.
pub async fn change(edge: &Edge, visit: &mut Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let store = store(edge, call)?;
    let form = visit.form(call)?;
    let cart = mine(edge, visit, call, &store).await?;
    if let Some(order_id) = &cart.order_id {
        return payment::go_on(edge, visit, &store, cart.mode, order_id);
    }
    if cart.session_id.is_some() {
        return Err(PageError::new(PageProblem::BadRequest));
    }
    let lines = changed(&cart.lines, &form);
    in_time(edge, async { Ok::<_, PageError>(carts::set_lines(&*edge.pg.client().await?, &cart.id, &lines).await?) }).await?;
    let way = if cart.market { market::CART.to_owned() } else { address(&store, &cart.id, "") };
    visit.see_other(&way)
}

/// The lines after a form. What it says about others than these is not looked at, and what is no quantity changes nothing.
fn changed(lines: &[Line], form: &Form) -> Vec<Line> {
    let wanted = |line: &Line| {
        if form.get("remove") == line.sku.as_str() {
            return 0;
        }
        let typed = form.beginning("quantity.").find(|(sku, _)| *sku == line.sku.as_str());
        typed.and_then(|(_, quantity)| quantity.parse().ok()).unwrap_or(line.quantity).min(QUANTITY_MAX as u32)
    };
    let lines = lines.iter().map(|line| Line { sku: line.sku.clone(), quantity: wanted(line) });
    lines.filter(|line| line.quantity > 0).collect()
}

#[cfg(test)]
mod tests {
    use common::cart::Sku;

    use super::*;

    #[test]
    fn a_form_changes_what_is_there_within_bounds() {
        let lines = [("A", 1), ("B", 2)].map(|(sku, quantity)| Line { sku: Sku::parse(sku).unwrap(), quantity });
        let after = |form: &str| -> Vec<(String, u32)> {
            changed(&lines, &Form::parse(form.as_bytes()).unwrap()).into_iter().map(|line| (line.sku.into(), line.quantity)).collect()
        };
        let is = |pairs: &[(&str, u32)]| pairs.iter().map(|&(sku, quantity)| (sku.to_owned(), quantity)).collect::<Vec<_>>();
        assert_eq!(after("quantity.A=5&quantity.C=9&price.A=1"), is(&[("A", 5), ("B", 2)]));
        assert_eq!(after("quantity.A=0&quantity.B=1001"), is(&[("B", 1_000)]));
        assert_eq!(after("remove=B"), is(&[("A", 1)]));
        for nonsense in ["quantity.A=-1", "quantity.A=1.5", "quantity.A=99999999999", "quantity.A=", "remove=C", "quantity.A=x"] {
            assert_eq!(after(nonsense), is(&[("A", 1), ("B", 2)]), "{nonsense}");
        }
    }

    #[test]
    fn what_partners_wrote_is_text() {
        let evil = "<script>alert(1)</script>";
        for fixed in [true, false] {
            for all_sold in [true, false] {
                let view = LineView {
                    sku: evil.into(),
                    name: evil.into(),
                    quantity: 2,
                    each: "£1 each".into(),
                    sum: "£2".into(),
                    quantity_of: evil.into(),
                    remove_of: evil.into(),
                };
                let lines = Lines { views: vec![view], subtotal: "£2".into(), all_sold };
                let back = Some("https://shop.example/\"onclick=\"alert(1)".into());
                let page = CartPage { frame: Frame::sample(), lines, fixed, next: "/next".into(), back, market: false };
                let html = page.render().unwrap();
                assert!(!html.contains(evil) && !html.contains("\"onclick"), "{html}");
                assert_eq!(html.contains("name=\"form_token\""), !fixed, "{html}");
                assert_eq!(html.contains("href=\"/next\""), all_sold, "{html}");
            }
        }
    }
}
