//! `worker store …`: shops, whether they may fulfill orders that were paid elsewhere, and what they say for tax.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use common::geo::{CountryCode, Subdivisions};
use common::order::facts::Policy;
use common::return_hosts::{MalformedHosts, ReturnHosts};
use storage::pg::audit_log::Actor;
use storage::pg::stores::{self, Store, TaxSettings};

use super::Failure;
use super::arguments::{self, OnOff};
use super::context::Context;
use super::output::or_dash;

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
        #[command(flatten)]
        tax: TaxArguments,
    },
    /// List all stores
    List,
    /// Change a store; what is not named stays as it is
    #[command(group(ArgGroup::new("change").required(true).multiple(true).args(["licensing", "country", "prices", "when_refunded", "while_disputed", "return_hosts"])))]
    Set {
        /// Which
        #[arg(long, value_parser = arguments::slug)]
        slug: String,
        /// Whether it may fulfill orders that were paid elsewhere
        #[arg(long)]
        licensing: Option<OnOff>,
        #[command(flatten)]
        tax: TaxArguments,
        /// What becomes of an order's license keys when all of its money went back
        #[arg(long)]
        when_refunded: Option<WhenRefunded>,
        /// What becomes of them while a dispute is open
        #[arg(long)]
        while_disputed: Option<WhileDisputed>,
        /// Where customers may be sent back to: hosts with commas between them, or any
        #[arg(long, value_name = "HOSTS", value_parser = return_hosts)]
        return_hosts: Option<ReturnHosts>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhenRefunded {
    Revoke,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhileDisputed {
    Suspend,
    Keep,
}

/// What a store says for tax.
#[derive(Debug, Args)]
pub struct TaxArguments {
    /// Where the seller is: two letters of ISO 3166-1, or none. Without it businesses abroad are charged tax like anybody
    #[arg(long, value_name = "CODE", value_parser = seller_country)]
    country: Option<SellerCountry>,
    /// Whether prices have the tax in them; usual is as it is usual in the customer's country
    #[arg(long)]
    prices: Option<Prices>,
}

/// A country that was named, perhaps to say that there is none.
#[derive(Debug, Clone, Copy)]
pub struct SellerCountry(Option<CountryCode>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Prices {
    IncludeTax,
    ExcludeTax,
    Usual,
}

fn seller_country(text: &str) -> Result<SellerCountry, String> {
    if text == "none" {
        return Ok(SellerCountry(None));
    }
    let country = CountryCode::parse(text).map_err(|error| error.to_string())?;
    let countries = Subdivisions::load().map_err(|error| error.to_string())?;
    countries.list(country).map_err(|error| error.to_string())?;
    Ok(SellerCountry(Some(country)))
}

fn return_hosts(text: &str) -> Result<ReturnHosts, MalformedHosts> {
    if text == "any" { Ok(ReturnHosts::default()) } else { ReturnHosts::parse(text) }
}

impl TaxArguments {
    /// The settings with what was named.
    fn over(&self, settings: TaxSettings) -> TaxSettings {
        TaxSettings {
            country: self.country.map_or(settings.country, |SellerCountry(country)| country),
            prices_include_tax: match self.prices {
                Some(Prices::IncludeTax) => Some(true),
                Some(Prices::ExcludeTax) => Some(false),
                Some(Prices::Usual) => None,
                None => settings.prices_include_tax,
            },
        }
    }
}

impl StoreCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let output = context.output;
        match self {
            Self::Create { slug, name, licensing, tax } => {
                let store = stores::create_with(&context.pg, &slug, &name, licensing, tax.over(TaxSettings::default())).await;
                let store = store.map_err(|error| Failure::of_creation(error, || format!("store {slug:?}")))?;
                output.show(&store, || format!("made store {}", described(&store)))
            }
            Self::List => {
                let all = stores::list(&*context.client().await?).await?;
                output.list(&all, ["SLUG", "NAME", "LICENSING", "COUNTRY", "PRICES"], |store| {
                    let country = or_dash(store.tax.country);
                    [store.slug.clone(), store.name.clone(), on_off(store).to_owned(), country, prices(store).to_owned()]
                })
            }
            Self::Set { slug, licensing, tax, when_refunded, while_disputed, return_hosts } => {
                let mut store = context.store(&slug).await?;
                if let Some(licensing) = licensing {
                    store.licensing = licensing == OnOff::On;
                    stores::set_licensing(&context.pg, store.id, store.licensing, Actor::CommandLine).await?;
                }
                if tax.country.is_some() || tax.prices.is_some() {
                    store.tax = tax.over(store.tax);
                    stores::set_tax(&context.pg, store.id, store.tax, Actor::CommandLine).await?;
                }
                if when_refunded.is_some() || while_disputed.is_some() {
                    let Policy { revoke_when_refunded, suspend_while_disputed } = store.policy;
                    store.policy = Policy {
                        revoke_when_refunded: when_refunded.map_or(revoke_when_refunded, |what| what == WhenRefunded::Revoke),
                        suspend_while_disputed: while_disputed.map_or(suspend_while_disputed, |what| what == WhileDisputed::Suspend),
                    };
                    stores::set_policy(&context.pg, store.id, store.policy, Actor::CommandLine).await?;
                }
                if let Some(hosts) = return_hosts {
                    stores::set_return_hosts(&context.pg, store.id, &hosts, Actor::CommandLine).await?;
                    store.return_hosts = hosts;
                }
                output.show(&store, || format!("store {}", described(&store)))
            }
        }
    }
}

fn described(store: &Store) -> String {
    let Policy { revoke_when_refunded, suspend_while_disputed } = store.policy;
    format!(
        "{}: licensing {}, country {}, prices {}, license keys {} when refunded and {} while disputed, customers sent back to {}",
        store.slug,
        on_off(store),
        or_dash(store.tax.country),
        prices(store),
        if revoke_when_refunded { "revoked" } else { "kept" },
        if suspend_while_disputed { "suspended" } else { "kept" },
        if store.return_hosts.as_slice().is_empty() { "any host".to_owned() } else { store.return_hosts.as_slice().join(", ") },
    )
}

fn prices(store: &Store) -> &'static str {
    match store.tax.prices_include_tax {
        Some(true) => "include tax",
        Some(false) => "exclude tax",
        None => "as usual",
    }
}

fn on_off(store: &Store) -> &'static str {
    if store.licensing { "on" } else { "off" }
}
