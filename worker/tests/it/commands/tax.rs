//! Tax rates that operators lay on top, and what stores and products say for tax.

use serde_json::json;

use super::Installation;

const HEADER: &str = "country,subdivision,tax,category,rate_percent,valid_from,valid_to,stacking,source,as_of,note\n";

fn file(rows: &str) -> String {
    format!("{HEADER}{rows}")
}

#[tokio::test]
async fn rates_are_imported_shown_and_taken_away_again() {
    let installation = Installation::new().await;
    let import = |arguments: &[&str], rows: &str| installation.run_with(&[&["tax", "import"], arguments, &["-"]].concat(), file(rows));
    let show = |arguments: &[&str]| installation.json(&[&["tax", "show"], arguments].concat());
    let budget = "GB,,vat,standard,17.5,2027-01-01,,alone,HMRC,2026-11-20,budget\n";
    let changes = "- GB vat standard 20.00, eu-vat-rates-data 2026.9.29 (MIT), as of 2026-09-29\n\
                   + GB vat standard 20.00 until before 2027-01-01, eu-vat-rates-data 2026.9.29 (MIT), as of 2026-09-29\n\
                   + GB vat standard 17.50 from 2027-01-01, HMRC; budget, as of 2026-11-20\n";

    let dry = import(&["--dry-run"], budget);
    assert_eq!((dry.code, dry.stdout), (0, format!("{changes}1 rates would be imported: nothing was changed\n")));
    assert_eq!(installation.count("select (select count(*) from tax_rates) + (select count(*) from changes)").await, 0);
    assert_eq!(show(&["GB", "--date", "2027-01-01"])["rates"][0]["rate_percent"], "20.00");

    assert_eq!(import(&[], budget).stdout, format!("{changes}1 rates imported\n"));
    assert_eq!(installation.count("select count(*) from changes where kind = 'tax'").await, 1);
    assert_eq!(show(&["gb", "--date", "2026-12-31"])["rates"][0]["rate_percent"], "20.00");
    let shown = show(&["GB", "--date", "2027-01-01"]);
    assert_eq!((&shown["rates"][0]["rate_percent"], &shown["rates"][0]["source"]), (&json!("17.50"), &json!("HMRC; budget")));
    let table = installation.run(&["tax", "show", "GB", "--date", "2027-01-01"]).stdout;
    assert!(table.contains("-            VAT            standard  17.50    2027-01-01  -"), "{table}");

    // The same file once more changes nothing; another one lies over it.
    assert_eq!(import(&[], budget).stdout, "no rate changes\n1 rates imported\n");
    let report =
        installation.run_with(&["--json", "tax", "import", "-"], file("GB,,vat,standard,15,2027-06-01,,alone,HMRC,2026-11-21,\n")).json();
    assert_eq!((&report["rows"], &report["dry_run"], report["added"].as_array().unwrap().len()), (&json!(1), &json!(false), 2));
    assert_eq!(show(&["GB", "--date", "2027-05-31"])["rates"][0]["rate_percent"], "17.50");
    assert_eq!(show(&["GB", "--date", "2027-06-01"])["rates"][0]["rate_percent"], "15.00");

    let refreshed = installation.json(&["tax", "refresh", "--dry-run"]);
    assert_eq!((&refreshed["rows"], refreshed["removed"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(installation.count("select count(*) from tax_rates").await, 3);
    assert!(installation.run(&["tax", "refresh"]).stdout.ends_with("3 rates taken away\n"));
    assert_eq!(show(&["GB", "--date", "2027-06-01"])["rates"][0]["rate_percent"], "20.00");
    assert_eq!(installation.run(&["tax", "refresh"]).stdout, "no rate changes\n0 rates taken away\n");
    assert_eq!(installation.count("select count(*) from changes where kind = 'tax'").await, 4, "three imports and one refresh");
}

#[tokio::test]
async fn a_file_with_a_bad_line_is_not_imported_at_all() {
    let installation = Installation::new().await;
    let rows = "GB,,vat,standard,17.5,,,alone,HMRC,2026-11-20,\nGB,,vat\nZZ,,vat,standard,1,,,alone,s,2026-11-20,\n";
    let ended = installation.run_with(&["tax", "import", "-"], file(rows));
    ended.fails(1, &["nothing was imported", "\n  line 3: needs 11 columns", "\n  line 4: ZZ is not a country"]);
    installation.run_with(&["tax", "import", "-"], "GB\n").fails(1, &["line 1: must be the names of the columns"]);
    installation.run_with(&["tax", "import", "-"], b"\xff\xfe").fails(1, &["not UTF-8"]);
    installation.run(&["tax", "import", "/nowhere"]).fails(1, &["/nowhere", "No such file"]);
    installation.run(&["tax", "show", "ZZ"]).fails(1, &["ZZ is not a country"]);
    installation.run(&["tax", "show", "US", "--subdivision", "ZZ"]).fails(1, &["US has no such subdivision"]);
    installation.run(&["tax", "show", "GB", "--date", "tomorrow"]).fails(2, &["YYYY-MM-DD"]);
    assert_eq!(installation.count("select (select count(*) from tax_rates) + (select count(*) from changes)").await, 0);
}

#[tokio::test]
async fn what_all_imports_hold_together_is_bounded() {
    let installation = Installation::new().await;
    let rows = |tenth: i32| -> String {
        let row = |n: i32| format!("GB,,vat,reduced,{}.{:04},,,alone,s,2026-11-20,\n", tenth, n);
        file(&(0..2_000).map(row).collect::<String>())
    };
    for n in 1..=2 {
        assert_eq!(installation.run_with(&["tax", "import", "-"], rows(n)).code, 0);
    }
    installation
        .run_with(&["tax", "import", "-"], rows(3))
        .fails(1, &["4000 rates are imported already", "more than 5000", "worker tax refresh"]);
}

#[tokio::test]
async fn stores_and_products_say_what_they_are_for_tax() {
    let installation = Installation::with_products().await;
    let store = installation.json(&["store", "create", "--slug", "taxed", "--name", "T", "--country", "fr", "--prices", "include-tax"]);
    assert_eq!((&store["country"], &store["prices_include_tax"]), (&json!("FR"), &json!(true)));
    let set = |arguments: &[&str]| installation.json(&[&["store", "set", "--slug", "taxed"], arguments].concat());
    let store = set(&["--prices", "exclude-tax"]);
    assert_eq!((&store["country"], &store["prices_include_tax"], &store["licensing"]), (&json!("FR"), &json!(false), &json!(false)));
    let store = set(&["--country", "none", "--prices", "usual", "--licensing", "on"]);
    assert_eq!((&store["country"], &store["prices_include_tax"], &store["licensing"]), (&json!(null), &json!(null), &json!(true)));
    installation.run(&["store", "set", "--slug", "taxed"]).fails(2, &["--licensing"]);
    installation.run(&["store", "set", "--slug", "taxed", "--country", "ZZ"]).fails(2, &["ZZ is not a country"]);
    assert_eq!(installation.json(&["store", "list"])[0]["country"], json!(null), "a store that has said nothing");

    let set =
        |category: &str| installation.run(&["--json", "product", "set", "--store", "demo", "--sku", "MADE", "--tax-category", category]);
    let product = set("reduced").json();
    assert_eq!((&product["tax_category"], &product["prices"]), (&json!("reduced"), &json!({"GBP": 1})));
    set("cheap").fails(2, &["a tax category is"]);
    let listed = installation.json(&["product", "list", "--store", "demo"]);
    assert_eq!((&listed[0]["tax_category"], &listed[1]["tax_category"]), (&json!("reduced"), &json!("standard")));
    assert_eq!(installation.count("select count(*) from changes where kind = 'catalogue'").await, 3, "two products made, one changed");
}
