//! `worker store …`: shops, and whether they may fulfill orders that were paid elsewhere.

use clap::Subcommand;
use storage::pg::stores::{self, Store};

use super::Failure;
use super::arguments::{self, OnOff};
use super::context::Context;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Make a store
    Create {
        /// Its name in URLs
        #[arg(long, value_parser = arguments::slug)]
        slug: String,
        /// The name people read
        #[arg(long, value_parser = arguments::name)]
        name: String,
        /// Let it fulfill orders that were paid elsewhere
        #[arg(long)]
        licensing: bool,
    },
    /// List all stores
    List,
    /// Change a store
    Set {
        /// Which
        #[arg(long, value_parser = arguments::slug)]
        slug: String,
        /// Whether it may fulfill orders that were paid elsewhere
        #[arg(long)]
        licensing: OnOff,
    },
}

impl StoreCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        match self {
            Self::Create { slug, name, licensing } => {
                let store = stores::create(&context.pg, &slug, &name, licensing).await;
                let store = store.map_err(|error| Failure::of_creation(error, || format!("store {slug:?}")))?;
                output.show(&store, || format!("made store {slug}, licensing {}", on_off(&store)))
            }
            Self::List => {
                let all = stores::list(&**context.client().await?).await?;
                output.list(&all, ["SLUG", "NAME", "LICENSING"], |store| [store.slug.clone(), store.name.clone(), on_off(store).to_owned()])
            }
            Self::Set { slug, licensing } => {
                let store = Store { licensing: licensing == OnOff::On, ..context.store(&slug).await? };
                stores::set_licensing(&context.pg, store.id, store.licensing).await?;
                output.show(&store, || format!("store {slug}: licensing {}", on_off(&store)))
            }
        }
    }
}

fn on_off(store: &Store) -> &'static str {
    if store.licensing { "on" } else { "off" }
}
