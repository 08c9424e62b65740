//! A database of its own for every test, with the schema in it: tests may run side by side and leave what they like.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use storage::Pg;
use tokio::sync::OnceCell;

use crate::servers::{Login, Postgres};
use crate::settings::Settings;

const TEMPLATE: &str = "migrated";
static MIGRATED: OnceCell<()> = OnceCell::const_new();
static MADE: AtomicU32 = AtomicU32::new(0);

/// A migrated database on the test binary's own server.
#[derive(Debug, Clone)]
pub struct Database {
    url: String,
}

impl Database {
    /// Makes one. The first call migrates a template, the others copy it.
    pub async fn new() -> Result<Self> {
        let server = tokio::task::spawn_blocking(Postgres::shared_for_tests).await??;
        MIGRATED.get_or_try_init(|| migrate_template(server)).await?;
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        admin(server)?.client().await?.batch_execute(&format!("create database {name} template {TEMPLATE}")).await?;
        Ok(Self { url: url_of(server, &name) })
    }

    /// `postgres://…` as a superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `postgres://…` as an edge logs in.
    pub fn edge_url(&self) -> String {
        logins()[0].url(&self.url)
    }

    /// `postgres://…` as a worker logs in.
    pub fn worker_url(&self) -> String {
        logins()[1].url(&self.url)
    }

    /// A pool of its own, which knows at once that the server is up only after a listener has said so.
    pub fn pg(&self) -> Result<Pg> {
        Ok(Pg::new(&Settings::new().postgres(&self.url).load()?.postgres, "test")?)
    }
}

/// How edges and workers log in to servers of tests.
pub fn logins() -> [Login; 2] {
    [Login::of_edge("edge"), Login::of_worker("worker")]
}

/// Makes the logins of edges and workers on a server with a migrated database, and says what these are to be told: the URLs of the edge's
/// and the worker's login to the database of `owner_url`.
pub async fn make_logins(owner: &Pg, owner_url: &str) -> Result<[String; 2]> {
    let client = owner.client().await?;
    for login in logins() {
        client.batch_execute(&login.sql()).await?;
    }
    Ok(logins().map(|login| login.url(owner_url)))
}

async fn migrate_template(server: &Postgres) -> Result<()> {
    admin(server)?.client().await?.batch_execute(&format!("create database {TEMPLATE}")).await?;
    let template = Pg::new(&Settings::new().postgres(&url_of(server, TEMPLATE)).load()?.postgres, "test")?;
    storage::pg::migrations::run(&template).await.context("migrating the template")?;
    make_logins(&admin(server)?, server.url().as_str()).await?;
    // A template must have no sessions; the one that migrated is gone with its connection.
    Ok(())
}

fn admin(server: &Postgres) -> Result<Pg> {
    Ok(Pg::new(&Settings::new().postgres(&server.url()).load()?.postgres, "test")?)
}

fn url_of(server: &Postgres, name: &str) -> String {
    let url = server.url();
    let (base, _) = url.rsplit_once('/').unwrap_or((&url, ""));
    format!("{base}/{name}")
}
