//! Statements are prepared once on each connection, in transactions too.

use common::ids::OrderId;
use common::mode::Mode;
use storage::pg::orders;
use testkit::database::Database;

use crate::patient;

#[tokio::test]
async fn a_statement_is_prepared_once_on_a_connection() {
    let database = Database::new().await.unwrap();
    let mut client = patient(&database).client().await.unwrap();
    let id = OrderId::new(1_772_452_800_000, 1);
    for _ in 0..3 {
        orders::lock(&*client, Mode::Live, &id).await.unwrap();
        let tx = client.transaction().await.unwrap();
        orders::lock(&tx, Mode::Live, &id).await.unwrap();
        tx.commit().await.unwrap();
    }
    let sql = "select count(*) from pg_prepared_statements where statement like '%from orders%for update'";
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 1);
}
