//! An edge whose place in the change feed is gone, or is another's now, loads everything anew: what it missed was a revocation.

use common::mode::Mode;

use crate::stage::{Backstage, SESSION, Stage, session, until};

async fn execute(stage: &Stage, sql: &str) {
    stage.pg.client().await.unwrap().batch_execute(sql).await.unwrap();
}

/// Revokes a key and lets the feed be as `feed` makes it, in one moment; the edge must refuse the key all the same.
async fn revoked_behind_its_back(feed: &str) {
    let stage = Backstage::new().await.start().await;
    let (id, key) = stage.shop.key(&stage.pg, Mode::Live, &[], Default::default()).await.unwrap();
    let client = stage.anyone().with_key(&key);
    until("a new key", async || client.post(SESSION, &session()).await.unwrap().status == 201).await;
    execute(&stage, &format!("begin; update api_keys set revoked_at = now() where id = {id}; {feed}; commit")).await;
    until("a revoked key", async || client.post(SESSION, &session()).await.unwrap().status == 401).await;
    assert_eq!(stage.partner().post(SESSION, &session()).await.unwrap().status, 201, "everybody else is as before");
    // And it follows on from there.
    let (_, later) = stage.shop.key(&stage.pg, Mode::Live, &[], Default::default()).await.unwrap();
    let client = stage.anyone().with_key(&later);
    until("a later key", async || client.post(SESSION, &session()).await.unwrap().status == 201).await;
}

#[tokio::test]
async fn changes_that_were_pruned_before_they_were_read() {
    revoked_behind_its_back("delete from changes; insert into changes (kind, subject_id) values ('catalogue', 0)").await;
}

#[tokio::test]
async fn changes_that_a_restore_has_undone() {
    revoked_behind_its_back("delete from changes where id = (select max(id) from changes)").await;
}

#[tokio::test]
async fn a_change_that_has_the_id_of_one_that_a_restore_has_undone() {
    revoked_behind_its_back("update changes set created_at = now() where id = (select max(id) from changes)").await;
}

#[tokio::test]
async fn a_feed_that_is_empty() {
    revoked_behind_its_back("delete from changes").await;
}
