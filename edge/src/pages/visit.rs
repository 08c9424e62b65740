//! One browser's visit to a page: its language, the secret that makes carts its own, and the headers that every page carries. The secret is
//! a cookie that no script can read; what we keep of it is a digest, and forms prove by a token made of it that they came from our pages.

use std::fmt;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HeaderMap,
    HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use sha2::{Digest, Sha256};

use super::assets;
use super::form::Form;
use super::locale::Locale;
use super::texts::{self, Texts};
use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::service::Call;

/// With https the name itself makes browsers refuse the cookie from anybody but this very host.
const COOKIE_HTTPS: &str = "__Host-ap-browser";
const COOKIE_HTTP: &str = "ap-browser";
/// As long as carts are kept unless configured otherwise.
const COOKIE_MAX_AGE_S: u32 = 30 * 86_400;
/// The field of every form that proves where it came from.
const TOKEN_FIELD: &str = "form_token";

/// What makes a browser itself. `Debug` shows `***`.
pub struct BrowserSecret([u8; 32]);

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl BrowserSecret {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length").chain_update(b"form")
    }
}

/// Where a page's scripts and frames may come from, beside ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// Nowhere.
    Own,
    /// Stripe's payment form.
    Stripe,
}

/// A visit.
#[derive(Debug)]
pub struct Visit {
    /// The language of the page.
    pub locale: Locale,
    secret: BrowserSecret,
    is_new: bool,
    is_https: bool,
    nonce: String,
    /// The name of the request, for problem pages.
    pub request_id: String,
}

/// What every template needs.
#[derive(Debug)]
pub struct Frame {
    /// The language of the page, and its numbers.
    pub locale: Locale,
    /// The sentences.
    pub t: &'static Texts,
    /// What the page's scripts carry.
    pub nonce: String,
    /// What the page's forms carry.
    pub form_token: String,
    /// Whose page it is; empty where it is nobody's.
    pub store: String,
    /// Whether it belongs to the test mode.
    pub is_test: bool,
    /// The step of the checkout that it is, 1 to 3; 0 for none.
    pub step: u8,
    /// After how many seconds the browser looks again.
    pub refresh_s: Option<u32>,
}

impl Frame {
    /// The stylesheet's address.
    pub fn styles(&self) -> &'static str {
        &assets::STYLES.path
    }

    /// The script's address.
    pub fn script(&self) -> &'static str {
        &assets::SCRIPT.path
    }

    /// The icon's address.
    pub fn icon(&self) -> &'static str {
        &assets::ICON.path
    }

    /// A frame for tests of templates.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self {
            locale: Locale::DEFAULT,
            t: texts::of(Locale::DEFAULT.language),
            nonce: "nonce".into(),
            form_token: "token".into(),
            store: "Demo & Sons".into(),
            is_test: true,
            step: 2,
            refresh_s: Some(5),
        }
    }

    /// The steps of the checkout: number, name, and whether it is this one.
    pub fn steps(&self) -> [(u8, &'static str); 3] {
        [(1, self.t.step_cart), (2, self.t.step_details), (3, self.t.step_payment)]
    }
}

impl Visit {
    /// The visit that a request makes.
    pub fn of(edge: &Edge, headers: &HeaderMap, request_id: &str) -> Self {
        let is_https = edge.knobs.public_base_url.starts_with("https://");
        let name = if is_https { COOKIE_HTTPS } else { COOKIE_HTTP };
        let known = cookies(headers).find_map(|(other, value)| (other == name).then(|| BrowserSecret::parse(value)).flatten());
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Self {
            locale: accepted.and_then(Locale::of_accept_language).unwrap_or(Locale::DEFAULT),
            is_new: known.is_none(),
            secret: known.unwrap_or_else(|| BrowserSecret(rand::random())),
            is_https,
            nonce: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            request_id: request_id.to_owned(),
        }
    }

    /// Whether browsers come by https, so that cookies can be theirs alone.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// The same visit in the language that a cart asks for, where we speak it.
    pub fn speak(&mut self, tag: Option<&str>) {
        self.locale = tag.and_then(Locale::of_tag).unwrap_or(self.locale);
    }

    /// What is kept of the browser: enough to know it again, too little to be it.
    pub fn browser(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"browser").chain_update(self.secret.0).finalize().into()
    }

    /// The frame of a page.
    pub fn frame(&self) -> Frame {
        Frame {
            locale: self.locale,
            t: texts::of(self.locale.language),
            nonce: self.nonce.clone(),
            form_token: URL_SAFE_NO_PAD.encode(self.secret.mac().finalize().into_bytes()),
            store: String::new(),
            is_test: false,
            step: 0,
            refresh_s: None,
        }
    }

    /// What a form of ours sent. Refuses what did not come from a page that this very browser was given.
    pub fn form(&self, call: &Call<'_>) -> Result<Form, PageError> {
        let form = Form::parse(&call.body).map_err(|_| PageError::new(PageProblem::BadRequest))?;
        let token = URL_SAFE_NO_PAD.decode(form.get(TOKEN_FIELD)).unwrap_or_default();
        // A browser that is new to us was given no page.
        if self.is_new || self.secret.mac().verify_slice(&token).is_err() {
            return Err(PageError::new(PageProblem::Form));
        }
        Ok(form)
    }

    /// A page.
    pub fn page(&self, page: &impl Template) -> Result<Answer, PageError> {
        self.page_with(StatusCode::OK, page, Sources::Own)
    }

    /// A page with another status, or with sources of its own.
    pub fn page_with(&self, status: StatusCode, page: &impl Template, sources: Sources) -> Result<Answer, PageError> {
        let html = page.render().map_err(|error| {
            tracing::error!(request_id = self.request_id, %error, "a page could not be rendered");
            PageError::new(PageProblem::Internal)
        })?;
        let answer = Answer::new(status, html)
            .with(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
            .with(CONTENT_LANGUAGE, HeaderValue::from_static(self.locale.tag()))
            .with(CONTENT_SECURITY_POLICY, self.policy(sources));
        Ok(self.with_common(answer))
    }

    /// The way to another address.
    pub fn see_other(&self, location: &str) -> Result<Answer, PageError> {
        let location = HeaderValue::try_from(location).map_err(|_| PageError::new(PageProblem::Internal))?;
        Ok(self.with_common(Answer::new(StatusCode::SEE_OTHER, "").with(LOCATION, location)))
    }

    /// A file to be kept. `name` is of our own letters: it stands in a header.
    pub fn file(&self, name: &str, content_type: &'static str, body: Vec<u8>) -> Result<Answer, PageError> {
        let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
        let disposition = disposition.map_err(|_| PageError::new(PageProblem::Internal))?;
        let answer = Answer::new(StatusCode::OK, body)
            .with(CONTENT_TYPE, HeaderValue::from_static(content_type))
            .with(CONTENT_DISPOSITION, disposition);
        Ok(self.with_common(answer))
    }

    fn with_common(&self, answer: Answer) -> Answer {
        let answer = answer
            .with(CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with(REFERRER_POLICY, HeaderValue::from_static("same-origin"))
            .with(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .with(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
        if self.is_new { answer.with(SET_COOKIE, self.cookie()) } else { answer }
    }

    fn policy(&self, sources: Sources) -> HeaderValue {
        let nonce = &self.nonce;
        let (script, connect, frame) = match sources {
            Sources::Own => ("", "", "'none'"),
            Sources::Stripe => (
                " https://js.stripe.com https://*.js.stripe.com",
                " https://api.stripe.com",
                "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
            ),
        };
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'{script}; style-src 'self'; img-src 'self'; connect-src 'self'{connect}; \
             frame-src {frame}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("base64 and our own words are visible ASCII")
    }

    fn cookie(&self) -> HeaderValue {
        let (name, secure) = if self.is_https { (COOKIE_HTTPS, "; Secure") } else { (COOKIE_HTTP, "") };
        let value = URL_SAFE_NO_PAD.encode(self.secret.0);
        // Lax: whoever comes from a shop by a link is to be known again.
        let cookie = format!("{name}={value}; Path=/; Max-Age={COOKIE_MAX_AGE_S}; HttpOnly; SameSite=Lax{secure}");
        let mut cookie = HeaderValue::try_from(cookie).expect("base64 and our own words are visible ASCII");
        cookie.set_sensitive(true);
        cookie
    }
}

pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_known_by_its_secret_and_shows_none_of_it() {
        let secret = BrowserSecret([7; 32]);
        let text = URL_SAFE_NO_PAD.encode(secret.0);
        assert_eq!(BrowserSecret::parse(&text).unwrap().0, secret.0);
        assert_eq!(format!("{secret:?}"), "***");
        for wrong in ["", "AAAA", &text[1..], &format!("{text}AA"), "%"] {
            assert!(BrowserSecret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn cookies_of_all_headers_are_read() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; b=2"));
        headers.append(COOKIE, HeaderValue::from_static("c=3=4;d"));
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("c", "3=4")]);
    }
}
