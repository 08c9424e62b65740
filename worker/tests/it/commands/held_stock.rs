//! Stock out of the sale: nobody sells it, everybody knows it, and what is named comes back.

use serde_json::json;

use super::Installation;

impl Installation {
    /// With two live keys and one of test mode in `POOL`, and one of another store's `POOL`.
    async fn with_stock() -> Self {
        let this = Self::with_products().await;
        this.json(&["store", "create", "--slug", "other", "--name", "Other"]);
        this.json(&["product", "create", "--store", "other", "--sku", "POOL", "--name", "P", "--source", "pool", "--price", "GBP=1"]);
        this.import_into("demo", "live", "AAA\nBBB\n");
        this.import_into("demo", "test", "AAA\n");
        this.import_into("other", "live", "AAA\n");
        this
    }

    fn import_into(&self, store: &str, mode: &str, keys: &str) -> serde_json::Value {
        self.run_with(&["--json", "stock", "import", "--store", store, "--sku", "POOL", "--mode", mode, "-"], keys).json()
    }

    /// Free and held of live, free and held of test.
    fn levels(&self, store: &str) -> [i64; 4] {
        let levels = self.json(&["stock", "level", "--store", store]);
        let number = |row: usize, name: &str| levels[row][name].as_i64().expect("a number");
        [number(0, "free"), number(0, "held"), number(1, "free"), number(1, "held")]
    }

    fn release(&self, arguments: &[&str], keys: &str) -> super::Ended {
        self.run_with(&[&["--json", "stock", "release", "--store", "demo", "--sku", "POOL"], arguments].concat(), keys)
    }
}

#[tokio::test]
async fn what_is_named_is_held_and_known_and_held_once() {
    let installation = Installation::with_stock().await;
    assert_eq!(installation.json(&["stock", "hold", "--store", "demo", "--sku", "POOL"]), json!({"held": 3, "products": 1}));
    assert_eq!((installation.levels("demo"), installation.levels("other")), ([0, 2, 0, 1], [1, 0, 0, 0]));
    assert_eq!(
        installation.import_into("demo", "live", "AAA\nCCC\n"),
        json!({"new": 1, "duplicate": 1, "invalid": 0, "invalid_lines": []})
    );
    assert_eq!(installation.json(&["stock", "hold", "--store", "demo"]), json!({"held": 1, "products": 1}));
    assert_eq!(installation.json(&["stock", "hold", "--store", "demo"]), json!({"held": 0, "products": 0}));
    let text = installation.run(&["stock", "hold", "--all"]);
    assert_eq!((text.code, text.stdout.as_str()), (0, "1 license keys of 1 products are out of the sale now\n"), "{text:?}");
    assert_eq!((installation.levels("demo"), installation.levels("other")), ([0, 3, 0, 1], [0, 1, 0, 0]));
}

#[tokio::test]
async fn a_large_stock_is_held_to_its_end_and_comes_back_in_its_order() {
    let installation = Installation::with_stock().await;
    let keys: String = (0..12_000).map(|n| format!("KEY-{n}\n")).collect();
    installation.import_into("demo", "live", &keys);
    let order = "select coalesce(sum(('x' || left(md5(id::text || product_id::text || live::text || encode(sealed, 'hex')), 8))::bit(32)::bigint), 0)::bigint from ";
    let before = installation.count(&format!("{order} license_keys")).await;
    assert_eq!(installation.json(&["stock", "hold", "--all"]), json!({"held": 12_004, "products": 2}));
    assert_eq!(installation.count("select count(*) from license_keys").await, 0);
    assert_eq!(installation.count(&format!("{order} held_license_keys")).await, before, "the same keys in the same places");
    assert_eq!(installation.release(&["--all"], "").json(), json!({"released": 12_002, "not_held": 0}));
    assert_eq!(installation.release(&["--all", "--mode", "test"], "").json(), json!({"released": 1, "not_held": 0}));
    assert_eq!((installation.levels("demo"), installation.levels("other")), ([12_002, 0, 1, 0], [0, 1, 0, 0]));
}

#[tokio::test]
async fn a_file_releases_what_it_names_and_nothing_else() {
    let installation = Installation::with_stock().await;
    installation.json(&["stock", "hold", "--all"]);
    assert_eq!(installation.release(&["-"], "license_key\nBBB\nNEVER\nBBB\n").json(), json!({"released": 1, "not_held": 1}));
    assert_eq!((installation.levels("demo"), installation.levels("other")), ([1, 1, 0, 1], [0, 1, 0, 0]));
    // Secrets that came after the keys make no difference.
    let both = "t2:BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=,t1:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
    let newer = Installation { settings: installation.settings.clone().set("SECRETS__LICENSE_DIGEST", both), pg: installation.pg.clone() };
    assert_eq!(newer.release(&["-"], "AAA\nBBB\n").json(), json!({"released": 1, "not_held": 1}));
    assert_eq!(installation.levels("demo"), [2, 0, 0, 1]);
}

#[tokio::test]
async fn what_is_unclear_holds_and_releases_nothing() {
    let installation = Installation::with_stock().await;
    let hold = |arguments: &[&str]| installation.run(&[&["stock", "hold"], arguments].concat());
    hold(&[]).fails(2, &["--all"]);
    hold(&["--all", "--store", "demo"]).fails(2, &["--all"]);
    hold(&["--all", "--sku", "POOL"]).fails(2, &["--all"]);
    hold(&["--sku", "POOL"]).fails(2, &["--store"]);
    hold(&["--store", "none"]).fails(1, &["no store"]);
    hold(&["--store", "demo", "--sku", "NONE"]).fails(1, &["no product"]);
    hold(&["--store", "demo", "--sku", "MADE"]).fails(1, &["MADE", "generated"]);
    assert_eq!(installation.levels("demo"), [2, 0, 1, 0]);
    installation.json(&["stock", "hold", "--all"]);
    installation.release(&[], "").fails(2, &["--all", "FILE"]);
    installation.release(&["--all", "-"], "AAA").fails(2, &["--all"]);
    installation.release(&["/no/such/file"], "").fails(1, &["/no/such/file", "nothing was released"]);
    installation.release(&["-"], "AAA\nBBB,x\n").fails(1, &["line 2", "nothing was released"]);
    installation.execute("update held_license_keys set sealed = '\\x00'").await;
    installation.release(&["-"], "AAA\n").fails(1, &["held license key", "cannot be read"]);
    assert_eq!(installation.levels("demo"), [0, 2, 0, 1]);
}
