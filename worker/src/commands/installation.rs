//! Commands about the installation itself: its version, its configuration, its schema.

use config::Settings;
use serde::Serialize;
use storage::Pg;
use storage::pg::migrations;

use super::Failure;
use super::output::Output;

pub fn version(output: Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Version {
        version: &'static str,
    }
    let version = env!("CARGO_PKG_VERSION");
    output.show(&Version { version }, || format!("worker {version}"))
}

pub fn check_config(settings: &Settings, output: Output) -> Result<(), Failure> {
    let shown = settings.redacted_toml();
    let table: toml::Table = toml::from_str(shown).map_err(|error| Failure::other(error.message()))?;
    output.show(&table, || shown.to_owned())
}

pub async fn migrate(settings: &Settings, output: Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Migrated {
        applied: Vec<String>,
    }
    let applied = migrations::run(&Pg::new(&settings.postgres, "worker migrate")?).await?;
    output.show(&Migrated { applied: applied.clone() }, || {
        if applied.is_empty() { "the schema is up to date".to_owned() } else { format!("applied:\n{}", applied.join("\n")) }
    })
}
