//! The command line: what can be asked for, and who does it. One file for each noun; this one is the table of contents. A command prints
//! what came of it to standard output and everything else to standard error, and ends with a code that [`Failure`] lists.

mod arguments;
mod audit;
mod context;
mod failure;
mod held_stock;
mod installation;
mod key;
mod limit;
mod listing;
mod output;
mod partner;
mod product;
mod revocation;
mod rewrap;
mod secrets;
mod stock;
mod store;
mod tax;
mod webhook;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use config::Settings;

pub use failure::Failure;

use context::Context;
use output::Output;

/// Runs jobs, and is the operator's hands
#[derive(Debug, Parser)]
#[command(name = "worker", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// Configuration file, laid over the defaults; the environment is laid over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print exactly one JSON value to standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work on jobs until asked to stop
    Run,
    /// Bring the database's schema up to date
    Migrate,
    /// Print the effective configuration, secrets hidden, or what is wrong with it
    CheckConfig,
    /// Print the version
    Version,
    /// Stores
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// API keys
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Who may sign in to the portal
    #[command(subcommand)]
    Partner(partner::PartnerCommand),
    /// Products and prices
    #[command(subcommand)]
    Product(product::ProductCommand),
    /// What the marketplace shows
    #[command(subcommand)]
    Listing(listing::ListingCommand),
    /// License keys in stock
    #[command(subcommand)]
    Stock(stock::StockCommand),
    /// API keys' own limits
    #[command(subcommand)]
    Limit(limit::LimitCommand),
    /// Tax rates
    #[command(subcommand)]
    Tax(tax::TaxCommand),
    /// Where partners want to hear of events
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Check by the data itself that everything holds that must always hold; changes nothing
    Audit {
        /// All work is done, after a drain: an order that waits is a violation too
        #[arg(long)]
        at_rest: bool,
    },
    /// The secrets that hash, sign, seal and digest
    #[command(subcommand)]
    Secrets(secrets::SecretsCommand),
}

impl CommandLine {
    /// Does what was asked.
    pub async fn execute(self) -> Result<(), Failure> {
        let output = Output::new(self.json);
        let settings = || Settings::from_process(self.config.as_deref()).map_err(Failure::from);
        if let Command::Run = self.command {
            return Ok(Box::pin(crate::runner::run(settings()?)).await?);
        }
        ops::log::init(ops::log::Format::Text, "warn").map_err(|error| Failure::other(error.to_string()))?;
        let context = async || Context::open(settings()?, output).await;
        match self.command {
            Command::Run => Ok(()),
            Command::Version => installation::version(output),
            Command::CheckConfig => installation::check_config(&settings()?, output),
            Command::Migrate => installation::migrate(&settings()?, output).await,
            Command::Secrets(secrets::SecretsCommand::Generate) => secrets::generate(output),
            Command::Secrets(secrets::SecretsCommand::Rewrap) => rewrap::run(&Context::open_patient(settings()?, output).await?).await,
            Command::Audit { at_rest } => audit::run(&context().await?, at_rest).await,
            Command::Stock(command) => command.run(&Context::open_patient(settings()?, output).await?).await,
            Command::Store(command) => command.run(&context().await?).await,
            Command::Key(command) => command.run(&context().await?).await,
            Command::Partner(command) => command.run(&context().await?).await,
            Command::Product(command) => command.run(&context().await?).await,
            Command::Tax(command) => command.run(&context().await?).await,
            Command::Listing(command) => command.run(&context().await?).await,
            Command::Limit(command) => command.run(&context().await?).await,
            Command::Webhook(command) => command.run(&Context::open_patient(settings()?, output).await?).await,
        }
    }
}
