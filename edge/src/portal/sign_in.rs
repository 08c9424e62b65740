//! Signing in and out, and setting a password by a link. Whether an account exists is told to nobody: known and unknown ones get the same
//! answer after the same work. A session's cookie is made here, at signing in, and never taken over from a browser.

use askama::Template;
use common::partner::{Bearer, INVITE, SESSION, account_email, password_complaint};
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, SET_COOKIE};
use storage::pg::{account_invites, accounts, portal_sessions};
use zeroize::Zeroizing;

use super::frame::Frame;
use super::partner::{self, Partner};
use super::throttle::Counted;
use super::{HOME, SIGN_IN};
use crate::answer::Answer;
use crate::api::database::in_time_of;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::visit::{Sources, Visit};
use crate::service::Call;

const WRONG: &str = "The e-mail address or the password is wrong.";

/// The way in.
#[derive(Debug, Template)]
#[template(path = "portal/sign_in.html")]
struct SignInPage {
    frame: Frame,
    email: String,
    error: String,
    /// Whether a password was set a moment ago.
    is_set: bool,
}

/// Where a link leads.
#[derive(Debug, Template)]
#[template(path = "portal/password.html")]
struct PasswordPage {
    frame: Frame,
    email: String,
    error: &'static str,
}

/// `GET /portal/sign-in/`
pub async fn show(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    if Partner::of(edge, visit, call).await?.is_some() {
        return visit.see_other(HOME);
    }
    let page = SignInPage { frame: Frame::of_stranger(visit), email: String::new(), error: String::new(), is_set: call.query == "set" };
    visit.page(&page)
}

/// `POST /portal/sign-in/`
pub async fn submit(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let form = visit.form(call)?;
    let portal = &edge.portal;
    let now_ms = call.now.mono_ns / 1_000_000;
    let refused = |problem: PageProblem, error: String| {
        let page = SignInPage { frame: Frame::of_stranger(visit), email: form.get("email").to_owned(), error, is_set: false };
        visit.page_with(problem.status(), &page, Sources::Own)
    };
    let wait = |seconds: u64| {
        let error = format!("Too many tries. Try again in {seconds} seconds. Nothing is locked.");
        Ok::<_, PageError>(refused(PageProblem::TooMany, error)?.with(RETRY_AFTER, HeaderValue::from(seconds)))
    };
    let address = Counted::Address(call.address);
    if let Err(seconds) = portal.throttle.begin(address, now_ms) {
        return wait(seconds);
    }
    // What is no address is nobody's, and takes the same way.
    let email = account_email(form.get("email")).unwrap_or_default();
    let browser = visit.browser();
    let found = in_time_of(&portal.pg, async {
        let client = portal.pg.client().await?;
        Ok::<_, PageError>(accounts::find(&*client, &email, &browser).await?)
    })
    .await?;
    let knows_browser = found.as_ref().is_some_and(|account| account.knows_browser);
    let counted = if knows_browser { Counted::Browser(&email, browser) } else { Counted::Account(&email) };
    if let Err(seconds) = portal.throttle.begin(counted, now_ms) {
        return wait(seconds);
    }
    let password = Zeroizing::new(form.get("password").to_owned());
    let hash = found.as_ref().and_then(|account| account.password_hash.clone());
    let is_good = portal.passwords.is_good(password, hash).await?;
    let Some(account) = found.filter(|_| is_good) else { return refused(PageProblem::BadRequest, WRONG.to_owned()) };
    portal.throttle.succeeded(address);
    portal.throttle.succeeded(counted);
    let (session, before) = (Bearer::new(rand::random()), partner::bearer(visit, call.headers).map(|bearer| bearer.digest(SESSION)));
    in_time_of(&portal.pg, async {
        let client = portal.pg.client().await?;
        let lifetime_s = portal.session_lifetime.as_secs_f64();
        let digest = session.digest(SESSION);
        Ok::<_, PageError>(portal_sessions::begin(&*client, account.id, &browser, &digest, before.as_ref(), lifetime_s).await?)
    })
    .await?;
    with_cookie(visit.see_other(HOME)?, partner::cookie(visit, Some(&session)))
}

fn with_cookie(mut answer: Answer, cookie: HeaderValue) -> Result<Answer, PageError> {
    // Beside the browser's own cookie, which may be there too.
    answer.headers.append(SET_COOKIE, cookie);
    Ok(answer)
}

/// `POST /portal/sign-out/` and `POST /portal/sign-out-everywhere/`
pub async fn sign_out(edge: &Edge, visit: &Visit, partner: &Partner, everywhere: bool) -> Result<Answer, PageError> {
    let pg = &edge.portal.pg;
    in_time_of(pg, async {
        let client = pg.client().await?;
        if everywhere {
            portal_sessions::end_all(&*client, partner.session.account_id).await?;
        } else {
            portal_sessions::end(&*client, &partner.digest()).await?;
        }
        Ok::<_, PageError>(())
    })
    .await?;
    with_cookie(visit.see_other(SIGN_IN)?, partner::cookie(visit, None))
}

/// Whose password the link in the path sets, and the link's digest.
async fn invited(edge: &Edge, call: &Call<'_>) -> Result<(String, [u8; 32]), PageError> {
    let absent = || PageError::new(PageProblem::NotFound);
    let digest = Bearer::parse(call.params.id).ok_or_else(absent)?.digest(INVITE);
    let pg = &edge.portal.pg;
    let email = in_time_of(pg, async { Ok::<_, PageError>(account_invites::email(&*pg.client().await?, &digest).await?) }).await?;
    Ok((email.ok_or_else(absent)?, digest))
}

/// `GET /portal/password/{link}/`. Looking at it uses nothing up: mail programs look at links too.
pub async fn show_password(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let (email, _) = invited(edge, call).await?;
    visit.page(&PasswordPage { frame: Frame::of_stranger(visit), email, error: "" })
}

/// `POST /portal/password/{link}/`
pub async fn set_password(edge: &Edge, visit: &Visit, call: &Call<'_>) -> Result<Answer, PageError> {
    let form = visit.form(call)?;
    let (email, link) = invited(edge, call).await?;
    let (password, again) = (Zeroizing::new(form.get("password").to_owned()), form.get("again"));
    let complaint = password_complaint(&password, &email).or((*password != again).then_some("The two are not the same."));
    if let Some(error) = complaint {
        let page = PasswordPage { frame: Frame::of_stranger(visit), email, error };
        return visit.page_with(StatusCode::BAD_REQUEST, &page, Sources::Own);
    }
    let portal = &edge.portal;
    let hash = portal.passwords.hash(password).await?;
    let is_set = in_time_of(&portal.pg, async { Ok::<_, PageError>(accounts::set_password(&portal.pg, &link, &hash).await?) }).await?;
    // Somebody else has used it a moment ago.
    if !is_set {
        return Err(PageError::new(PageProblem::NotFound));
    }
    visit.see_other(&format!("{SIGN_IN}?set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_for_strangers_renders() {
        let frame = || Frame {
            base: crate::pages::visit::Frame::sample(),
            email: String::new(),
            stores: Vec::new(),
            slug: String::new(),
            place: "",
        };
        let page = SignInPage { frame: frame(), email: "<a@b.example".into(), error: "No.".into(), is_set: true };
        let html = page.render().unwrap();
        assert!(html.contains("No.") && !html.contains("<a@b") && html.contains("form_token"), "{html}");
        let html = PasswordPage { frame: frame(), email: "a@b.example".into(), error: "Use more." }.render().unwrap();
        assert!(html.contains("a@b.example") && html.contains("Use more."), "{html}");
    }
}
