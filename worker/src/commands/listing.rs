//! `worker listing …`: which of a store's products the marketplace shows.

use clap::Subcommand;
use common::cart::Sku;
use serde::Serialize;
use storage::pg::audit_log::Actor;
use storage::pg::listings;

use super::Failure;
use super::arguments;
use super::context::Context;

#[derive(Debug, Subcommand)]
pub enum ListingCommand {
    /// Show a product on the marketplace
    Add {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// Which
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
    },
    /// Take a product off the marketplace
    Remove {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// Which
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
    },
    /// List what a store shows on the marketplace
    Show {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
}

#[derive(Serialize)]
struct Shown {
    store: String,
    sku: String,
    listed: bool,
}

impl ListingCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        match self {
            Self::Add { store, sku } => {
                let product = context.product(&context.store(&store).await?, sku.as_str()).await?;
                let known = listings::shown(&*context.client().await?, product.id).await?;
                let is_new = !known.is_listed;
                listings::change(&context.pg, &product, &listings::Shown { is_listed: true, ..known }, Actor::CommandLine).await?;
                let shown = Shown { store, sku: sku.to_string(), listed: true };
                output.show(&shown, || format!("{sku} is {} the marketplace", if is_new { "on" } else { "already on" }))
            }
            Self::Remove { store, sku } => {
                let product = context.product(&context.store(&store).await?, sku.as_str()).await?;
                let known = listings::shown(&*context.client().await?, product.id).await?;
                let was_there = known.is_listed;
                listings::change(&context.pg, &product, &listings::Shown { is_listed: false, ..known }, Actor::CommandLine).await?;
                let shown = Shown { store, sku: sku.to_string(), listed: false };
                output.show(&shown, || format!("{sku} is {} the marketplace", if was_there { "off" } else { "not on" }))
            }
            Self::Show { store } => {
                let id = context.store(&store).await?.id;
                let skus = listings::of_store(&*context.client().await?, id).await?;
                let shown: Vec<Shown> = skus.into_iter().map(|sku| Shown { store: store.clone(), sku, listed: true }).collect();
                output.list(&shown, ["SKU"], |listing| [listing.sku.clone()])
            }
        }
    }
}
