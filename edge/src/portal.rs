//! The portal, where partners run their stores. Who may do what stands in one table, `Screen::needs`, and is looked at in one place,
//! before a page's own handler runs: a store that is not the account's is as if it were not there. Whatever waits for the database does so
//! on a pool of the portal's own.

mod frame;
mod keys;
mod partner;
mod passwords;
mod sign_in;
mod stores;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use common::api_key::ApiKeyHasher;
use common::partner::Role;
use config::Settings;
use storage::revocations::Revoker;
use storage::{Pg, StorageError};

use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{ApiError, PageError, PageProblem};
use crate::pages::form::Form;
use crate::pages::locale::Locale;
use crate::pages::visit::Visit;
use crate::service::Call;
use crate::snapshot::Store;
use partner::Partner;
use passwords::Passwords;
use throttle::Throttle;

const HOME: &str = "/portal/";
const SIGN_IN: &str = "/portal/sign-in/";

/// What answers a route of the portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// `portal/sign_in.rs`
    SignIn,
    /// `portal/sign_in.rs`
    SubmitSignIn,
    /// `portal/sign_in.rs`
    Password,
    /// `portal/sign_in.rs`
    SetPassword,
    /// `portal/sign_in.rs`
    SignOut,
    /// `portal/sign_in.rs`
    SignOutEverywhere,
    /// `portal/stores.rs`
    Stores,
    /// `portal/keys.rs`
    Keys,
    /// `portal/keys.rs`
    CreateKey,
    /// `portal/keys.rs`
    RollKey,
    /// `portal/keys.rs`
    RevokeKey,
}

/// Who may come to a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Anybody.
    Nothing,
    /// Whoever is signed in.
    Account,
    /// Whoever has this role, or a higher one, in the store of the path.
    Store(Role),
}

impl Screen {
    fn needs(self) -> Needs {
        match self {
            Screen::SignIn | Screen::SubmitSignIn | Screen::Password | Screen::SetPassword => Needs::Nothing,
            Screen::SignOut | Screen::SignOutEverywhere | Screen::Stores => Needs::Account,
            Screen::Keys => Needs::Store(Role::ReadOnly),
            Screen::CreateKey | Screen::RollKey | Screen::RevokeKey => Needs::Store(Role::Developer),
        }
    }

    /// Whether a form sends it, whose token must be the session's.
    fn is_form(self) -> bool {
        matches!(self, Screen::SignOut | Screen::SignOutEverywhere | Screen::CreateKey | Screen::RollKey | Screen::RevokeKey)
    }
}

/// What the portal has for itself.
pub struct Portal {
    pg: Pg,
    passwords: Passwords,
    throttle: Throttle,
    hasher: ApiKeyHasher,
    revoker: Revoker,
    session_idle: Duration,
    session_lifetime: Duration,
}

impl Portal {
    /// The portal of an edge whose own pool is `pg`.
    pub fn new(settings: &Settings, pg: &Pg, hasher: ApiKeyHasher, revoker: Revoker) -> Result<Self, StorageError> {
        let of_portal = config::Postgres { connections_max: settings.portal.postgres_connections_max, ..settings.postgres.clone() };
        Ok(Self {
            pg: pg.apart(&of_portal, "edge portal")?,
            passwords: Passwords::new(settings.portal.password_checks_max),
            throttle: Throttle::default(),
            hasher,
            revoker,
            session_idle: settings.portal.session_idle,
            session_lifetime: settings.portal.session_lifetime,
        })
    }
}

/// Somebody who may do what they ask for, in the store that they ask for.
struct Visitor<'v> {
    visit: &'v Visit,
    partner: Partner,
    store: Arc<Store>,
    role: Role,
    /// Empty where no form sent it.
    form: Form,
}

/// Answers a route of the portal.
pub async fn serve(edge: &Edge, screen: Screen, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut visit = Visit::of(edge, call.headers, call.request_id);
    // The portal speaks English alone.
    visit.locale = Locale::DEFAULT;
    let answered = match screen {
        Screen::SignIn => sign_in::show(edge, &visit, call).await,
        Screen::SubmitSignIn => sign_in::submit(edge, &visit, call).await,
        Screen::Password => sign_in::show_password(edge, &visit, call).await,
        Screen::SetPassword => sign_in::set_password(edge, &visit, call).await,
        _ => signed_in(edge, screen, &visit, call).await,
    };
    Ok(answered.unwrap_or_else(|error| frame::problem(&visit, error)))
}

async fn signed_in(edge: &Edge, screen: Screen, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let Some(partner) = Partner::of(edge, visit, call).await? else { return visit.see_other(SIGN_IN) };
    let form = if screen.is_form() { partner.form(call)? } else { Form::default() };
    let visitor = match screen.needs() {
        Needs::Store(needed) => {
            let absent = || PageError::new(PageProblem::NotFound);
            let store = edge.snapshot.store(call.params.slug).ok_or_else(absent)?;
            let role = partner.role(store.id).ok_or_else(absent)?;
            if role < needed {
                return Err(PageError::new(PageProblem::Role));
            }
            Visitor { visit, partner, store, role, form }
        }
        Needs::Nothing | Needs::Account => {
            return match screen {
                Screen::SignOut => sign_in::sign_out(edge, visit, &partner, false).await,
                Screen::SignOutEverywhere => sign_in::sign_out(edge, visit, &partner, true).await,
                _ => stores::show(edge, visit, &partner),
            };
        }
    };
    match screen {
        Screen::CreateKey => keys::create(edge, &visitor).await,
        Screen::RollKey => keys::roll(edge, &visitor, call).await,
        Screen::RevokeKey => keys::revoke(edge, &visitor, call).await,
        _ => keys::show(edge, &visitor, None, None).await,
    }
}
