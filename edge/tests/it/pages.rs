//! The hosted pages over HTTP: whose a cart is, what a browser may say about it, and what every page carries.

use common::mode::Mode;
use http::Method;
use serde_json::{Value, json};
use storage::pg::api_keys::Quotas;
use storage::pg::{listings, products};
use testkit::shop::Shop;

use crate::stage::{Backstage, FULFILL, ORDERS, PATIENCE, PUBLIC_BASE_URL, SESSION, Stage, order, session};
use testkit::browser::{Browser, Page};

const LINK: &str = "/s/demo/cart/?items=MADE:2&currency=GBP";

/// The checkout URL of a session, without the host.
async fn checkout(stage: &Stage, body: &Value) -> String {
    let answer = stage.partner().post(SESSION, body).await.unwrap();
    let url = answer.json()["checkout_url"].as_str().expect("a session").to_owned();
    url.strip_prefix(PUBLIC_BASE_URL).unwrap().to_owned()
}

fn with_metadata(metadata: Value) -> Value {
    let mut body = session();
    body["metadata"] = metadata;
    body
}

/// What must hold of every page, whatever it says.
#[track_caller]
fn guarded(page: &Page) {
    let policy = page.answer.header("content-security-policy");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or_default();
    assert!(nonce.len() >= 22, "{policy}");
    for said in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(said), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    let scripts = page.text.matches("<script").count();
    assert_eq!(page.text.matches(&format!("nonce=\"{nonce}\"")).count(), scripts, "{}", page.text);
    for inline in ["style=\"", "<style", "onclick", "onload", "javascript:"] {
        page.has_not(inline);
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(page.answer.header(name), value);
    }
    assert!(page.answer.headers.get("x-ratelimit-limit").is_none());
    assert!(page.text.starts_with("<!doctype html>") && page.text.contains("<html lang=\"") && page.text.matches("<h1>").count() == 1);
}

#[tokio::test]
async fn a_token_becomes_one_cart_in_every_tab_and_leaves_no_trace_in_the_address() {
    let stage = Stage::new().await;
    let url = checkout(&stage, &session()).await;
    let mut browser = Browser::new(stage.anyone());
    let first = browser.ask(Method::GET, &url, &[]).await;
    let location = first.header("location").to_owned();
    assert_eq!((first.status.as_u16(), first.header("referrer-policy")), (303, "same-origin"));
    assert!(
        location.starts_with("/s/demo/cart/") && location.len() == "/s/demo/cart//".len() + 26 && !location.contains("token"),
        "{location}"
    );
    let page = browser.get(&url).await;
    guarded(&page);
    page.has("Your cart").has("MADE").has("£29.99");
    // Two tabs, at once, and one link with more in it: the token wins.
    let more = format!("{url}&add=MADE&currency=USD");
    for address in [&url, &url, &more] {
        assert_eq!(browser.get(address).await.address, location);
    }
    // Who only knows the address has nothing of it, and learns nothing.
    let mut other = Browser::new(stage.anyone());
    let refused = other.get(&location).await;
    guarded(&refused);
    assert_eq!(refused.status(), 404);
    refused.has_not("29.99");
    // Who holds the token may have the cart; then it is no longer in the first browser.
    assert_eq!(other.get(&url).await.address, location);
    assert_eq!((other.get(&location).await.status(), browser.get(&location).await.status()), (200, 404));
    // It is what the shop signed.
    let page = other.get(&location).await;
    page.has_not("<form");
    let token = other.get(LINK).await.form_token();
    let refused = other.ask(Method::POST, &location, &[("form_token", &token), ("quantity.MADE", "9")]).await;
    assert_eq!(refused.status, 400);
    other.get(&location).await.has("Quantity: 1");
}

#[tokio::test]
async fn tokens_that_are_bad_foreign_or_old_are_gone_with_a_way_on() {
    let stage = Stage::new().await;
    Shop::open(&stage.pg, "other").await.unwrap();
    let metadata = json!({"return_url_cancel": "https://shop.example/back?a=1&b=2", "return_url_success": "https://shop.example/done"});
    let url = checkout(&stage, &with_metadata(metadata)).await;
    let token = url.split("token=").nth(1).unwrap();
    let mut browser = Browser::new(stage.anyone());
    let until = tokio::time::timeout(PATIENCE, async {
        while browser.get("/s/other/cart/").await.status() == 404 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    until.await.expect("the new store is followed");
    for bad in [
        format!("/s/demo/cart/?token={}", &token[..token.len() - 1]),
        format!("/s/demo/cart/?token={token}A"),
        "/s/demo/cart/?token=".to_owned(),
        "/s/demo/cart/?token=%FF".to_owned(),
        format!("/s/demo/cart/?token={token}&token={token}"),
        format!("/s/other/cart/?token={token}"),
    ] {
        let page = browser.get(&bad).await;
        guarded(&page);
        assert_eq!(page.status(), 410, "{bad}");
        page.has("This checkout link does not work").has("href=\"/market/\"").has_not("shop.example");
    }
    assert_eq!(browser.get(&format!("/s/none/cart/?token={token}")).await.status(), 404);
    stage.clock.advance(std::time::Duration::from_secs(86_400));
    let page = browser.get(&url).await;
    guarded(&page);
    assert_eq!(page.status(), 410);
    page.has("This checkout has expired").has("href=\"https://shop.example/back?a=1&#38;b=2\"");
}

#[tokio::test]
async fn links_are_checked_and_say_what_is_wrong_with_them() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(stage.anyone());
    for (query, said) in [
        ("add=NONE-SUCH&currency=GBP", "names NONE-SUCH, which this shop does not sell"),
        ("add=MADE&currency=JPY", "which has no price in JPY"),
        ("add=%3Cscript%3E&currency=GBP", "a SKU is 1 to 64"),
        ("items=MADE:0&currency=GBP", "quantity from 1 to 1000"),
        ("items=MADE:1", "currency is required"),
        ("", "is required"),
    ] {
        let page = browser.get(&format!("/s/demo/cart/?{query}")).await;
        guarded(&page);
        assert_eq!(page.status(), 400, "{query}");
        page.has(said).has_not("<script>");
    }
    let page = browser.get("/s/demo/cart/?add=MADE&currency=usd&locale=de-CH&email=a%40b.example&price=1&total_minor=1").await;
    guarded(&page);
    page.has("<html lang=\"de\">").has("$\u{a0}34.99");
    let details = browser.get(&format!("{}details/", page.address)).await;
    details.has("value=\"a@b.example\"");
    // A language that we do not speak is left to the browser's.
    browser.language = "fr-CA, en;q=0.5";
    browser.get("/s/demo/cart/?add=MADE&currency=GBP&locale=pt-BR").await.has("<html lang=\"fr\">").has("29,99\u{a0}£");
}

#[tokio::test]
async fn quantities_change_within_bounds_and_prices_are_the_catalogues_of_now() {
    let stage = Stage::new().await;
    let product = stage.shop.generated(&stage.pg, "LATE").await.unwrap();
    let mut browser = Browser::new(stage.anyone());
    let mut page = browser.get("/s/demo/cart/?items=MADE:2&currency=GBP").await;
    page.has("£29.99 each").has("£59.98");
    page = browser.submit(&page, &[("quantity.MADE", "3"), ("quantity.LATE", "1"), ("price.MADE", "1"), ("currency", "USD")]).await;
    page.has("£89.97").has_not("LATE").has_not("$");
    page = browser.submit(&page, &[("quantity.MADE", "-5")]).await;
    page.has("£89.97");
    page = browser.submit(&page, &[("quantity.MADE", "99999")]).await;
    page.has("£29,990.00");
    let gbp = common::money::Currency::parse("GBP").unwrap();
    let made = products::find(&*stage.pg.client().await.unwrap(), &[(stage.shop.store_id, "MADE")]).await.unwrap().remove(0);
    products::set_prices(&stage.pg, &made, &[(gbp, 100)]).await.unwrap();
    browser.get(&page.address).await.has("£1,000.00");
    page = browser.submit(&page, &[("remove", "MADE")]).await;
    page.has("Your cart is empty.").has_not("details/");
    assert_eq!(product.sku.as_str(), "LATE");
}

#[tokio::test]
async fn forms_of_others_change_nothing() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(stage.anyone());
    let page = browser.get(LINK).await;
    let token = page.form_token();
    let mut other = Browser::new(stage.anyone());
    let foreign = other.get(LINK).await.form_token();
    let wanted = ("quantity.MADE", "9");
    for fields in
        [vec![wanted], vec![wanted, ("form_token", &foreign)], vec![wanted, ("form_token", "")], vec![wanted, ("form_token", &token[1..])]]
    {
        let answer = browser.ask(Method::POST, &page.address, &fields).await;
        assert_eq!(answer.status, 403, "{fields:?}");
    }
    // Without the cookie, and with another browser's cookie and its own good token.
    let kept = std::mem::take(&mut browser.cookies);
    assert_eq!(browser.ask(Method::POST, &page.address, &[wanted, ("form_token", &token)]).await.status, 403);
    assert_eq!(other.ask(Method::POST, &page.address, &[wanted, ("form_token", &foreign)]).await.status, 404);
    browser.cookies = kept;
    browser.get(&page.address).await.has("value=\"2\"").has("£59.98");
    // Forms are forms.
    let cookie = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).next().unwrap();
    for content_type in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
        let headers = [("content-type", content_type), ("cookie", cookie.as_str())];
        let answer = stage.anyone().send(Method::POST, &page.address, &headers, "form_token=x").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (400, "text/html; charset=utf-8"), "{content_type}");
    }
    let twice = format!("form_token={token}&form_token={token}");
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("cookie", cookie.as_str())];
    assert_eq!(stage.anyone().send(Method::POST, &page.address, &headers, twice).await.unwrap().status, 400);
}

#[tokio::test]
async fn the_cookie_is_the_hosts_own_exactly_when_customers_come_by_https() {
    for (base, name, secure) in [("https://pay.example", "__Host-ap-browser", true), ("http://pay.example:8000", "ap-browser", false)] {
        let stage = Backstage::new().await.unlimited_addresses().set("HTTP__PUBLIC_BASE_URL", base).start().await;
        let mut browser = Browser::new(stage.anyone());
        let answer = browser.ask(Method::GET, LINK, &[]).await;
        let cookie = answer.header("set-cookie").to_owned();
        assert!(cookie.starts_with(&format!("{name}=")), "{cookie}");
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains("Domain") && cookie.contains("; Secure") == secure, "{cookie}");
        // 256 bits, and known the next time.
        assert_eq!(browser.cookies[name].len(), 43);
        assert!(browser.get(LINK).await.answer.headers.get("set-cookie").is_none());
        // Not under the other name, which others might set.
        let value = browser.cookies.remove(name).unwrap();
        browser.cookies.insert(if secure { "ap-browser" } else { "__Host-ap-browser" }.into(), value);
        assert!(browser.get(LINK).await.status() == 200 && browser.cookies.contains_key(name));
    }
}

#[tokio::test]
async fn details_are_checked_field_by_field_and_ask_for_the_state_where_tax_depends_on_it() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(stage.anyone());
    let cart = browser.get(LINK).await;
    let page = browser.get(&format!("{}details/", cart.address)).await;
    guarded(&page);
    page.has("aria-current=\"step\">Details").has("<option value=\"GB\">");
    let again = browser.submit(&page, &[("email", "\"><script>alert(1)</script>"), ("country", "ZZ"), ("vat_id", "1")]).await;
    guarded(&again);
    assert_eq!(again.status(), 200);
    for field in ["email-wrong", "country-wrong", "vat-id-wrong"] {
        again.has(&format!("id=\"{field}\"")).has(&format!("aria-describedby=\"{field}"));
    }
    again.has_not("<script>alert").has("&#60;script&#62;alert");
    // Without scripts: the country first, then its state.
    let state = browser.submit(&page, &[("email", "a@b.example"), ("country", "US"), ("subdivision", "")]).await;
    state
        .has("id=\"subdivision-wrong\"")
        .has("<option value=\"CA\">California</option>")
        .has("value=\"a@b.example\"")
        .has_not("id=\"email-wrong\"");
    let answer = browser
        .ask(
            Method::POST,
            &page.address,
            &[("form_token", &page.form_token()), ("email", "a@b.example"), ("country", "US"), ("subdivision", "CA")],
        )
        .await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, format!("{}pay/", cart.address).as_str()));
    let kept = browser.get(&page.address).await;
    kept.has("<option value=\"US\" selected>").has("<option value=\"CA\" selected>");
    // A state of a country that needs none is left out.
    let answer = browser
        .ask(
            Method::POST,
            &page.address,
            &[
                ("form_token", &page.form_token()),
                ("email", "a@b.example"),
                ("country", "GB"),
                ("subdivision", "CA"),
                ("vat_id", "gb 123.456-789"),
            ],
        )
        .await;
    assert_eq!(answer.status, 303);
    browser.get(&page.address).await.has("<option value=\"GB\" selected>").has("value=\"GB123456789\"").has_not("\"CA\" selected");
}

#[tokio::test]
async fn pages_have_a_limit_of_their_own_and_say_so_as_a_page() {
    let stage = Backstage::new().await.set("LIMITS__PAGES", "3").start().await;
    let mut browser = Browser::new(stage.anyone());
    for address in ["/s/demo/cart/", "/s/none/", &edge::pages::assets::STYLES.path] {
        assert_ne!(browser.get(address).await.status(), 429, "{address}");
    }
    for address in ["/s/demo/cart/", "/s/none/", "/market/nothing/here/"] {
        let page = browser.get(address).await;
        guarded(&page);
        assert_eq!(page.status(), 429, "{address}");
        assert!(page.answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1));
    }
    assert_eq!(stage.anyone().get("/api/v1/geo/subdivisions/?country=GB").await.unwrap().status, 200);
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_test_mode_is_told() {
    let stage = Stage::new().await;
    let mut browser = Browser::new(stage.anyone());
    let page = browser.get(LINK).await;
    for before in ["rel=\"stylesheet\" href=\"", "<script src=\""] {
        let asset = stage.anyone().get(page.between(before, "\"").unwrap()).await.unwrap();
        assert_eq!((asset.status.as_u16(), asset.header("cache-control")), (200, "public, max-age=31536000, immutable"));
        assert!(asset.body.len() > 1_000 && asset.headers.get("set-cookie").is_none());
    }
    assert_eq!(stage.anyone().get("/assets/pages.css").await.unwrap().status, 404);
    page.has_not("Test mode");
    let (_, key) = stage.shop.key(&stage.pg, Mode::Test, &[], Quotas::default()).await.unwrap();
    let partner = stage.anyone().with_key(&key);
    let made = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = partner.post(SESSION, &session()).await.unwrap();
            if answer.status == 201 {
                return answer.json()["checkout_url"].as_str().unwrap().to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    let url = made.await.unwrap();
    browser.get(url.strip_prefix(PUBLIC_BASE_URL).unwrap()).await.has("Test mode: nothing is charged");
}

#[tokio::test]
async fn the_marketplace_finds_what_is_listed_and_keeps_a_cart_for_each_store() {
    let stage = Stage::new().await;
    let other = Shop::open(&stage.pg, "other").await.unwrap();
    let hidden = stage.shop.generated(&stage.pg, "HIDDEN").await.unwrap();
    let client = stage.pg.client().await.unwrap();
    let made = products::find(&*client, &[(stage.shop.store_id, "MADE")]).await.unwrap().remove(0);
    let (sku, gbp) = (common::cart::Sku::parse("GAME").unwrap(), common::money::Currency::parse("GBP").unwrap());
    let name = "<script>alert('Größe')</script>";
    let evil = products::create(&stage.pg, other.store_id, &sku, name, &products::Source::Pool, &[(gbp, 500)]).await.unwrap();
    for product in [&made, &evil] {
        assert!(listings::add(&*client, product.id).await.unwrap());
        assert!(!listings::add(&*client, product.id).await.unwrap());
    }
    let mut browser = Browser::new(stage.anyone());
    crate::stage::until("the new store to be followed", async || {
        Browser::new(stage.anyone()).get("/s/other/cart/?add=GAME&currency=GBP").await.status() == 200
    })
    .await;
    let page = browser.get("/market/").await;
    guarded(&page);
    page.has("£29.99").has("£5.00").has("Sold by other").has("Cart (0)").has_not("HIDDEN").has_not("<script>alert");
    browser.get("/market/?q=gR%C3%B6%C3%9FE+other").await.has("£5.00").has_not("£29.99");
    browser.get("/market/?q=%25").await.has("Nothing was found").has_not("£5.00");
    browser.get("/market/?currency=USD").await.has("$34.99").has_not("£5.00");
    guarded(&browser.get("/market/?currency=JPY&shelf=-1&q=%22%3E%3Cscript%3E").await);

    let add = |store: &'static str, sku: &'static str, currency: &'static str| [("store", store), ("sku", sku), ("currency", currency)];
    for bad in [add("demo", "HIDDEN", "GBP"), add("demo", "NONE", "GBP"), add("other", "GAME", "USD"), add("none", "GAME", "GBP")] {
        assert_eq!(browser.submit(&page, &bad).await.status(), 400, "{bad:?}");
    }
    browser.submit(&page, &add("demo", "MADE", "GBP")).await;
    browser.submit(&page, &add("demo", "MADE", "GBP")).await;
    let cart = browser.submit(&page, &add("other", "GAME", "GBP")).await;
    guarded(&cart);
    assert_eq!(cart.address, "/market/cart/");
    cart.has("Sold by demo").has("£59.98").has("Sold by other").has("Check out at other").has_not("<script>alert");
    browser.get("/market/").await.has("Cart (3)");
    Browser::new(stage.anyone()).get("/market/cart/").await.has("Your cart is empty.");

    // Details are told once, and hold for the other store's part; a part goes when its last line does.
    let parts: Vec<String> =
        cart.text.split("class=\"button wide\" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap().into()).collect();
    let details = browser.get(&parts[0]).await;
    browser.submit(&details, &[("email", "a@b.example"), ("country", "GB")]).await;
    browser.get(&parts[1]).await.has("value=\"a@b.example\"").has("<option value=\"GB\" selected>");
    let part = browser.get(parts[0].strip_suffix("details/").unwrap()).await;
    let left = browser.submit(&part, &[("remove", "MADE")]).await;
    left.has("Sold by other").has_not("Sold by demo");
    assert_eq!(hidden.sku.as_str(), "HIDDEN");
    assert!(listings::remove(&*client, evil.id).await.unwrap());
    browser.get("/market/").await.has_not("£5.00");
}

#[tokio::test]
async fn a_receipt_shows_license_keys_to_who_has_its_link_and_to_nobody_else() {
    let stage = Stage::new().await;
    let _worker = stage.start_worker();
    let made = stage.partner().post(FULFILL, &order("receipt-1")).await.unwrap();
    assert_eq!(made.status, 201);
    let made = made.json();
    let key = made["items"][0]["license_keys"][0].as_str().unwrap();
    let id = common::ids::OrderId::parse(made["order_id"].as_str().unwrap()).unwrap();
    let store = stage.running.edge.snapshot.store("demo").unwrap();
    let link = edge::pages::receipt::address(&stage.running.edge, &store, Mode::Live, &id);
    let mut browser = Browser::new(stage.anyone());
    let page = browser.get(&link).await;
    guarded(&page);
    assert_eq!(page.status(), 200);
    page.has(key).has(id.as_str()).has("Here are your license keys").has("License keys for MADE").has_not("http-equiv=\"refresh\"");
    let wrong = edge::pages::receipt::address(&stage.running.edge, &store, Mode::Test, &id);
    let signature = link.rfind('.').unwrap();
    for bad in
        [wrong, format!("{}.AAAA/", &link[..signature]), format!("/s/demo/receipt/{id}/"), format!("/s/none{}", &link["/s/demo".len()..])]
    {
        let page = browser.get(&bad).await;
        guarded(&page);
        assert_eq!(page.status(), 404, "{bad}");
        page.has_not(key);
    }
    // Taken back, the keys are not shown any more.
    let revoke = stage.partner().post(&format!("{ORDERS}{id}/revoke/"), &json!({})).await.unwrap();
    assert_eq!(revoke.status, 200);
    browser.get(&link).await.has_not(key).has("has ended without license keys");
    // Nobody works on this one yet: the page looks again by itself.
    let waiting = "insert into orders (id, store_id, live, fingerprint, status, customer_email, currency, total_minor)
                   values ($1, $2, true, decode(repeat('00', 32), 'hex'), $3, '', 'GBP', 2999)";
    for (n, status) in ["pending", "processing", "awaiting_stock"].into_iter().enumerate() {
        let id = common::ids::OrderId::new(7, n as u64);
        stage.pg.client().await.unwrap().execute(waiting, &[&id.as_str(), &stage.shop.store_id, &status]).await.unwrap();
        let page = browser.get(&edge::pages::receipt::address(&stage.running.edge, &store, Mode::Live, &id)).await;
        guarded(&page);
        page.has("<meta http-equiv=\"refresh\" content=\"").has("£29.99").has("Look again");
    }
}

/// A cart with details, up to the step where it is checked.
async fn checked(browser: &mut Browser, query: &str, details: &[(&str, &str)]) -> Page {
    let cart = browser.get(&format!("/s/demo/cart/?{query}")).await;
    let page = browser.get(&format!("{}details/", cart.address)).await;
    browser.submit(&page, details).await
}

#[tokio::test]
async fn tax_is_a_workers_answer_and_never_a_guess() {
    let stage = Backstage::new().await.unlimited_addresses().set("EDGE__TAX_DEADLINE_MS", "300").start().await;
    let mut browser = Browser::new(stage.anyone());
    let british = [("email", "a@b.example"), ("country", "GB")];
    // Nobody is there to ask.
    let page = checked(&mut browser, "items=MADE:2&currency=GBP", &british).await;
    guarded(&page);
    assert_eq!(page.status(), 503);
    page.has("We could not work out the tax just now").has("Try again").has_not("Total");
    let _worker = stage.start_worker();
    let asked = async {
        loop {
            let page = browser.get(&page.address).await;
            if page.status() == 200 {
                break page;
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, asked).await.expect("an answer");
    guarded(&page);
    // British prices have the tax in them: 59.98 of which 10.00 (59.98 / 6, rounded).
    page.has("class=\"pay-total\">£59.98<")
        .has("20%")
        .has("£10.00")
        .has("includes VAT")
        .has("a@b.example")
        .has("United Kingdom")
        .has_not("TOTAL");
    // In California it is added: 69.98 and 7.25 %.
    let page =
        checked(&mut browser, "items=MADE:2&currency=USD", &[("email", "a@b.example"), ("country", "US"), ("subdivision", "CA")]).await;
    page.has("US$69.98").has("US$75.05").has("7.25%").has("US$5.07").has("California, United States").has_not("includes");
    // Nothing of it can be skipped: without details the way leads back to them, and an empty cart has nothing to check.
    let cart = browser.get(LINK).await;
    let to = browser.ask(Method::GET, &format!("{}pay/", cart.address), &[]).await;
    assert_eq!((to.status.as_u16(), to.header("location")), (303, format!("{}details/", cart.address).as_str()));
    let details = browser.get(&format!("{}details/", cart.address)).await;
    browser.submit(&details, &british).await;
    browser.submit(&cart, &[("remove", "MADE")]).await;
    let to = browser.ask(Method::GET, &format!("{}pay/", cart.address), &[]).await;
    assert_eq!((to.status.as_u16(), to.header("location")), (303, cart.address.as_str()));
}
