//! Commands about the installation itself: its version, its configuration, its schema.

use config::Settings;
use serde::Serialize;
use storage::Pg;
use storage::pg::migrations;
use storage::pg::roles::{self, Role};

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
        /// Roles that are not there, because this login may not make any.
        missing_roles: Vec<&'static str>,
    }
    let pg = Pg::new(&settings.postgres, "worker migrate")?;
    let applied = migrations::run(&pg).await?;
    let missing_roles: Vec<&str> = roles::absent(&pg).await?.into_iter().map(Role::name).collect();
    let migrated = Migrated { applied, missing_roles };
    output.show(&migrated, || {
        let Migrated { applied, missing_roles } = &migrated;
        let mut text = if applied.is_empty() { "the schema is up to date".to_owned() } else { format!("applied:\n{}", applied.join("\n")) };
        if !missing_roles.is_empty() {
            let create: String = missing_roles.iter().map(|role| format!("  create role {role} nologin;\n")).collect();
            text += &format!(
                "\n\nThis login may not make roles, so edges and workers cannot have logins of their own yet; they work with this one. To have them, \
                 let an administrator of the server run\n{create}and then run `worker migrate` again."
            );
        }
        text
    })
}
