//! `worker partner …`: who may sign in to the portal, and what they may do there. A link for setting a password is printed once.

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use common::partner::{Bearer, INVITE, Role, account_email};
use serde::Serialize;
use storage::pg::audit_log::Actor;
use storage::pg::{accounts, memberships};

use super::Failure;
use super::arguments;
use super::context::Context;
use super::output::time;

/// A day: long enough for whoever reads mail once a day, short enough that a forgotten link opens nothing.
const INVITE_LIFETIME_S: f64 = 86_400.0;

#[derive(Debug, Subcommand)]
pub enum PartnerCommand {
    /// Let somebody into a store, and print the link by which they set their password, once, within 24 hours. For whoever has one already
    /// the link sets a new one
    Invite {
        /// Their e-mail address
        #[arg(value_parser = email)]
        email: String,
        /// Which store
        #[arg(long, value_parser = arguments::slug)]
        store: String,
        /// What they may do there
        #[arg(long, value_parser = role())]
        role: Role,
    },
    /// List who may see a store
    List {
        /// Which
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
    /// Take somebody out of a store, at once
    Remove {
        /// Their e-mail address
        #[arg(value_parser = email)]
        email: String,
        /// Which store
        #[arg(long, value_parser = arguments::slug)]
        store: String,
    },
}

fn email(text: &str) -> Result<String, &'static str> {
    account_email(text).ok_or("this is no e-mail address")
}

fn role() -> impl clap::builder::TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|text| text.parse::<Role>())
}

#[derive(Serialize)]
struct Invited {
    email: String,
    store: String,
    role: &'static str,
    link: String,
}

#[derive(Serialize)]
struct Listed {
    email: String,
    role: &'static str,
    has_password: bool,
    since: String,
}

#[derive(Serialize)]
struct Removed {
    removed: String,
    store: String,
}

impl PartnerCommand {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Invite { email, store, role } => invite(context, email, store, role).await,
            Self::List { store } => list(context, &store).await,
            Self::Remove { email, store } => remove(context, email, store).await,
        }
    }
}

async fn invite(context: &Context, email: String, store: String, role: Role) -> Result<(), Failure> {
    let store_id = context.store(&store).await?.id;
    let secret = Bearer::new(rand::random());
    accounts::invite(&context.pg, &email, store_id, role, &secret.digest(INVITE), INVITE_LIFETIME_S, Actor::CommandLine).await?;
    let link = format!("{}/portal/password/{}/", context.settings.http.public_base_url, secret.expose().as_str());
    let invited = Invited { email, store, role: role.as_str(), link };
    context.output.show(&invited, || {
        let Invited { email, store, role, link } = &invited;
        format!(
            "{email} is {role} of store {store:?}. Send them this link:\n\n  {link}\n\nIt sets their password, once, within 24 hours, and \
             cannot be shown again. Whoever has it can: send it by a way that you trust."
        )
    })
}

async fn list(context: &Context, slug: &str) -> Result<(), Failure> {
    let store = context.store(slug).await?;
    let members = memberships::of_store(&*context.client().await?, store.id).await?;
    let listed = members.into_iter().map(|member| Listed {
        email: member.email,
        role: member.role.as_str(),
        has_password: member.has_password,
        since: time(member.created_at),
    });
    let listed: Vec<Listed> = listed.collect();
    context.output.list(&listed, ["E-MAIL", "ROLE", "PASSWORD", "SINCE"], |member| {
        let password = if member.has_password { "set" } else { "not set yet" };
        [member.email.clone(), member.role.to_owned(), password.to_owned(), member.since.clone()]
    })
}

async fn remove(context: &Context, email: String, slug: String) -> Result<(), Failure> {
    let store = context.store(&slug).await?;
    if !memberships::remove(&context.pg, &email, store.id, Actor::CommandLine).await? {
        let list = format!("`worker partner list --store {slug}` shows who is");
        return Err(Failure::other(format!("{email} is nobody in store {slug:?}: {list}")));
    }
    let removed = Removed { removed: email, store: slug };
    context.output.show(&removed, || format!("{} may not see store {:?} any more", removed.removed, removed.store))
}
