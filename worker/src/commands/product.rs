//! `worker product …`: what stores sell, where its license keys come from, and what it costs.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Subcommand, ValueEnum};
use common::cart::Sku;
use common::license::Pattern;
use common::money::{Currency, Minor};
use common::tax::Category;
use serde::Serialize;
use storage::pg::audit_log::Actor;
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
        /// What it is for tax: standard, reduced, super_reduced or parking
        #[arg(long, default_value = "standard", value_parser = arguments::tax_category)]
        tax_category: Category,
    },
    /// List a store's products
    List {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
    /// Change a product
    Set {
        /// Whose
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// Which
        #[arg(long, value_parser = Sku::parse)]
        sku: Sku,
        /// What it is for tax: standard, reduced, super_reduced or parking
        #[arg(long, value_parser = arguments::tax_category)]
        tax_category: Category,
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
            Self::Create { store, sku, name, source, pattern, prices, tax_category } => {
                let source = source_of(source, pattern)?;
                once_each(&prices)?;
                let store = context.store(&store).await?;
                let product =
                    products::create_in(&context.pg, store.id, &sku, &name, &source, &prices, tax_category, Actor::CommandLine).await;
                let product =
                    product.map_err(|error| Failure::of_creation(error, || format!("product \"{sku}\" of store {:?}", store.slug)))?;
                output.show(&shown(&product, &prices), || format!("made product {sku} of store {}", store.slug))
            }
            Self::List { store } => {
                let store = context.store(&store).await?;
                let all: Vec<Priced> = products::of_store(&*context.client().await?, store.id).await?;
                let all: Vec<Shown> = all.iter().map(|(product, prices)| shown(product, prices)).collect();
                output.list(&all, ["SKU", "NAME", "SOURCE", "PATTERN", "TAX", "PRICES"], |product| {
                    let (pattern, tax) = (or_dash(product.pattern.as_ref()), product.tax_category.as_str().to_owned());
                    [product.sku.to_string(), product.name.clone(), product.source.to_owned(), pattern, tax, decimals(&product.prices)]
                })
            }
            Self::Set { store, sku, tax_category } => {
                let mut product = context.product(&context.store(&store).await?, sku.as_str()).await?;
                products::set_tax_category(&context.pg, &product, tax_category).await?;
                product.tax_category = tax_category;
                let prices = prices_of(context, &product).await?;
                output.show(&shown(&product, &prices), || format!("{sku}: tax category {}", tax_category.as_str()))
            }
            Self::Price { store, sku, prices } => {
                once_each(&prices)?;
                let product = context.product(&context.store(&store).await?, sku.as_str()).await?;
                products::set_prices(&context.pg, &product, &prices).await?;
                let shown = shown(&product, &prices_of(context, &product).await?);
                output.show(&shown, || format!("{sku}: {}", decimals(&shown.prices)))
            }
        }
    }
}

async fn prices_of(context: &Context, product: &Product) -> Result<Vec<Price>, Failure> {
    let all = products::of_store(&*context.client().await?, product.store_id).await?;
    Ok(all.into_iter().find(|(other, _)| other.id == product.id).map(|(_, prices)| prices).unwrap_or_default())
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
    tax_category: Category,
    prices: BTreeMap<Currency, i64>,
}

fn shown(product: &Product, prices: &[Price]) -> Shown {
    let (source, pattern) = match &product.source {
        Source::Pool => ("pool", None),
        Source::Generator(pattern) => ("generator", Some(pattern.as_str().to_owned())),
    };
    let (sku, name) = (product.sku.clone(), product.name.clone());
    let tax_category = product.tax_category;
    Shown { id: product.id, sku, name, source, pattern, tax_category, prices: prices.iter().copied().collect() }
}

fn decimals(prices: &BTreeMap<Currency, i64>) -> String {
    let decimal = |(&currency, &minor): (&Currency, &i64)| match Minor::new(minor) {
        Ok(minor) => format!("{currency} {}", minor.decimal(currency)),
        Err(error) => format!("{currency} ({error})"),
    };
    or_dash((!prices.is_empty()).then(|| prices.iter().map(decimal).collect::<Vec<_>>().join(", ")))
}
