//! Who is looking at a page of the portal: the session behind the cookie, what its account may do, and the token that proves that a form came
//! from a page of this very session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::partner::{Bearer, Role, SESSION};
use http::HeaderMap;
use http::header::HeaderValue;
use storage::pg::portal_sessions::{self, Session};
use subtle::ConstantTimeEq as _;

use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::form::Form;
use crate::pages::visit::{Visit, cookies};
use crate::service::Call;

/// With https the name itself makes browsers refuse the cookie from anybody but this very host.
const COOKIE_HTTPS: &str = "__Host-ap-portal";
const COOKIE_HTTP: &str = "ap-portal";
const TOKEN_FIELD: &str = "form_token";

/// Somebody who is signed in.
#[derive(Debug)]
pub struct Partner {
    /// The account, and its roles.
    pub session: Session,
    bearer: Bearer,
}

fn cookie_name(visit: &Visit) -> &'static str {
    if visit.is_https() { COOKIE_HTTPS } else { COOKIE_HTTP }
}

/// What the browser says its session is, good or not.
pub fn bearer(visit: &Visit, headers: &HeaderMap) -> Option<Bearer> {
    cookies(headers).find_map(|(name, value)| (name == cookie_name(visit)).then(|| Bearer::parse(value)).flatten())
}

/// The cookie that makes a browser this session; without one, the cookie that ends it.
pub fn cookie(visit: &Visit, bearer: Option<&Bearer>) -> HeaderValue {
    let value = bearer.map(Bearer::expose).unwrap_or_default();
    // No Max-Age: shared computers forget it with the window. Lax, so that a link in a mail leads to a page and not to the sign-in.
    let age = if bearer.is_some() { "" } else { "; Max-Age=0" };
    let secure = if visit.is_https() { "; Secure" } else { "" };
    let cookie = format!("{}={}; Path=/{age}; HttpOnly; SameSite=Lax{secure}", cookie_name(visit), value.as_str());
    let mut cookie = HeaderValue::try_from(cookie).expect("base64 and our own words are visible ASCII");
    cookie.set_sensitive(true);
    cookie
}

impl Partner {
    /// Whoever is signed in, if anybody is.
    pub async fn of(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Option<Self>, PageError> {
        let Some(bearer) = bearer(visit, call.headers) else { return Ok(None) };
        let portal = &edge.portal;
        let session = in_time_of(&portal.pg, async {
            let client = portal.pg.client().await?;
            Ok::<_, PageError>(portal_sessions::find(&*client, &bearer.digest(SESSION), portal.session_idle.as_secs_f64()).await?)
        });
        Ok(session.await?.map(|session| Self { session, bearer }))
    }

    /// What the account may do in a store.
    pub fn role(&self, store_id: i64) -> Option<Role> {
        self.session.roles.iter().find(|(id, _)| *id == store_id).map(|(_, role)| *role)
    }

    /// What is kept of the session's cookie.
    pub fn digest(&self) -> [u8; 32] {
        self.bearer.digest(SESSION)
    }

    /// What the session's forms carry.
    pub fn form_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bearer.digest("form"))
    }

    /// What a form of the session's sent. Refuses what did not come from a page that this very session was given.
    /// `text_field` is the one that may hold a whole text; empty where there is none.
    pub fn form(&self, call: &Call<'_>, text_field: &str) -> Result<Form, PageError> {
        let form = Form::parse_with(&call.body, text_field).map_err(|_| PageError::new(PageProblem::BadRequest))?;
        let is_ours = bool::from(form.get(TOKEN_FIELD).as_bytes().ct_eq(self.form_token().as_bytes()));
        if is_ours { Ok(form) } else { Err(PageError::new(PageProblem::Form)) }
    }
}
