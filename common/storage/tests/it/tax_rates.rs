//! The rates that operators import: what is stored is what is read, batch lies over batch, and what cannot be read changes nothing.

use std::sync::Arc;

use common::geo::{CountryCode, Subdivisions};
use common::tax::{TaxTable, import, parse_date};
use storage::pg::changes::{self, ChangeKind};
use storage::pg::tax_rates::{self, LiveTable};
use storage::{Pg, StorageError};
use testkit::database::Database;

use crate::patient;

fn compiled_in() -> TaxTable {
    TaxTable::load(Arc::new(Subdivisions::load().unwrap())).unwrap()
}

async fn lay(pg: &Pg, on: &TaxTable, rows: &str) -> TaxTable {
    let (rates, table) = on.import(&format!("{}\n{rows}", import::HEADER)).unwrap();
    let mut client = pg.client().await.unwrap();
    let tx = client.transaction().await.unwrap();
    tax_rates::lock(&tx).await.unwrap();
    tax_rates::insert(&tx, &rates).await.unwrap();
    tx.commit().await.unwrap();
    table
}

fn standard(table: &TaxTable) -> String {
    let rates = table.rates(CountryCode::parse("GB").unwrap(), None, parse_date("2027-06-01").unwrap()).unwrap();
    rates.rates[0].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_imported_is_what_is_read_batch_over_batch() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let first = lay(
        &pg,
        &compiled_in(),
        "GB,,vat,standard,17.5,2027-01-01,2028-01-01,alone,HMRC,2026-11-20,with a note\n\
         CA,BC,pst,reduced,1.0001,,,added,province,2026-11-19,\n\
         KW,,none,standard,0,,,alone,decree,2026-11-18,\n",
    )
    .await;
    let second = lay(&pg, &first, "GB,,vat,standard,15,2027-06-01,,alone,HMRC,2026-11-21,\n").await;
    let read = tax_rates::table(&*pg.client().await.unwrap(), &compiled_in()).await.unwrap();
    assert!(import::Difference::between(&second, &read).is_empty());
    assert_eq!((standard(&first).as_str(), standard(&read).as_str()), ("GB vat standard 17.50", "GB vat standard 15.00"));

    let live = LiveTable::new(compiled_in());
    assert!(live.table().is_none(), "not loaded is not the same as nothing imported");
    live.load(&*pg.client().await.unwrap()).await.unwrap();
    assert_eq!(standard(&live.table().unwrap()), "GB vat standard 15.00");
    // What cannot be read is told, and nothing is what it was not.
    pg.client().await.unwrap().batch_execute("update tax_rates set category = 'luxury' where batch = 2").await.unwrap();
    let error = tax_rates::table(&*pg.client().await.unwrap(), &compiled_in()).await.unwrap_err();
    assert!(matches!(&error, StorageError::Corrupt(said) if said.contains("tax rate 1 of batch 2") && said.contains("luxury")), "{error}");
    live.load(&*pg.client().await.unwrap()).await.unwrap();
    assert_eq!(standard(&live.table().unwrap()), "GB vat standard 15.00");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_of_taxes_see_imports_and_all_others_pass_over_what_they_do_not_know() {
    let database = Database::new().await.unwrap();
    let pg = patient(&database);
    let client = pg.client().await.unwrap();
    storage::pg::stores::create(&pg, "first", "First", true).await.unwrap();
    let begin = changes::end(&*client).await.unwrap();
    assert_eq!(changes::newest_of_tax(&*client).await.unwrap(), None);
    lay(&pg, &compiled_in(), "GB,,vat,standard,17.5,,,alone,HMRC,2026-11-20,\n").await;
    let first = changes::newest_of_tax(&*client).await.unwrap();
    storage::pg::stores::create(&pg, "shop", "Shop", true).await.unwrap();
    assert_eq!(changes::newest_of_tax(&*client).await.unwrap(), first, "nothing of tax");
    client
        .batch_execute(
            "alter table changes drop constraint changes_kind_check; insert into changes (kind, subject_id) values ('of tomorrow', 1)",
        )
        .await
        .unwrap();
    let all = changes::after(&*client, begin, 10).await.unwrap().unwrap();
    assert_eq!(all.iter().map(|change| change.kind).collect::<Vec<_>>(), [ChangeKind::Tax, ChangeKind::Store, ChangeKind::Newer]);
}
