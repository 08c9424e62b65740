//! One thing broken at a time, in a database that is otherwise healthy: the check that is about it says so, and as a rule no other.

use common::mode::Mode;
use storage::pg::audit::Moment;

use super::fixture::Platform;
use super::tells_no_secret;

/// What is done to a healthy database, and which checks must notice.
type Case<'a> = (&'a str, &'a [&'a str]);

/// An order that holds license keys, by how it came about.
const SOLD: &str =
    "(select id from orders where idempotency_key like '%-key' and live and status = 'fulfilled' order by created_at limit 1)";
const FAILED: &str = "(select id from orders where status = 'failed')";
const PROCESSING: &str = "(select id from orders where status = 'processing')";
const REVOKED: &str = "(select id from orders where status = 'revoked')";

async fn noticed(cases: &[Case<'_>]) {
    for (sql, expected) in cases {
        let platform = Platform::full().await;
        let places = [("$sold", SOLD), ("$failed", FAILED), ("$processing", PROCESSING), ("$revoked", REVOKED)];
        let sql = places.iter().fold((*sql).to_owned(), |sql, (name, query)| sql.replace(name, query));
        platform.execute(&sql).await;
        let report = platform.audit(Moment::AtWork).await;
        let mut violated: Vec<&str> = report.violated().map(|check| check.name).collect();
        violated.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(violated, expected, "{sql}\n{:#?}", report.violated().collect::<Vec<_>>());
        assert!(!report.ok && report.violated().all(|check| !check.examples.is_empty()), "{sql}");
        tells_no_secret(&report);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taxes_that_cannot_be_computed() {
    noticed(&[
        ("update tax_rates set category = 'luxury'", &["tax_rates"]),
        ("update tax_rates set subdivision = 'XX'", &["tax_rates"]),
        ("update products set tax_category = 'luxury'", &["tax_rates"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_that_are_not_what_was_quoted() {
    noticed(&[
        ("update order_checkouts set tax_quote = tax_quote || '{\"gross_minor\": 2998}'", &["order_totals"]),
        ("update order_checkouts set tax_quote = tax_quote || '{\"currency\": \"USD\"}'", &["order_totals"]),
        ("update order_checkouts set tax_quote = '{}'", &["order_totals"]),
        ("insert into order_checkouts values ('ORD-NONE', false, '{}')", &["order_totals"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_that_are_not_what_signs_in() {
    noticed(&[
        ("update accounts set email = 'Owner@shop.example'", &["portal_accounts"]),
        ("update accounts set password_hash = 'correct horse battery'", &["portal_accounts"]),
        (
            "alter table memberships drop constraint memberships_account_id_fkey; update memberships set account_id = 999",
            &["portal_accounts"],
        ),
        (
            "alter table memberships drop constraint memberships_store_id_fkey; update memberships set store_id = 999 where store_id = 1",
            &["portal_accounts"],
        ),
        (
            "alter table account_invites drop constraint account_invites_account_id_fkey; update account_invites set account_id = 999",
            &["portal_accounts"],
        ),
        (
            "alter table portal_sessions drop constraint portal_sessions_account_id_fkey; update portal_sessions set account_id = 999",
            &["portal_accounts"],
        ),
        ("update portal_sessions set seen_at = expires_at + interval '1 second'", &["portal_accounts"]),
        ("alter table accounts drop constraint accounts_email_key", &["unique_indexes"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn license_keys_in_two_places() {
    noticed(&[
        // Sold, and still for sale. Two keys for one digest is another thing that is wrong with it.
        (
            "insert into license_keys (id, product_id, live, sealed)
             select k.license_key_id, i.product_id, true, k.sealed from order_keys k join order_items i using (order_id, line)
             where order_id = $sold limit 1",
            &["license_key_places", "license_key_balance", "license_key_values"],
        ),
        (
            "insert into held_license_keys (id, product_id, live, sealed) select id, product_id, live, sealed from license_keys where live limit 1",
            &["license_key_places", "license_key_balance", "license_key_values"],
        ),
        // In two orders: one more than the second one's item says, or in the place of its own.
        (
            "alter table order_keys drop constraint order_keys_license_key_id_key;
             update order_keys set (license_key_id, sealed) = (
                 select license_key_id, sealed from order_keys where order_id = $sold and line = 0 and position = 0)
             where order_id = $revoked",
            &["license_key_places", "license_key_values", "unique_indexes"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_license_key_twice_under_two_names() {
    let platform = Platform::full().await;
    // The first keys are sold; the digest of what comes in once more is known, and this time nobody looked.
    platform.stock("POOL", Mode::Live, 2).await;
    let bogus = "insert into license_digests select store_id, live, sha256(digest), secret_id from license_digests where live limit 2";
    platform.execute(bogus).await;
    let report = platform.audit(Moment::AtWork).await;
    let violated: Vec<(&str, u64)> = report.violated().map(|check| (check.name, check.violations)).collect();
    assert_eq!(violated, [("license_key_values", 2)], "{report:#?}");
    let check = report.violated().next().unwrap();
    assert!(check.examples.iter().all(|told| told.contains("is the same key as") && told.contains("in order ORD-")), "{check:?}");
    tells_no_secret(&report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn license_keys_that_are_lost_or_unknown() {
    noticed(&[
        ("delete from license_keys where id = (select id from license_keys where live limit 1)", &["license_key_balance"]),
        ("delete from held_license_keys", &["license_key_balance"]),
        // Its digest is another's, so it could be taken in again.
        (
            "update license_digests set digest = sha256(digest) where ctid = (select ctid from license_digests limit 1)",
            &["license_key_digests"],
        ),
        ("update license_digests set live = not live", &["license_key_digests", "license_key_balance"]),
        (
            "alter table license_digests drop constraint license_digests_pkey;
             insert into license_digests select * from license_digests where live limit 1",
            &["license_digest_rows", "license_key_balance", "unique_indexes"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn license_keys_that_do_not_open() {
    noticed(&[
        (
            "update license_keys set sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1)",
            &["license_keys_open"],
        ),
        // Sealed to another product.
        (
            "update license_keys set product_id = (select id from products where sku = 'MADE')
             where id = (select id from license_keys where live and product_id = 1 limit 1)",
            &["license_keys_open"],
        ),
        ("update order_keys set sealed = '' where order_id = $revoked", &["license_keys_open"]),
        (
            "update order_items set product_id = (select id from products where sku = 'MADE') where order_id = $revoked",
            &["license_keys_open"],
        ),
        ("update held_license_keys set sealed = '\\x01'", &["license_keys_open"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_hold_more_or_less_than_they_should() {
    let free = "insert into license_keys (id, product_id, live, sealed)
                select k.license_key_id, i.product_id, true, k.sealed from order_keys k join order_items i using (order_id, line)";
    let back = |order: &str, place: &str| {
        format!("{free} where order_id = {order} {place}; delete from order_keys where order_id = {order} {place};")
    };
    let (one, all) = (back("$sold", "and line = 0 and position = 0"), back("$revoked", ""));
    noticed(&[
        (&one, &["order_keys"]),
        (&all, &["fulfilled_events"]),
        ("update order_keys set position = 7 where order_id = $sold and line = 0 and position = 1", &["order_keys"]),
        ("update order_items set quantity = 3 where order_id = $sold and line = 0", &["order_keys"]),
        // From one item to the other: as many as ever, and not as the items say.
        ("update order_items set quantity = 3 - quantity where order_id = $sold", &["order_keys"]),
        (
            "update orders set status = 'processing', sealed_request = (select sealed_request from orders where status = 'processing'),
                    next_attempt_at = now() where id = $sold",
            &["order_keys", "order_items", "processing_orders", "events_fit_orders"],
        ),
        ("delete from order_items where order_id = $sold and line = 1", &["order_parts"]),
        (
            "update order_items set line = line + 5 where order_id = $sold; update order_keys set line = line + 5 where order_id = $sold",
            &["order_items"],
        ),
        ("insert into order_items select $failed, 0, product_id, sku, 1 from order_items limit 1", &["order_items"]),
        ("insert into order_items select $processing, 0, product_id, sku, 1 from order_items limit 1", &["order_items"]),
        ("insert into order_items select $sold, 2, product_id, sku, 0 from order_items limit 1", &["order_items"]),
        (
            "delete from order_items where order_id = $revoked; delete from order_keys where order_id = $revoked",
            &["order_items", "license_key_balance", "fulfilled_events"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_should_be_one() {
    let twin = "insert into orders (id, store_id, live, external_reference, idempotency_key, fingerprint, status, currency, customer_email)
                select 'ORD-00000000000000000Z', store_id, live, $reference, $key, fingerprint, 'fulfilled', currency, customer_email
                from orders where id = $sold;
                insert into order_items select 'ORD-00000000000000000Z', 0, product_id, sku, 1 from order_items where order_id = $sold and line = 1;
                insert into order_keys select 'ORD-00000000000000000Z', 0, 0, id, sealed from license_keys where false;";
    let twin = |reference: &str, key: &str| twin.replace("$reference", reference).replace("$key", key);
    // A fulfilled order without license keys and events has more wrong with it than its name.
    let bare = ["order_keys", "event_sequences", "events_fit_orders"];
    let with = |checks: &[&'static str]| [bare.as_slice(), checks].concat();
    let by_reference = format!("drop index orders_reference; {}", twin("external_reference", "null"));
    let by_key = format!("drop index orders_idempotency_key; {}", twin("'another'", "idempotency_key"));
    let by_id = "alter table orders drop constraint orders_pkey; insert into orders select * from orders where id = $failed";
    noticed(&[
        (&by_reference, &with(&["order_references", "unique_indexes"])),
        (&by_key, &with(&["order_idempotency_keys", "unique_indexes"])),
        (by_id, &["order_ids", "unique_indexes", "event_sequences", "events_fit_orders"]),
        (
            "update orders set id = 'ORD-1' where id = $failed; update events set order_id = 'ORD-1', body = replace(body, order_id, 'ORD-1')
             where order_id not in (select id from orders)",
            &["order_ids"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_and_what_goes_with_them() {
    noticed(&[
        ("update orders set status = 'lost' where id = $sold", &["order_statuses"]),
        ("update orders set error_code = null where id = $failed", &["failed_orders"]),
        ("update orders set error_code = 'out_of_stock' where id = $sold", &["failed_orders"]),
        (
            "update orders set sealed_request = (select sealed_request from orders where id = $processing) where id = $sold",
            &["work_in_progress"],
        ),
        ("update orders set next_attempt_at = now() where id = $revoked", &["work_in_progress"]),
        ("update orders set starts = 1 where id = $failed", &["work_in_progress"]),
        (
            "update orders set store_id = 99 where id = $processing; update events set store_id = 99 where order_id = $processing",
            &["order_stores"],
        ),
        // A product of the other store.
        (
            "update order_items set product_id = (select max(id) from products) where order_id = $revoked",
            &["order_stores", "license_keys_open"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_nobody_can_complete() {
    noticed(&[
        ("update orders set sealed_request = null where id = $processing", &["processing_orders"]),
        (
            "update orders set sealed_request = set_byte(sealed_request, 40, get_byte(sealed_request, 40) # 1) where id = $processing",
            &["processing_orders"],
        ),
        ("update orders set next_attempt_at = null where id = $processing", &["processing_orders"]),
        ("update orders set fingerprint = sha256(fingerprint) where id = $processing", &["processing_orders"]),
        ("update orders set total_minor = 1 where id = $processing", &["processing_orders", "event_bodies"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_missing_or_tell_another_story() {
    let unreadable = "update events set body = left(body, -1) where order_id = $revoked and sequence = 2";
    let told_twice = "insert into events
        select gen_random_uuid(), store_id, live, order_id, 3, kind, body, created_at from events where order_id = $revoked and sequence = 2;
        update events set body = replace(replace(body, '\"sequence\":2', '\"sequence\":3'), substring(body from '\"event_id\":\"([^\"]+)'), id::text)
        where order_id = $revoked and sequence = 3";
    noticed(&[
        ("update events set sequence = 3, body = replace(body, '\"sequence\":2', '\"sequence\":3') where order_id = $sold and sequence = 2", &["event_sequences"]),
        ("delete from events where order_id = $processing", &["event_sequences"]),
        ("delete from events where order_id = $sold and sequence = 2", &["fulfilled_events", "events_fit_orders"]),
        ("delete from events where order_id = $sold and sequence = 1", &["event_sequences", "events_fit_orders", "delivery_events"]),
        (told_twice, &["events_fit_orders"]),
        (unreadable, &["event_bodies"]),
        ("update events set body = replace(body, 'ORD-', 'ORD-0') where order_id = $sold", &["event_bodies"]),
        ("update events set body = replace(body, '\"livemode\":true', '\"livemode\":false') where order_id = $sold", &["event_bodies"]),
        ("update events set body = replace(body, '@b.example', '@c.example') where order_id = $sold", &["event_bodies"]),
        ("update events set id = gen_random_uuid() where order_id = $revoked and sequence = 1", &["event_bodies", "delivery_events"]),
        ("update events set store_id = store_id + 1 where order_id = $sold and sequence = 1", &["events_fit_orders", "delivery_events"]),
        (
            "update events set kind = 'order.lost', body = replace(body, 'order.created', 'order.lost') where order_id = $processing",
            &["events_fit_orders"],
        ),
        // Back from fulfilled to processing.
        (
            "update events set body = replace(body, '\"status\":\"processing\"', '\"status\":\"revoked\"') where order_id = $sold",
            &["events_fit_orders"],
        ),
        ("update orders set status = 'expired' where id = $processing", &["work_in_progress", "events_fit_orders", "order_items"]),
        ("update orders set status = 'refunded' where id = $sold", &["events_fit_orders"]),
        ("update orders set status = 'disputed' where id = $sold", &["events_fit_orders"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_orders_that_do_not_exist() {
    noticed(&[
        ("delete from orders where id = $failed", &["order_parts"]),
        (
            "insert into order_items select 'ORD-00000000000000000Z', 0, product_id, sku, quantity from order_items limit 1",
            &["order_parts"],
        ),
        ("delete from orders where id = $revoked", &["order_parts", "license_key_balance", "cart_orders", "order_totals"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_rows_apart_and_in_order() {
    noticed(&[
        ("drop index orders_idempotency_key", &["unique_indexes"]),
        ("drop index orders_reference; create index orders_reference on orders (store_id, live, external_reference)", &["unique_indexes"]),
        ("update pg_index set indisvalid = false where indexrelid = 'events_order_id_sequence_key'::regclass", &["unique_indexes"]),
        ("alter sequence products_id_seq restart", &["id_sequences"]),
        ("update edges set applied_change_id = applied_change_id + 1", &["edges_behind_the_feed"]),
        ("alter sequence changes_id_seq restart", &["id_sequences", "edges_behind_the_feed"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_do_not_fit() {
    noticed(&[
        ("update webhook_deliveries set event_id = gen_random_uuid() where id = 1", &["delivery_events"]),
        ("update webhook_endpoints set live = false", &["delivery_events"]),
        (
            "update webhook_deliveries set event_id = (select event_id from webhook_deliveries where id = 1) where id = 2",
            &["delivery_events"],
        ),
        (
            "delete from webhook_deliveries where id = (select min(id) from webhook_deliveries where status = 'delivered')",
            &["delivery_attempts"],
        ),
        ("update webhook_deliveries set attempts = 0 where status = 'delivered'", &["delivery_attempts"]),
        ("update webhook_attempts set status = 500", &["delivery_attempts"]),
        ("alter sequence webhook_deliveries_id_seq restart", &["id_sequences"]),
        ("alter table webhook_attempts drop constraint webhook_attempts_pkey", &["unique_indexes"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carts_that_became_something_else() {
    let cart = |n: u8, order: &str, live: bool| {
        format!(
            "insert into carts (id, store_id, live, browser, currency, skus, quantities, order_id)
             select '{n}0000000000000000000000000', store_id, {live}, '', 'GBP', '{{}}', '{{}}', {order} from orders where id = $sold;"
        )
    };
    let nowhere = cart(1, "'ORD-000000000000000000'", true);
    let of_the_other_mode = cart(1, "id", false);
    let twice = format!("drop index carts_order; {}{}", cart(1, "id", true), cart(2, "id", true));
    noticed(&[(&nowhere, &["cart_orders"]), (&of_the_other_mode, &["cart_orders"]), (&twice, &["cart_orders", "unique_indexes"])]).await;
}
