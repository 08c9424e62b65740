//! The portal over HTTP: who gets in, who does not however they try, and that whoever is in sees their own stores alone.

mod market;
mod orders;
mod payments;
mod products;
mod usage;

use common::mode::Mode;
use common::partner::{Bearer, INVITE, Role, hash_password};
use http::Method;
use storage::pg::accounts;
use storage::pg::api_keys::Quotas;
use storage::pg::audit_log::Actor;
use testkit::browser::{Browser, Page};
use testkit::shop::Shop;

use crate::stage::{Backstage, SESSION, Stage, session, until};

const SIGN_IN: &str = "/portal/sign-in/";
const KEYS: &str = "/portal/stores/demo/keys/";
const COOKIE: &str = "__Host-ap-portal";
const OWNER: &str = "owner@shop.example";
const PASSWORD: &str = "correct horse battery";

async fn stage() -> Stage {
    Backstage::new().await.unlimited_addresses().set("LIMITS__PAGES", "1000000").start().await
}

/// Lets somebody in, as the command line does, and returns the path of the link.
async fn invite(stage: &Stage, email: &str, store_id: i64, role: Role) -> String {
    let secret = Bearer::new(rand::random());
    accounts::invite(&stage.pg, email, store_id, role, &secret.digest(INVITE), 86_400.0, Actor::CommandLine).await.unwrap();
    format!("/portal/password/{}/", secret.expose().as_str())
}

async fn execute(stage: &Stage, sql: &str) {
    stage.pg.client().await.unwrap().batch_execute(sql).await.unwrap();
}

/// Somebody with a password.
async fn partner(stage: &Stage, email: &str, store_id: i64, role: Role) {
    invite(stage, email, store_id, role).await;
    let hash = hash_password(PASSWORD, &[1; 16]);
    execute(stage, &format!("update accounts set password_hash = '{hash}' where email = '{email}'")).await;
}

async fn try_sign_in(browser: &mut Browser, email: &str, password: &str) -> Page {
    let page = browser.get(SIGN_IN).await;
    browser.submit(&page, &[("email", email), ("password", password)]).await
}

/// A browser of somebody who is signed in.
async fn signed_in(stage: &Stage, email: &str) -> Browser {
    let mut browser = Browser::new(stage.anyone());
    let page = try_sign_in(&mut browser, email, PASSWORD).await;
    assert_eq!(page.address, "/portal/", "{}", page.text);
    browser
}

async fn is_in(browser: &mut Browser) -> bool {
    browser.ask(Method::GET, "/portal/", &[]).await.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_link_to_a_key_that_works_and_does_not_any_more() {
    let stage = stage().await;
    let link = invite(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut browser = Browser::new(stage.anyone());
    let page = browser.get(&link).await;
    page.has(OWNER).has("Set your password");
    browser.submit(&page, &[("password", "short"), ("again", "short")]).await.has("12 characters or more");
    browser.submit(&page, &[("password", PASSWORD), ("again", "correct horse batterie")]).await.has("not the same");
    browser.submit(&page, &[("password", PASSWORD), ("again", PASSWORD)]).await.has("Your password is set");
    assert_eq!(browser.get(&link).await.status(), 404, "a link is good once");

    let page = try_sign_in(&mut browser, "Owner@Shop.example ", PASSWORD).await;
    page.has("Stores").has("href=\"/portal/stores/demo/keys/\"").has(OWNER);
    let cookie = browser.ask(Method::GET, SIGN_IN, &[]).await;
    assert_eq!((cookie.status.as_u16(), cookie.header("location")), (303, "/portal/"));

    let page = browser.get(KEYS).await;
    page.has_not("sk_live_0000");
    let fields = [("name", "Shop <server>"), ("mode", "test"), ("days", "30"), ("scope.checkout", "on"), ("scope.webhooks", "on")];
    let made = browser.submit(&page, &fields).await;
    let key = made.between("id=\"made-key\">", "<").expect("a key").to_owned();
    assert!(key.starts_with("sk_test_"), "{key}");
    made.has("Bearer sk_test_").has("Shop &#60;server&#62;").has("checkout, webhooks");
    browser.get(KEYS).await.has_not(&key).has(&key[..12]);

    let client = stage.anyone().with_key(&key);
    until("the edge knows the key", async || client.post(SESSION, &session()).await.unwrap().status == 201).await;

    let id = made.between("/portal/stores/demo/keys/", "/roll/").map(|text| text.rsplit('/').next().unwrap().to_owned()).unwrap();
    let page = browser.get(KEYS).await;
    let token = page.form_token();
    let rolled = browser.ask(Method::POST, &format!("{KEYS}{id}/roll/"), &[("form_token", &token), ("hours", "24")]).await;
    let text = String::from_utf8(rolled.body.to_vec()).unwrap();
    let new = text.split("id=\"made-key\">").nth(1).and_then(|rest| rest.split('<').next()).expect("a new key").to_owned();
    let new_client = stage.anyone().with_key(&new);
    until("the edge knows the new key", async || new_client.post(SESSION, &session()).await.unwrap().status == 201).await;
    assert_eq!(client.post(SESSION, &session()).await.unwrap().status, 201, "the old one goes on for a day");

    let revoked = browser.ask(Method::POST, &format!("{KEYS}{id}/revoke/"), &[("form_token", &token)]).await;
    let text = String::from_utf8(revoked.body.to_vec()).unwrap();
    assert!(text.contains("Every server refuses it since 20"), "{text}");
    assert_eq!(client.post(SESSION, &session()).await.unwrap().status, 401, "at once, and for good");
    assert_eq!(new_client.post(SESSION, &session()).await.unwrap().status, 201);

    // Who did it is written down, newest first, in sentences, and without what only the holder may know.
    let log = browser.get("/portal/stores/demo/audit-log/").await;
    let said = ["revoked the API key", "replaced the API key", "made the API key", "<strong>The operator</strong> invited"];
    let places: Vec<usize> = said.iter().map(|words| log.text.find(words).unwrap_or_else(|| panic!("{words}: {}", log.text))).collect();
    assert!(places.is_sorted(), "{places:?}");
    log.has(&format!("<strong>{OWNER}</strong>")).has("“Shop &#60;server&#62;”").has_not(&key).has_not(&new);
    browser.get("/portal/stores/demo/audit-log/?kind=member").await.has("invited").has_not("revoked the API key");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_wrong_passwords_slow_the_guesser_down_and_not_the_owner() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut own = signed_in(&stage, OWNER).await;
    let mut guesser = Browser::new(stage.anyone());
    let page = guesser.get(SIGN_IN).await;
    let mut wrong = 0;
    for _ in 0..1_000 {
        let refused = guesser.submit(&page, &[("email", OWNER), ("password", "wrong password")]).await;
        match refused.status() {
            400 => {
                wrong += 1;
                refused.has("The e-mail address or the password is wrong.");
            }
            429 => {
                assert!(refused.answer.header("retry-after").parse::<u64>().unwrap() >= 1);
                refused.has("Nothing is locked");
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(wrong, 5, "the sixth has to wait");
    // Not even the right one is tried for a stranger now; the account's own browser is not concerned. Another address has its own count, but
    // all tests are one address: its 20 are not used up, as refused tries of an account are tries of an address.
    assert_eq!(guesser.submit(&page, &[("email", OWNER), ("password", PASSWORD)]).await.status(), 429);
    stage.clock.advance(std::time::Duration::from_secs(900));
    own.cookies.remove(COOKIE);
    assert_eq!(try_sign_in(&mut own, OWNER, PASSWORD).await.address, "/portal/");
    // An account that does not exist, and one without a password, are told the same.
    invite(&stage, "new@shop.example", stage.shop.store_id, Role::Owner).await;
    let mut answers = Vec::new();
    for email in ["nobody@shop.example", "new@shop.example", OWNER] {
        stage.clock.advance(std::time::Duration::from_secs(3_700));
        let page = try_sign_in(&mut guesser, email, "wrong password").await;
        let policy_free = page.text.replace(email, "").replace(page.between("nonce=\"", "\"").unwrap(), "");
        answers.push((page.status(), policy_free));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_made_at_sign_in_and_end_when_they_should() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    // Fixation: what somebody has put into the browser before is not what becomes a session.
    let planted = Bearer::new([7; 32]).expose().to_string();
    let mut browser = Browser::new(stage.anyone());
    browser.cookies.insert(COOKIE.into(), planted.clone());
    assert_eq!(try_sign_in(&mut browser, OWNER, PASSWORD).await.address, "/portal/");
    let first = browser.cookies[COOKIE].clone();
    assert_ne!(first, planted);
    let mut thief = Browser::new(stage.anyone());
    thief.cookies.insert(COOKIE.into(), planted);
    assert!(!is_in(&mut thief).await);
    thief.cookies.insert(COOKIE.into(), first.clone());
    assert!(is_in(&mut thief).await, "this one is good, so that the following means something");

    // Signing out ends it for whoever has copied it.
    let page = browser.get("/portal/").await;
    let out = browser.ask(Method::POST, "/portal/sign-out/", &[("form_token", &page.form_token())]).await;
    assert!(out.headers.get_all("set-cookie").iter().any(|value| {
        let value = value.to_str().unwrap();
        value.starts_with("__Host-ap-portal=;")
            && ["Max-Age=0", "HttpOnly", "Secure", "SameSite=Lax"].iter().all(|said| value.contains(said))
    }));
    assert!(!is_in(&mut thief).await);

    // Everywhere means everywhere, and a new password does too.
    let (mut here, mut there) = (signed_in(&stage, OWNER).await, signed_in(&stage, OWNER).await);
    let page = here.get("/portal/").await;
    here.ask(Method::POST, "/portal/sign-out-everywhere/", &[("form_token", &page.form_token())]).await;
    assert!(!is_in(&mut here).await && !is_in(&mut there).await);
    let mut here = signed_in(&stage, OWNER).await;
    let link = invite(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let page = there.get(&link).await;
    there.submit(&page, &[("password", PASSWORD), ("again", PASSWORD)]).await;
    assert!(!is_in(&mut here).await);

    // Idle for half a day, or a week old however busy.
    for late in ["seen_at = seen_at - interval '12 hours 1 minute'", "expires_at = now() - interval '1 second'"] {
        let mut browser = signed_in(&stage, OWNER).await;
        execute(&stage, "update portal_sessions set seen_at = seen_at - interval '11 hours'").await;
        assert!(is_in(&mut browser).await, "and seen now");
        execute(&stage, &format!("update portal_sessions set {late}")).await;
        assert!(!is_in(&mut browser).await, "{late}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_come_from_pages_of_the_very_session() {
    let stage = stage().await;
    for email in [OWNER, "other@shop.example"] {
        partner(&stage, email, stage.shop.store_id, Role::Owner).await;
    }
    let (mut mine, mut other) = (signed_in(&stage, OWNER).await, signed_in(&stage, "other@shop.example").await);
    let fields = |token: &str| {
        let pairs = [("name", "n"), ("mode", "test"), ("days", "0"), ("scope.checkout", "on"), ("form_token", token)];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let foreign = other.get(KEYS).await.form_token();
    let sign_in_token = Browser::new(stage.anyone()).get(SIGN_IN).await.form_token();
    for token in ["", "x", foreign.as_str(), sign_in_token.as_str()] {
        let sent = fields(token);
        let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(mine.ask(Method::POST, KEYS, &sent).await.status, 403, "{token}");
        let (address, form) = ("/portal/sign-out-everywhere/", [("form_token", token)]);
        assert_eq!(mine.ask(Method::POST, address, &form).await.status, 403, "{token}");
    }
    // Neither does the sign-in take what no page of this browser's sent.
    let mut fresh = Browser::new(stage.anyone());
    let form = [("email", OWNER), ("password", PASSWORD), ("form_token", sign_in_token.as_str())];
    assert_eq!(fresh.ask(Method::POST, SIGN_IN, &form).await.status, 403);
    assert!(is_in(&mut mine).await);
    mine.get(KEYS).await.has_not("<h2>n</h2>");
}

/// What paths name.
struct Ids {
    key: i64,
    order: String,
    product: i64,
    webhook: String,
    delivery: String,
}

impl Ids {
    fn fill(&self, path: &str, slug: &str) -> String {
        let path = path.replace("{slug}", slug).replace("{key_id}", &self.key.to_string()).replace("{order_id}", &self.order);
        let path = path.replace("{webhook_id}", &self.webhook).replace("{delivery_id}", &self.delivery);
        let path = path.replace("{product_id}", &self.product.to_string()) + "/";
        assert!(!path.contains('{'), "{path}: a test has to know what to put there");
        path
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_by_every_role_in_ones_own_store_and_in_a_foreign_one() {
    let stage = stage().await;
    let foreign = Shop::open(&stage.pg, "foreign").await.unwrap();
    let (own_key, _) = stage.shop.key(&stage.pg, Mode::Test, &[], Quotas::default()).await.unwrap();
    let (foreign_key, _) = foreign.key(&stage.pg, Mode::Test, &[], Quotas::default()).await.unwrap();
    let own_order = orders::fulfilled(&stage, stage.shop.store_id, 1, "own", "c@example.com").await;
    let foreign_order = orders::fulfilled(&stage, foreign.store_id, 2, "own", "c@example.com").await;
    let own_product = stage.shop.pooled(&stage.pg, "POOLED", &[]).await.unwrap().id;
    let foreign_product = foreign.pooled(&stage.pg, "POOLED", &[]).await.unwrap().id;
    let (webhook, delivery) = payments::endpoint(&stage, &foreign).await;
    let theirs = Ids { key: foreign_key, order: foreign_order, product: foreign_product, webhook, delivery };
    until("the edge knows both stores", async || stage.running.edge.snapshot.store("foreign").is_some()).await;
    let routes = edge::router::ROUTES.iter().filter(|route| route.path.starts_with("/portal/stores/"));
    let routes: Vec<_> = routes.collect();
    assert!(routes.len() >= 4);
    for role in Role::ALL {
        let email = format!("{role}@shop.example");
        partner(&stage, &email, stage.shop.store_id, role).await;
        let mut browser = signed_in(&stage, &email).await;
        let token = browser.get(KEYS).await.form_token();
        let mut fields = vec![("form_token", token.as_str()), ("name", "made"), ("mode", "test"), ("days", "0"), ("scope.checkout", "on")];
        fields.extend([("hours", "168"), ("sku", "NEW"), ("source", "pool"), ("tax_category", "standard"), ("keys", "KEY-1")]);
        fields.extend([("currency.0", "GBP"), ("amount.0", "1"), ("listed", "on"), ("title", "Taken")]);
        fields.extend([
            ("url", "https://partner.example/hooks"),
            ("event.order.created", "on"),
            ("from", "2026-01-01"),
            ("to", "2027-01-01"),
        ]);
        fields.extend([("when_refunded", "keep"), ("while_disputed", "keep"), ("country", "GB"), ("prices", "usual"), ("all", "on")]);
        // The role before has removed its own.
        let (webhook, delivery) = payments::endpoint(&stage, &stage.shop).await;
        let ours = Ids { key: own_key, order: own_order.clone(), product: own_product, webhook, delivery };
        for route in &routes {
            let is_change = route.method == Method::POST;
            let sent = if is_change { fields.as_slice() } else { &[] };
            let mut status = async |slug: &str, ids: &Ids| {
                let path = ids.fill(route.path, slug);
                browser.ask(route.method.clone(), &path, sent).await.status.as_u16()
            };
            // The foreign store itself, and a foreign key by way of one's own.
            assert_eq!(status("foreign", &theirs).await, 404, "{role} {}", route.name);
            assert_eq!(status("none", &ours).await, 404, "{role} {}", route.name);
            let needed = match route.name {
                _ if !is_change => Role::ReadOnly,
                "portal_set_policy" | "portal_set_tax" | "portal_set_return_hosts" => Role::Owner,
                _ => Role::Developer,
            };
            let expected = if role < needed { 403 } else { 200 };
            if route.path.replace("{slug}", "").contains('{') {
                let of_foreign = if expected == 403 { 403 } else { 404 };
                assert_eq!(status("demo", &theirs).await, of_foreign, "{role} {}", route.name);
                // A foreign delivery by way of one's own endpoint, and the other way round.
                if route.path.contains("{delivery_id}") {
                    let mixed = [(&ours.webhook, &theirs.delivery), (&theirs.webhook, &ours.delivery)];
                    for (webhook, delivery) in mixed {
                        let ids = Ids { webhook: webhook.clone(), delivery: delivery.clone(), order: String::new(), ..theirs };
                        assert_eq!(status("demo", &ids).await, of_foreign, "{role} {}", route.name);
                    }
                }
            }
            // Replacing a revoked key is told to be of no use; the first role to come revokes it. A file wants to know of which days. Who
            // makes or changes a product goes to its page, and cannot make it twice.
            let own = status("demo", &ours).await;
            let is_told = match route.name {
                "portal_roll_key" | "portal_export_orders" => own == 400,
                "portal_change_product" | "portal_change_listing" => expected == 200 && own == 303,
                // A test event leads to its delivery.
                "portal_test_webhook" => own == 303 && expected == 200,
                "portal_create_product" => expected == 200 && (own == 303 || own == 400),
                _ => false,
            };
            assert!(own == expected || is_told, "{role} {}: {own}", route.name);
        }
        // No form is taken that did not come from a page of this session.
        for route in routes.iter().filter(|route| route.method == Method::POST) {
            let answer = browser.ask(Method::POST, &ours.fill(route.path, "demo"), &fields[1..]).await;
            assert_eq!(answer.status, 403, "{role} {}", route.name);
        }
        let mut nobody = Browser::new(stage.anyone());
        for route in &routes {
            let path = ours.fill(route.path, "demo");
            let answer = nobody.ask(route.method.clone(), &path, &[]).await;
            assert_eq!((answer.status.as_u16(), answer.header("location")), (303, SIGN_IN), "{}", route.name);
        }
    }
    let sql = format!(
        "select count(*) from api_keys where store_id = {} and (revoked_at is not null or expires_at is not null)",
        foreign.store_id
    );
    let touched: i64 = stage.pg.client().await.unwrap().query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(touched, 0, "nobody has done anything to a foreign key");
    let sql = format!("select count(*) from orders where store_id = {} and status <> 'fulfilled'", foreign.store_id);
    let touched: i64 = stage.pg.client().await.unwrap().query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(touched, 0, "nor to a foreign order");
    let sql = format!(
        "select (select count(*) from license_keys where product_id = {foreign_product})
             + (select count(*) from products where store_id = {} and (name <> 'POOLED' or market_title is not null))
             + (select count(*) from products p join prices c on c.product_id = p.id where p.store_id = {0} and c.amount_minor < 1000)",
        foreign.store_id
    );
    let touched: i64 = stage.pg.client().await.unwrap().query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(touched, 0, "nor to a foreign product");
    let sql = format!(
        "select count(*) from webhook_endpoints w join webhook_deliveries d on d.endpoint_id = w.id
         where w.store_id = {} and w.enabled and w.created_at = w.updated_at and d.status = 'exhausted'",
        foreign.store_id
    );
    let untouched: i64 = stage.pg.client().await.unwrap().query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(untouched, 1, "nor to a foreign endpoint and its delivery");
    let sql = format!("select count(*) from audit_log where store_id = {} and actor like '%@%'", foreign.store_id);
    let touched: i64 = stage.pg.client().await.unwrap().query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(touched, 0, "and nothing of the kind is said");
    // Taken out of the store, one is out at the next click.
    let mut owner = signed_in(&stage, "owner@shop.example").await;
    assert_eq!(owner.get(KEYS).await.status(), 200);
    execute(&stage, "delete from memberships").await;
    assert_eq!(owner.get(KEYS).await.status(), 404);
}
