//! What commands share: settings, a database whose schema fits, and looking up what the operator names.

use std::time::Duration;

use config::Settings;
use storage::Pg;
use storage::pg::products::{self, Product};
use storage::pg::stores::{self, Store};
use storage::pg::{Client, api_keys, migrations};

use super::Failure;
use super::output::Output;

/// Imports wait for each other, and re-wrapping counts whole tables: their statements may take far longer than a request's.
const PATIENT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// What every command has at hand.
pub struct Context {
    pub settings: Settings,
    pub pg: Pg,
    pub output: Output,
}

impl Context {
    /// Connects, and makes sure that the schema is the one that this program knows.
    pub async fn open(settings: Settings, output: Output) -> Result<Self, Failure> {
        let pg = Pg::new(&settings.postgres, "worker command")?;
        if !migrations::is_current(&pg).await? {
            return Err(Failure::other("the database lacks what this version needs: run `worker migrate` first"));
        }
        Ok(Self { settings, pg, output })
    }

    /// [`Context::open`] for commands whose statements may take long.
    pub async fn open_patient(mut settings: Settings, output: Output) -> Result<Self, Failure> {
        settings.postgres.statement_timeout = settings.postgres.statement_timeout.max(PATIENT_STATEMENT_TIMEOUT);
        Self::open(settings, output).await
    }

    pub async fn client(&self) -> Result<Client, Failure> {
        Ok(self.pg.client().await?)
    }

    pub async fn store(&self, slug: &str) -> Result<Store, Failure> {
        let store = stores::find(&*self.client().await?, slug).await?;
        store.ok_or_else(|| Failure::other(format!("there is no store {slug:?}: `worker store list` shows all")))
    }

    pub async fn product(&self, store: &Store, sku: &str) -> Result<Product, Failure> {
        let found = products::find(&*self.client().await?, &[(store.id, sku)]).await?.pop();
        found.ok_or_else(|| {
            let slug = &store.slug;
            Failure::other(format!("store {slug:?} has no product {sku:?}: `worker product list --store {slug}` shows all"))
        })
    }

    pub async fn key(&self, id: i64) -> Result<api_keys::ApiKeyRow, Failure> {
        api_keys::get(&*self.client().await?, id).await?.ok_or_else(|| no_such_key(id))
    }
}

pub fn no_such_key(id: i64) -> Failure {
    Failure::other(format!("there is no API key {id}: `worker key list --store SLUG` shows a store's keys"))
}
