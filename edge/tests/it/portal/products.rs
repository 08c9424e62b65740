//! Products and their stock in the portal: made, changed, filled and sold, with the rules of the command line.

use serde_json::{Value, json};

use super::*;
use crate::stage::FULFILL;

const LIST: &str = "/portal/stores/demo/products/";

/// A form of these fields, sent by a script that wants JSON.
async fn by_script(stage: &Stage, browser: &Browser, address: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let cookies = cookies.join("; ");
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = [("cookie", cookies.as_str()), ("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded")];
    let answer = stage.anyone().send(Method::POST, address, &headers, body).await.unwrap();
    (answer.status.as_u16(), answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_is_made_filled_sold_and_changed() {
    let stage = stage().await;
    let _worker = stage.start_worker();
    partner(&stage, OWNER, stage.shop.store_id, Role::Developer).await;
    let mut browser = signed_in(&stage, OWNER).await;
    let page = browser.get(LIST).await;
    page.has("MADE").has("made when sold").has("£29.99");
    let new = [("sku", "WIN-11"), ("name", "Win <11>"), ("source", "pool"), ("tax_category", "standard")];
    let send = |more: &[(&'static str, &'static str)]| [new.as_slice(), more].concat();
    // Nothing that was typed has to be typed again.
    let refused = browser.submit(&page, &send(&[("currency.0", "GBP"), ("amount.0", "1,50")])).await;
    assert_eq!(refused.status(), 400);
    refused.has("such as 29.99").has("value=\"1,50\"").has("Win &#60;11&#62;");
    let made =
        browser.submit(&page, &send(&[("currency.0", "GBP"), ("amount.0", "29.99"), ("currency.1", "jpy"), ("amount.1", "4000")])).await;
    made.has("The product is made.").has("value=\"29.99\"").has("value=\"4000\"").has("id=\"level-live\">0<");
    let address = made.address.split('?').next().unwrap().to_owned();
    let twice = browser.submit(&page, &send(&[("currency.0", "GBP"), ("amount.0", "1")])).await;
    twice.has("has a product WIN-11 already");

    let import = format!("{address}import/");
    let token = made.form_token();
    let pasted = "\nlicense_key,note\nAAAA-1111,first\r\nAAAA-1112,\n\nAAAA-1111,again\n,nothing\nAAAA-1113,x";
    let form = [("form_token", token.as_str()), ("mode", "live"), ("keys", pasted)];
    let taken = browser.ask(Method::POST, &import, &form).await;
    let text = String::from_utf8(taken.body.to_vec()).unwrap();
    assert_eq!(taken.status, 200);
    assert!(text.contains("3 new, 1 known already, 1 invalid.") && text.contains("Line 7: there is no license key"), "{text}");
    assert!(text.contains("id=\"level-live\">3<") && text.contains("id=\"level-test\">0<") && !text.contains("AAAA-"), "{text}");
    // A script's second piece of the same file.
    let form = [
        ("form_token", token.as_str()),
        ("mode", "live"),
        ("keys", "AAAA-1113,x\nAAAA-1114,y\n,z"),
        ("line", "7"),
        ("header", "license_key,note"),
    ];
    let (status, report) = by_script(&stage, &browser, &import, &form).await;
    assert_eq!((status, &report["new"], &report["duplicate"], &report["invalid"]), (200, &json!(1), &json!(1), &json!(1)));
    assert_eq!(report["invalid_lines"][0]["line"], 9);
    let form = [("form_token", token.as_str()), ("mode", "live"), ("keys", "A\n\"B")];
    let (status, report) = by_script(&stage, &browser, &import, &form).await;
    assert!(status == 400 && report["error"].as_str().unwrap().starts_with("line 2: a quoted value"), "{report}");
    for (keys, mode, line, expected) in [("", "live", "1", 400), ("A", "both", "1", 400), ("A", "live", "0", 400), ("A", "live", "x", 400)]
    {
        let form = [("form_token", token.as_str()), ("mode", mode), ("keys", keys), ("line", line)];
        assert_eq!(browser.ask(Method::POST, &import, &form).await.status, expected, "{keys} {mode} {line}");
    }
    let form = [("form_token", token.as_str()), ("mode", "live"), ("keys", &*"A".repeat(70_000))];
    assert_eq!(browser.ask(Method::POST, &import, &form).await.status, 400, "more than a body may have");

    // Sold, oldest first; what is left is told, and how long it lasts.
    until("the edge knows the product", async || stage.running.edge.snapshot.store("demo").unwrap().catalogue.len() == 2).await;
    let body = json!({"customer_email": "c@example.com", "items": [{"sku": "WIN-11", "quantity": 2}], "external_reference": "s1"});
    let sold = stage.partner().post(FULFILL, &body).await.unwrap().json();
    assert_eq!(sold["items"][0]["license_keys"], json!(["AAAA-1111", "AAAA-1112"]), "{sold}");
    browser.get(&address).await.has("id=\"level-live\">2<").has("lasts about 1 day<");
    browser.get(LIST).await.has("lasts about 1 day<");
    browser.get(&format!("{LIST}?mode=test")).await.has_not("lasts about");

    let change =
        [("form_token", token.as_str()), ("name", "Windows 11"), ("tax_category", "reduced"), ("currency.0", "USD"), ("amount.0", "35")];
    let changed = browser.ask(Method::POST, &address, &change).await;
    assert_eq!(changed.status, 303);
    browser.get(changed.header("location")).await.has("Saved.").has("value=\"35.00\"").has_not("value=\"29.99\"");
    until("the edge knows the prices", async || {
        let store = stage.running.edge.snapshot.store("demo").unwrap();
        store.catalogue.iter().any(|(sku, prices)| sku.as_str() == "WIN-11" && prices.len() == 1 && prices[0].1 == 3_500)
    })
    .await;
    let form = [("form_token", token.as_str()), ("name", ""), ("tax_category", "reduced"), ("currency.0", "USD"), ("amount.0", "35")];
    assert_eq!(browser.ask(Method::POST, &address, &form).await.status, 400);
    // Every change is in the log, with who made it.
    let log = browser.get("/portal/stores/demo/audit-log/").await;
    log.has(OWNER).has("made the product").has("imported license keys of").has("changed the product").has("35.00").has_not("AAAA-");
    // Keys of a product that makes its own would never be sold.
    let page = browser.get(LIST).await;
    let made = page.text.split(LIST).find(|rest| rest.contains("MADE")).unwrap().split('/').next().unwrap().to_owned();
    let form = [("form_token", token.as_str()), ("mode", "live"), ("keys", "A")];
    assert_eq!(browser.ask(Method::POST, &format!("{LIST}{made}/import/"), &form).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_products_are_walked_page_by_page() {
    let stage = stage().await;
    partner(&stage, OWNER, stage.shop.store_id, Role::ReadOnly).await;
    execute(
        &stage,
        "insert into products (store_id, sku, name, source) select s.id, 'P-' || lpad(n::text, 4, '0'), 'x', 'pool' from stores s, generate_series(1, 70) n;
         insert into license_keys (id, product_id, live, sealed) select gen_random_uuid(), p.id, true, ''
         from products p, generate_series(1, 1100) where p.sku = 'P-0003'",
    )
    .await;
    let mut browser = signed_in(&stage, OWNER).await;
    let first = browser.get(LIST).await;
    first.has("P-0001").has_not("P-0060").has(">more than 500<").has("no price").has_not("Make a product");
    let next = first.between("class=\"button plain\" href=\"", "\"").unwrap().replace("&#38;", "&");
    browser.get(&next).await.has("P-0060").has_not("P-0001").has("First");
    for query in ["?mode=x", "?after=%20", "?after=A&after=B"] {
        assert_eq!(browser.get(&format!("{LIST}{query}")).await.status(), 400, "{query}");
    }
}
