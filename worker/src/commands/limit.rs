//! `worker limit …`: what large partners may do more often than everybody.

use clap::{ArgGroup, Subcommand, value_parser};
use common::limits::PER_MINUTE_MAX;
use serde::Serialize;
use storage::pg::api_keys::{self, Quotas};
use storage::pg::audit_log::Actor;

use super::Failure;
use super::context::{Context, no_such_key};
use super::output::or_dash;

#[derive(Debug, Subcommand)]
pub enum LimitCommand {
    /// Give a key limits of its own, in requests a minute; those not named stay as they are
    #[command(group(ArgGroup::new("change").required(true).multiple(true)))]
    Set {
        /// The key's id
        #[arg(long, value_parser = value_parser!(i64).range(1..))]
        key: i64,
        /// Checkout sessions
        #[arg(long, group = "change", value_parser = value_parser!(u32).range(1..=i64::from(PER_MINUTE_MAX)))]
        checkout: Option<u32>,
        /// Fulfillments
        #[arg(long, group = "change", value_parser = value_parser!(u32).range(1..=i64::from(PER_MINUTE_MAX)))]
        licensing: Option<u32>,
        /// Everything else
        #[arg(long, group = "change", value_parser = value_parser!(u32).range(1..=i64::from(PER_MINUTE_MAX)))]
        api: Option<u32>,
        /// Back to everybody's limits
        #[arg(long, group = "change", conflicts_with_all = ["checkout", "licensing", "api"])]
        reset: bool,
    },
    /// Show a key's limits
    Show {
        /// The key's id
        #[arg(long, value_parser = value_parser!(i64).range(1..))]
        key: i64,
    },
}

impl LimitCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Set { key, checkout, licensing, api, reset } => {
                let set = context.key(key).await?.quotas;
                let merged = Quotas { checkout: checkout.or(set.checkout), licensing: licensing.or(set.licensing), api: api.or(set.api) };
                let quotas = if reset { Quotas::default() } else { merged };
                if !api_keys::set_quotas(&context.pg, key, quotas, Actor::CommandLine).await? {
                    return Err(no_such_key(key));
                }
                show(context, key, quotas)
            }
            Self::Show { key } => show(context, key, context.key(key).await?.quotas),
        }
    }
}

/// A key's limits, as JSON shows them wherever they appear; `null` means everybody's.
#[derive(Serialize)]
pub struct Limits {
    checkout: Option<u32>,
    licensing: Option<u32>,
    api: Option<u32>,
}

impl From<Quotas> for Limits {
    fn from(quotas: Quotas) -> Self {
        Self { checkout: quotas.checkout, licensing: quotas.licensing, api: quotas.api }
    }
}

impl Limits {
    /// `100/-/-`, or a dash when there are none.
    pub fn in_short(&self) -> String {
        let parts = [self.checkout, self.licensing, self.api];
        or_dash(parts.iter().any(Option::is_some).then(|| parts.map(or_dash).join("/")))
    }
}

fn show(context: &Context, id: i64, quotas: Quotas) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Shown {
        id: i64,
        own: Limits,
        effective: Limits,
    }
    let everybody = &context.settings.limits;
    let all = [
        ("checkout", quotas.checkout, everybody.checkout),
        ("licensing", quotas.licensing, everybody.licensing),
        ("api", quotas.api, everybody.api),
    ];
    let [checkout, licensing, api] = all.map(|(_, own, everybody)| Some(own.unwrap_or(everybody)));
    context.output.show(&Shown { id, own: quotas.into(), effective: Limits { checkout, licensing, api } }, || {
        let line = |(name, own, everybody): (&str, Option<u32>, u32)| {
            format!("{name:<9}  {:>10} a minute, {}", own.unwrap_or(everybody), if own.is_some() { "its own" } else { "everybody's" })
        };
        format!("API key {id}\n{}", all.map(line).join("\n"))
    })
}
