//! Stores, products, prices, stock levels and limits.

use serde_json::json;

use super::Installation;

#[tokio::test]
async fn a_store_is_made_once_and_can_be_changed() {
    let installation = Installation::new().await;
    let made = installation.json(&["store", "create", "--slug", "demo", "--name", "Demo Größe", "--licensing"]);
    assert_eq!((&made["slug"], &made["licensing"]), (&json!("demo"), &json!(true)));
    installation.run(&["--json", "store", "create", "--slug", "demo", "--name", "Other"]).fails(9, &["store \"demo\" exists already"]);
    installation.json(&["store", "create", "--slug", "a", "--name", "A"]);

    let off = installation.json(&["store", "set", "--slug", "demo", "--licensing", "off"]);
    assert_eq!(off["licensing"], false);
    assert_eq!((&off["revoke_when_refunded"], &off["suspend_while_disputed"]), (&json!(true), &json!(true)));
    let kept = installation.json(&["store", "set", "--slug", "demo", "--when-refunded", "keep"]);
    assert_eq!((&kept["revoke_when_refunded"], &kept["suspend_while_disputed"]), (&json!(false), &json!(true)));
    let kept = installation.json(&["store", "set", "--slug", "demo", "--while-disputed", "keep", "--when-refunded", "revoke"]);
    assert_eq!((&kept["revoke_when_refunded"], &kept["suspend_while_disputed"]), (&json!(true), &json!(false)));
    let stands = "select count(*) from stores where slug = 'demo' and revoke_when_refunded and not suspend_while_disputed";
    assert_eq!(installation.count(stands).await, 1);
    let hosts = installation.json(&["store", "set", "--slug", "demo", "--return-hosts", "Shop.example,shop.example"]);
    assert_eq!(hosts["return_hosts"], json!(["shop.example"]));
    let wrong = installation.run(&["store", "set", "--slug", "demo", "--return-hosts", "https://shop.example"]);
    wrong.fails(2, &["is not a host: write shop.example"]);
    let any = installation.json(&["store", "set", "--slug", "demo", "--return-hosts", "any"]);
    assert_eq!(any["return_hosts"], json!([]));
    installation.run(&["store", "set", "--slug", "none", "--licensing", "on"]).fails(1, &["no store \"none\"", "worker store list"]);

    let listed = installation.json(&["store", "list"]);
    let listed: Vec<_> = listed.as_array().unwrap().iter().map(|store| (&store["slug"], &store["name"], &store["licensing"])).collect();
    assert_eq!(listed, [(&json!("a"), &json!("A"), &json!(false)), (&json!("demo"), &json!("Demo Größe"), &json!(false))]);
    assert_eq!(
        installation.run(&["store", "list"]).stdout,
        "SLUG  NAME        LICENSING  COUNTRY  PRICES\na     A           off        -        as usual\ndemo  Demo Größe  off        -        as usual\n"
    );
    // Two creations, three changes: edges hear of each.
    assert_eq!(installation.count("select count(*) from changes where kind = 'store'").await, 5);
}

#[tokio::test]
async fn products_have_sources_and_prices() {
    let installation = Installation::with_products().await;
    let create = ["product", "create", "--store", "demo", "--name", "N"];
    let create = |more: &[&str]| installation.run(&[&create, more].concat());
    create(&["--sku", "POOL", "--source", "pool", "--price", "GBP=1"]).fails(9, &["\"POOL\"", "exists already"]);
    create(&["--sku", "X", "--source", "pool", "--pattern", "XXXXX-XXXXX-XXXXX-XXXXX", "--price", "GBP=1"]).fails(2, &["--pattern"]);
    create(&["--sku", "X", "--source", "pool", "--price", "GBP=1", "gbp=2"]).fails(2, &["GBP has two prices"]);
    assert_eq!(
        create(&["--sku", "X", "--source", "generator", "--pattern", "WIN-XXXXXXXXXXXXXXXX", "--price", "GBP=1", "JPY=500"]).code,
        0
    );

    let priced = installation.json(&["product", "price", "--store", "demo", "--sku", "X", "EUR=1250", "GBP=2"]);
    assert_eq!(priced["prices"], json!({"EUR": 1250, "GBP": 2, "JPY": 500}));
    installation.run(&["product", "price", "--store", "demo", "--sku", "NONE", "EUR=1"]).fails(1, &["no product \"NONE\""]);

    let listed = installation.json(&["product", "list", "--store", "demo"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!((&listed[0]["sku"], &listed[0]["pattern"]), (&json!("MADE"), &json!("XXXXX-XXXXX-XXXXX-XXXXX")));
    assert_eq!((&listed[1]["source"], &listed[1]["prices"]), (&json!("pool"), &json!({"GBP": 2999})));
    assert_eq!(listed[2]["pattern"], "WIN-XXXXXXXXXXXXXXXX");
    let table = installation.run(&["product", "list", "--store", "demo"]).stdout;
    assert!(table.contains("EUR 12.50, GBP 0.02, JPY 500"), "{table}");
}

#[tokio::test]
async fn stock_levels_tell_modes_apart() {
    let installation = Installation::with_products().await;
    let import = ["stock", "import", "--store", "demo", "--sku", "POOL", "-"];
    assert_eq!(installation.run_with(&import, "A\nB\n").code, 0);
    assert_eq!(installation.run_with(&[&import[..], &["--mode", "test"]].concat(), "A\n").code, 0, "each mode has a stock of its own");
    let levels = installation.json(&["stock", "level", "--store", "demo"]);
    let expected = json!([
        {"sku": "POOL", "mode": "live", "free": 2, "held": 0},
        {"sku": "POOL", "mode": "test", "free": 1, "held": 0},
    ]);
    assert_eq!(levels, expected);
}

#[tokio::test]
async fn limits_are_merged_and_reset() {
    let installation = Installation::with_products().await;
    let id = installation.json(&["key", "create", "--store", "demo", "--name", "k"])["id"].to_string();
    let set = |more: &[&str]| installation.json(&[&["limit", "set", "--key", &id], more].concat());
    assert_eq!(set(&["--checkout", "500"])["own"], json!({"checkout": 500, "licensing": null, "api": null}));
    let merged = set(&["--licensing", "1000000000"]);
    assert_eq!(merged["own"], json!({"checkout": 500, "licensing": 1_000_000_000, "api": null}));
    assert_eq!(merged["effective"], json!({"checkout": 500, "licensing": 1_000_000_000, "api": 600}));
    assert_eq!(installation.json(&["limit", "show", "--key", &id]), merged);
    let listed = installation.json(&["key", "list", "--store", "demo"]);
    assert_eq!(listed[0]["limits"], merged["own"]);
    assert_eq!(set(&["--reset"])["own"], json!({"checkout": null, "licensing": null, "api": null}));
    let text = installation.run(&["limit", "show", "--key", &id]).stdout;
    assert!(text.contains("everybody's") && text.contains("100 a minute"), "{text}");
    installation.run(&["limit", "set", "--key", "99", "--api", "1"]).fails(1, &["no API key 99"]);
    installation.run(&["limit", "show", "--key", "99"]).fails(1, &["no API key 99"]);
}

#[tokio::test]
async fn products_are_shown_on_the_marketplace_and_taken_off() {
    let installation = Installation::with_products().await;
    let listing = |verb: &'static str, sku: &'static str| ["listing", verb, "--store", "demo", "--sku", sku];
    let show = || installation.json(&["listing", "show", "--store", "demo"]);
    assert_eq!(show(), json!([]));
    assert_eq!(installation.json(&listing("add", "POOL")), json!({"store": "demo", "sku": "POOL", "listed": true}));
    assert_eq!(installation.run(&listing("add", "POOL")).stdout, "POOL is already on the marketplace\n");
    assert_eq!(show(), json!([{"store": "demo", "sku": "POOL", "listed": true}]));
    installation.run(&listing("add", "NONE")).fails(1, &["no product \"NONE\""]);
    installation.run(&["listing", "show", "--store", "none"]).fails(1, &["no store \"none\""]);
    assert_eq!(installation.run(&listing("remove", "POOL")).stdout, "POOL is off the marketplace\n");
    assert_eq!(installation.run(&listing("remove", "POOL")).stdout, "POOL is not on the marketplace\n");
    assert_eq!(show(), json!([]));
}
