//! Store settings in the portal: webhook endpoints from the first URL to a delivery that is sent again, policy and tax.

use common::ids::OrderId;
use common::mode::Mode;
use common::partner::Role;
use common::webhook::ids::{DeliveryId, EndpointId};
use common::webhook::secret::{WebhookSecret, WebhookSigner};
use http::Method;
use serde_json::json;
use storage::pg::{stores, webhook_attempts};
use testkit::browser::Browser;
use testkit::shop::Shop;
use uuid::Uuid;

use super::{OWNER, execute, partner, signed_in, stage};
use crate::stage::{SESSION, Stage, session, until};

const PAYMENTS: &str = "/portal/stores/demo/payments/";

/// An endpoint of a shop, with one delivery that was given up.
pub async fn endpoint(stage: &Stage, shop: &Shop) -> (String, String) {
    let (which, _) = shop.endpoint(&stage.pg, Mode::Live, "https://partner.example/").await.unwrap();
    let client = stage.pg.client().await.unwrap();
    let order_id = OrderId::new(1_790_000_000_000, rand::random());
    let id = webhook_attempts::send_test(&*client, which, Uuid::now_v7(), &order_id, 1_790_000_000_000, None).await.unwrap().unwrap();
    let sql = format!("update webhook_deliveries set status = 'exhausted', settled_at = now() where id = {id}");
    client.batch_execute(&sql).await.unwrap();
    (EndpointId(which.id).to_string(), DeliveryId(id).to_string())
}

async fn post(browser: &mut Browser, address: &str, fields: &[(&str, &str)]) -> (u16, String) {
    let token = browser.get(PAYMENTS).await.form_token();
    let mut fields = fields.to_vec();
    fields.push(("form_token", &token));
    let answer = browser.ask(Method::POST, address, &fields).await;
    let location = answer.header("location").to_owned();
    let text = if location.is_empty() { String::from_utf8(answer.body.to_vec()).unwrap() } else { location };
    (answer.status.as_u16(), text)
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).unwrap_or_else(|| panic!("no {before:?} in {text}")).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_from_its_url_to_a_delivery_that_is_sent_again() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut browser = signed_in(&stage, OWNER).await;
    browser.get(PAYMENTS).await.has("There is no endpoint yet");
    let webhooks = "/portal/stores/demo/webhooks/";

    // The rules of URLs are those of the API, and what was typed is still there.
    let bad = [("url", "https://10.0.0.1/\"hook"), ("mode", "test"), ("event.order.created", "on")];
    let (status, text) = post(&mut browser, webhooks, &bad).await;
    assert!(status == 400 && text.contains("The host") && text.contains("https://10.0.0.1/&#34;hook"), "{text}");
    let (status, text) = post(&mut browser, webhooks, &[("url", "https://partner.example/hook"), ("mode", "test")]).await;
    assert!(status == 400 && text.contains("one event at least"), "{text}");
    let unknown = [("url", "https://partner.example/hook"), ("mode", "test"), ("event.webhook.test", "on")];
    assert_eq!(post(&mut browser, webhooks, &unknown).await.0, 400);

    let good = [("url", "https://partner.example/hook?token=t0ken"), ("mode", "test"), ("event.order.created", "on")];
    let (status, text) = post(&mut browser, webhooks, &good).await;
    assert_eq!(status, 200, "{text}");
    let secret = between(&text, "id=\"made-secret\">", "<").to_owned();
    let id = between(&text, "<code>wh_", "<").to_owned();
    let page = format!("{webhooks}wh_{id}/");
    browser.get(&page).await.has("order.created").has_not(&secret).has("token=t0ken");
    browser.get(PAYMENTS).await.has(&page).has_not(&secret);

    // A test event: what is sent, signed by the secret that was shown.
    let (status, delivery) = post(&mut browser, &format!("{page}test/"), &[]).await;
    assert_eq!(status, 303, "{delivery}");
    let shown = browser.get(&delivery).await;
    shown.has("webhook.test").has("None was made yet").has("POST https://partner.example/hook?token=t0ken").has_not(&secret);
    let body = between(&shown.text, "aria-label=\"The body\">", "</pre>").replace("&#34;", "\"");
    let signer = WebhookSigner::new(&WebhookSecret::parse(&secret).unwrap());
    shown.has(&signer.sign(body.as_bytes()));

    // What a worker would write.
    let number = delivery.trim_end_matches('/').rsplit("whd_").next().unwrap().to_owned();
    let failed = format!(
        "insert into webhook_attempts (delivery_id, attempt, started_at, duration_ms, status, answer)
         values ({number}, 1, now(), 17, 503, '<b>no</b>');
         update webhook_deliveries set status = 'exhausted', attempts = 1, settled_at = now() where id = {number}"
    );
    execute(&stage, &failed).await;
    browser.get(&delivery).await.has("<strong>503</strong>").has("after 17 ms").has("&#60;b&#62;no").has("exhausted");
    browser.get(&format!("{page}?status=delivered")).await.has("None is delivered");
    browser.get(&format!("{page}?status=exhausted")).await.has(&delivery);
    let (_, text) = post(&mut browser, &format!("{delivery}resend/"), &[]).await;
    assert!(text.contains("It is being sent again") && text.contains("<span class=\"tag pending\">"), "{text}");
    let (_, text) = post(&mut browser, &format!("{delivery}resend/"), &[]).await;
    assert!(text.contains("under way already"), "{text}");

    // A span of days; only what was given up, unless all are asked for.
    execute(&stage, &format!("update webhook_deliveries set status = 'delivered', settled_at = now() where id = {number}")).await;
    let days = [("from", "2020-01-01"), ("to", "2099-01-01")];
    let (_, text) = post(&mut browser, &format!("{page}resend/"), &days).await;
    assert!(text.contains("nothing to send again"), "{text}");
    let (_, text) = post(&mut browser, &format!("{page}resend/"), &[days[0], days[1], ("all", "on")]).await;
    assert!(text.contains("One delivery is being sent again"), "{text}");
    assert_eq!(post(&mut browser, &format!("{page}resend/"), &[("from", "2026-02-02"), ("to", "2026-02-01")]).await.0, 400);

    // Another secret beside the first for a day, or at once.
    let (_, text) = post(&mut browser, &format!("{page}rotate/"), &[]).await;
    let second = between(&text, "id=\"made-secret\">", "<").to_owned();
    assert!(second != secret && text.contains("signs too until"), "{text}");
    let (_, text) = post(&mut browser, &format!("{page}rotate/"), &[("is_known", "on")]).await;
    assert!(!text.contains("signs too until"), "{text}");

    let (_, text) = post(&mut browser, &format!("{page}disable/"), &[]).await;
    assert!(text.contains("<span class=\"tag wrong\">disabled"), "{text}");
    let (_, text) = post(&mut browser, &format!("{page}enable/"), &[]).await;
    assert!(text.contains("<span class=\"tag good\">enabled"), "{text}");
    let all = [("url", "https://partner.example/other"), ("event.order.created", "on"), ("event.order.fulfilled", "on")];
    let all = [&all[..], &[("event.order.refunded", "on"), ("event.order.disputed", "on")]].concat();
    let (_, text) = post(&mut browser, &page, &all).await;
    assert!(text.contains("<dd>all</dd>") && text.contains("https://partner.example/other"), "{text}");
    let (_, text) = post(&mut browser, &format!("{page}remove/"), &[]).await;
    assert!(text.contains("The endpoint is removed"), "{text}");
    assert_eq!(browser.get(&page).await.status(), 404);

    let log = browser.get("/portal/stores/demo/audit-log/?kind=webhook").await;
    for words in ["removed the webhook", "enabled the", "disabled the", "changed the webhook", "replaced the secret", "added the webhook"] {
        log.has(words);
    }
    log.has_not("t0ken").has_not(&secret).has_not(&second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_says_what_becomes_of_keys_and_what_holds_for_tax() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut browser = signed_in(&stage, OWNER).await;
    let store = async || stores::get(&*stage.pg.client().await.unwrap(), stage.shop.store_id).await.unwrap().unwrap();
    let policy = [("when_refunded", "keep"), ("while_disputed", "suspend")];
    let (status, text) = post(&mut browser, &format!("{PAYMENTS}policy/"), &policy).await;
    assert!(status == 200 && text.contains("The policy is saved"), "{text}");
    let found = store().await.policy;
    assert!(!found.revoke_when_refunded && found.suspend_while_disputed);
    let (status, text) = post(&mut browser, &format!("{PAYMENTS}tax/"), &[("country", "DE"), ("prices", "include")]).await;
    assert!(status == 200 && text.contains("value=\"DE\" selected"), "{text}");
    let found = store().await.tax;
    assert_eq!((found.country.map(|country| country.to_string()).as_deref(), found.prices_include_tax), (Some("DE"), Some(true)));
    for (address, fields) in [
        ("policy/", [("when_refunded", "x"), ("while_disputed", "keep")]),
        ("tax/", [("country", "XX"), ("prices", "usual")]),
        ("tax/", [("country", "DE"), ("prices", "often")]),
    ] {
        assert_eq!(post(&mut browser, &format!("{PAYMENTS}{address}"), &fields).await.0, 400, "{fields:?}");
    }
    assert_eq!(store().await.tax, found);
    browser.get("/portal/stores/demo/audit-log/?kind=store").await.has("changed the tax settings of").has("<ins>DE</ins>");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_says_where_customers_may_be_sent_back_to() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::Owner).await;
    let mut browser = signed_in(&stage, OWNER).await;
    let client = stage.partner();
    let back_to = async |url: &str| {
        let mut body = session();
        body["metadata"] = json!({ "return_url_cancel": url });
        client.post(SESSION, &body).await.unwrap()
    };
    assert_eq!(back_to("https://evil.example/").await.status, 201, "any host will do");
    let hosts = format!("{PAYMENTS}return-hosts/");
    let (status, text) = post(&mut browser, &hosts, &[("hosts", "shop.example https://x.example")]).await;
    assert!(status == 400 && text.contains("Nothing is changed") && text.contains(">shop.example https://x.example</textarea>"), "{text}");
    let (status, text) = post(&mut browser, &hosts, &[("hosts", "Shop.example\r\nwww.shop.example")]).await;
    assert!(status == 200 && text.contains(">shop.example\nwww.shop.example</textarea>"), "{text}");
    until("a refusal", async || back_to("https://evil.example/").await.status == 400).await;
    let refused = back_to("https://evil.example/").await;
    assert_eq!(refused.json()["errors"][0]["field"], "metadata.return_url_cancel");
    assert_eq!(back_to("https://shop.example/basket").await.status, 201);
    browser.get("/portal/stores/demo/audit-log/?kind=store").await.has("<ins>shop.example, www.shop.example</ins>");
    post(&mut browser, &hosts, &[("hosts", "")]).await;
    until("any host again", async || back_to("https://evil.example/").await.status == 201).await;
}
