//! `worker product …`: what stores sell, where its license keys come from, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Subcommand, ValueEnum};
use common::cart::Sku;
use common::license::Pattern;
use common::money::{Currency, Minor};
use serde::Serialize;
use storage::pg::products::{self, Price, Priced, Product, Source};

use super::Failure;
use super::arguments;
use super::context::Context;
use super::output::or_dash;

#[derive(Debug, Subcommand)]
pub enum ProductCommand {
    /// Make a product
    Create {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// The store's own name for it
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
        /// The name people read
        #[arg(long, value_parser = arguments::name)]
        name: String,
        /// Where its license keys come from: made when sold, or imported with `stock import`
        #[arg(long)]
        source: SourceKind,
        /// What generated keys look like; each X becomes a random character [default: XXXXX-XXXXX-XXXXX-XXXXX]
        #[arg(long, value_parser = Pattern::parse)]
        pattern: Option<Pattern>,
        /// What one costs, in minor units: GBP=2999 is 29.99
        #[arg(long = "price", value_name = "CURRENCY=MINOR", required = true, num_args = 1.., value_parser = arguments::price)]
        prices: Vec<Price>,
    },
    /// List a store's products
    List {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
    /// Set prices; currencies that are not named keep theirs
    Price {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// Which
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
        /// What one costs, in minor units: GBP=2999 is 29.99
        #[arg(value_name = "CURRENCY=MINOR", required = true, value_parser = arguments::price)]
        prices: Vec<Price>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    Generator,
    Pool,
}

impl ProductCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        match self {
            Self::Create { store, sku, name, source, pattern, prices } => {
                let source = source_of(source, pattern)?;
                once_each(&prices)?;
                let store = context.store(&store).await?;
                let product = products::create(&context.pg, store.id, &sku, &name, &source, &prices).await;
                let product =
                    product.map_err(|error| Failure::of_creation(error, || format!("product \"{sku}\" of store {:?}", store.slug)))?;
                output.show(&shown(&product, &prices), || format!("made product {sku} of store {}", store.slug))
            }
            Self::List { store } => {
                let store = context.store(&store).await?;
                let all: Vec<Priced> = products::of_store(&**context.client().await?, store.id).await?;
                let all: Vec<Shown> = all.iter().map(|(product, prices)| shown(product, prices)).collect();
                output.list(&all, ["SKU", "NAME", "SOURCE", "PATTERN", "PRICES"], |product| {
                    let pattern = or_dash(product.pattern.as_ref());
                    [product.sku.to_string(), product.name.clone(), product.source.to_owned(), pattern, decimals(&product.prices)]
                })
            }
            Self::Price { store, sku, prices } => {
                once_each(&prices)?;
                let product = context.product(&context.store(&store).await?, sku.as_str()).await?;
                products::set_prices(&context.pg, &product, &prices).await?;
                let all = products::of_store(&**context.client().await?, product.store_id).await?;
                let now = all.into_iter().find(|(other, _)| other.id == product.id).map(|(_, prices)| prices).unwrap_or(prices);
                let shown = shown(&product, &now);
                output.show(&shown, || format!("{sku}: {}", decimals(&shown.prices)))
            }
        }
    }
}

fn source_of(kind: SourceKind, pattern: Option<Pattern>) -> Result<Source, Failure> {
    match (kind, pattern) {
        (SourceKind::Pool, None) => Ok(Source::Pool),
        (SourceKind::Pool, Some(_)) => Err(Failure::usage("--pattern is for --source generator: keys of a pool are imported")),
        (SourceKind::Generator, Some(pattern)) => Ok(Source::Generator(pattern)),
        (SourceKind::Generator, None) => {
            Ok(Source::Generator(Pattern::parse(Pattern::DEFAULT).map_err(|error| Failure::other(error.to_string()))?))
        }
    }
}

fn once_each(prices: &[Price]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match prices.iter().find(|(currency, _)| !seen.insert(*currency)) {
        Some((currency, _)) => Err(Failure::usage(format!("{currency} has two prices: name each currency once"))),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct Shown {
    id: i64,
    sku: Sku,
    name: String,
    source: &'static str,
    pattern: Option<String>,
    prices: BTreeMap<Currency, i64>,
}

fn shown(product: &Product, prices: &[Price]) -> Shown {
    let (source, pattern) = match &product.source {
        Source::Pool => ("pool", None),
        Source::Generator(pattern) => ("generator", Some(pattern.as_str().to_owned())),
    };
    let (sku, name) = (product.sku.clone(), product.name.clone());
    Shown { id: product.id, sku, name, source, pattern, prices: prices.iter().copied().collect() }
}

fn decimals(prices: &BTreeMap<Currency, i64>) -> String {
    let decimal = |(&currency, &minor): (&Currency, &i64)| match Minor::new(minor) {
        Ok(minor) => format!("{currency} {}", minor.decimal(currency)),
        Err(error) => format!("{currency} ({error})"),
    };
    or_dash((!prices.is_empty()).then(|| prices.iter().map(decimal).collect::<Vec<_>>().join(", ")))
}
