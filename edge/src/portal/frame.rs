//! What every page of the portal has: who is signed in, the stores they may go to, and where in a store they are. And the page that says
//! what is wrong.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use askama::Template;
use common::clock::rfc3339;
use http::header::{HeaderValue, RETRY_AFTER};

use super::partner::Partner;
use crate::answer::Answer;
use crate::edge::Edge;
use crate::error::{PageError, PageProblem};
use crate::pages::assets;
use crate::pages::visit::{self, Sources, Visit};
use crate::snapshot::Store;

/// A link to a store.
#[derive(Debug)]
pub struct StoreLink {
    /// The name in URLs.
    pub slug: String,
    /// The name people read.
    pub name: String,
    /// What the account may do there.
    pub role: &'static str,
}

/// What is told on a page about what was just done.
#[derive(Debug)]
pub struct Note {
    /// `good`, `note` or `wrong`.
    pub tone: &'static str,
    /// In a sentence.
    pub text: String,
}

/// `2026-11-23 10:10 UTC`
pub fn minute(at: SystemTime) -> String {
    minute_of_ms(at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// The same of Unix milliseconds.
pub fn minute_of_ms(unix_ms: u64) -> String {
    let text = rfc3339(unix_ms);
    format!("{} {} UTC", &text[..10], &text[11..16])
}

/// What the templates' base needs.
#[derive(Debug)]
pub struct Frame {
    /// What all our pages need. Its token is the session's where there is one.
    pub base: visit::Frame,
    /// The account; empty where nobody is signed in.
    pub email: String,
    /// The stores that it may see.
    pub stores: Vec<StoreLink>,
    /// The one that the page is about; none where it is about none.
    pub slug: String,
    /// The page in the navigation.
    pub place: &'static str,
}

impl Frame {
    /// Of a page for those who are not signed in.
    pub fn of_stranger(visit: &Visit) -> Self {
        Self { base: visit.frame(), email: String::new(), stores: Vec::new(), slug: String::new(), place: "" }
    }

    /// Of a page for somebody.
    pub fn of(edge: &Edge, visit: &Visit, partner: &Partner) -> Self {
        let link = |(id, role): &(i64, common::partner::Role)| {
            let store = edge.snapshot.store_by_id(*id)?;
            Some(StoreLink { slug: store.slug.clone(), name: store.name.clone(), role: role.as_str() })
        };
        let mut stores: Vec<StoreLink> = partner.session.roles.iter().filter_map(link).collect();
        stores.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.slug.cmp(&b.slug)));
        let base = visit::Frame { form_token: partner.form_token(), ..visit.frame() };
        Self { base, email: partner.session.email.clone(), stores, slug: String::new(), place: "" }
    }

    /// The same, of a page about a store.
    pub fn at(mut self, store: &Arc<Store>, place: &'static str) -> Self {
        self.slug.clone_from(&store.slug);
        self.base.store.clone_from(&store.name);
        Self { place, ..self }
    }

    /// The portal's own stylesheet.
    pub fn styles(&self) -> &'static str {
        &assets::PORTAL_STYLES.path
    }
}

/// A page about a problem.
#[derive(Debug, Template)]
#[template(path = "portal/problem.html")]
struct ProblemPage {
    frame: Frame,
    title: &'static str,
    help: &'static str,
    request_id: String,
}

/// The page about a problem. Its cause, if there is one, is logged here.
pub fn problem(visit: &Visit, error: PageError) -> Answer {
    error.log(&visit.request_id);
    let (title, help) = match error.problem {
        PageProblem::Role => ("Your role does not allow this", "Ask an owner of the store to do it, or the operator for another role."),
        PageProblem::Form => {
            ("This form is too old", "It was made before you last signed in, or by another site. Go back, load the page again and send it.")
        }
        PageProblem::TooMany => ("Too many requests", "Wait a few seconds, then load the page again."),
        PageProblem::Unavailable => {
            ("The portal is busy or cut off", "Nothing of yours is lost. Wait a few seconds, then load the page again.")
        }
        PageProblem::Internal => ("Something went wrong on our side", "It has been logged. If it stays, tell support the request's name."),
        PageProblem::BadRequest => ("This cannot be read", "The form holds something that none of our pages sends. Go back and try again."),
        _ => ("There is nothing here", "The page does not exist, or your account may not see it."),
    };
    let page = ProblemPage { frame: Frame::of_stranger(visit), title, help, request_id: visit.request_id.clone() };
    match visit.page_with(error.problem.status(), &page, Sources::Own) {
        Ok(answer) if error.problem == PageProblem::Unavailable => answer.with(RETRY_AFTER, HeaderValue::from_static("2")),
        Ok(answer) => answer,
        // The template is itself at fault, which its test keeps from happening.
        Err(_) => Answer::new(PageProblem::Internal.status(), title),
    }
}
